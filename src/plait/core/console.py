"""Words for people: one place that decides between standard output and standard error, and draws progress."""

import sys
import time
from typing import Any, TextIO

from plait.core.processes import leads

_stream: list[TextIO | None] = [None]


def speak_on(stream: TextIO | None) -> None:
    """Send human text to a stream from now on: standard error under `--json`."""
    _stream[0] = stream


def say(text: str = "", end: str = "\n") -> None:
    """Print a line for people; of several processes of a run the first alone does."""
    if leads():
        print(text, end=end, file=_stream[0] or sys.stdout, flush=True)


class Progress:
    """A bar with a rate and an ETA on a terminal; elsewhere a line every `every` seconds at most."""

    def __init__(self, title: str, total: int, unit: str = "step", every: float = 10.0) -> None:
        self.title, self.total, self.unit, self.every = title, total, unit, every
        self.start = self.shown = time.monotonic()
        self.first: int | None = None
        self.bar: Any = None
        if sys.stderr.isatty() and leads():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self.bar = Bar(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"), TimeRemainingColumn(), console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self.task = self.bar.add_task(title, total=total, note="")
            self.bar.start()

    def update(self, done: int, note: str = "") -> None:
        """Tell how many of the total are done."""
        now = time.monotonic()
        if self.first is None:
            self.first, self.start = done, now
        rate = (done - self.first) / max(now - self.start, 1e-9)
        if self.bar is not None:
            self.bar.update(self.task, completed=done, note=f"{rate:.1f} {self.unit}s/s {note}")
        elif now - self.shown >= self.every and leads():
            self.shown = now
            left = clock((self.total - done) / rate) if rate > 0 else "?"
            line = f"{self.title}: {done}/{self.total} {self.unit}s, {rate:.1f}/s, {left} left {note}"
            print(line.rstrip(), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Wipe the bar."""
        if self.bar is not None:
            self.bar.stop()


def clock(seconds: float) -> str:
    """A duration as people write it: 42 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
