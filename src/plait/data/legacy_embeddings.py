"""Embeddings with ids out of the plain data of a legacy pickle, and the .npz they are kept in."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.core.errors import ConfigError, DataError, FileError
from plait.data.sample_files import listed

FORMS = "a dict {id: vector}, a dict of `ids` and `embeddings`, a list of (id, vector), or an array with --ids"
LONGEST_ID = 1024
"""Letters; an array of texts gives each the room of the longest."""


def embeddings_of(found: Any, size: int, where: str, ids: Sequence[str] | None = None) -> tuple[list[str], Any]:
    """The ids and the vectors of one of the known forms (`FORMS`); `size` is that of the file in bytes.

    Shape: (n,) ids, (n, w) or (n, t, w) float32.
    Errors: ConfigError for ids where the file has its own, or none where it has not; DataError for another form,
    vectors that are no numbers or of several shapes (ids), ids that are empty or repeated (which), and more numbers
    than the file has bytes (one vector that stands for many).
    """
    if isinstance(found, np.ndarray) and found.dtype.hasobject:
        found = found.item() if found.ndim == 0 else list(found)
    named = _with_ids(found, where)
    if named is None:
        if ids is None:
            fix = "give --ids FILE, one id a line"
            raise ConfigError("has vectors without ids", where=where, fix=fix)
        named = list(ids), list(found)
    elif ids is not None:
        raise ConfigError("has ids of its own", where=where, fix="leave out --ids")
    keys, vectors = [_id(each, where) for each in named[0]], named[1]
    if not keys or len(keys) != len(vectors):
        raise DataError(f"{len(keys)} ids for {len(vectors)} vectors", where=where)
    repeated = [each for each, count in Counter(keys).items() if count > 1]
    if repeated or "" in keys:
        what = f"{len(repeated)} ids stand more than once: {listed(repeated)}" if repeated else "an id is empty"
        raise DataError(what, where=where, fix="give each row an id of its own")
    room = size
    for each in vectors:
        room -= _numbers_in(each)
        if room < 0:
            raise DataError(f"has more numbers than its {size} bytes: one vector stands for many", where=where)
    return keys, _stacked(keys, vectors, where)


def _with_ids(found: Any, where: str) -> tuple[list[Any], list[Any]] | None:
    """Ids and vectors, or None where there are vectors alone."""
    if isinstance(found, dict) and {"ids", "embeddings"} <= found.keys():
        return _listed(found["ids"], where), _listed(found["embeddings"], where)
    if isinstance(found, dict):
        return list(found), list(found.values())
    if isinstance(found, list | tuple) and found and all(_is_pair(each) for each in found):
        return [each[0] for each in found], [each[1] for each in found]
    _listed(found, where)
    return None


def _listed(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list | tuple) and not (isinstance(value, np.ndarray) and value.ndim):
        raise DataError(f"holds {type(value).__name__}, no embeddings", where=where, fix=f"read are {FORMS}")
    return list(value)


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and isinstance(value[0], str | bytes | int | np.generic)
        and isinstance(value[1], list | tuple | np.ndarray)
    )


def _id(value: Any, where: str) -> str:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bytes):
        plain = plain.decode("utf-8", "replace")
    if isinstance(plain, bool) or not isinstance(plain, str | int):
        what = f"an id is {type(plain).__name__}, a text or a whole number was expected"
        raise DataError(what, where=where, fix=f"read are {FORMS}")
    text = str(plain).strip()
    if len(text) > LONGEST_ID:
        raise DataError(f"an id has {len(text)} letters: {text[:20]}...", where=where, fix=f"read are {FORMS}")
    return text


def _numbers_in(vector: Any) -> int:
    if isinstance(vector, np.ndarray):
        return vector.size
    if not isinstance(vector, list | tuple):
        return 0
    return sum(len(each) if isinstance(each, list | tuple | np.ndarray) else 1 for each in vector)


def _stacked(ids: list[str], vectors: list[Any], where: str) -> NDArray[np.float32]:
    """Shape: n vectors (w,) or (t, w) -> (n, w) or (n, t, w)."""
    out = None
    for row, each in enumerate(vectors):
        vector = _vector(each)
        if vector is None or vector.ndim not in (1, 2) or not vector.size:
            raise DataError(f"what {ids[row]} has is no vector of numbers", where=where, fix=f"read are {FORMS}")
        if out is None:
            out = np.empty((len(vectors), *vector.shape), dtype=np.float32)
        if vector.shape != out.shape[1:]:
            what = f"the vector of {ids[row]} is {vector.shape}, that of {ids[0]} {out.shape[1:]}"
            raise DataError(what, where=where, fix="give vectors of one width")
        with np.errstate(over="ignore"):  # what float32 can't hold is refused below
            out[row] = vector
    assert out is not None
    wrong = [ids[row] for row in np.flatnonzero(~np.isfinite(out.reshape(len(out), -1)).all(axis=1))]
    if wrong:
        what = f"{len(wrong)} vectors have numbers that are not finite as float32: {listed(wrong)}"
        raise DataError(what, where=where, fix="make these rows anew, or set them to 0 to have them masked")
    return out


def _vector(value: Any, tokens: bool = True) -> NDArray[Any] | None:
    """A vector, or several tokens where they may be, of numbers; None for what is neither."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return value
    if not isinstance(value, list | tuple | np.ndarray):
        return None
    items = list(value)
    if all(type(each) in (float, int) or isinstance(each, np.floating | np.integer) for each in items):
        return np.array(items, dtype=np.float64)
    inner = [_vector(each, tokens=False) for each in items] if tokens else []
    widths = {None if each is None or each.ndim != 1 else each.size for each in inner}
    return np.stack([each for each in inner if each is not None]) if len(widths) == 1 and None not in widths else None


def check_new(path: Path) -> None:
    """Refuse a file to write that does not end in .npz, or that is there already."""
    if path.suffix != ".npz":
        raise FileError("does not end in .npz", where=str(path), fix=f"--out {path.with_suffix('.npz')}")
    if path.exists():
        raise FileError("is there already", where=str(path), fix="give another --out, or delete it")


def write_npz(path: Path, ids: list[str], embeddings: NDArray[np.float32]) -> None:
    """`ids` and `embeddings` in a new .npz, whole or not at all; FileError as `check_new`, and for a full disk."""
    check_new(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, ids=np.array(ids), embeddings=embeddings)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        fix = "free disk space or mend the rights" if path.parent.is_dir() else f"there is no folder {path.parent}"
        raise FileError(f"can't be written: {error.strerror}", where=str(path), fix=fix) from None
