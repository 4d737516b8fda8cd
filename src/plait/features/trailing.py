"""Windows that end at the present bar: means, deviations, extremes and changes that no later bar can touch.

Every function maps (t,) to (t,). Row t is made of the rows ``t - bars + 1 .. t`` alone, by the same operations in the
same order at every t: neither later rows nor where the series begins change a bit of it. A row whose window would begin
before the series, or holds a NaN, is NaN.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

EXPONENTIAL_MEMORY = 4
"""An exponential mean of span s reads 4 s bars; what lies beyond would weigh ``e^-8 = 0.0003``."""


def lagged(x: FloatArray, bars: int) -> FloatArray:
    """The value `bars` rows ago: ``out[t] = x[t - bars]``."""
    return _after_warm_up(x[: max(len(x) - bars, 0)], len(x))


def weighted_sum(x: FloatArray, weights: FloatArray) -> FloatArray:
    """Weigh the newest values, the present one first: ``out[t] = sum_k weights[k] x[t - k]``."""
    rows = max(len(x) - len(weights) + 1, 0)
    total = np.zeros(rows)
    for k, weight in enumerate(weights):
        newest = len(x) - k
        total += weight * x[newest - rows : newest]
    return _after_warm_up(total, len(x))


def mean(x: FloatArray, bars: int) -> FloatArray:
    """The mean of the newest `bars` values."""
    return weighted_sum(x, np.ones(bars)) / bars


def mean_less_present(x: FloatArray, weights: FloatArray) -> FloatArray:
    """How far a weighted mean lies above the present value: ``out[t] = sum_k weights[k] (x[t - k] - x[t])``.

    Differences are taken before they are summed, so that the result is exactly 0 where x does not move. The weights
    sum to 1.
    """
    rows = max(len(x) - len(weights) + 1, 0)
    present = x[len(x) - rows :]
    total = np.zeros(rows)
    for k, weight in enumerate(weights):
        newest = len(x) - k
        total += weight * (x[newest - rows : newest] - present)
    return _after_warm_up(total, len(x))


def covariance(x: FloatArray, y: FloatArray, bars: int) -> FloatArray:
    """The mean product of deviations over the newest `bars` values (divided by `bars`, not by ``bars - 1``).

    Deviations are taken in two passes, from the present value and then from the mean, so that the result is exactly 0
    where x or y does not move.
    """
    rows = max(len(x) - bars + 1, 0)
    equal = np.full(bars, 1 / bars)
    shifts = [mean_less_present(series, equal)[len(x) - rows :] for series in (x, y)]
    total = np.zeros(rows)
    for k in range(bars):
        newest = len(x) - k
        deviations = [
            series[newest - rows : newest] - series[len(x) - rows :] - shift
            for series, shift in zip((x, y), shifts, strict=True)
        ]
        total += deviations[0] * deviations[1]
    return _after_warm_up(total / bars, len(x))


def deviation(x: FloatArray, bars: int) -> FloatArray:
    """The standard deviation of the newest `bars` values, of the population (divided by `bars`)."""
    return np.sqrt(covariance(x, x, bars))


def highest(x: FloatArray, bars: int) -> FloatArray:
    """The largest of the newest `bars` values."""
    rows = max(len(x) - bars + 1, 0)
    top = np.full(rows, -np.inf)
    for k in range(bars):
        newest = len(x) - k
        np.maximum(top, x[newest - rows : newest], out=top)
    return _after_warm_up(top, len(x))


def lowest(x: FloatArray, bars: int) -> FloatArray:
    """The smallest of the newest `bars` values."""
    return -highest(-x, bars)


def exponential_weights(span: int) -> FloatArray:
    """Weights of an exponential mean of `span`, the newest first: ``w_k ~ (1 - 2 / (span + 1))^k, k < 4 span``.

    They sum to 1. Wilder's smoothing over n bars, ``1 / n`` of the new value, is the span ``2 n - 1``. The usual
    recursion remembers all bars since the first; cut to 4 spans, the mean is that of any series that holds these bars.

    Shape: () -> (EXPONENTIAL_MEMORY * span,).
    """
    weights = (1 - 2 / (span + 1)) ** np.arange(EXPONENTIAL_MEMORY * span, dtype=np.float64)
    normalised: FloatArray = weights / weights.sum()
    return normalised


def ratio(above: FloatArray, below: FloatArray, otherwise: float) -> FloatArray:
    """``above / below``, and `otherwise` where `below` is 0; NaN where either is NaN and `below` is not 0."""
    out = np.full(above.shape, otherwise)
    np.divide(above, below, out=out, where=below != 0)
    return out


def _after_warm_up(values: FloatArray, rows: int) -> FloatArray:
    """Put NaN before the values, up to `rows`."""
    return np.concatenate([np.full(rows - len(values), np.nan), values])
