"""Embeddings with their ids, checked in pieces: duplicates, numbers that are not finite, rows that are zero."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.core.errors import DataError
from plait.data.embedding_arrays import open_arrays
from plait.data.embedding_manifest import read_manifest, write_manifest_of
from plait.data.sample_files import EXAMPLES, listed
from plait.data.table import Finding

CHUNK_BYTES = 2**22
"""What a piece of an array takes in memory as float32."""

FLOATS = (np.float16, np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors by id: one or several tokens a row, on disk or in memory.

    `digest` is of the numbers as float32, `manifest` what the file beside them says, None without one.

    Shape: values (n, t, w) of float16, float32 or float64, present (n, t).
    Mask: `present` is False where a token is all zero, as a failed download leaves it.
    """

    name: str
    ids: tuple[str, ...]
    values: NDArray[Any]
    present: NDArray[np.bool_]
    digest: str
    manifest: dict[str, Any] | None = None
    findings: tuple[Finding, ...] = ()

    @classmethod
    def of(cls, name: str, ids: Sequence[str], values: NDArray[Any], where: str = "") -> "Embeddings":
        """Checked embeddings of an array (n, w) or (n, t, w), which is read in pieces.

        Errors: DataError for an array of another kind or without rows, for ids that are repeated (which), and for
        numbers that are not finite as float32 (the ids).
        """
        where = where or name
        if values.ndim not in (2, 3) or values.dtype.newbyteorder("=") not in FLOATS:
            fix = "give an array of floats (rows, width) or (rows, tokens, width)"
            raise DataError(f"embeddings are {values.dtype} {values.shape}", where=where, fix=fix)
        if 0 in values.shape:
            raise DataError(f"there are no numbers: the array is {values.shape}", where=where, fix="give embeddings")
        repeated = [each for each, count in Counter(ids).items() if count > 1]
        if repeated or len(ids) != len(values):
            what = f"{len(repeated)} ids stand more than once: {listed(repeated)}"
            raise DataError(
                what if repeated else f"{len(ids)} ids for {len(values)} rows", where=where, fix="give each id once"
            )
        values = values[:, None] if values.ndim == 2 else values
        present, digest = _checked(values, ids, where)
        return cls(name, tuple(ids), values, present, digest, findings=_missing(name, ids, present))

    @property
    def tokens(self) -> int:
        """The tokens of a row."""
        return int(self.values.shape[1])

    @property
    def width(self) -> int:
        """The numbers of a token."""
        return int(self.values.shape[2])

    @property
    def fine_tuned_on(self) -> frozenset[str]:
        """The ids of the rows that the encoder was fine-tuned on, as far as the manifest says so."""
        return frozenset(() if self.manifest is None else self.manifest["fine_tuned_on"])

    def gather(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Some rows of the file, in any order. Shape: (r,) -> (r, t, w) float32, (r, t) present."""
        return _as_float32(self.values[rows]), self.present[rows]

    def chunks(
        self, rows: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]]:
        """Rows of the file (unset: all) in pieces: their numbers, values and which tokens are present."""
        rows = np.arange(len(self.ids)) if rows is None else rows
        for place in pieces(len(rows), self.tokens * self.width):
            yield rows[place], *self.gather(rows[place])


def read_embeddings(name: str, path: str | Path, ids_path: str | Path | None = None) -> Embeddings:
    """Read and check a file of embeddings: `.npy` with `<stem>.ids.txt`, `.npz`, `.safetensors` or `.parquet`.

    A `.npy` holds (n, w) or (n, t, w) floats, its ids stand one a line in `<stem>.ids.txt` beside it or in `ids_path`.
    A `.npz` holds the arrays `ids` and `embeddings`; a `.safetensors` the tensor `embeddings`, and `ids` (int64) or a
    file of ids beside it; a `.parquet` the column `id` with one column of lists, or with the vector's columns. All but
    Parquet and what is compressed stay on disk. `<stem>.json` beside it is its manifest; see `read_manifest`.

    Errors: those of `open_arrays`, of `Embeddings.of` and of `read_manifest`.
    """
    path = Path(path)
    ids, values = open_arrays(path, None if ids_path is None else Path(ids_path))
    made = Embeddings.of(name, ids, values, str(path))
    manifest, found = read_manifest(path, (len(ids), made.tokens, made.width))
    return Embeddings(name, ids, made.values, made.present, made.digest, manifest, (*made.findings, *found))


def write_manifest(
    path: str | Path, *, encoder: str, revision: str = "", fine_tuned_on: list[str] | str | None = None
) -> dict[str, Any]:
    """Write `<stem>.json` beside a file of embeddings, with its rows, width, tokens and sha256; returns what it says.

    `fine_tuned_on` are the ids that the encoder was fine-tuned on, or a file of them beside it, one a line.
    """
    path = Path(path)
    made = Embeddings.of(path.stem, *open_arrays(path), where=str(path))
    return write_manifest_of(path, (len(made.ids), made.tokens, made.width), encoder, revision, fine_tuned_on)


def pieces(rows: int, width: int) -> Iterator[slice]:
    """Slices of rows of so many float32 numbers each that take `CHUNK_BYTES` at most."""
    size = max(1, CHUNK_BYTES // (4 * width))
    return (slice(start, start + size) for start in range(0, rows, size))


def _as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    # A float64 beyond float32 becomes infinite, which `_checked` refuses by its id.
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32, copy=False)


def _checked(values: NDArray[Any], ids: Sequence[str], where: str) -> tuple[NDArray[np.bool_], str]:
    """Which tokens are present, and the digest of all numbers; numbers that are not finite are refused."""
    present = np.zeros(values.shape[:2], dtype=np.bool_)
    digest, wrong = hashlib.sha256(repr(values.shape).encode()), []
    for place in pieces(len(values), values.shape[1] * values.shape[2]):
        part = np.ascontiguousarray(_as_float32(values[place]))
        present[place] = part.any(axis=2)
        wrong += [place.start + row for row in np.flatnonzero(~np.isfinite(part).all(axis=(1, 2)))]
        digest.update(part.data)
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(ids)} rows have numbers that are not finite as float32:"
            f" {listed([ids[row] for row in wrong])}", where=where,
            fix="encode these rows again, or set them to 0 to have them masked",
        )  # fmt: skip
    return present, digest.hexdigest()


def _missing(name: str, ids: Sequence[str], present: NDArray[np.bool_]) -> tuple[Finding, ...]:
    """The rows that are all zero, and the tokens that are so in other rows."""
    none = np.flatnonzero(~present.any(axis=1))
    some = np.flatnonzero(present.any(axis=1) & ~present.all(axis=1))
    found = []
    if len(none):
        shown = tuple(ids[row] for row in none[:EXAMPLES])
        found.append(Finding(f"rows of {name} are all zero and count as missing", len(none), shown))
    if len(some):
        shown = tuple(ids[row] for row in some[:EXAMPLES])
        count = int((~present[some]).sum())
        found.append(Finding(f"tokens of {name} are all zero and count as missing", count, shown))
    return tuple(found)
