"""Labels of candles: whether the range of a coming window reaches a threshold, and how far its close goes."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from plait.core.errors import ConfigError
from plait.features.candle_arrays import read_candles

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Direction = Literal["both", "up", "down"]

DIRECTIONS: tuple[Direction, ...] = ("both", "up", "down")


class RangeLabels(NamedTuple):
    """Hold the labels of bars, (t,) each.

    `trigger` is whether a coming window moves enough; `max_pct` the extreme close of the nearest such window against
    the present close, in percent, signed, 0.0 without a trigger; `known` whether the series holds every bar that the
    label may depend on. An unknown row is False and 0.0 and says nothing: leave it out of training and of scores.
    """

    trigger: BoolArray
    max_pct: FloatArray
    known: BoolArray


def future_bars(horizon: int = 8, lead: int = 3) -> int:
    """How many bars after its own a label may read: ``lead + horizon - 1``. Bars of two splits lie further apart."""
    return lead + horizon - 1


def range_labels(
    high: ArrayLike,
    low: ArrayLike,
    close: ArrayLike,
    horizon: int = 8,
    lead: int = 3,
    threshold: float = 0.02,
    direction: Direction = "both",
) -> RangeLabels:
    """Label each bar by the windows of `horizon` bars that start 1, 2, .. `lead` bars after it.

    ``trigger[t]``: some window has a move of at least `threshold`. ``max_pct[t]``: of the nearest window that does,
    ``(extreme close - close[t]) / close[t] * 100``, not clipped. With i and j bars of one window, the moves are

    - both: ``(max high - min low) / min low``, whichever came first; max_pct reads the highest close;
    - up:   ``max over i <= j of (high[j] - low[i]) / low[i]``; max_pct reads the highest close;
    - down: ``max over i <= j of (high[i] - low[j]) / low[j]``; max_pct reads the lowest close.

    What came first within a bar is not known, so a bar's own range counts up and down; a fall is measured by its low,
    so that both is exactly up or down.

    ``known[t]``: all bars up to ``t + lead + horizon - 1`` exist. A near window may trigger before the last one exists,
    but to keep such rows would keep positives only: whether a label is known never depends on what it says.

    Shape: (t,) each -> (t,) each. Units: threshold a fraction, max_pct percent.
    Errors: DataError as `read_candles`; ConfigError where horizon or lead is below 1, the threshold is not a number
    above 0, or the direction is none of the three.
    Source: the recipe `market`; the labelled file of BTCUSDT candles has these values bit for bit.
    """
    _check(horizon, lead, threshold, direction)
    high, low, close = read_candles({"high": high, "low": low, "close": close})
    trigger, known = np.zeros(len(close), dtype=np.bool_), np.zeros(len(close), dtype=np.bool_)
    max_pct = np.zeros(len(close))
    rows = len(close) - future_bars(horizon, lead)
    if rows < 1:
        return RangeLabels(trigger, max_pct, known)
    # Window w holds the bars w .. w + horizon - 1.
    reached = _largest_move(high, low, horizon, direction) >= threshold
    closes = sliding_window_view(close, horizon)
    extreme = closes.min(axis=1) if direction == "down" else closes.max(axis=1)
    now = close[:rows]
    for start in range(lead, 0, -1):  # the nearest window last, so that it has the last word
        hit = reached[start : start + rows]
        # In this order of operations: the labelled file differs in the last bit from 100 * (m - c) / c.
        max_pct[:rows] = np.where(hit, (extreme[start : start + rows] - now) / now * 100, max_pct[:rows])
        trigger[:rows] |= hit
    known[:rows] = True
    return RangeLabels(trigger, max_pct, known)


def _largest_move(high: FloatArray, low: FloatArray, horizon: int, direction: Direction) -> FloatArray:
    """The largest move within each window. Shape: (t,), (t,) -> (t - horizon + 1,)."""
    highs, lows = sliding_window_view(high, horizon), sliding_window_view(low, horizon)
    if direction == "up":
        lows = np.minimum.accumulate(lows, axis=1)
    elif direction == "down":
        highs = np.maximum.accumulate(highs, axis=1)
    else:
        highs, lows = highs.max(axis=1, keepdims=True), lows.min(axis=1, keepdims=True)
    largest: FloatArray = ((highs - lows) / lows).max(axis=1)
    return largest


def _check(horizon: int, lead: int, threshold: float, direction: Direction) -> None:
    """Refuse what is no label."""
    if min(horizon, lead) < 1:
        raise ConfigError(f"horizon {horizon} and lead {lead}", where="range_labels", fix="both are at least 1 bar")
    if not (np.isfinite(threshold) and threshold > 0):
        raise ConfigError(f"a threshold of {threshold}", where="range_labels", fix="give a fraction above 0, as 0.02")
    if direction not in DIRECTIONS:
        raise ConfigError(f"a direction {direction!r}", where="range_labels", fix=f"choose of {', '.join(DIRECTIONS)}")
