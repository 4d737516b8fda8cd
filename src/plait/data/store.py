"""The embedding store: each distinct text is encoded once, to disk, resumable, and read by memory map."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.core.errors import FileError
from plait.core.files import write_file

CHUNK = 512


def store_root() -> Path:
    """The folder of all stores: `PLAIT_CACHE`, else `~/.cache/plait`."""
    base = os.environ.get("PLAIT_CACHE")
    return (Path(base) if base else Path.home() / ".cache" / "plait") / "embeddings"


def text_key(text: str) -> str:
    """The sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


class EmbeddingStore:
    """States of texts on disk, for one embedder, revision, cut and pooling.

    A chunk is two files, `<n>.npy` (r, l, e) float16 or float32 states with `<n>.json` that holds its texts' hashes,
    its token counts and the sha256 of the array; the JSON is renamed into place last, so that a chunk exists whole or
    not at all and a run that is killed goes on where it was. l is `max_tokens`, or 1 when pooled.
    """

    def __init__(self, embedder: Any, kind: str, max_tokens: int, pool: str, root: Path | None = None) -> None:
        self.embedder, self.max_tokens, self.pool = embedder, max_tokens, pool
        self.length = max_tokens if pool == "none" else 1
        key = {"embedder": kind, "revision": embedder.revision, "max_tokens": max_tokens, "pool": pool}
        name = f"{kind}-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]}"
        self.folder = (root or store_root()) / name
        self.key = key
        self._open(key)

    def _open(self, key: dict[str, Any]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(
                f"the embedding store can't be made: {error.strerror}", where=str(self.folder),
                fix="set PLAIT_CACHE to a folder that can be written",
            ) from None  # fmt: skip
        manifest = self.folder / "store.json"
        if manifest.is_file() and json.loads(manifest.read_text()) != key:
            raise FileError("holds the states of another encoder", where=str(self.folder), fix="delete the folder")
        if not manifest.is_file():
            write_file(manifest, json.dumps(key, indent=1).encode(), shared=True)

    def _chunks(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.json"))

    def known(self) -> dict[str, tuple[int, int]]:
        """Where each stored text lies: hash -> (chunk number, row)."""
        places: dict[str, tuple[int, int]] = {}
        for number, path in enumerate(self._chunks()):
            for row, digest in enumerate(json.loads(path.read_text())["texts"]):
                places.setdefault(digest, (number, row))
        return places

    def add(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> int:
        """Encode the texts that are not stored yet; returns how many times the model saw a text."""
        known = self.known()
        wanted = {text_key(t): t for t in texts}
        todo = [(digest, t) for digest, t in wanted.items() if digest not in known]
        for start in range(0, len(todo), CHUNK):
            part = todo[start : start + CHUNK]
            states, mask = self.embedder.encode([t for _, t in part], self.max_tokens)
            pooled, counts = pool_states(states, mask, self.pool)
            self._write([digest for digest, _ in part], pooled, counts)
            if progress is not None:
                progress(min(start + CHUNK, len(todo)), len(todo))
        return len(todo)

    def _write(self, digests: list[str], states: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
        # The name holds the texts' own hash: two processes that encode the same chunk write the same files.
        number = f"{len(self._chunks()):06d}-{hashlib.sha256(''.join(digests).encode()).hexdigest()[:12]}"
        array = self.folder / f"{number}.npy"
        temporary = array.with_suffix(f".{os.getpid()}.part")
        try:
            with open(temporary, "wb") as file:
                np.save(file, states, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
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
        places = self.known()
        chunks = self._chunks()
        wanted = [places[text_key(t)] for t in texts]
        states = np.zeros((len(texts), self.length, self.embedder.dim), dtype=np.float32)
        counts = np.zeros(len(texts), dtype=np.int64)
        for number in sorted({chunk for chunk, _ in wanted}):
            record = json.loads(chunks[number].read_text())
            array = chunks[number].with_suffix(".npy")
            if hashlib.sha256(array.read_bytes()).hexdigest() != record["sha256"]:
                raise FileError(
                    "a file of the embedding store is damaged",
                    where=str(array),
                    fix="delete it and its .json",
                )
            stored = np.load(array, mmap_mode="r", allow_pickle=False)
            rows = [i for i, (chunk, _) in enumerate(wanted) if chunk == number]
            source = [wanted[i][1] for i in rows]
            states[rows] = stored[source]
            counts[rows] = np.array(record["counts"])[source]
        return states, np.arange(self.length) < counts[:, None]


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
