"""Runs a small training, kills it with SIGKILL again and again, and tells whether what it ends in is the same.

A script of its own: it imports torch once and forks for every attempt, in a process without other threads.
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

import plait.core.console as console
import plait.training.checkpoint as checkpoint
from plait.runs.fit import fit
from plait.runs.recipe import load_recipe, resolve

FIELDS: list[tuple[str, Any]] = [
    ("data.weeks", 420),
    ("model.text.dropout", 0.3),
    ("training.batch_size", 48),
    ("training.checkpoint_steps", 2),
    ("training.ema", 0.9),
    ("training.trackers", []),
    ("device", "cpu"),
]
KILLS_A_CHAIN = 5


def attempt(folder: Path, fatal_write: int | None = None) -> int:
    """Start or resume the training in a fork; with `fatal_write` it kills itself at that fsync. Returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        console.speak_on(sys.stderr)
        if fatal_write is not None:
            die_inside_a_save(fatal_write)
        folder.mkdir(parents=True, exist_ok=True)
        fit(resolve(load_recipe("chimera"), "tiny", FIELDS), folder)
        code = 0
    finally:
        os._exit(code)


def die_inside_a_save(at: int) -> None:
    """Die at the `at`-th fsync of a checkpoint that is being written, before the file is synced or renamed."""
    seen = [0]
    write_folder = checkpoint.write_folder

    def fatal(*args: Any) -> None:
        real = os.fsync

        def fsync(handle: int) -> None:
            seen[0] += 1
            if seen[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)
            real(handle)

        os.fsync = fsync
        try:
            write_folder(*args)
        finally:
            os.fsync = real

    checkpoint.write_folder = fatal


def finish(folder: Path) -> None:
    """Run to the end, which must succeed."""
    _, status = os.waitpid(attempt(folder), 0)
    if status:
        raise SystemExit(f"a resumed run ended with status {status} in {folder}")


def outcome(folder: Path) -> dict[str, str]:
    """A digest of everything a run ends in, times and its own path aside."""

    def timeless(data: Any) -> Any:
        if isinstance(data, dict):
            return {k: timeless(v) for k, v in data.items() if not k.endswith(("_s", "_per_s")) and k != "run"}
        return [timeless(v) for v in data] if isinstance(data, list) else data

    found = {}
    for name in (
        "model/weights.safetensors",
        "model/preprocessing.safetensors",
        "scores.safetensors",
        "predictions.csv",
    ):
        found[name] = (folder / name).read_bytes()
    found["metrics.json"] = json.dumps(timeless(json.loads((folder / "metrics.json").read_text()))).encode()
    lines = [timeless(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found["metrics.jsonl"] = json.dumps(lines).encode()
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}


def chain(
    root: Path, name: str, kills: list[str], seconds: float, rng: random.Random
) -> tuple[dict[str, str], list[str]]:
    """One run that suffers kills and is then resumed to its end; returns its outcome and the kills that hit."""
    folder = root / name
    hits = []
    for kind in kills:
        inside = kind == "save"
        pid = attempt(folder, rng.randint(1, 24) if inside else None)
        if not inside:
            time.sleep(rng.uniform(0, seconds))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            hits.append(kind)
        else:
            break
    finish(folder)
    return outcome(folder), hits


def main(root: Path, anywhere: int, inside: int, seed: int) -> dict[str, Any]:
    """At least `anywhere` kills uniformly over the run's time and `inside` kills inside a save, in chains of five."""
    rng = random.Random(seed)
    began = time.monotonic()
    finish(root / "whole")
    seconds = time.monotonic() - began
    expected = outcome(root / "whole")
    waiting = ["anywhere"] * anywhere + ["save"] * inside
    hits: list[str] = []
    differing: list[str] = []
    number = 0
    while waiting:
        rng.shuffle(waiting)
        name = f"chain{number}"
        found, hit = chain(root, name, waiting[:KILLS_A_CHAIN], seconds, rng)
        for kind in hit:
            waiting.remove(kind)
        hits += hit
        differing += [f"{name}: {part}" for part in expected if found[part] != expected[part]]
        shutil.rmtree(root / name)
        number += 1
    return {"kills": hits.count("anywhere"), "inside": hits.count("save"), "differing": differing, "chains": number}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
