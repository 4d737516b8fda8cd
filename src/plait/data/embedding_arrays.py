"""The formats of embeddings: arrays with their ids from .npy, .npz, .safetensors and Parquet, by memory map."""

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.core.errors import DataError, FileError, suggest_file

PICKLES = frozenset((".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib"))
"""Endings of files that Python objects are kept in."""

IDS, EMBEDDINGS, ID = "ids", "embeddings", "id"
"""What the arrays of a file are called, and the column of ids of a Parquet file."""

_SAFE_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8"}
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

Arrays = tuple[list[str] | None, NDArray[Any]]
"""Ids where the file holds them, and the array."""


def open_arrays(path: Path, ids_path: Path | None = None) -> tuple[tuple[str, ...], NDArray[Any]]:
    """The ids and the array of a file; an array that lies plain in its file is memory-mapped, not read.

    Ids stand in the file, or one a line in `ids_path`, usually `<stem>.ids.txt` beside it.
    Shape: (n,) ids, array as it is filed.
    Errors: FileError for a file that is absent, damaged, or of no known format; DataError for a pickle, for Python
    objects in an array, and for ids that are absent, empty, or not one a row.
    """
    if path.suffix in PICKLES:
        raise DataError("a pickle may run code", where=str(path), fix=_converter(path))
    reader = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}.get(path.suffix)
    if reader is None:
        fix = "give .npy, .npz, .safetensors or .parquet"
        raise FileError(f"embeddings can't be read from {path.suffix or 'this'}", where=str(path), fix=fix)
    try:
        found, values = reader(path)
    except FileNotFoundError:
        raise FileError("no such file", where=str(path), fix=suggest_file(path)) from None
    except IsADirectoryError:
        raise FileError("is a folder, a file was expected", where=str(path)) from None
    except (OSError, ValueError, EOFError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile) as error:
        raise FileError(f"is damaged: {error}", where=str(path), fix="make the file anew") from None
    beside = path.with_name(f"{path.stem}.ids.txt")
    if found is None or ids_path is not None:
        found = read_ids(ids_path or beside)
    _check_ids(found, len(values) if values.ndim else 0, ids_path or path)
    return tuple(found), values


def read_ids(path: Path) -> list[str]:
    """The ids of a text file, one a line. Errors: FileError for a file that is absent or no text."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        fix = f"write the id of each row into it, one a line; {suggest_file(path)}"
        raise FileError("there is no file of ids", where=str(path), fix=fix) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"can't be read: {error}", where=str(path)) from None
    return [line.strip() for line in (lines[:-1] if lines[-1] == "" else lines)]


def _check_ids(ids: list[str], rows: int, path: Path) -> None:
    if len(ids) != rows:
        raise DataError(f"{len(ids)} ids for {rows} rows", where=str(path), fix="give one id a row")
    if "" in ids:
        raise DataError(f"row {ids.index('') + 1} has an empty id", where=str(path), fix="give one id a row")


def _converter(path: Path) -> str:
    return f"plait data convert {path} --out {path.with_suffix('.npz')}"


def _no_objects(dtype: np.dtype[Any], path: Path) -> None:
    if dtype.hasobject:
        raise DataError(
            "the array holds Python objects, that is a pickle, and a pickle may run code", where=str(path),
            fix="save ids and embeddings as plain arrays" if path.suffix == ".npz" else _converter(path),
        )  # fmt: skip


def _mapped(path: Path, start: int = 0, size: int | None = None) -> NDArray[Any]:
    """The array in NumPy's format that begins at a byte of a file and takes `size` bytes, by memory map."""
    with open(path, "rb") as file:
        file.seek(start)
        magic = file.peek(8)[:6]
        if magic[:1] == b"\x80":
            raise DataError("is a pickle, and a pickle may run code", where=str(path), fix=_converter(path))
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"version {version} of NumPy's format")
        shape, fortran, dtype = _HEADERS[version](file)
        _no_objects(dtype, path)
        offset = file.tell()
    if size is not None and offset + dtype.itemsize * int(np.prod(shape)) > start + size:
        raise ValueError("the array is longer than its place in the file")
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")


def _npy(path: Path) -> Arrays:
    return None, _mapped(path)


def _npz(path: Path) -> Arrays:
    """`ids` and `embeddings`: mapped where they lie plain in the file, as `np.savez` writes them, else read."""
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        for name in (IDS, EMBEDDINGS):
            if name not in names:
                raise DataError(
                    f"has no array {name!r}, it holds {', '.join(names) or 'nothing'}", where=str(path),
                    fix="np.savez(file, ids=..., embeddings=...)",
                )  # fmt: skip
        ids = _texts(_member(archive, IDS, path), path)
        info = archive.getinfo(f"{EMBEDDINGS}.npy")
        if info.compress_type != zipfile.ZIP_STORED:
            return ids, _member(archive, EMBEDDINGS, path)
    with open(path, "rb") as file:
        # The name and the extra field of a member stand before its bytes; their lengths stand in its local header.
        file.seek(info.header_offset + 26)
        start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
    return ids, _mapped(path, start, info.file_size)


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> NDArray[Any]:
    """An array of an .npz, read."""
    with archive.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"version {version} of NumPy's format")
        _no_objects(_HEADERS[version](stream)[2], path)
    with archive.open(f"{name}.npy") as stream:
        found: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return found


def _texts(ids: NDArray[Any], path: Path) -> list[str]:
    """An array of ids as texts."""
    if ids.ndim != 1 or ids.dtype.kind not in "USiu":
        raise DataError(
            f"ids are {ids.dtype} {ids.shape}", where=str(path), fix="give one text or one whole number a row"
        )
    return [(each.decode() if isinstance(each, bytes) else str(each)).strip() for each in ids.tolist()]


def _safetensors(path: Path) -> Arrays:
    """The tensor `embeddings`, and `ids` where it stands beside it, at their places after the header."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > path.stat().st_size - 8:
            raise ValueError("its header is longer than the file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header names no tensors")
    if EMBEDDINGS not in header:
        names = ", ".join(sorted(header.keys() - {"__metadata__"}))
        fix = "save the tensor as `embeddings`"
        raise DataError(f"has no tensor {EMBEDDINGS!r}, it holds {names or 'none'}", where=str(path), fix=fix)
    found = {name: _tensor(path, 8 + length, header[name]) for name in (IDS, EMBEDDINGS) if name in header}
    return _texts(found[IDS], path) if IDS in found else None, found[EMBEDDINGS]


def _tensor(path: Path, start: int, about: Any) -> NDArray[Any]:
    """A tensor by what the header says of it."""
    try:
        kind, shape, (begin, end) = about["dtype"], tuple(map(int, about["shape"])), about["data_offsets"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"its header does not say where a tensor lies: {error}") from None
    if kind not in _SAFE_TYPES:
        raise DataError(f"holds numbers of the type {kind}", where=str(path), fix="save them as float32 or float16")
    dtype = np.dtype(_SAFE_TYPES[kind])
    if not 0 <= begin <= end or end - begin != dtype.itemsize * int(np.prod(shape)):
        raise ValueError("its header gives a tensor more or less room than its shape needs")
    return np.memmap(path, dtype, "r", start + begin, shape) if begin < end else np.zeros(shape, dtype)


def _parquet(path: Path) -> Arrays:
    """The column `id`, and one column of lists or the other columns side by side; read, for Parquet is packed."""
    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise FileError("Parquet needs pyarrow", where=str(path), fix="pip install plait[parquet]") from None
    if ID not in frame.columns:
        shown = ", ".join(map(str, frame.columns[:8]))
        raise DataError(f"has no column {ID!r}, it holds {shown}", where=str(path), fix="name the column of ids `id`")
    ids, rest = [str(each).strip() for each in frame[ID]], frame.drop(columns=ID)
    listed = rest.shape[1] == 1 and pd.api.types.is_object_dtype(rest.dtypes.iloc[0])
    rows = [np.asarray(each, dtype=np.float32) for each in rest.iloc[:, 0]] if listed else []
    if len({row.shape for row in rows}) > 1:
        raise DataError("its lists are not of one length", where=str(path), fix="give vectors of one width")
    try:
        return ids, np.stack(rows) if rows else rest.to_numpy(dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise DataError(f"holds cells that are no numbers: {error}", where=str(path)) from None
