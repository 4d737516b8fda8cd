"""Bins of prices, and what the errors of the rows in each of them are."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SEED_BINS = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0, np.inf)
SEED_RANGES = (0.0, 10.0, 30.0, 100.0, 300.0, np.inf)
"""The edges of the design document of `products`: its bins, and its wider ranges."""


def smape_of_logs(log_prediction: FloatArray, log_price: FloatArray) -> FloatArray:
    """The SMAPE of each row from the logarithms of its prediction and its price: 200 tanh(|difference| / 2).

    It is 200 |p - t| / (p + t) without the exponentials. Shape: (n,), (n,) -> (n,), in [0, 200].
    """
    return np.asarray(200.0 * np.tanh(np.abs(log_prediction - log_price) / 2.0))


def quantile_edges(prices: FloatArray, count: int = 10) -> tuple[float, ...]:
    """The edges of at most `count` bins that hold about as many of these prices each, from 0 to infinity.

    Inner edges are quantiles, rounded to the fewest significant digits, 3 or more, that leave each price in its bin, so
    that an edge is what its label says. Unknown prices (NaN) are left out; equal quantiles make one edge.
    Shape: prices (n,) -> at most count + 1 edges, increasing. Units: of the prices.
    Errors: ValueError without a known price.
    """
    known = prices[np.isfinite(prices)]
    if not len(known):
        raise ValueError("there is no known price to take quantiles of")
    inner = np.unique(np.quantile(known, np.arange(1, count) / count))
    wanted = np.searchsorted(inner, known, side="right")
    # 17 digits are the number itself.
    tried = ([float(f"{edge:.{digits}g}") for edge in inner] for digits in range(3, 18))
    rounded = next(some for some in tried if np.array_equal(np.searchsorted(some, known, side="right"), wanted))
    return (0.0, *rounded, np.inf)


def labels(edges: Sequence[float]) -> list[str]:
    """A name for each bin: `5-10`, and `500-inf` for the last."""
    names = ["inf" if np.isinf(edge) else np.format_float_positional(edge, trim="-") for edge in edges]
    return [f"{low}-{high}" for low, high in pairwise(names)]


def bins_of(prices: FloatArray, edges: Sequence[float]) -> IntArray:
    """The number of the bin that each price lies in, -1 where it is not known. A bin holds its lower edge.

    Shape: (n,) -> (n,), 0 .. len(edges) - 2.
    """
    found = np.clip(np.searchsorted(np.asarray(edges), prices, side="right") - 1, 0, len(edges) - 2)
    return np.where(np.isfinite(prices), found, -1).astype(np.int64)


def grouped(prices: FloatArray, edges: Sequence[float], errors: Mapping[str, FloatArray]) -> list[dict[str, Any]]:
    """The number of rows in each bin of prices and the mean of each of their errors, None in a bin without a row.

    Rows of unknown price are in no bin. Shape: prices (n,), each error (n,) -> a row a bin: label, low, high (None
    without an end), count, and the means by name. Units: of the errors.
    """
    codes = bins_of(prices, edges)
    rows = []
    for number, label in enumerate(labels(edges)):
        inside = codes == number
        means = {name: float(values[inside].mean()) if inside.any() else None for name, values in errors.items()}
        high = float(edges[number + 1])
        bounds = {"low": float(edges[number]), "high": high if np.isfinite(high) else None}
        rows.append({"label": label, **bounds, "count": int(inside.sum()), **means})
    return rows
