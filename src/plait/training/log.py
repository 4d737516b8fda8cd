"""The log of a training: a line of metrics.jsonl an entry, and the same numbers for the trackers."""

import json
from pathlib import Path
from typing import Any


class Log:
    """Writes entries of one training; of several processes the main one alone does.

    `prefix` stands before the names that trackers get. The file's length is part of a checkpoint, so that a resumed
    training cuts what came after it.
    """

    def __init__(self, path: Path, prefix: str, accelerator: Any) -> None:
        self.path, self.prefix, self.accelerator = path, prefix, accelerator
        self.main = bool(accelerator.is_main_process)

    def write(self, entry: dict[str, Any], step: int, length: int) -> int:
        """Add an entry; returns the length of the file, `length` where this process does not write."""
        if not self.main:
            return length
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            length = file.tell()
        flat = {f"{self.prefix}train/{entry['event']}/{name}": value for name, value in entry.get("train", {}).items()}
        flat |= {f"{self.prefix}maps/{name}": value for name, value in entry.get("maps", {}).items()}
        flat |= {f"{self.prefix}{name}": entry[name] for name in ("val", "lr") if name in entry}
        self.accelerator.log(flat, step=step)
        return length

    def cut(self, length: int) -> None:
        """Forget what stands beyond a length."""
        if self.main and (self.path.exists() or length):
            with open(self.path, "ab") as file:
                file.truncate(length)
