"""The 27 numbers of the logistic baseline: how far prices went, how much was traded, and what time it is."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plait.core.errors import DataError
from plait.features import trailing
from plait.features.candle_arrays import read_candles

FloatArray = NDArray[np.float64]

RANGE_BARS = (1, 2, 4, 8, 16, 32, 96)
VOLATILITY_BARS = (4, 8, 16, 32, 96, 672)
MOVE_BARS = (1, 8)
VOLUME_BARS = ((1, 4), (1, 96), (4, 96), (16, 96), (96, 672))

NUMBERS = (
    *(f"range_{bars}" for bars in RANGE_BARS),
    *(f"volatility_{bars}" for bars in VOLATILITY_BARS),
    *(f"move_{bars}" for bars in MOVE_BARS),
    *(f"volume_{short}_{long}" for short, long in VOLUME_BARS),
    *(f"{cycle}_{part}" for cycle in ("day", "half_day", "week") for part in ("sin", "cos")),
    "weekend",
)
"""The names of the 27 numbers, in order."""

WARM_UP = max(VOLATILITY_BARS)
"""The first row of which every number is defined; row t reads the bars ``t - WARM_UP .. t`` alone."""


def last_bar_range(high: ArrayLike, low: ArrayLike) -> FloatArray:
    """The range of each bar by itself, ``(high - low) / low``: the score to beat. Shape: (t,), (t,) -> (t,)."""
    high, low = read_candles({"high": high, "low": low})
    return (high - low) / low


def candle_numbers(
    open_time: ArrayLike, high: ArrayLike, low: ArrayLike, close: ArrayLike, volume: ArrayLike
) -> FloatArray:
    """Describe each bar by 27 numbers of volatility, volume and time, for a linear model.

    With ``bp(x) = log(1 + 10000 x)``, the logarithm of basis points, and r the log return of a bar's close:

    - range_k: ``bp(log(max high / min low))`` over k bars, k = 1, 2, 4, 8, 16, 32, 96;
    - volatility_k: ``bp(sqrt(mean r^2))`` over k bars, k = 4, 8, 16, 32, 96, 672;
    - move_k: ``bp(|log(close[t] / close[t - k])|)``, k = 1, 8;
    - volume_a_b: ``log(1 + mean volume over a bars / mean volume over b)`` for (a, b) = (1, 4), (1, 96), (4, 96),
      (16, 96), (96, 672); a ratio of two zeros counts as 1;
    - sine and cosine of the time in the day, the half day and the week (from Monday), of `open_time` as UTC;
    - weekend: 1.0 on Saturdays and Sundays, else 0.0.

    With bars of 15 minutes the longest spans are a day and a week. Prices and volumes enter as ratios only.

    Shape: (t,) each, open_time of datetime64 -> (t, 27), columns as `NUMBERS` names them. A number is NaN until its
    window is full: row t is whole from ``t = WARM_UP`` on, and finite from there.
    Errors: DataError as `read_candles`, or where open_time is no column of times, one a bar.
    """
    high, low, close, volume = read_candles({"high": high, "low": low, "close": close}, {"volume": volume})
    made = [*_volatility(high, low, close), *_volume(volume), *_time(_read_times(open_time, len(close)))]
    return np.stack(made, axis=1)


def _basis_points(x: FloatArray) -> FloatArray:
    logarithm: FloatArray = np.log1p(1e4 * x)
    return logarithm


def _volatility(high: FloatArray, low: FloatArray, close: FloatArray) -> list[FloatArray]:
    squares = np.log(close / trailing.lagged(close, 1)) ** 2
    ranges = [np.log(trailing.highest(high, bars) / trailing.lowest(low, bars)) for bars in RANGE_BARS]
    volatilities = [np.sqrt(trailing.mean(squares, bars)) for bars in VOLATILITY_BARS]
    moves = [np.abs(np.log(close / trailing.lagged(close, bars))) for bars in MOVE_BARS]
    return [_basis_points(x) for x in (*ranges, *volatilities, *moves)]


def _volume(volume: FloatArray) -> list[FloatArray]:
    means = {bars: trailing.mean(volume, bars) for pair in VOLUME_BARS for bars in pair}
    return [np.log1p(trailing.ratio(means[short], means[long], 1.0)) for short, long in VOLUME_BARS]


def _time(seconds: NDArray[np.int64]) -> list[FloatArray]:
    day, monday = 86_400, 4 * 86_400  # 1970-01-05 was a Monday
    cycles = (seconds % day / day, seconds % (day // 2) / (day // 2), (seconds - monday) % (7 * day) / (7 * day))
    weekend = (seconds - monday) % (7 * day) >= 5 * day
    return [part(2 * np.pi * cycle) for cycle in cycles for part in (np.sin, np.cos)] + [weekend.astype(np.float64)]


def _read_times(open_time: ArrayLike, bars: int) -> NDArray[np.int64]:
    """The times as seconds since 1970."""
    times = np.asarray(open_time)
    if times.dtype.kind != "M" or times.shape != (bars,) or np.isnat(times).any():
        raise DataError(
            f"{bars} bars have times of type {times.dtype} and shape {times.shape}",
            where="column open_time",
            fix="give one datetime64 in UTC a bar, none missing",
        )
    return times.astype("datetime64[s]").astype(np.int64)
