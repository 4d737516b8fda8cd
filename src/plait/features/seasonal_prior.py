"""The seasonal prior: what the same season looked like in the years before the forecast origin."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


def carry_forward(z: ArrayLike) -> FloatArray:
    """Fill each missing value with the last earlier observed one of its variate, 0 where there is none.

    ``out[t] = z[max{s <= t : z[s] observed}]``. Causal: row t is read from rows 0..t only.

    Shape: z (t, v) with NaN for missing -> (t, v) without NaN.
    Units: those of z.
    """
    values = np.asarray(z, dtype=np.float64)
    rows = np.arange(len(values))[:, None]
    last_row = np.maximum.accumulate(np.where(np.isnan(values), -1, rows), axis=0)
    last = np.take_along_axis(values, np.maximum(last_row, 0), axis=0)
    return np.where(last_row >= 0, last, 0.0)


def seasonal_prior(
    z: ArrayLike, period: int, origins: ArrayLike, horizon: int, seasons: int = 7
) -> tuple[FloatArray, BoolArray]:
    """Average, for each target row, the observed values of the newest same-season rows up to the origin.

    For origin o and step h (1..horizon) the target row is ``t = o + h`` and the prior is the mean of the
    observed ``z[t - j * period]`` for the ``seasons`` values ``j = j0 .. j0 + seasons - 1``,
    ``j0 = ceil(h / period)``. Up to one period ahead that is ``j = 1 .. seasons``; further ahead j starts
    later, so that no row after the origin is ever read. Where no such value is observed the prior is the last
    observed value at or before the origin (0 if there is none) and ``known`` is False. Target rows may lie
    beyond the end of z.

    Shape: z (t, v) with NaN for missing, origins (n,) -> prior (n, p, v) without NaN, known (n, p, v) bool.
    Units: those of z; period and horizon count rows, origins are row numbers.
    Errors: ValueError where z is not (t, v), a count is below 1, or an origin is not a row of z.
    Source: the prior column of the merged Time-MMD files (Liu et al. 2024, arXiv 2406.08627).
    """
    values = np.asarray(z, dtype=np.float64)
    at = np.asarray(origins, dtype=np.int64)
    if values.ndim != 2:
        raise ValueError(f"z must have shape (t, v), got {values.shape}")
    if min(period, horizon, seasons) < 1:
        raise ValueError(f"period, horizon and seasons must be >= 1, got {period}, {horizon}, {seasons}")
    if at.ndim != 1 or np.any((at < 0) | (at >= len(values))):
        raise ValueError(f"origins must be one list of row numbers in 0..{len(values) - 1}")
    # The newest same-season row r is at or before the origin, and the mean over r, r - period, ... depends on
    # r alone: one table over the rows serves every window.
    mean, exists = _same_season_mean(values, period, seasons)
    steps = np.arange(1, horizon + 1)
    newest = at[:, None] + steps - period * -(-steps // period)
    inside = np.maximum(newest, 0)
    known = exists[inside] & (newest >= 0)[:, :, None]
    last = carry_forward(values)[at][:, None, :]
    return np.where(known, mean[inside], last), known


def _same_season_mean(values: FloatArray, period: int, seasons: int) -> tuple[FloatArray, BoolArray]:
    """Average the observed values of each row and of the seasons - 1 same-season rows before it."""
    observed = ~np.isnan(values)
    clean = np.where(observed, values, 0.0)
    total = np.zeros_like(clean)
    count = np.zeros(values.shape, dtype=np.int64)
    for shift in range(0, min(seasons * period, len(values)), period):
        kept = len(values) - shift
        total[shift:] += clean[:kept]
        count[shift:] += observed[:kept]
    return total / np.maximum(count, 1), count > 0
