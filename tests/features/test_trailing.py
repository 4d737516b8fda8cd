"""Tests of windows that end at the present bar, against loops over each window."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.features import trailing

WEIGHTS = np.array([0.5, 0.3, 0.2])

AGAINST_NUMPY: dict[str, tuple[Callable[[Any, int], Any], Callable[[Any], float]]] = {
    "mean": (trailing.mean, np.mean),
    "deviation": (trailing.deviation, np.std),
    "highest": (trailing.highest, np.max),
    "lowest": (trailing.lowest, np.min),
    "weighted_sum": (lambda x, bars: trailing.weighted_sum(x, np.ones(bars)), np.sum),
    "lagged": (lambda x, bars: trailing.lagged(x, bars - 1), lambda window: window[0]),
    "mean_less_present": (
        lambda x, bars: trailing.mean_less_present(x, np.full(bars, 1 / bars)),
        lambda window: np.mean(window) - window[-1],
    ),
    "covariance": (
        lambda x, bars: trailing.covariance(x, x**2, bars),
        lambda window: np.cov(window, window**2, ddof=0)[0, 1] if len(window) > 1 else 0.0,
    ),
}


@pytest.mark.parametrize("name", AGAINST_NUMPY)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=17), st.integers(1, 7))
def test_each_row_is_its_window(name: str, values: list[float], bars: int) -> None:
    ours, of_window = AGAINST_NUMPY[name]
    x = np.array(values)
    out = ours(x, bars)
    assert out.shape == x.shape
    assert np.isnan(out[: bars - 1]).all()
    for t in range(bars - 1, len(x)):
        assert out[t] == pytest.approx(of_window(x[t - bars + 1 : t + 1]), rel=1e-9, abs=1e-7)


def test_weights_begin_with_the_present_bar() -> None:
    x = np.array([1.0, 10.0, 100.0, 1000.0])
    assert trailing.weighted_sum(x, WEIGHTS)[2:] == pytest.approx([53.2, 532.0])
    assert trailing.mean_less_present(x, WEIGHTS)[2:] == pytest.approx([53.2 - 100, 532.0 - 1000])


def test_what_does_not_move_is_exactly_0() -> None:
    still = np.full(11, 0.1) * 3
    assert (trailing.mean_less_present(still, trailing.exponential_weights(2))[7:] == 0).all()
    assert (trailing.deviation(still, 7)[6:] == 0).all()
    assert (trailing.covariance(still, np.arange(11) ** 1.5, 7)[6:] == 0).all()


def test_a_missing_value_marks_the_windows_that_hold_it_and_no_other() -> None:
    x = np.arange(13.0)
    x[5] = np.nan
    for ours, _ in AGAINST_NUMPY.values():
        missing = np.isnan(ours(x, 3)[2:])
        assert missing[: 5 - 2].tolist() == [False] * 3
        assert missing[8 - 2 :].tolist() == [False] * 5
        assert missing[5 - 2 : 8 - 2].any()


@pytest.mark.parametrize("bars", [3, 14])
def test_exponential_weights_are_those_of_the_recursion(bars: int) -> None:
    span = 2 * bars - 1
    x = np.random.default_rng(3).standard_normal(701)
    smoothed = x[0]
    for value in x[1:]:
        smoothed += (value - smoothed) / bars
    weights = trailing.exponential_weights(span)
    assert len(weights) == 4 * span
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    assert trailing.weighted_sum(x, weights)[-1] == pytest.approx(smoothed, abs=4 * np.exp(-8))


def test_a_ratio_by_0_is_what_it_is_told_to_be() -> None:
    above, below = np.array([1.0, 1.0, np.nan, 1.0]), np.array([2.0, 0.0, 2.0, np.nan])
    assert trailing.ratio(above, below, 0.5) == pytest.approx([0.5, 0.5, np.nan, np.nan], nan_ok=True)
