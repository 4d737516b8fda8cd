"""Channels of candles in three presets: 4 of prices, 5 with the volume, 14 with both sides and technical ones."""

from collections.abc import Container, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plait.core.errors import ConfigError, DataError
from plait.features import trailing
from plait.features.candle_arrays import read_candles

FloatArray = NDArray[np.float64]

_PRICES = ("open", "high", "low", "close")
_SIDES = ("volume", "buy", "sell", "delta", "cvd_change")
_TECHNICAL = ("rsi", "macd_histogram", "percent_b", "atr", "momentum")

CHANNELS: dict[int, tuple[str, ...]] = {4: _PRICES, 5: (*_PRICES, "volume"), 14: (*_PRICES, *_SIDES, *_TECHNICAL)}
"""The names of a preset's channels, in order."""

COLUMNS: dict[int, tuple[str, ...]] = {4: _PRICES, 5: (*_PRICES, "volume"), 14: (*_PRICES, "volume", "buy", "sell")}
"""The columns that a preset reads."""

RSI_BARS = ATR_BARS = 14
MACD_SPANS = (12, 26, 9)
BOLLINGER_BARS, BOLLINGER_DEVIATIONS = 20, 2.0
CVD_BARS = 20
MOMENTUM_BARS = 10

WARM_UP: dict[int, int] = {4: 1, 5: 1, 14: trailing.EXPONENTIAL_MEMORY * (MACD_SPANS[1] + MACD_SPANS[2]) - 2}
"""The first row of which every channel is defined; row t reads the bars ``t - WARM_UP .. t`` alone."""


def widest_preset(columns: Container[str]) -> int:
    """Say which is the widest preset that `columns` can give.

    Errors: DataError where not even that of prices can be built.
    """
    missing = [name for name in _PRICES if name not in columns]
    if missing:
        raise DataError(f"no column {' and no column '.join(missing)}", where="candles", fix="channels need prices")
    return max(preset for preset, needed in COLUMNS.items() if all(name in columns for name in needed))


def sides_of_taker(volume: ArrayLike, taker_buy: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Part the volume into what takers bought and what they sold: ``buy = taker_buy, sell = volume - taker_buy``.

    Shape: (t,), (t,) -> (t,), (t,).
    Errors: DataError as `read_candles`, or where takers bought more than was traded (the first row).
    """
    total, buy = read_candles({}, {"volume": volume, "taker_buy": taker_buy})
    bad = np.flatnonzero(buy > total)
    if len(bad):
        raise DataError(
            f"{len(bad)} bars have a taker volume above the volume, first {buy[bad[0]]} of {total[bad[0]]}",
            where=f"column taker_buy, row {bad[0]}",
            fix="give both in the same unit",
        )
    return buy, total - buy


def candle_channels(preset: int, columns: Mapping[str, ArrayLike]) -> FloatArray:
    """Turn candles into the channels of a preset, each row from its own and earlier bars.

    With c the close, C the close before, V the volume, B and S what was bought and sold, and ``exp`` an exponential
    mean (`trailing.exponential_weights`):

    - open, high, low, close: ``log(x / C)``; volume, buy, sell: ``log(1 + x)``;
    - delta: ``(B - S) / (B + S)``, in -1..1; cvd_change: ``sum (B - S) / sum (B + S)`` over 20 bars, the change of
      the cumulative delta as a share of what was traded, in -1..1; 0 where nothing was;
    - rsi: ``(U - D) / (U + D)`` with U and D Wilder's means over 14 bars of rises and falls of the close; it is
      ``(RSI - 50) / 50``, in -1..1; 0 where nothing moved;
    - macd_histogram: ``m - exp9(m)``, ``m = exp12(log c) - exp26(log c)``;
    - percent_b: ``(c - lower) / (upper - lower)``, bands at the mean of 20 closes -+ 2 standard deviations (of the
      population); 0.5 where nothing moved;
    - atr: Wilder's mean over 14 bars of the true range ``max(high, C) - min(low, C)``, divided by c;
    - momentum: ``log(c / c[10 bars ago])``.

    Prices enter as ratios only; volumes by their own unit in volume, buy and sell.

    Shape: columns (t,) each -> (t, preset), columns as `CHANNELS[preset]` names them. A channel is NaN until its
    windows are full: row t is whole from ``t = WARM_UP[preset]`` on, and finite from there.
    Errors: ConfigError where there is no such preset; DataError as `read_candles`, or where a column is missing (with
    the preset that can be built).
    """
    if preset not in CHANNELS:
        raise ConfigError(f"no preset of {preset} channels", where="candles", fix="there are 4, 5 and 14")
    missing = [name for name in COLUMNS[preset] if name not in columns]
    if missing:
        fix = f"the widest that can be built is {widest_preset(columns)}"
        raise DataError(f"no column {' and no column '.join(missing)} for {preset} channels", where="candles", fix=fix)
    volumes = COLUMNS[preset][len(_PRICES) :]
    read = read_candles({name: columns[name] for name in _PRICES}, {name: columns[name] for name in volumes})
    prices, traded = read[: len(_PRICES)], read[len(_PRICES) :]
    before = trailing.lagged(prices[-1], 1)
    made = [np.log(price / before) for price in prices] + [np.log1p(volume) for volume in traded]
    if preset == 14:
        _, high, low, close = prices
        made += [*_sides(traded[1], traded[2]), *_technical(high, low, close)]
    return np.stack(made, axis=1)


def _sides(buy: FloatArray, sell: FloatArray) -> list[FloatArray]:
    """The channels delta and cvd_change."""
    equal = np.ones(CVD_BARS)
    change, traded = (trailing.weighted_sum(x, equal) for x in (buy - sell, buy + sell))
    return [trailing.ratio(buy - sell, buy + sell, 0.0), trailing.ratio(change, traded, 0.0)]


def _technical(high: FloatArray, low: FloatArray, close: FloatArray) -> list[FloatArray]:
    """The channels rsi, macd_histogram, percent_b, atr and momentum."""
    before, log_close = trailing.lagged(close, 1), np.log(close)
    rise, fall = (_wilder(np.maximum(sign * (close - before), 0.0), RSI_BARS) for sign in (1, -1))
    fast, slow, signal = (trailing.exponential_weights(span) for span in MACD_SPANS)
    macd = trailing.mean_less_present(log_close, fast) - trailing.mean_less_present(log_close, slow)
    above_mean = -trailing.mean_less_present(close, np.full(BOLLINGER_BARS, 1 / BOLLINGER_BARS))
    band = 2 * BOLLINGER_DEVIATIONS * trailing.deviation(close, BOLLINGER_BARS)
    true_range = np.maximum(high, before) - np.minimum(low, before)
    return [
        trailing.ratio(rise - fall, rise + fall, 0.0),
        -trailing.mean_less_present(macd, signal),
        0.5 + trailing.ratio(above_mean, band, 0.0),
        _wilder(true_range, ATR_BARS) / close,
        np.log(close / trailing.lagged(close, MOMENTUM_BARS)),
    ]


def _wilder(x: FloatArray, bars: int) -> FloatArray:
    return trailing.weighted_sum(x, trailing.exponential_weights(2 * bars - 1))
