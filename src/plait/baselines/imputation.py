"""The cheap ways to fill the gaps of a window from what is seen of it."""

from collections.abc import Callable

import numpy as np

from plait.features.seasonal_prior import FloatArray, IntArray


def carried_forward(window: FloatArray, period: int) -> FloatArray:
    """Repeat the last value seen before a gap, else the first one after it; 0 where a variate is not seen at all.

    Shape: (n, t, v) with NaN for gaps -> (n, t, v) without. Units: those of the window.
    """
    before, after = _neighbours(window)
    return _read(window, np.where(before >= 0, before, after))


def linear_interpolation(window: FloatArray, period: int) -> FloatArray:
    """Join the values on both sides of a gap by a straight line; before the first and after the last repeat it.

    ``x[t] = x[a] + (x[b] - x[a]) (t - a) / (b - a)``, a and b the nearest steps seen; 0 where none is.

    Shape: (n, t, v) with NaN for gaps -> (n, t, v) without. Units: those of the window.
    """
    before, after = _neighbours(window)
    length = window.shape[1]
    left = np.where(before >= 0, before, after)
    right = np.where(after < length, after, before)
    step = np.arange(length)[None, :, None]
    share = (step - left) / np.maximum(right - left, 1)
    low, high = _read(window, left), _read(window, right)
    return np.where(right > left, low + (high - low) * share, low)


def window_mean(window: FloatArray, period: int) -> FloatArray:
    """Fill a gap by the mean of what is seen of its variate; 0 where nothing is.

    Shape: (n, t, v) with NaN for gaps -> (n, t, v) without. Units: those of the window.
    """
    seen = ~np.isnan(window)
    mean = np.where(seen, window, 0.0).sum(axis=1, keepdims=True) / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    return np.where(seen, window, mean)


def last_season(window: FloatArray, period: int) -> FloatArray:
    """Fill a gap by the value one period before it; where that is not seen, by a straight line.

    Shape: (n, t, v) with NaN for gaps -> (n, t, v) without. Units: those of the window; period counts steps.
    """
    before = np.full_like(window, np.nan)
    before[:, period:] = window[:, :-period]
    filled = np.where(np.isnan(window), before, window)
    return np.where(np.isnan(filled), linear_interpolation(window, period), filled)


IMPUTATIONS: dict[str, Callable[[FloatArray, int], FloatArray]] = {
    "carried_forward": carried_forward,
    "linear_interpolation": linear_interpolation,
    "window_mean": window_mean,
    "last_season": last_season,
}

MEANINGS = {
    "carried_forward": "the last value seen before a gap",
    "linear_interpolation": "a straight line over each gap",
    "window_mean": "the mean of what is seen of the window",
    "last_season": "the value one season before",
}
"""What each of them is, for tables."""


def _neighbours(window: FloatArray) -> tuple[IntArray, IntArray]:
    """The nearest steps seen at or before each, and at or after it; -1 and t where there is none."""
    seen, step = ~np.isnan(window), np.arange(window.shape[1])[None, :, None]
    before = np.maximum.accumulate(np.where(seen, step, -1), axis=1)
    after = np.minimum.accumulate(np.where(seen, step, window.shape[1])[:, ::-1], axis=1)[:, ::-1]
    return before, after


def _read(window: FloatArray, step: IntArray) -> FloatArray:
    """The values at steps of each variate; 0 where it is not seen at all."""
    found = np.take_along_axis(window, np.clip(step, 0, window.shape[1] - 1), axis=1)
    return np.where(np.isnan(found), 0.0, found)
