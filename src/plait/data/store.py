"""The embedding store: each distinct text is encoded once, to disk, resumable, and read by memory map."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plait.core.errors import FileError, NumericsError
from plait.core.files import cache_folder, write_file
from plait.embedders import Embedder

CHUNK = 512
CHUNK_BYTES = 2**28

# Arrays whose content was compared with its sha256 in this process: path, sha256, size, time of change.
_verified: set[tuple[str, str, int, int]] = set()


def store_root() -> Path:
    """The folder of all stores: `PLAIT_CACHE`, else `~/.cache/plait`."""
    return cache_folder("embeddings")


def text_key(text: str) -> str:
    """The sha256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, eq=False)
class _Chunk:
    """What the JSON of a chunk says, but for the hashes of its texts. Shape: `counts` (r,)."""

    counts: NDArray[np.int64]
    sha256: str


class EmbeddingStore:
    """States of texts on disk, for one embedder, revision, cut and pooling.

    A chunk is two files, `<name>.npy` (r, l, e) float32 states and `<name>.json` with its texts' hashes, their numbers
    of states and the sha256 of the array; the JSON is renamed into place last, so that a chunk exists whole or not at
    all and a run that is killed goes on where it was. A name stands for one content, so several processes may add at
    the same time; at worst a text is stored twice. l is the embedder's length of `max_tokens`, or 1 when pooled.
    """

    def __init__(self, embedder: Embedder, kind: str, max_tokens: int, pool: str, root: Path | None = None) -> None:
        self.embedder, self.max_tokens, self.pool = embedder, max_tokens, pool
        self.length = embedder.length(max_tokens) if pool == "none" else 1
        self.key = {"embedder": kind, "revision": embedder.revision, "max_tokens": max_tokens, "pool": pool}
        name = f"{kind}-{hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:12]}"
        self.folder = (root or store_root()) / name
        self._chunks: dict[str, _Chunk] = {}
        self._places: dict[str, tuple[str, int]] = {}
        self._open()

    def _open(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(
                f"the embedding store can't be made: {error.strerror}", where=str(self.folder),
                fix="set PLAIT_CACHE to a folder that can be written",
            ) from None  # fmt: skip
        manifest = self.folder / "store.json"
        if not manifest.is_file():
            write_file(manifest, json.dumps(self.key, indent=1).encode(), shared=True)
        try:
            found = json.loads(manifest.read_bytes())
        except (OSError, ValueError) as error:
            raise FileError(f"can't be read: {error}", where=str(manifest), fix=f"delete {self.folder}") from None
        if found != self.key:
            raise FileError("holds the states of another encoder", where=str(self.folder), fix="delete the folder")
        for path in self.folder.glob("*.part"):
            owner = re.search(r"\.(\d+)\.part$", path.name)
            if owner and not _alive(int(owner[1])):
                path.unlink(missing_ok=True)

    def known(self) -> Mapping[str, tuple[str, int]]:
        """Where each stored text lies, also one that another process has stored: hash -> (name of the chunk, row)."""
        names = {path.stem for path in self.folder.glob("[0-9]*.json")}
        if not self._chunks.keys() <= names:  # chunks were deleted
            self._chunks, self._places = {}, {}
        for name in sorted(names - self._chunks.keys()):
            texts, self._chunks[name] = self._record(self.folder / f"{name}.json")
            for row, digest in enumerate(texts):
                self._places.setdefault(digest, (name, row))
        return self._places

    def _record(self, path: Path) -> tuple[list[str], _Chunk]:
        try:
            data = json.loads(path.read_bytes())
            texts, counts = [str(digest) for digest in data["texts"]], np.array(data["counts"])
            whole = counts.shape == (len(texts),) and counts.dtype.kind == "i" and isinstance(data["sha256"], str)
            if not (whole and len(texts) and counts.min() >= 0 and counts.max() <= self.length):
                raise ValueError("its parts do not fit")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileError(
                f"is no record of the embedding store: {error}", where=str(path),
                fix=f"delete it and {path.stem}.npy; the texts are encoded again",
            ) from None  # fmt: skip
        return texts, _Chunk(counts.astype(np.int64), data["sha256"])

    def add(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> int:
        """Encode the texts that are not stored yet; returns how many times the model saw a text."""
        known = self.known()
        todo = [(digest, t) for digest, t in {text_key(t): t for t in texts}.items() if digest not in known]
        if not todo:
            return 0
        rows, seen = max(1, min(CHUNK, CHUNK_BYTES // (4 * self.length * self.embedder.dim))), 0
        for start in range(0, len(todo), rows):
            known = self.known()  # another process may have been here
            part = [(digest, t) for digest, t in todo[start : start + rows] if digest not in known]
            if part:
                states, counts = self._encode([t for _, t in part])
                self._write([digest for digest, _ in part], states, counts)
                seen += len(part)
            if progress is not None:
                progress(min(start + rows, len(todo)), len(todo))
        return seen

    def _encode(self, texts: list[str]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        states, mask = self.embedder.encode(texts, self.max_tokens)
        length = self.embedder.length(self.max_tokens)
        assert states.shape == (len(texts), length, self.embedder.dim)
        assert mask.shape == states.shape[:2]
        assert not (mask[:, 1:] & ~mask[:, :-1]).any(), "the present states of a text must come first"
        pooled, counts = pool_states(states, mask, self.pool)
        wrong = np.flatnonzero(~np.isfinite(pooled).all(axis=(1, 2)))
        if len(wrong):
            raise NumericsError(
                f"the states of {len(wrong)} texts are not finite, the first of {texts[wrong[0]][:60]!r}",
                where=f"embedder {self.key['embedder']}", fix="choose another embedder",
            )  # fmt: skip
        return pooled.astype(np.float32, copy=False), counts

    def _write(self, digests: list[str], states: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
        together = hashlib.sha256("".join(digests).encode())
        temporary = self.folder / f"{together.hexdigest()[:12]}.{os.getpid()}.part"
        try:
            with open(temporary, "wb") as file:
                np.save(file, states, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            with open(temporary, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            # Two processes may have encoded the same texts to states that differ in a last bit.
            together.update(digest.encode())
            array = self.folder / f"{len(self._chunks):06d}-{together.hexdigest()[:12]}.npy"
            os.replace(temporary, array)
            record = {"texts": digests, "counts": counts.tolist(), "sha256": digest}
            write_file(array.with_suffix(".json"), json.dumps(record).encode(), shared=True)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise FileError(
                f"can't be written: {error.strerror}",
                where=str(self.folder),
                fix="free disk space, then run again",
            ) from None

    def load(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The states of stored texts in the order given. Shape: (n, l, e) float32, mask (n, l)."""
        known = self.known()
        wanted: dict[str, list[tuple[int, int]]] = {}
        for i, text in enumerate(texts):
            place = known.get(text_key(text))
            if place is None:
                raise FileError("lacks a text that was to be in it", where=str(self.folder), fix="run it again")
            wanted.setdefault(place[0], []).append((i, place[1]))
        states = np.zeros((len(texts), self.length, self.embedder.dim), dtype=np.float32)
        counts = np.zeros(len(texts), dtype=np.int64)
        for name in sorted(wanted):
            into, rows = np.array(wanted[name]).T
            states[into] = self._states(name)[rows]
            counts[into] = self._chunks[name].counts[rows]
        return states, np.arange(self.length) < counts[:, None]

    def _states(self, name: str) -> NDArray[np.float32]:
        """The array of a chunk, by memory map, compared with its record. Shape: (r, l, e)."""
        path, chunk = self.folder / f"{name}.npy", self._chunks[name]
        shape = (len(chunk.counts), self.length, self.embedder.dim)
        try:
            about = path.stat()
            content = (str(path), chunk.sha256, about.st_size, about.st_mtime_ns)
            if content not in _verified:
                with open(path, "rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != chunk.sha256:
                        raise ValueError("its content has changed")
                _verified.add(content)
            stored: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
            if stored.shape != shape or stored.dtype != np.float32:
                raise ValueError(f"{stored.dtype} {stored.shape} in place of float32 {shape}")
        except FileNotFoundError:
            raise FileError("a file of the embedding store is missing", where=str(path), fix=_mend(name)) from None
        except (OSError, ValueError) as error:
            raise FileError(
                f"a file of the embedding store is damaged: {error}", where=str(path), fix=_mend(name)
            ) from None
        return stored


def _mend(name: str) -> str:
    return f"delete {name}.npy and {name}.json; the texts are encoded again"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is another user's
        return True
    return True


def pool_states(
    states: NDArray[np.float32], mask: NDArray[np.bool_], pool: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Token states as they are, or one state a text over its present tokens, with the number of states of each.

    Shape: (n, m, e), (n, m) -> (n, m or 1, e), (n,). Mask: a text without a token has no state.
    """
    count: NDArray[np.int64] = mask.sum(axis=1, dtype=np.int64)
    if pool == "none":
        return states, count
    kept, some = mask[:, :, None], count > 0
    if pool == "mean":
        pooled = np.where(kept, states, 0).sum(axis=1) / np.maximum(count, 1)[:, None]
    else:
        fill, reduce = (-np.inf, np.max) if pool == "max" else (np.inf, np.min)
        pooled = np.where(some[:, None], reduce(np.where(kept, states, fill), axis=1), 0)
    return pooled[:, None].astype(np.float32), some.astype(np.int64)
