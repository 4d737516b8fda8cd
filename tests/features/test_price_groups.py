"""Bins of prices: whom each holds, what its label says, and the means of errors in it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plait.features.price_groups import (
    SEED_BINS,
    SEED_RANGES,
    bins_of,
    grouped,
    labels,
    quantile_edges,
    smape_of_logs,
)
from plait.objectives.smape import smape

PRICES = st.lists(st.floats(1e-3, 1e7), min_size=1, max_size=61)


@given(st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6)), min_size=1, max_size=23))
def test_the_error_of_logarithms_is_that_of_prices(pairs: list[tuple[float, float]]) -> None:
    said, true = np.array(pairs).T
    want = 200 * np.abs(said - true) / (said + true)
    found = smape_of_logs(np.log(said), np.log(true))
    np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-9)
    torched = smape(torch.from_numpy(np.log(said)), torch.from_numpy(np.log(true))).numpy()
    np.testing.assert_allclose(found, torched, rtol=1e-12, atol=1e-12)


def test_the_bins_of_the_design_document() -> None:
    assert labels(SEED_BINS) == [
        "0-5", "5-10", "10-15", "15-20", "20-30", "30-50", "50-100", "100-200", "200-500", "500-inf",
    ]  # fmt: skip
    assert labels(SEED_RANGES) == ["0-10", "10-30", "30-100", "100-300", "300-inf"]


def test_a_bin_holds_its_lower_edge() -> None:
    prices = np.array([0.01, 4.99, 5.0, 10.0, 499.9, 500.0, 1e9, np.nan])
    assert bins_of(prices, SEED_BINS).tolist() == [0, 0, 1, 2, 8, 9, 9, -1]


@given(PRICES, st.integers(2, 11))
def test_every_known_price_is_in_the_bin_whose_label_says_so(values: list[float], count: int) -> None:
    prices = np.array([*values, np.nan])
    edges = quantile_edges(prices, count)
    assert list(edges) == sorted(set(edges))
    assert (edges[0], edges[-1]) == (0.0, np.inf)
    assert len(edges) <= count + 1
    names = labels(edges)
    assert len(set(names)) == len(names)
    for price, code in zip(values, bins_of(prices, edges)[:-1], strict=True):
        low, high = (float(end) for end in names[code].split("-", 1))
        assert low <= price < high


def test_quantile_bins_hold_as_many_rows_each() -> None:
    prices = np.exp(np.random.default_rng(3).standard_normal(7001))
    rows = grouped(prices, quantile_edges(prices), {})
    assert len(rows) == 10
    assert max(abs(row["count"] - 700.1) for row in rows) < 20


def test_close_prices_keep_their_bins() -> None:
    prices = 1000 + np.arange(97) * 1e-3
    assert [row["count"] for row in grouped(prices, quantile_edges(prices, 4), {})] == [24, 24, 24, 25]


def test_means_are_those_of_the_rows_inside() -> None:
    prices, error = np.array([1.0, 7.0, 9.0, np.nan, 600.0]), np.array([2.0, 3.0, 5.0, 1e9, 11.0])
    rows = grouped(prices, (0.0, 5.0, 10.0, 50.0, np.inf), {"mae": error, "half": error / 2})
    assert [(row["label"], row["count"], row["mae"], row["half"]) for row in rows] == [
        ("0-5", 1, 2.0, 1.0), ("5-10", 2, 4.0, 2.0), ("10-50", 0, None, None), ("50-inf", 1, 11.0, 5.5),
    ]  # fmt: skip
    assert [(row["low"], row["high"]) for row in rows] == [(0.0, 5.0), (5.0, 10.0), (10.0, 50.0), (50.0, None)]


def test_without_a_known_price_there_are_no_quantiles() -> None:
    with pytest.raises(ValueError, match="no known price"):
        quantile_edges(np.array([np.nan]))
