"""Persistence diagrams of windows of closes on disk: computed once, in parts, on several cores, never mixed."""

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from io import BytesIO
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from plait.core import signals
from plait.core.config import Config
from plait.core.console import Progress
from plait.core.errors import DataError, FileError, PlaitError
from plait.core.files import cache_folder, write_file
from plait.features.topology import Filtration, WindowDiagrams, window_diagrams

VERSION = 1
"""Of what is computed: raised with every change of a diagram."""
PART = 256
"""Windows of a file."""
OLD = "tda_features_*.npy"
"""Features without a word of the data and parameters they are of."""
KEPT = "what is finished is kept; run the same command again"
AGAIN = "plait features market with the same fields makes it anew"


class WindowConfig(Config):
    """Which windows of closes become which clouds of points."""

    window: int = Field(672, ge=2)
    """Bars of a window: a week of 15 minutes."""
    embedding: int = Field(2, ge=1)
    """Closes of a point."""
    delay: int = Field(12, ge=1)
    """Bars between them."""
    filtration: Filtration = "alpha"
    """alpha, exact in the plane and fast; rips, by the extra of that name."""


class Computed(NamedTuple):
    """What a computation did: how many windows, in how many seconds of CPU over all processes."""

    windows: int
    seconds: float


class Part(NamedTuple):
    """The diagrams of a part, and the seconds of CPU they took."""

    diagrams: WindowDiagrams
    seconds: float


class TopologyCache:
    """The diagrams of every full window of a series, in files of `PART` windows.

    The folder's name is a hash of the closes, the parameters and `VERSION`, and every file says of which folder and
    which part it is: other data never meet there. A part is written whole or not at all, so that a computation that was
    stopped, also by SIGKILL, goes on with the parts that lack.
    Errors: FileError for a folder with features of an older kind, which say neither data nor parameters.
    """

    def __init__(self, closes: NDArray[np.float64], config: WindowConfig, root: Path | None = None) -> None:
        self.closes, self.config = np.ascontiguousarray(closes, dtype=np.float64), config
        root = root or cache_folder("topology")
        if any(root.glob(OLD)):
            raise FileError(
                f"holds {OLD}, which say neither of which bars nor with which parameters", where=str(root),
                fix=f"move them away and compute anew: plait features market --data.path FILE --cache-dir {root}",
            )  # fmt: skip
        digest = hashlib.sha256(self.closes.tobytes())
        digest.update(f"{VERSION} {config.model_dump_json()}".encode())
        self.folder = root / digest.hexdigest()[:24]
        self.windows = max(0, len(self.closes) - config.window + 1)

    def ends(self, part: int) -> NDArray[np.int64]:
        """The last bars of the windows of a part."""
        first = self.config.window - 1
        return np.arange(first + part * PART, min(first + (part + 1) * PART, len(self.closes)))

    @property
    def parts(self) -> range:
        """The numbers of the parts."""
        return range(-(-self.windows // PART))

    def missing(self) -> list[int]:
        """The parts that are not there yet."""
        return [part for part in self.parts if not self._path(part).is_file()]

    def check(self) -> None:
        """Read every part that is there. Errors: FileError for one that is damaged or of other data."""
        for part in sorted(set(self.parts) - set(self.missing())):
            self._read(part)

    def compute(self, jobs: int = 1) -> Computed:
        """Compute the parts that lack, on `jobs` processes; returns what was done.

        Shows progress, stops at a signal with what is finished kept.
        Errors: DataError for fewer bars than a window has; FileError where nothing can be written.
        """
        if not self.windows:
            raise DataError(
                f"a window needs {self.config.window} bars and there are {len(self.closes)}", where="topology",
                fix="give a longer series, or a smaller data.topology.window",
            )  # fmt: skip
        missing = self.missing()
        if not missing:
            return Computed(0, 0.0)
        self._begin()
        bar, done, seconds = Progress("topology", self.windows, "window"), self.windows - self._count(missing), 0.0
        bar.update(done)
        try:
            for part, found in self._made(missing, jobs):
                self._write(part, found.diagrams)
                done, seconds = done + len(found.diagrams), seconds + found.seconds
                bar.update(done)
        except BrokenProcessPool:
            signals.check(KEPT)
            raise PlaitError(
                "a process ended before its work did: killed, out of memory, or begun by a script that lacks"
                ' `if __name__ == "__main__":`', where="topology", fix=f"{KEPT}, with jobs 1 if need be",
            ) from None  # fmt: skip
        finally:
            bar.close()
        return Computed(self._count(missing), seconds)

    def read(self, jobs: int = 1) -> WindowDiagrams:
        """The diagrams of all windows, in order; those that lack are computed first.

        Errors: as `compute` and `check`.
        """
        self.compute(jobs)
        return WindowDiagrams.join([self._read(part) for part in self.parts])

    def _made(self, parts: list[int], jobs: int) -> Iterator[tuple[int, Part]]:
        if min(jobs, len(parts)) <= 1:
            for part in parts:
                signals.check(KEPT)
                yield part, _compute(*self._work(part))
            return
        left = iter(parts)
        running: dict[Future[Part], int] = {}
        # A process that is forked from one with threads of torch may hang.
        pool = ProcessPoolExecutor(min(jobs, len(parts)), get_context("spawn"), initializer=_follow)
        try:
            while True:
                for part in () if signals.asked() else islice(left, 2 * jobs - len(running)):
                    running[pool.submit(_compute, *self._work(part))] = part
                if not running:
                    return signals.check(KEPT)
                ended, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield running.pop(future), future.result()
                if signals.asked():
                    running = {future: part for future, part in running.items() if not future.cancel()}
        finally:
            pool.shutdown(cancel_futures=True)

    def _work(self, part: int) -> tuple[NDArray[np.float64], NDArray[np.int64], WindowConfig]:
        """The bars that a part reads, the last bars of its windows among them, and the parameters."""
        ends = self.ends(part)
        first = int(ends[0]) - self.config.window + 1
        return self.closes[first : int(ends[-1]) + 1], ends - first, self.config

    def _count(self, parts: list[int]) -> int:
        return sum(len(self.ends(part)) for part in parts)

    def _begin(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(
                f"can't be made: {error.strerror}", where=str(self.folder), fix="give another folder by --cache-dir"
            ) from None
        facts = {"version": VERSION, **self.config.model_dump(mode="json")}
        write_file(self.folder / "windows.json", json.dumps(facts, indent=2).encode(), shared=True)

    def _path(self, part: int) -> Path:
        return self.folder / f"part-{part:05d}.npz"

    def _name(self, part: int) -> str:
        return f"{self.folder.name} {part}"

    def _write(self, part: int, found: WindowDiagrams) -> None:
        content = BytesIO()
        np.savez_compressed(content, of=self._name(part), **vars(found))
        write_file(self._path(part), content.getvalue(), shared=True)

    def _read(self, part: int) -> WindowDiagrams:
        try:
            with np.load(self._path(part), allow_pickle=False) as file:
                of = str(file["of"])
                found = WindowDiagrams(*(file[name] for name in ("h0", "h1", "split0", "split1")))
        except Exception as error:  # of damaged bytes zipfile and NumPy say almost anything
            raise FileError(
                f"can't be read as diagrams: {error}", where=str(self._path(part)), fix=f"remove it; {AGAIN}"
            ) from None
        if of != self._name(part):
            raise FileError("holds windows of other data", where=str(self._path(part)), fix=f"remove it; {AGAIN}")
        return found


def _compute(closes: NDArray[np.float64], ends: NDArray[np.int64], config: WindowConfig) -> Part:
    began = time.process_time()
    made = window_diagrams(closes, ends, config.window, config.embedding, config.delay, config.filtration)
    return Part(made, time.process_time() - began)


def _follow() -> None:
    """Leave an orderly end to the first process, and end with it where it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    first = parent_process()

    def end() -> None:
        if first is not None:
            first.join()
            os._exit(1)

    Thread(target=end, daemon=True).start()
