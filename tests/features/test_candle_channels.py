"""Tests of the channels: each against its formula in loops, causality, flat markets and what is refused."""

import warnings
from itertools import pairwise
from math import log, log1p
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candle_series import Columns, assert_causal, between, flat_candles, random_candles, real_candles
from plait.core.errors import ConfigError, DataError
from plait.features.candle_channels import (
    CHANNELS,
    COLUMNS,
    WARM_UP,
    candle_channels,
    sides_of_taker,
    widest_preset,
)

BARS = 307
CUT_OFF = 4 * np.exp(-8)
"""What an exponential mean loses by reading 4 spans, where values differ by at most 1."""


def channel(columns: Columns, name: str, preset: int = 14) -> Any:
    return candle_channels(preset, columns)[:, CHANNELS[preset].index(name)]


def smoothed(values: list[float], share: float) -> list[float]:
    """The usual recursion: the first value, then a share of each new one."""
    out = values[:1]
    for value in values[1:]:
        out.append(out[-1] + share * (value - out[-1]))
    return out


@pytest.mark.parametrize("preset", CHANNELS)
def test_a_preset_has_as_many_channels_as_its_name_says(preset: int) -> None:
    assert len(CHANNELS[preset]) == len(set(CHANNELS[preset])) == preset
    assert candle_channels(preset, random_candles(7, seed=1)).shape == (7, preset)


def test_a_wider_preset_begins_with_the_narrower() -> None:
    columns = random_candles(211, seed=1)
    widest = candle_channels(14, columns)
    for preset in (4, 5):
        assert CHANNELS[14][:preset] == CHANNELS[preset]
        assert np.array_equal(candle_channels(preset, columns), widest[:, :preset], equal_nan=True)


def test_prices_and_volumes_are_logarithms() -> None:
    columns = {
        "open": [100.0, 103.0],
        "high": [107.0, 113.0],
        "low": [97.0, 101.0],
        "close": [103.0, 109.0],
        "volume": [0.0, 11.0],
        "buy": [0.0, 3.0],
        "sell": [0.0, 8.0],
    }
    row = candle_channels(14, columns)[1, :8]
    expected = [log(x / 103) for x in (103, 113, 101, 109)] + [log1p(x) for x in (11, 3, 8)] + [(3 - 8) / 11]
    assert row == pytest.approx(expected, rel=1e-14)


def test_the_change_of_cvd_is_a_share_of_what_was_traded() -> None:
    columns = random_candles(BARS, seed=2)
    cvd = np.cumsum(columns["buy"] - columns["sell"])
    ours = channel(columns, "cvd_change")
    for t in range(20, BARS):
        traded = sum(columns["volume"][t - 19 : t + 1])
        assert ours[t] == pytest.approx((cvd[t] - cvd[t - 20]) / traded, rel=1e-9, abs=1e-12)


def test_rsi_is_the_textbooks_about_50_in_units_of_50() -> None:
    columns = random_candles(BARS, seed=3)
    changes = [after - before for before, after in pairwise(columns["close"].tolist())]
    rise = smoothed([max(x, 0.0) for x in changes], 1 / 14)
    fall = smoothed([max(-x, 0.0) for x in changes], 1 / 14)
    rsi = [100 - 100 / (1 + up / down) for up, down in zip(rise, fall, strict=True)]
    ours = channel(columns, "rsi")
    assert 50 + 50 * ours[150:] == pytest.approx(rsi[149:], abs=100 * CUT_OFF)
    assert np.abs(ours[150:]).max() > 0.3
    climbing = columns | {name: np.geomspace(100, 200, BARS) for name in ("open", "high", "low", "close")}
    assert (channel(climbing, "rsi")[WARM_UP[14] :] == 1).all()


def test_the_macd_histogram_is_the_textbooks_on_log_closes() -> None:
    columns = random_candles(BARS, seed=5)
    logs = [log(x) for x in columns["close"]]
    fast, slow = smoothed(logs, 2 / 13), smoothed(logs, 2 / 27)
    macd = [a - b for a, b in zip(fast, slow, strict=True)]
    histogram = [a - b for a, b in zip(macd, smoothed(macd, 2 / 10), strict=True)]
    ours = channel(columns, "macd_histogram")
    assert ours[200:] == pytest.approx(histogram[200:], abs=CUT_OFF * np.ptp(logs))
    assert np.abs(ours[200:]).max() > 5 * CUT_OFF * np.ptp(logs)


def test_percent_b_is_the_place_between_the_bands() -> None:
    columns = random_candles(BARS, seed=7)
    close, ours = columns["close"], channel(columns, "percent_b")
    for t in range(19, BARS):
        window = close[t - 19 : t + 1]
        lower, upper = (window.mean() + sign * 2 * window.std() for sign in (-1, 1))
        assert ours[t] == pytest.approx((close[t] - lower) / (upper - lower), rel=1e-9, abs=1e-9)


def test_atr_is_the_textbooks_over_the_close() -> None:
    columns = random_candles(BARS, seed=11)
    high, low, close = (columns[name].tolist() for name in ("high", "low", "close"))
    ranges = [
        max(high[t] - low[t], abs(high[t] - close[t - 1]), abs(low[t] - close[t - 1])) for t in range(1, len(close))
    ]
    ours = channel(columns, "atr")
    assert ours[150:] * close[150:] == pytest.approx(smoothed(ranges, 1 / 14)[149:], abs=CUT_OFF * max(ranges))


def test_momentum_is_the_log_return_of_ten_bars() -> None:
    columns = random_candles(31, seed=13)
    expected = [log(columns["close"][t] / columns["close"][t - 10]) for t in range(10, 31)]
    assert channel(columns, "momentum")[10:] == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("preset", CHANNELS)
def test_no_real_bar_is_seen_before_its_time(shared: Path, preset: int) -> None:
    columns = between(real_candles(shared), 0, 3001)
    assert_causal(lambda x: candle_channels(preset, x), columns, WARM_UP[preset], (138, 139, 997, 1009, 2503, 3000))


@settings(max_examples=30)
@given(st.integers(0, 999), st.sampled_from(list(CHANNELS)), st.integers(139, 190), st.data())
def test_no_random_bar_is_seen_before_its_time(seed: int, preset: int, bars: int, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(138, bars - 1), min_size=1, max_size=3))
    assert_causal(lambda x: candle_channels(preset, x), random_candles(bars, seed), WARM_UP[preset], cuts)


def test_a_later_bar_changes_no_earlier_row() -> None:
    columns = random_candles(211, seed=17)
    before = candle_channels(14, columns)
    for name in COLUMNS[14]:
        columns[name][173:] *= 3.7
    after = candle_channels(14, columns)
    assert np.array_equal(before[:173], after[:173], equal_nan=True)
    assert (before[173] != after[173]).sum() >= 10


@pytest.mark.parametrize("scale, tolerance", [(2.0**-13, 0.0), (1e-5 / 3, 1e-9)])
def test_the_scale_of_prices_does_not_matter(scale: float, tolerance: float) -> None:
    columns = random_candles(211, seed=19)
    scaled = columns | {name: columns[name] * scale for name in CHANNELS[4]}
    before, after = (candle_channels(14, x)[WARM_UP[14] :] for x in (columns, scaled))
    # A logarithm is rounded by its own size, so that even a power of 2 moves the last bits of the histogram.
    exact = [name != "macd_histogram" for name in CHANNELS[14]]
    assert np.abs(before - after)[:, exact].max() <= tolerance
    assert np.abs(before - after).max() <= max(tolerance, 1e-12)


@pytest.mark.parametrize("volume", [0.0, 0.1])
def test_a_flat_market_has_defined_values(volume: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = candle_channels(14, flat_candles(211, volume))
    side = float(volume > 0)
    logs = [log1p(volume), log1p(volume), 0.0]
    expected = [0.0] * 4 + logs + [side, side] + [0.0, 0.0, 0.5, 0.0, 0.0]
    assert (made[WARM_UP[14] :] == made[WARM_UP[14]]).all()
    assert made[-1].tolist() == pytest.approx(expected, rel=1e-15, abs=0)


def test_real_channels_are_finite_and_bounded(shared: Path) -> None:
    columns = real_candles(shared)
    made = candle_channels(14, columns)[WARM_UP[14] :]
    assert np.isfinite(made).all()
    bounded = made[:, [CHANNELS[14].index(name) for name in ("delta", "cvd_change", "rsi")]]
    assert np.abs(bounded).max() <= 1
    assert np.allclose(np.cumsum(columns["volume_delta"]), columns["cvd"], atol=1e-3)


def test_strided_columns_give_the_same_bits(shared: Path) -> None:
    columns = between(real_candles(shared), 0, 503)
    table = np.stack([columns[name] for name in COLUMNS[14]], axis=1)
    strided = {name: table[:, n] for n, name in enumerate(COLUMNS[14])}
    assert np.array_equal(candle_channels(14, columns), candle_channels(14, strided), equal_nan=True)


def test_sell_is_what_takers_did_not_buy() -> None:
    buy, sell = sides_of_taker([5.0, 0.0, 3.0], [2.0, 0.0, 3.0])
    assert (buy.tolist(), sell.tolist()) == ([2.0, 0.0, 3.0], [3.0, 0.0, 0.0])
    with pytest.raises(DataError, match=r"column taker_buy, row 1: 1 bars .* first 4\.0 of 3\.0"):
        sides_of_taker([5.0, 3.0], [2.0, 4.0])


@pytest.mark.parametrize("preset", CHANNELS)
def test_the_widest_preset_can_be_built(preset: int) -> None:
    columns = {name: random_candles(7, seed=1)[name] for name in COLUMNS[preset]}
    assert widest_preset(columns) == preset
    candle_channels(preset, columns)
    wider = [other for other in CHANNELS if other > preset]
    for other in wider:
        with pytest.raises(DataError, match=f"for {other} channels .the widest that can be built is {preset}"):
            candle_channels(other, columns)


def test_what_cannot_be_built_is_refused() -> None:
    columns = random_candles(7, seed=1)
    with pytest.raises(ConfigError, match=r"no preset of 6 channels.*4, 5 and 14"):
        candle_channels(6, columns)
    with pytest.raises(DataError, match="no column low and no column close"):
        candle_channels(4, {"open": columns["open"], "high": columns["high"]})
    with pytest.raises(DataError, match=r"column sell, row 2: 1 values are below 0, first -1\.0"):
        candle_channels(14, columns | {"sell": np.array([0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0])})
