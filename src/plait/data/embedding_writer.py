"""A source of embeddings written as it is made: array, ids and manifest, so that a killed process goes on."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.core.errors import FileError, NumericsError
from plait.core.files import sync_folder, write_file, write_json
from plait.data.embedding_manifest import file_digest, manifest_path


@dataclass(frozen=True)
class Origin:
    """What a source is made with and of; `made_from` is a digest of photos or sentences, ids and settings."""

    encoder: str
    revision: str
    made_from: str


class EmbeddingWriter:
    """One source of a folder: `<source>.npy` float32, `<source>.ids.txt` and the manifest `<source>.json`.

    Items (photos, sentences) are numbered in an order that is the same in every run, and added from number `done` on.
    Until all are in, states lie in `<source>.npy.part`, which has its full size from the start, and each `add` appends
    a line to `<source>.journal` once its states are on disk: a killed process finds there how far it is. `finish` puts
    the files in their places, the manifest last. A row that nothing is added for is 0, which counts as missing.

    Shape: (n, t, w), or (n, w) where an item has one state; n ids.
    Errors: FileError where the folder holds this source of another origin, or files of its name that are not of this
    writer; nothing is overwritten.
    """

    def __init__(self, folder: Path, source: str, ids: Sequence[str], origin: Origin) -> None:
        self.folder, self.source, self.ids, self.origin = folder, source, tuple(ids), origin
        self.path = folder / f"{source}.npy"
        self.part, self.journal = folder / f"{source}.npy.part", folder / f"{source}.journal"
        self.ids_path = folder / f"{source}.ids.txt"
        self.done, self.broken = 0, list[str]()
        self._shape: tuple[int, int] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"the folder can't be made: {error.strerror}", where=str(folder)) from None
        self.finished = self._is_finished()
        if not self.finished:
            self._go_on()

    def _is_finished(self) -> bool:
        """Whether the three files are there, of this origin and whole."""
        place = manifest_path(self.path)
        if not place.is_file():
            return False
        said = self._read(place)
        self._compare(said, place)
        whole = self.path.is_file() and self.ids_path.is_file() and said.get("sha256") == file_digest(self.path)
        if not whole or self.ids_path.read_bytes() != self._ids_text():
            what = f"{self.path.name} or {self.ids_path.name} is not what it was written for"
            raise FileError(what, where=str(place), fix=self._mend())
        self.broken = list(said.get("broken", ()))
        self.journal.unlink(missing_ok=True)
        return True

    def _go_on(self) -> None:
        """Read the journal, of which a killed process may have left half a line."""
        begun = self.journal.is_file()
        if self.path.exists() and (self.part.exists() or not begun):
            raise FileError("is there already, without a manifest", where=str(self.path), fix=self._mend())
        content = self.journal.read_bytes() if begun else b""
        whole = content.rfind(b"\n") + 1
        if not whole:
            return
        try:
            start, *steps = [json.loads(line) for line in content[:whole].splitlines()]
            self._compare(start, self.journal)
            shape = (int(start["tokens"]), int(start["width"]))
            done, broken = int(steps[-1]["done"]), [name for step in steps for name in step["broken"]]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise FileError(f"is no journal: {error}", where=str(self.journal), fix=self._mend()) from None
        array = self.part if self.part.is_file() else self.path
        if array.is_file() and array.stat().st_size == len(self._header(shape)) + self._size(shape):
            self._shape, self.done, self.broken = shape, done, broken
            os.truncate(self.journal, whole)

    def _compare(self, said: dict[str, Any], place: Path) -> None:
        """Refuse what was made otherwise; the first difference is told."""
        names = {
            "encoder": "with another encoder", "revision": "with another revision of its encoder",
            "made_from": "from other photos, texts or settings",
        }  # fmt: skip
        for field, name in names.items():
            was, now = said.get(field), getattr(self.origin, field)
            if was != now:
                shown = "" if field == "made_from" else f": {was}, now {now}"
                what = f"{self.source} was begun or made {name}{shown}"
                raise FileError(what, where=str(place), fix=self._mend())

    def _mend(self) -> str:
        names = (self.path, self.part, self.ids_path, manifest_path(self.path), self.journal)
        there = ", ".join(path.name for path in names if path.exists())
        return f"give another --out, or delete {there} to make it anew"

    def _read(self, place: Path) -> dict[str, Any]:
        try:
            said = json.loads(place.read_bytes())
        except (OSError, ValueError) as error:
            raise FileError(f"is no manifest: {error}", where=str(place), fix=self._mend()) from None
        return said if isinstance(said, dict) else {}

    def _size(self, shape: tuple[int, int]) -> int:
        return 4 * len(self.ids) * shape[0] * shape[1]

    def _header(self, shape: tuple[int, int]) -> bytes:
        """What stands before the numbers in a file of NumPy's format."""
        from io import BytesIO

        stream, (tokens, width) = BytesIO(), shape
        whole = (len(self.ids), width) if tokens == 1 else (len(self.ids), tokens, width)
        about = {"descr": "<f4", "fortran_order": False, "shape": whole}
        np.lib.format.write_array_header_1_0(stream, about)
        return stream.getvalue()

    def _ids_text(self) -> bytes:
        return "".join(f"{each}\n" for each in self.ids).encode()

    def add(self, rows: Sequence[int], states: NDArray[np.float32] | None, items: int, broken: Sequence[str]) -> None:
        """Write the states of the next `items` items to their rows; `broken` names those that have none.

        Shape: rows (r,), states (r, t, w), None where r is 0.
        Errors: NumericsError for states that are not finite; FileError where the disk is full.
        """
        if states is not None:
            wrong = np.flatnonzero(~np.isfinite(states).all(axis=(1, 2)))
            if len(wrong):
                what = f"the states of {len(wrong)} items are not finite, the first of {self.ids[rows[wrong[0]]]}"
                raise NumericsError(what, where=self.source, fix="choose another encoder")
        try:
            if self._shape is None and states is not None:
                self._begin(states.shape[1:])
            self.done += items
            self.broken += broken
            if self._shape is not None:
                self._append(rows, states, broken)
        except OSError as error:
            fix = "free disk space or mend the rights, then run the same command again"
            raise FileError(f"can't be written: {error.strerror}", where=str(self.folder), fix=fix) from None

    def _begin(self, shape: tuple[int, ...]) -> None:
        """Make the array at its full size, then the journal, with what was broken before the first state."""
        tokens, width = shape
        self._shape = (tokens, width)
        header = self._header(self._shape)
        with open(self.part, "wb") as file:
            file.write(header)
            file.truncate(len(header) + self._size(self._shape))
        start = {**vars(self.origin), "tokens": tokens, "width": width}
        earlier = {"done": self.done, "broken": self.broken}
        write_file(self.journal, f"{json.dumps(start)}\n{json.dumps(earlier)}\n".encode())

    def _append(self, rows: Sequence[int], states: NDArray[np.float32] | None, broken: Sequence[str]) -> None:
        assert self._shape is not None
        if states is not None:
            assert states.shape[1:] == self._shape
            begin, step = len(self._header(self._shape)), 4 * self._shape[0] * self._shape[1]
            with open(self.part, "r+b") as file:
                for row, state in zip(rows, states, strict=True):
                    file.seek(begin + row * step)
                    file.write(np.ascontiguousarray(state, dtype="<f4").tobytes())
                file.flush()
                os.fsync(file.fileno())
        with open(self.journal, "ab") as file:
            file.write(f"{json.dumps({'done': self.done, 'broken': list(broken)})}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def finish(self) -> None:
        """Put array and ids in their places, then the manifest. Not to be called where every item is broken."""
        assert self._shape is not None
        tokens, width = self._shape
        write_file(self.ids_path, self._ids_text())
        if self.part.is_file():
            os.replace(self.part, self.path)
            sync_folder(self.folder)
        said = {
            "encoder": self.origin.encoder, "revision": self.origin.revision, "rows": len(self.ids), "width": width,
            "tokens": tokens, "sha256": file_digest(self.path), "fine_tuned_on": None, "broken": self.broken,
            "made_from": self.origin.made_from,
        }  # fmt: skip
        write_json(manifest_path(self.path), said)
        self.journal.unlink(missing_ok=True)
        self.finished = True

    @property
    def empty(self) -> bool:
        """Whether no item had a state yet."""
        return self._shape is None and not self.finished
