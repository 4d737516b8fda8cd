"""Tests of the seasonal prior and of carrying forward: closed forms, naive loops and causality."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.features.seasonal_prior import carry_forward, seasonal_prior

NAN = np.nan


def test_carry_forward_closed_form() -> None:
    z = np.array([[NAN, 2.0], [1.0, NAN], [NAN, NAN], [3.0, 5.0], [NAN, NAN]])
    expected = [[0.0, 2.0], [1.0, 2.0], [1.0, 2.0], [3.0, 5.0], [3.0, 5.0]]
    assert carry_forward(z).tolist() == expected
    assert np.isnan(z[0, 0])


def test_carry_forward_of_no_rows_and_of_nothing_observed() -> None:
    assert carry_forward(np.empty((0, 3))).shape == (0, 3)
    assert carry_forward(np.full((5, 3), NAN)).tolist() == np.zeros((5, 3)).tolist()


def test_prior_closed_form() -> None:
    z = np.arange(11.0)[:, None]
    prior, known = seasonal_prior(z, 3, [1, 7], 5, seasons=2)
    # Origin 1: no row -1, then rows 0 and 1, again none, row 0. Origin 7: rows 5 2, 6 3, 7 4, 5 2, 6 3.
    assert prior[:, :, 0].tolist() == [[1.0, 0.0, 1.0, 1.0, 0.0], [3.5, 4.5, 5.5, 3.5, 4.5]]
    assert known[:, :, 0].tolist() == [[False, True, True, False, True], [True] * 5]


def test_prior_leaves_missing_rows_out_of_the_mean() -> None:
    z = np.array([4.0, 7.0, NAN, NAN, 2.0, NAN, NAN, NAN])[:, None]
    prior, known = seasonal_prior(z, 2, [7], 2, seasons=7)
    # Season of row 8: rows 6 4 2 0, of which 2.0 and 4.0 are observed; season of row 9: only row 1.
    assert prior[0, :, 0].tolist() == [3.0, 7.0]
    assert known.all()
    prior, known = seasonal_prior(z, 2, [7], 2, seasons=1)
    assert prior[0, :, 0].tolist() == [2.0, 2.0]
    assert not known.any()


def test_prior_without_any_value_is_zero_and_unknown() -> None:
    prior, known = seasonal_prior(np.full((5, 3), NAN), 2, [0, 4], 7)
    assert prior.shape == known.shape == (2, 7, 3)
    assert not prior.any()
    assert not known.any()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(1, 43),
    period=st.integers(1, 13),
    horizon=st.integers(1, 17),
    seasons=st.integers(1, 7),
    missing=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_prior_equals_a_loop(seed: int, rows: int, period: int, horizon: int, seasons: int, missing: float) -> None:
    draw = np.random.default_rng(seed)
    z = draw.normal(size=(rows, 3))
    z[draw.random(z.shape) < missing] = NAN
    origins = draw.integers(rows, size=5)
    prior, known = seasonal_prior(z, period, origins, horizon, seasons)
    filled = carry_forward(z)
    for i, o in enumerate(origins):
        for h in range(1, horizon + 1):
            usable = [r for r in range(o + h - period, -1, -period) if r <= o][:seasons]
            nearest = [r for r in range(o + h, -rows - horizon * period, -period) if r <= o][:seasons]
            assert usable == [r for r in nearest if r >= 0]
            for v in range(3):
                past = [z[r, v] for r in usable if not np.isnan(z[r, v])]
                assert known[i, h - 1, v] == bool(past)
                assert prior[i, h - 1, v] == pytest.approx(np.mean(past) if past else filled[o, v], rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    origin=st.integers(0, 40),
    period=st.integers(1, 13),
    horizon=st.integers(1, 17),
    new=st.sampled_from([NAN, 1e300, -7.0]),
)
def test_nothing_after_the_origin_is_read(seed: int, origin: int, period: int, horizon: int, new: float) -> None:
    draw = np.random.default_rng(seed)
    z = draw.normal(size=(41, 3))
    z[draw.random(z.shape) < 0.3] = NAN
    changed = z.copy()
    changed[origin + 1 :] = new
    for before, after in zip(
        seasonal_prior(z, period, [origin], horizon),
        seasonal_prior(changed, period, [origin], horizon),
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(carry_forward(z)[: origin + 1], carry_forward(changed)[: origin + 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(5), 2, [3], 3), "shape"),
        ((np.zeros((5, 1)), 0, [3], 3), ">= 1"),
        ((np.zeros((5, 1)), 2, [3], 0), ">= 1"),
        ((np.zeros((5, 1)), 2, [3], 3, 0), ">= 1"),
        ((np.zeros((5, 1)), 2, [5], 3), "row numbers in 0..4"),
        ((np.zeros((5, 1)), 2, [-1], 3), "row numbers in 0..4"),
    ],
)
def test_prior_refuses(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seasonal_prior(*arguments)
