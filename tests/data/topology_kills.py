"""Kills a computation of topology with SIGKILL again and again, and tells whether what it ends in is the same.

A script of its own: it imports no torch, and forks for every attempt, in a process without other threads.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import plait.data.topology_cache as topology_cache
from plait.data.topology_cache import TopologyCache, WindowConfig

WINDOWS, WINDOW = 300, 37
KILLS_A_CHAIN = 3


def cache(root: Path) -> TopologyCache:
    """A random walk's, in many small parts."""
    topology_cache.PART = 7
    steps = np.random.default_rng(11).standard_normal(WINDOWS + WINDOW - 1)
    return TopologyCache(100 * np.exp(0.01 * steps.cumsum()), WindowConfig(window=WINDOW, delay=5), root)


def attempt(root: Path, fatal_rename: int | None = None, before: bool = True) -> int:
    """Compute in a fork with a process group of its own; with `fatal_rename` it kills itself before or after that
    rename. Returns its pid.
    """
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    if fatal_rename is not None:
        die_at(fatal_rename, before)
    try:
        cache(root).compute()
        os._exit(0)
    finally:
        os._exit(1)


def die_at(number: int, before: bool) -> None:
    """Kill the process group at the `number`-th file that is put in its place."""
    real, seen = os.replace, [0]

    def replace(*args: Any) -> None:
        seen[0] += 1
        if seen[0] == number and before:
            os.killpg(0, signal.SIGKILL)
        real(*args)
        if seen[0] == number:
            os.killpg(0, signal.SIGKILL)

    os.replace = replace


def outcome(root: Path) -> dict[str, str]:
    """A digest of every part."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in cache(root).folder.glob("part-*.npz")}


def finish(root: Path) -> None:
    """Compute to the end, which must succeed."""
    _, status = os.waitpid(attempt(root), 0)
    if status:
        raise SystemExit(f"a computation that goes on ended with status {status}")


def chain(root: Path, rng: random.Random, seconds: float) -> int:
    """Kills in one folder, at a random time or a random rename, then a whole computation; returns how many hit."""
    hits = 0
    for _ in range(KILLS_A_CHAIN):
        inside = rng.random() < 0.5
        pid = attempt(root, rng.randint(1, 20) if inside else None, rng.random() < 0.5)
        if not inside:
            time.sleep(rng.uniform(0, seconds))
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:  # it has no group of its own yet
                os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        hits += os.WIFSIGNALED(status)
    finish(root)
    return hits


def main(root: Path, chains: int, seed: int) -> dict[str, Any]:
    """As many chains of kills, each compared with a computation that was not killed."""
    rng = random.Random(seed)
    began = time.monotonic()
    finish(root / "whole")
    seconds, expected = time.monotonic() - began, outcome(root / "whole")
    hits, differing = 0, []
    for number in range(chains):
        hits += chain(root / "killed", rng, seconds)
        differing += [number] if outcome(root / "killed") != expected else []
        shutil.rmtree(root / "killed")
    return {"parts": len(expected), "kills": hits, "differing": differing}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
