"""Kills a process that writes embeddings before every step that its files take, and tells what it ends in.

A script of its own: it imports no torch, and forks for every attempt, in a process without other threads.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from plait.data.embedding_writer import EmbeddingWriter, Origin

IDS = tuple(f"id{number:02d}" for number in range(11))
ITEMS = [row for row in range(11) if row != 5]  # one id has no photo
BROKEN = {1: "id01_x.jpg", 2: "id02_x.jpg", 7: "id07_x.jpg"}
STATES = np.random.default_rng(7).standard_normal((11, 3, 5)).astype(np.float32)
BATCH = 2
STEPS = ("fsync", "replace", "truncate", "unlink")


def write(folder: Path) -> None:
    """All batches that are not in yet; the first has a whole photo and a broken one, the second a broken one first."""
    writer = EmbeddingWriter(folder, "room", IDS, Origin("fake", "1", "these"))
    if writer.finished:
        return
    for begin in range(writer.done, len(ITEMS), BATCH):
        batch = ITEMS[begin : begin + BATCH]
        rows = [row for row in batch if row not in BROKEN]
        broken = [BROKEN[row] for row in batch if row in BROKEN]
        writer.add(rows, STATES[rows] if rows else None, len(batch), broken)
    writer.finish()


def attempt(folder: Path, fatal: int | None) -> bool:
    """Write in a fork that kills itself before its `fatal`-th step; returns whether it came to its end."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    try:
        if fatal is not None:
            die_at(fatal)
        write(folder)
        os._exit(0)
    finally:
        os._exit(1)


def die_at(number: int) -> None:
    seen = [0]

    def counted(real: Any) -> Any:
        def step(*arguments: Any, **words: Any) -> Any:
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **words)

        return step

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


def content(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def main(root: Path) -> None:
    """Print the files of a whole run, the number of kills, and every chain of kills that ends in other files."""
    assert attempt(root / "whole", None)
    wanted, kills, wrong = content(root / "whole"), 0, []
    fatal, ended = 0, False
    while not ended:
        fatal += 1
        folder = root / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        ended = attempt(folder, fatal)
        kills += not ended
        again = attempt(folder, 1 + fatal % 5)  # and once more a little later
        kills += not again
        if not (attempt(folder, None) and content(folder) == wanted):
            wrong.append(fatal)
    print(json.dumps({"files": sorted(wanted), "kills": kills, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
