"""Columns of candles as arrays of one length, checked."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plait.core.errors import DataError

FloatArray = NDArray[np.float64]


def read_candles(prices: Mapping[str, ArrayLike], volumes: Mapping[str, ArrayLike] | None = None) -> list[FloatArray]:
    """Bring columns of candles to contiguous float64, prices first, in the order they came.

    Contiguous, because NumPy may round a logarithm differently where a column strides.

    Shape: (t,) each -> (t,) each.
    Errors: DataError, with the column and the first such row, where columns differ in length or are no columns, a value
    is missing or infinite, a price is not above 0, or a volume is below 0.
    """
    volumes = volumes or {}
    read = {name: np.ascontiguousarray(column, dtype=np.float64) for name, column in {**prices, **volumes}.items()}
    shapes = {name: column.shape for name, column in read.items()}
    if len(set(shapes.values())) > 1 or any(column.ndim != 1 for column in read.values()):
        said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise DataError(f"the columns have shapes {said}", where="candles", fix="give columns of one length")
    for name, column in read.items():
        _refuse(
            name, column, ~np.isfinite(column), "not finite", "label and compute each stretch without gaps by itself"
        )
        if name in prices:
            _refuse(name, column, column <= 0, "not above 0", "prices are positive; take these bars out")
        else:
            _refuse(name, column, column < 0, "below 0", "volumes are at least 0; mend these bars")
    return list(read.values())


def _refuse(name: str, column: FloatArray, bad: NDArray[np.bool_], what: str, fix: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        raise DataError(
            f"{len(rows)} values are {what}, first {column[rows[0]]}", where=f"column {name}, row {rows[0]}", fix=fix
        )
