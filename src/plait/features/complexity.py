"""Six indicators of how a market moves: trend, width, efficiency, support, direction and volume."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plait.features import trailing
from plait.features.candle_arrays import read_candles

FloatArray = NDArray[np.float64]

INDICATORS = (
    "ma_separation",
    "bollinger_width",
    "kaufman_efficiency",
    "support_reaction",
    "directional_result",
    "volume_price_alignment",
)
"""The names of the indicators, in order."""

FAST_BARS, SLOW_BARS = 20, 80
BARS = 20
SUPPORT_BARS = 48
REACTION_BARS = 4
TOUCH_RANGES = 0.25

WARM_UP = 2 * SUPPORT_BARS + REACTION_BARS - 1
"""The first row of which every indicator is defined; row t reads the bars ``t - WARM_UP .. t`` alone."""


def complexity_indicators(high: ArrayLike, low: ArrayLike, close: ArrayLike, volume: ArrayLike) -> FloatArray:
    """Describe each bar by six numbers of the bars that end with it; the definitions are ours.

    With c the close, and 20 bars where no other number stands:

    - ma_separation: ``log(mean c over 20 bars / mean c over 80)``; above 0 in a rise;
    - bollinger_width: ``4 sd(c) / mean(c)``, the distance of the bands at 2 standard deviations;
    - kaufman_efficiency: ``|c[t] - c[t - 20]| / sum |c[s] - c[s - 1]|``, in 0..1; 0 where nothing moved;
    - support_reaction: the mean of ``log(c[s + 4] / c[s])`` over the touches s of the 48 bars ``t - 51 .. t - 4``, 0
      without a touch. Bar s touches its support, the lowest low of the 48 bars before it, where its low is no more
      than a quarter of their mean range (high - low) above it. Above 0 supports held, below 0 they broke. A later
      touch is not counted, as its reaction is not over;
    - directional_result: ``(c[t] - c[t - 20]) / (max high - min low)`` over the bars ``t - 20 .. t``, in -1..1; what
      of the range was kept as a move; 0 where there is no range;
    - volume_price_alignment: the correlation of the volume with ``|log(c[s] / c[s - 1])|``, in -1..1; 0 where either
      does not vary.

    Prices and volumes enter as ratios only.

    Shape: (t,) each -> (t, 6), columns as `INDICATORS` names them. An indicator is NaN until its windows are full: row
    t is whole from ``t = WARM_UP`` on, and finite from there.
    Errors: DataError as `read_candles`.
    """
    high, low, close, volume = read_candles({"high": high, "low": low, "close": close}, {"volume": volume})
    step = close - trailing.lagged(close, 1)
    net = close - trailing.lagged(close, BARS)
    mean = trailing.mean(close, BARS)
    span = trailing.highest(high, BARS + 1) - trailing.lowest(low, BARS + 1)
    made = [
        np.log(trailing.mean(close, FAST_BARS) / trailing.mean(close, SLOW_BARS)),
        4 * trailing.deviation(close, BARS) / mean,
        _share(np.abs(net), trailing.weighted_sum(np.abs(step), np.ones(BARS))),
        _support_reaction(high, low, close),
        _share(net, span),
        _correlation(volume, np.abs(np.log(close / trailing.lagged(close, 1)))),
    ]
    return np.stack(made, axis=1)


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    """``part / whole``, 0 where the whole is 0; rounding does not carry it out of -1..1."""
    return np.clip(trailing.ratio(part, whole, 0.0), -1.0, 1.0)


def _support_reaction(high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    """The mean move after the touches of a support; row u is the first to count the touch at ``u - REACTION_BARS``."""
    support = trailing.lagged(trailing.lowest(low, SUPPORT_BARS), 1)
    near = support + TOUCH_RANGES * trailing.lagged(trailing.mean(high - low, SUPPORT_BARS), 1)
    touch = trailing.lagged(np.where(np.isnan(near), np.nan, low <= near), REACTION_BARS)
    reaction = np.log(close / trailing.lagged(close, REACTION_BARS))
    each = np.ones(SUPPORT_BARS)
    return trailing.ratio(trailing.weighted_sum(touch * reaction, each), trailing.weighted_sum(touch, each), 0.0)


def _correlation(x: FloatArray, y: FloatArray) -> FloatArray:
    spread = trailing.deviation(x, BARS) * trailing.deviation(y, BARS)
    return _share(trailing.covariance(x, y, BARS), spread)
