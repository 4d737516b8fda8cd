"""Tests of the labels: the labelled file bit for bit, a loop over windows, and what a known label may read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from candle_series import LABELLED, Columns, between, random_candles, real_candles
from plait.core.errors import ConfigError, DataError
from plait.features.range_labels import DIRECTIONS, Direction, RangeLabels, future_bars, range_labels

SERIES = st.builds(random_candles, st.integers(1, 61), st.integers(0, 999), st.sampled_from([0.002, 0.007, 0.02]))
RULES = st.fixed_dictionaries(
    {
        "horizon": st.integers(1, 9),
        "lead": st.integers(1, 4),
        "threshold": st.sampled_from([0.005, 0.02, 0.05]),
        "direction": st.sampled_from(DIRECTIONS),
    }
)


def label(columns: Columns, **rule: Any) -> RangeLabels:
    return range_labels(columns["high"], columns["low"], columns["close"], **rule)


def rises(high: Any, low: Any) -> list[float]:
    return [(high[j] - low[i]) / low[i] for i in range(len(high)) for j in range(i, len(high))]


def falls(high: Any, low: Any) -> list[float]:
    return [(high[i] - low[j]) / low[j] for i in range(len(high)) for j in range(i, len(high))]


def by_loops(
    columns: Columns, horizon: int, lead: int, threshold: float, direction: Direction
) -> list[tuple[bool, float, bool]]:
    """The labels from their words: each bar, each window, each pair of bars."""
    high, low, close = columns["high"], columns["low"], columns["close"]
    out = []
    for t in range(len(close)):
        if t + lead + horizon > len(close):
            out.append((False, 0.0, False))
            continue
        label_of_t = (False, 0.0, True)
        for start in range(t + 1, t + lead + 1):
            bars = slice(start, start + horizon)
            moves = {"up": rises, "down": falls}
            if direction == "both":
                move = (max(high[bars]) - min(low[bars])) / min(low[bars])
            else:
                move = max(moves[direction](high[bars], low[bars]))
            if move >= threshold:
                extreme = min(close[bars]) if direction == "down" else max(close[bars])
                label_of_t = (True, (extreme - close[t]) / close[t] * 100, True)
                break
        out.append(label_of_t)
    return out


def test_the_labelled_file_comes_out_bit_for_bit(shared: Path) -> None:
    columns = real_candles(shared, LABELLED)
    labels = label(columns)
    assert len(columns["Trigger"]) == 8641
    assert columns["Trigger"].sum() == 879
    assert np.array_equal(labels.trigger, columns["Trigger"])
    assert np.array_equal(labels.max_pct, columns["Max_Pct"])
    assert (labels.max_pct[labels.trigger] < 0).any(), "clipped"
    assert np.flatnonzero(~labels.known).tolist() == list(range(8631, 8641))


@given(SERIES, RULES)
def test_the_labels_are_those_of_a_loop(columns: Columns, rule: dict[str, Any]) -> None:
    assert list(zip(*(column.tolist() for column in label(columns, **rule)), strict=True)) == by_loops(columns, **rule)


@given(SERIES, RULES, st.integers(0, 60), st.floats(1e-3, 1e3))
def test_a_known_label_reads_no_bar_after_its_last(
    columns: Columns, rule: dict[str, Any], t: int, factor: float
) -> None:
    t = t % len(columns["close"])
    before = label(columns, **rule)
    first_unread = t + future_bars(rule["horizon"], rule["lead"]) + 1
    changed = between(columns, 0, len(columns["close"]))
    for name in ("high", "low", "close"):
        changed[name][first_unread:] *= factor
    after = label(changed, **rule)
    grown = label(between(columns, 0, first_unread), **rule)
    assert before.known[t] == after.known[t] == grown.known[t] == (first_unread <= len(columns["close"]))
    for column in (0, 1):
        assert before[column][t] == after[column][t] == grown[column][t]


@given(SERIES)
def test_whether_a_label_is_known_does_not_depend_on_what_it_says(columns: Columns) -> None:
    bars = len(columns["close"])
    for threshold in (1e-6, 1e6):
        known = label(columns, threshold=threshold).known
        assert known.sum() == max(bars - 10, 0)
        assert known[: max(bars - 10, 0)].all()


def test_a_window_that_triggers_before_the_last_one_exists_stays_unknown() -> None:
    columns = random_candles(23, seed=1, volatility=0.0)
    columns["high"][20] *= 1.5
    labels = label(columns)
    # Bar 13 has a whole window that triggers, 14..21, and a third that would end with bar 23.
    assert labels.trigger.tolist() == [10 <= t <= 12 for t in range(23)]
    assert labels.known.tolist() == [t <= 12 for t in range(23)]


@given(SERIES, st.sampled_from([0.005, 0.02, 0.05]))
def test_both_is_exactly_up_or_down(columns: Columns, threshold: float) -> None:
    found = {direction: label(columns, threshold=threshold, direction=direction) for direction in DIRECTIONS}
    assert np.array_equal(found["both"].trigger, found["up"].trigger | found["down"].trigger)


def test_up_and_down_tell_a_rise_from_a_fall() -> None:
    rise = np.geomspace(100.0, 130.0, 23)
    up, down = (range_labels(close * 1.001, close, close, direction="up") for close in (rise, rise[::-1]))
    assert up.trigger[up.known].all()
    assert not down.trigger.any()
    up, down = (range_labels(close * 1.001, close, close, direction="down") for close in (rise, rise[::-1]))
    assert not up.trigger.any()
    assert down.trigger[down.known].all()
    assert (down.max_pct[down.known] < 0).all()


def test_max_pct_is_of_the_nearest_window_and_signed() -> None:
    close = np.array([100.0] * 6 + [103.0, 110.0] + [80.0] * 9)
    labels = range_labels(close, close, close, horizon=3, lead=2)
    assert labels.trigger[:8].tolist() == [False, False, True, True, True, True, True, False]
    # Bar 3 sees 4..6 (up to 103) before 5..7 (up to 110); bar 6 stands at 103 and sees 7..9, bar 7 a still market.
    assert labels.max_pct[:8] == pytest.approx([0, 0, 3, 3, 10, 10, (110 - 103) / 103 * 100, 0])
    falling = range_labels(close, close, close, horizon=3, lead=2, direction="down")
    assert falling.max_pct[5] == -20.0
    low = close.copy()
    low[11] = 60.0
    assert range_labels(close, low, close, horizon=3, lead=2).max_pct[7] == (80.0 - 110.0) / 110.0 * 100


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_move_of_the_threshold_itself_triggers(direction: Direction) -> None:
    low = np.full(23, 100.0)
    for threshold, triggers in ((0.5, True), (np.nextafter(0.5, 1), False)):
        labels = range_labels(low * 1.5, low, low, threshold=threshold, direction=direction)
        assert (labels.trigger[labels.known] == triggers).all()


def test_a_scale_of_the_price_changes_no_label() -> None:
    columns = random_candles(211, seed=5)
    before = label(columns)
    assert before.trigger.any()
    after = label({name: columns[name] * 2.0**-13 for name in ("high", "low", "close")})
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize(
    "rule, what",
    [
        ({"horizon": 0}, "horizon 0 and lead 3"),
        ({"lead": 0}, "horizon 8 and lead 0"),
        ({"threshold": 0.0}, "threshold of 0.0"),
        ({"threshold": float("nan")}, "threshold of nan"),
        ({"direction": "sideways"}, "direction 'sideways'.*both, up, down"),
    ],
)
def test_what_is_no_rule_is_refused(rule: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        label(random_candles(23, seed=1), **rule)


@pytest.mark.parametrize(
    "column, value, what",
    [
        ("low", 0.0, "column low, row 7: 1 values are not above 0"),
        ("close", np.nan, "column close, row 7: 1 values are not finite"),
        ("high", np.inf, "column high, row 7: 1 values are not finite, first inf"),
    ],
)
def test_prices_that_are_none_are_refused(column: str, value: float, what: str) -> None:
    columns = random_candles(23, seed=1)
    columns[column][7] = value
    with pytest.raises(DataError, match=what):
        label(columns)


def test_columns_of_two_lengths_are_refused() -> None:
    close: NDArray[np.float64] = np.ones(5)
    with pytest.raises(DataError, match=r"high \(5,\), low \(5,\), close \(3,\)"):
        range_labels(close, close, close[:3])
