"""The interval covers what it should, pairs what it compares, and keeps noise from passing as a gain."""

import numpy as np
import pytest

from plait.objectives.bootstrap import Bootstrap, RowScores, Units


def _scores(total: np.ndarray) -> RowScores:
    return RowScores(np.atleast_2d(total).astype(float), np.ones(np.atleast_2d(total).shape[1]))


def test_point_values_are_the_definitions() -> None:
    arm, rival = _scores(np.array([[1, 2, 3, 4], [2, 2, 2, 2]])), _scores(np.array([[2, 2, 3, 5], [4, 4, 4, 4]]))
    bootstrap = Bootstrap(Units(4, 1), 2)
    assert bootstrap.error(arm).value == pytest.approx((10 / 4 + 8 / 4) / 2)
    assert bootstrap.change(arm, rival).value == pytest.approx(((10 / 12 - 1) + (8 / 16 - 1)) / 2)
    assert bootstrap.difference(arm, rival).value == pytest.approx(18 / 8 - (12 / 4 + 16 / 4) / 2)
    oracle = _scores(np.array([[1, 1, 1, 1]]))
    base, mine, floor = (12 / 4 + 16 / 4) / 2, 18 / 8, 1.0
    assert bootstrap.recovery(arm, rival, oracle).value == pytest.approx((base - mine) / (base - floor))


def test_equal_arms_have_the_interval_zero_to_zero() -> None:
    arm = _scores(np.random.default_rng(0).random((2, 101)))
    change = Bootstrap(Units(101, 7), 2).change(arm, arm)
    assert (change.value, change.low, change.high) == (0.0, 0.0, 0.0)


def test_a_constant_ratio_has_no_width_though_the_error_has() -> None:
    rng = np.random.default_rng(1)
    rival = _scores(rng.random(211))
    arm = RowScores(0.7 * rival.total, rival.count)
    bootstrap = Bootstrap(Units(211, 10), 1)
    change, error = bootstrap.change(arm, rival), bootstrap.error(arm)
    assert change.low == pytest.approx(-0.3)
    assert change.high == pytest.approx(-0.3)
    assert error.high - error.low > 0.01


def test_every_row_is_drawn_equally_often_and_blocks_wrap_around() -> None:
    rows = 53
    bootstrap = Bootstrap(Units(rows, 10), 1, draws=20_000)
    weight = bootstrap._weight
    np.testing.assert_array_equal(weight.sum(axis=1), rows)
    np.testing.assert_allclose(weight.mean(axis=0), 1.0, atol=0.06)


def test_missing_targets_weigh_by_count() -> None:
    arm = RowScores(np.array([[3.0, 0.0, 8.0]]), np.array([1.0, 0.0, 4.0]))
    assert arm.mean() == pytest.approx(11 / 5)


def _autocorrelated(rng: np.random.Generator, rows: int, phi: float) -> np.ndarray:
    noise = rng.normal(size=rows + 100)
    out = np.zeros(rows + 100)
    for t in range(1, rows + 100):
        out[t] = phi * out[t - 1] + noise[t]
    return out[100:]


def _false_gains(block: int, trials: int = 300, rows: int = 480) -> float:
    rng = np.random.default_rng(7)
    bootstrap = Bootstrap(Units(rows, block), 1, draws=500)
    hits = 0
    for _ in range(trials):
        base = 5 + np.abs(_autocorrelated(rng, rows, 0.9))
        other = base + 0.3 * _autocorrelated(rng, rows, 0.9)
        hits += bootstrap.change(_scores(other), _scores(base)).high < 0
    return hits / trials


def test_blocks_keep_autocorrelated_noise_from_passing_as_a_gain() -> None:
    assert _false_gains(block=24) < 0.08
    assert _false_gains(block=1) > 0.15


def test_seeds_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    rows = rng.random(300)
    steady = RowScores(np.stack([rows, rows, rows]), np.ones(300))
    spread = RowScores(np.stack([0.5 * rows, rows, 1.5 * rows]), np.ones(300))
    bootstrap = Bootstrap(Units(300, 10), 3)
    one, two = bootstrap.error(steady), bootstrap.error(spread)
    assert one.value == pytest.approx(two.value)
    assert two.high - two.low > 2 * (one.high - one.low)


def test_four_blocks_are_needed() -> None:
    assert Units(96, 24).enough
    assert not Units(95, 24).enough


def test_groups_are_drawn_whole_and_equally_often() -> None:
    groups = np.array([5, 5, 5, 9, 2, 2, 7])
    weight = Units(7, groups=groups).weights(np.random.default_rng(0), 20_000)
    assert (weight[:, :3] == weight[:, :1]).all()
    assert (weight[:, 4] == weight[:, 5]).all()
    np.testing.assert_array_equal(weight[:, [0, 3, 4, 6]].sum(axis=1), 4)
    np.testing.assert_allclose(weight.mean(axis=0), 1.0, atol=0.05)


def test_groups_widen_the_interval_where_rows_of_a_group_agree() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), 7)
    arm = _scores(np.repeat(rng.random(30), 7))
    apart, together = (Bootstrap(units, 1).error(arm) for units in (Units(210), Units(210, groups=groups)))
    assert together.value == apart.value
    assert (together.high - together.low) > 1.8 * (apart.high - apart.low)


def test_twenty_groups_are_enough_and_nineteen_are_not() -> None:
    assert Units(40, groups=np.repeat(np.arange(20), 2)).enough
    few = Units(400, groups=np.arange(400) % 19)
    assert not few.enough
    assert "19 groups are fewer than 20" in few.lacking


def test_units_of_some_rows_and_of_folds_keep_their_groups() -> None:
    units = Units(5, groups=np.array([3, 1, 3, 2, 1]))
    some = units.of(np.array([True, False, True, False, True]))
    assert some.rows == 3
    np.testing.assert_array_equal(some.groups, [3, 3, 1])
    both = Units.joined([units, some])
    assert both.rows == 8
    np.testing.assert_array_equal(both.groups, [3, 1, 3, 2, 1, 3, 3, 1])
    assert Units(9, 4).of(np.array([0, 2])).block == 4
