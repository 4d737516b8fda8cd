"""Tests of the 27 numbers: each against its formula in loops, causality, and the logistic regression on them."""

import warnings
from datetime import datetime
from math import cos, log, log1p, pi, sin, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from candle_series import Columns, assert_causal, between, flat_candles, random_candles, real_candles
from plait.core.errors import DataError
from plait.features.candle_numbers import NUMBERS, WARM_UP, candle_numbers, last_bar_range
from plait.features.range_labels import future_bars, range_labels

BARS = 701


def numbers(columns: Columns) -> Any:
    return candle_numbers(*(columns[name] for name in ("open_time", "high", "low", "close", "volume")))


def of_row(columns: Columns, t: int) -> list[float]:
    """The 27 numbers of row t from their words."""
    high, low, close, volume = (columns[name].tolist() for name in ("high", "low", "close", "volume"))

    def newest(values: list[float], bars: int) -> list[float]:
        return values[t - bars + 1 : t + 1]

    squares = [0.0] + [log(close[s] / close[s - 1]) ** 2 for s in range(1, len(close))]
    spread = [log(max(newest(high, k)) / min(newest(low, k))) for k in (1, 2, 4, 8, 16, 32, 96)]
    spread += [sqrt(sum(newest(squares, k)) / k) for k in (4, 8, 16, 32, 96, 672)]
    spread += [abs(log(close[t] / close[t - k])) for k in (1, 8)]
    traded = []
    for short, long in ((1, 4), (1, 96), (4, 96), (16, 96), (96, 672)):
        usual = sum(newest(volume, long)) / long
        traded.append(log1p(sum(newest(volume, short)) / short / usual if usual else 1.0))
    time: datetime = columns["open_time"][t].astype("datetime64[s]").item()
    hour = time.hour + time.minute / 60
    angles = [2 * pi * cycle for cycle in (hour / 24, hour / 12, (time.weekday() + hour / 24) / 7)]
    clock = [part(angle) for angle in angles for part in (sin, cos)]
    return [log1p(10_000 * x) for x in spread] + traded + clock + [float(time.weekday() in (5, 6))]


def test_there_are_27() -> None:
    assert len(NUMBERS) == len(set(NUMBERS)) == 27
    assert numbers(random_candles(7, seed=1)).shape == (7, 27)


def test_each_row_is_its_formula() -> None:
    columns = random_candles(BARS, seed=2)
    expected = [of_row(columns, t) for t in range(WARM_UP, BARS)]
    assert numbers(columns)[WARM_UP:] == pytest.approx(np.array(expected), rel=1e-9, abs=1e-9)


def test_real_rows_are_their_formulas_at_all_times_of_a_week(shared: Path) -> None:
    columns = between(real_candles(shared), 0, 1601)
    ours = numbers(columns)
    rows = range(WARM_UP, 1601, 13)
    assert ours[rows] == pytest.approx(np.array([of_row(columns, t) for t in rows]), rel=1e-9, abs=1e-9)
    assert 0.2 < ours[rows][:, NUMBERS.index("weekend")].mean() < 0.4


def test_the_weekend_is_saturday_and_sunday_in_utc() -> None:
    columns = random_candles(4 * 96, seed=3)
    columns["open_time"] = np.datetime64("2025-10-31") + np.arange(4 * 96) * np.timedelta64(15, "m")  # a Friday
    weekend = numbers(columns)[:, NUMBERS.index("weekend")]
    assert weekend.tolist() == [0.0] * 96 + [1.0] * 192 + [0.0] * 96


def test_no_real_bar_is_seen_before_its_time(shared: Path) -> None:
    assert_causal(numbers, between(real_candles(shared), 0, 3001), WARM_UP, (672, 673, 997, 1009, 2503, 3000))


@settings(max_examples=10)
@given(st.integers(0, 999), st.integers(673, 701), st.data())
def test_no_random_bar_is_seen_before_its_time(seed: int, bars: int, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(WARM_UP, bars - 1), min_size=1, max_size=3))
    assert_causal(numbers, random_candles(bars, seed), WARM_UP, cuts)


@pytest.mark.parametrize("price, volume, tolerance", [(2.0**-13, 2.0**7, 0.0), (1e-5 / 3, 7.7, 1e-7)])
def test_the_units_of_prices_and_volumes_do_not_matter(price: float, volume: float, tolerance: float) -> None:
    columns = random_candles(BARS, seed=5)
    scaled = columns | {name: columns[name] * price for name in ("high", "low", "close")}
    scaled["volume"] = columns["volume"] * volume
    assert np.abs(numbers(columns) - numbers(scaled))[WARM_UP:].max() <= tolerance


@pytest.mark.parametrize("volume", [0.0, 0.1])
def test_a_flat_market_has_defined_values(volume: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = numbers(flat_candles(BARS, volume))[WARM_UP:]
    assert (made[:, :15] == 0).all()
    assert made[:, 15:20] == pytest.approx(np.full((BARS - WARM_UP, 5), log(2)))


@pytest.mark.parametrize(
    "times",
    [
        np.arange(7.0),
        np.arange(5).astype("datetime64[s]"),
        np.array(["2025-07-03"] * 6 + ["NaT"], dtype="datetime64[s]"),
    ],
)
def test_times_that_are_none_are_refused(times: Any) -> None:
    with pytest.raises(DataError, match="column open_time: 7 bars have times of type"):
        numbers(random_candles(7, seed=1) | {"open_time": times})


def test_the_last_range_and_a_logistic_regression_rank_the_coming_range(shared: Path) -> None:
    columns = real_candles(shared)
    labels = range_labels(columns["high"], columns["low"], columns["close"])
    rows = np.arange(len(labels.known))
    first_test = int(np.searchsorted(columns["open_time"], np.datetime64("2025-11-01")))
    train = labels.known & (rows >= WARM_UP) & (rows < first_test - future_bars())
    test = labels.known & (rows >= first_test)
    one = last_bar_range(columns["high"], columns["low"])
    assert roc_auc_score(labels.trigger[test], one[test]) == pytest.approx(0.7521, abs=5e-4)
    # The figure of the recipe's specification, 0.760, comes out of every second bar.
    assert roc_auc_score(labels.trigger[test][::2], one[test][::2]) == pytest.approx(0.7595, abs=5e-4)

    x = numbers(columns)
    x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    logistic = LogisticRegression(max_iter=2000).fit(x[train], labels.trigger[train])
    score = logistic.predict_proba(x[test])[:, 1]
    assert 0.788 < roc_auc_score(labels.trigger[test], score) < 0.835
    assert 0.375 < average_precision_score(labels.trigger[test], score) < 0.45
