"""Files written whole or not at all: aside, fsynced, renamed; and where caches lie."""

import json
import os
from pathlib import Path
from typing import Any

from plait.core.errors import FileError
from plait.core.processes import leads


def cache_folder(name: str) -> Path:
    """The folder of what can be made anew: `name` in `PLAIT_CACHE`, else in `~/.cache/plait`."""
    base = os.environ.get("PLAIT_CACHE")
    return (Path(base) if base else Path.home() / ".cache" / "plait") / name


def write_file(path: Path, content: bytes, shared: bool = False) -> None:
    """Write a file whole or not at all: aside, fsynced, renamed.

    `shared`: other processes may write the same file at the same time. A file that is not is written by the first of a
    run's processes alone.
    """
    if not (shared or leads()):
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part" if shared else f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        fix = "free disk space or mend the rights, then run it again"
        if not path.parent.is_dir():
            fix = f"there is no folder {path.parent}"
        raise FileError(f"can't be written: {error.strerror}", where=str(path), fix=fix) from None


def write_json(path: Path, data: Any) -> None:
    """Plain data as an indented JSON file."""
    write_file(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


def sync_folder(path: Path) -> None:
    """Make a rename inside a folder last."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
