"""The rank of split-conformal prediction, and the chance it promises for exchangeable scores."""

import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.objectives.conformal import conformal_rank, conformal_reach

HUNDREDTHS = st.integers(1, 99)


@given(st.integers(0, 500), HUNDREDTHS)
def test_the_rank_is_exact_where_floats_are_not(count: int, hundredths: int) -> None:
    assert conformal_rank(count, hundredths / 100) == -((count + 1) * hundredths // -100)


def test_a_float_product_above_its_whole_number_does_not_raise_the_rank() -> None:
    assert math.ceil(100 * 0.07) == 8
    assert conformal_rank(99, 0.07) == 7


@given(st.integers(1, 6), HUNDREDTHS, st.integers(0, 9))
def test_over_all_orders_of_exchangeable_scores_the_share_held_is_the_rank_of_n_and_one(
    count: int, hundredths: int, seed: int
) -> None:
    coverage = hundredths / 100
    values = np.random.default_rng(seed).standard_normal(count + 1)
    orders = np.array(list(permutations(values)))
    reach = conformal_reach(orders[:, :-1].T, coverage)
    held = Fraction(int((orders[:, -1] <= reach).sum()), len(orders))
    rank = conformal_rank(count, coverage)
    assert held == min(Fraction(rank, count + 1), 1)
    assert held >= Fraction(hundredths, 100)


def test_each_column_has_a_rank_of_its_own_known_scores() -> None:
    scores = np.full((19, 3, 2), np.nan)
    scores[:, 0, 0] = np.arange(19)[::-1]
    scores[3:12, 1, 1] = np.arange(9)
    scores[:8, 2, 0] = np.arange(8)
    got = conformal_reach(scores, 0.9)
    # ceil(20 * 0.9) = 18 of 19; ceil(10 * 0.9) = 9 of 9; 9 of 8, and 1 of none: no bound.
    assert got.tolist() == [[17.0, math.inf], [math.inf, 8.0], [math.inf, math.inf]]


@pytest.mark.parametrize("least, coverage", [(9, 0.9), (19, 0.95), (1, 0.5)])
def test_the_fewest_scores_that_bound_are_known(least: int, coverage: float) -> None:
    assert np.isfinite(conformal_reach(np.zeros((least, 1)), coverage)).all()
    assert np.isinf(conformal_reach(np.zeros((least - 1, 1)), coverage)).all()
