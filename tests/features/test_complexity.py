"""Tests of the six indicators: each against its formula in loops, causality, flat markets."""

import warnings
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candle_series import Columns, assert_causal, between, flat_candles, random_candles, real_candles
from plait.core.errors import DataError
from plait.features.complexity import INDICATORS, WARM_UP, complexity_indicators

BARS = 211


def indicators(columns: Columns) -> Any:
    return complexity_indicators(*(columns[name] for name in ("high", "low", "close", "volume")))


def indicator(columns: Columns, name: str) -> Any:
    return indicators(columns)[:, INDICATORS.index(name)]


def support_reaction(high: Any, low: Any, close: Any, t: int) -> float:
    """The mean move after each touch of a support, touch by touch."""
    moves = []
    for touch in range(t - 51, t - 3):
        before = range(touch - 48, touch)
        support = min(low[s] for s in before)
        usual = sum(high[s] - low[s] for s in before) / 48
        if low[touch] <= support + usual / 4:
            moves.append(log(close[touch + 4] / close[touch]))
    return sum(moves) / len(moves) if moves else 0.0


def of_row(columns: Columns, t: int) -> list[float]:
    """The six numbers of row t from their words."""
    high, low, close, volume = (columns[name] for name in ("high", "low", "close", "volume"))
    newest, net = close[t - 19 : t + 1], close[t] - close[t - 20]
    path = sum(abs(close[s] - close[s - 1]) for s in range(t - 19, t + 1))
    span = max(high[t - 20 : t + 1]) - min(low[t - 20 : t + 1])
    size = [abs(log(close[s] / close[s - 1])) for s in range(t - 19, t + 1)]
    return [
        log(np.mean(newest) / np.mean(close[t - 79 : t + 1])),
        4 * np.std(newest) / np.mean(newest),
        abs(net) / path,
        support_reaction(high, low, close, t),
        net / span,
        np.corrcoef(volume[t - 19 : t + 1], size)[0, 1],
    ]


@pytest.mark.parametrize("seed", [2, 3])
def test_each_row_is_its_formula(seed: int) -> None:
    columns = random_candles(BARS, seed)
    ours = indicators(columns)
    expected = np.array([of_row(columns, t) for t in range(WARM_UP, BARS)])
    assert ours.shape == (BARS, 6) == (BARS, len(INDICATORS))
    assert ours[WARM_UP:] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (np.ptp(expected, axis=0) > 0).all()


def test_real_rows_are_their_formulas(shared: Path) -> None:
    columns = between(real_candles(shared), 0, 2003)
    ours = indicators(columns)
    for t in range(WARM_UP, 2003, 37):
        assert ours[t] == pytest.approx(of_row(columns, t), rel=1e-9, abs=1e-12)


def test_a_touch_counts_once_its_reaction_is_over() -> None:
    columns = flat_candles(199, volume=7.0)
    low, close = columns["low"], columns["close"]
    columns["high"][:] = close * 1.01
    low[:] = close * 0.99
    low[150] = close[150] * 0.98
    close[151:] *= 1.03
    low[151:] *= 1.03
    columns["high"][151:] *= 1.03
    reaction = indicator(columns, "support_reaction")
    # A still market touches its support at every bar; 150 is the last touch, and it saw the rise, as 147 to 149 did.
    held = [sum(147 <= s <= 150 for s in range(t - 51, t - 3) if s <= 150) for t in range(150, 156)]
    assert held == [0, 1, 2, 3, 4, 4]
    touches = [sum(s <= 150 for s in range(t - 51, t - 3)) for t in range(150, 156)]
    assert reaction[150:156] == pytest.approx([log(1.03) * a / b for a, b in zip(held, touches, strict=True)])


def test_a_straight_rise_is_efficient_and_a_zigzag_is_not() -> None:
    columns = random_candles(BARS, seed=5)
    straight = columns | dict.fromkeys(("high", "low", "close"), np.arange(100.0, 100.0 + BARS))
    assert (indicator(straight, "kaufman_efficiency")[20:] == 1).all()
    assert (indicator(straight, "directional_result")[20:] == 1).all()
    assert (indicator(straight, "ma_separation")[79:] > 0).all()
    zigzag = columns | dict.fromkeys(("high", "low", "close"), 100.0 + np.arange(BARS) % 2)
    for name in ("kaufman_efficiency", "directional_result"):
        assert (indicator(zigzag, name)[20:] == 0).all()


def test_volume_that_goes_with_the_move_is_aligned() -> None:
    columns = random_candles(BARS, seed=7)
    move = np.abs(np.diff(np.log(columns["close"]), prepend=np.log(137.0)))
    for slope in (5, -5, 3, -7):
        alignment = indicator(columns | {"volume": 3 + slope * move}, "volume_price_alignment")[20:]
        assert alignment == pytest.approx(np.sign(slope), abs=1e-9)
        assert np.abs(alignment).max() <= 1, "rounding"


def test_no_real_bar_is_seen_before_its_time(shared: Path) -> None:
    assert_causal(indicators, between(real_candles(shared), 0, 3001), WARM_UP, (99, 100, 997, 1009, 2503, 3000))


@settings(max_examples=30)
@given(st.integers(0, 999), st.integers(100, 151), st.data())
def test_no_random_bar_is_seen_before_its_time(seed: int, bars: int, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(WARM_UP, bars - 1), min_size=1, max_size=3))
    assert_causal(indicators, random_candles(bars, seed), WARM_UP, cuts)


@pytest.mark.parametrize("price, volume, tolerance", [(2.0**-13, 2.0**7, 0.0), (1e-5 / 3, 7.7, 1e-9)])
def test_the_units_of_prices_and_volumes_do_not_matter(price: float, volume: float, tolerance: float) -> None:
    columns = random_candles(BARS, seed=11)
    scaled = {name: columns[name] * price for name in ("high", "low", "close")} | {"volume": columns["volume"] * volume}
    assert np.abs(indicators(columns) - indicators(scaled))[WARM_UP:].max() <= tolerance


@pytest.mark.parametrize("volume", [0.0, 0.1])
def test_a_flat_market_has_defined_values(volume: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = indicators(flat_candles(131, volume))
    assert made[WARM_UP:, 1:].tolist() == [[0.0] * 5] * (131 - WARM_UP)
    assert np.abs(made[WARM_UP:, 0]).max() <= 1e-14


def test_real_indicators_are_finite_and_bounded(shared: Path) -> None:
    made = indicators(real_candles(shared))[WARM_UP:]
    assert np.isfinite(made).all()
    for name, low, high in (
        ("kaufman_efficiency", 0, 1),
        ("directional_result", -1, 1),
        ("volume_price_alignment", -1, 1),
    ):
        column = made[:, INDICATORS.index(name)]
        assert low <= column.min() < column.max() <= high


def test_a_missing_price_is_refused() -> None:
    columns = random_candles(131, seed=1)
    columns["close"][7] = np.nan
    with pytest.raises(DataError, match="column close, row 7: 1 values are not finite"):
        indicators(columns)
