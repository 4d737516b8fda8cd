"""A folder that is there whole or not at all, with the sha256 of each of its files."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plait.core.errors import FileError
from plait.core.files import sync_folder, write_file
from plait.training.checkpoint import MANIFEST


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, to write into; at the end it gets its manifest and takes the target's place.

    Whatever ends the block early, the target stays as it was; what a killed process left beside it is taken away by
    the next. `read_folder` reads and checks the result. Errors: FileError where it can't be written.
    """
    # A process has its own: two may explain the same run at once, and the last to end stays.
    aside, old = (target.with_name(f".{target.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    try:
        with _writing(target):
            _take_away_left(target)
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        yield aside
        with _writing(target):
            sums = {path.name: _sha256(path) for path in sorted(aside.iterdir())}
            write_file(aside / MANIFEST, json.dumps(sums, indent=1).encode())
            # A folder is taken away by renaming it, so that none is ever seen half gone.
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                os.replace(target, old)
            os.replace(aside, target)
            sync_folder(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)


def _take_away_left(target: Path) -> None:
    """Remove what processes that are no more left beside the target."""
    for path in target.parent.glob(f".{target.name}.*.*"):
        number = path.name.split(".")[-2]
        if number.isdecimal() and not Path(f"/proc/{number}").exists() and Path("/proc").is_dir():
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(
            f"can't be written: {error.strerror}", where=str(target),
            fix="free disk space or mend the rights, then run it again",
        ) from None  # fmt: skip


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
