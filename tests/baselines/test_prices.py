"""The cheap rivals of prices: closed forms, what is there is found, and what must not be read is not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from plait.baselines._price_attributes import Attributes
from plait.baselines._price_blend import blended, fitted_weights
from plait.baselines._price_ridge import STRENGTHS, by_gram, by_kernel
from plait.baselines.prices import MEANINGS, PricePanel, late_blends, meanings_of, price_rivals, ridge_source
from plait.core.errors import DataError

ROWS = 211


def reader(values: NDArray[np.float32], present: NDArray[np.bool_]) -> Callable[[Any], Any]:
    return lambda rows: (np.where(present[rows, None], values[rows], 0), present[rows])


def panel(seed: int = 0, **changes: Any) -> PricePanel:
    """A price that a number, a category and a source of vectors each tell a part of."""
    rng = np.random.default_rng(seed)
    image, noise = rng.standard_normal((ROWS, 17)).astype(np.float32), rng.standard_normal((ROWS, 5)).astype(np.float32)
    area, zone = np.exp(rng.standard_normal(ROWS)), rng.choice(["a", "b", "c"], ROWS)
    place = np.select([zone == "a", zone == "b"], [0.0, 1.0], -1.0)
    price = 3 + 0.5 * np.log(area) + place + 0.7 * image[:, 3] + 0.1 * rng.standard_normal(ROWS)
    there = rng.random(ROWS) < 0.8
    numbers = np.column_stack([area, np.where(rng.random(ROWS) < 0.1, np.nan, rng.standard_normal(ROWS))])
    made = PricePanel(
        log_price=price, rows={"train": np.arange(131), "val": np.arange(131, 170), "test": np.arange(170, ROWS)},
        numbers=numbers, number_names=("area", "luck"), categories=pd.DataFrame({"zone": zone}),
        sources={"image": reader(image, there), "noise": reader(noise, np.ones(ROWS, dtype=bool))}, seed=seed,
    )  # fmt: skip
    return replace(made, **changes)


def smape(panel: PricePanel, said: dict[str, Any]) -> float:
    truth = panel.log_price[panel.rows["test"]]
    return float(200 * np.tanh(np.abs(said["test"] - truth) / 2).mean())


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return price_rivals(panel())


# --- ridge


@pytest.mark.parametrize("rows, width", [(1301, 7), (11, 29), (41, 37)])
def test_the_ridge_is_the_normal_equations_at_the_least_gcv(rows: int, width: int) -> None:
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, width)) * np.exp(rng.standard_normal(width)) + 100 * rng.standard_normal(width)
    x[:, 2] = 31.7  # a column that does not vary
    y = x[:, 0] + 3 * rng.standard_normal(rows) + 5
    z = x - x.mean(axis=0)
    z[:, 2] = 0
    z = z / np.where(z.std(axis=0) > 0, z.std(axis=0), 1)
    eigen = np.linalg.svd(z, compute_uv=False) ** 2
    eigen = eigen[eigen > 1e-8 * eigen.max()]
    found = []
    for strength in np.array(STRENGTHS) * eigen.mean():
        inner = np.linalg.solve(z.T @ z + strength * np.eye(width), z.T)
        hat = z @ inner
        left = (y - y.mean()) - hat @ (y - y.mean())
        found.append((rows * (left**2).sum() / (rows - 1 - np.trace(hat)) ** 2, y.mean() + hat @ (y - y.mean())))
    want = min(found, key=lambda pair: pair[0])[1]
    every = np.arange(rows)
    for fit in (by_gram, by_kernel):
        ridge = fit(lambda at: x[at], every, y)
        np.testing.assert_allclose(ridge.predict(lambda at: x[at], every), want, rtol=1e-6, atol=1e-6)
        assert ridge.coef[2] == 0


def test_both_ways_of_the_ridge_are_one_map_of_float32_rows_far_from_zero() -> None:
    rng = np.random.default_rng(3)
    x = (1000 + rng.standard_normal((503, 13))).astype(np.float32)
    y = x[:, 1].astype(np.float64) + rng.standard_normal(503)
    every = np.arange(503)
    one, other = (fit(lambda at: x[at], every, y) for fit in (by_gram, by_kernel))
    np.testing.assert_allclose(one.coef, other.coef, rtol=1e-7, atol=1e-9)
    assert one.strength == pytest.approx(other.strength)
    assert one.intercept == pytest.approx(other.intercept, rel=1e-7)


def test_targets_that_nothing_tells_are_answered_by_their_mean() -> None:
    y = np.random.default_rng(0).standard_normal(23)
    for fit in (by_gram, by_kernel):
        ridge = fit(lambda at: np.full((len(at), 3), 7.0), np.arange(23), y)
        np.testing.assert_allclose(ridge.predict(lambda at: np.full((len(at), 3), 7.0), np.arange(5)), y.mean())


# --- attributes


def test_columns_are_numbers_gaps_and_categories_of_train_rows() -> None:
    numbers = np.array([[1.0, 5.0], [np.nan, 7.0], [3.0, 9.0], [100.0, np.nan]])
    words = pd.DataFrame({"zone": ["a", "", "a", "new"]})
    found = Attributes(numbers, words).as_columns(np.array([0, 1, 2])).toarray()
    sd = np.std([5, 7, 9])
    want = [
        [-1, -2 / sd, 0, 0, 1], [0, 0, 1, 1, 0], [1, 2 / sd, 0, 0, 1], [98, 0, 0, 0, 0],
    ]  # fmt: skip
    np.testing.assert_allclose(found, want)


def test_a_train_row_never_sees_its_own_price() -> None:
    rng = np.random.default_rng(5)
    words, y, train = pd.DataFrame({"zone": rng.choice(list("abcdefg"), 97)}), rng.standard_normal(97), np.arange(61)
    attributes = Attributes(np.zeros((97, 0)), words)
    before = attributes.as_prices(train, y, seed=1)
    for row in (0, 17, 60):
        moved = y.copy()
        moved[row] += 1000
        assert attributes.as_prices(train, moved, seed=1)[row, 0] == before[row, 0]
    unread = y.copy()
    unread[61:] = np.nan
    np.testing.assert_array_equal(attributes.as_prices(train, unread, seed=1), before)


# --- rivals


def test_there_is_a_rival_for_everything_that_is_given(made: dict[str, Any]) -> None:
    assert list(made) == [
        "constant", "ridge_attributes", "boosting_attributes", "net_attributes", "ridge_image", "ridge_noise",
        "concat_ridge", "late_equal", "late_fitted",
    ]  # fmt: skip
    for said in made.values():
        assert {split: len(each) for split, each in said.items()} == {"val": 39, "test": 41}
        assert all(np.isfinite(each).all() for each in said.values())
    assert set(made) == set(meanings_of(["image", "noise"]))
    assert meanings_of(["attributes"])["ridge_attributes"] == MEANINGS["ridge_attributes"]


def test_what_is_there_is_found(made: dict[str, Any]) -> None:
    errors = {name: smape(panel(), said) for name, said in made.items()}
    for name in ("ridge_attributes", "boosting_attributes", "net_attributes"):
        assert errors[name] < 0.9 * errors["constant"]
    assert errors["ridge_image"] < 0.96 * errors["constant"] < errors["ridge_noise"]
    assert errors["late_fitted"] < errors["late_equal"]
    assert (made["constant"]["test"] == np.median(panel().log_price[:131])).all()


def test_prices_of_held_out_rows_are_never_read(made: dict[str, Any]) -> None:
    price = panel().log_price.copy()
    price[170:] = np.nan
    for name, said in late_blends(panel(log_price=price), made).items():
        np.testing.assert_array_equal(said["test"], made[name]["test"])
    price[131:] = 1e6
    for name, said in price_rivals(panel(log_price=price)).items():
        if name != "late_fitted":
            np.testing.assert_array_equal(said["test"], made[name]["test"])


def test_a_train_row_of_unknown_price_is_left_out() -> None:
    given = panel()
    price = given.log_price.copy()
    price[7] = np.nan
    rows = {**given.rows, "train": np.setdiff1d(given.rows["train"], [7])}
    one, other = ridge_source(panel(log_price=price), "image"), ridge_source(panel(rows=rows), "image")
    np.testing.assert_array_equal(one["test"], other["test"])


def test_a_row_without_a_source_is_the_median_and_is_left_to_the_others(made: dict[str, Any]) -> None:
    given = panel()
    lacks = ~given.sources["image"](given.rows["test"])[1]
    assert 0 < lacks.sum() < 41
    assert (made["ridge_image"]["test"][lacks] == given.median).all()
    parts = [made[name]["test"] for name in ("boosting_attributes", "ridge_image", "ridge_noise")]
    want = np.where(lacks, (parts[0] + parts[2]) / 2, sum(parts) / 3)
    np.testing.assert_allclose(made["late_equal"]["test"], want)


def test_data_of_sources_alone_and_of_attributes_alone_have_their_rivals() -> None:
    given = panel(numbers=np.zeros((ROWS, 0)), number_names=(), categories=pd.DataFrame(index=range(ROWS)))
    names = ["constant", "ridge_image", "ridge_noise", "concat_ridge", "late_equal", "late_fitted"]
    assert list(price_rivals(given)) == names
    one = replace(given, sources={"image": given.sources["image"]})
    assert list(price_rivals(one)) == ["constant", "ridge_image"]


def test_panels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="numbers of shape"):
        panel(number_names=("area",))
    with pytest.raises(ValueError, match="exactly the splits"):
        panel(rows={"train": np.arange(3)})
    with pytest.raises(DataError, match="no training row has a known price"):
        panel(log_price=np.full(ROWS, np.nan))


# --- blends


def test_a_blend_goes_by_weight_over_those_that_are_there() -> None:
    members = np.array([[1.0, 1.0, np.nan, np.nan], [4.0, np.nan, 4.0, np.nan], [9.0, 9.0, 9.0, np.nan]])
    found = blended(np.array([0.5, 0.5, 0.0]), members, np.isfinite(members), 7.0)
    np.testing.assert_allclose(found, [2.5, 1.0, 4.0, 7.0])
    alone = blended(np.array([0.0, 1.0]), np.array([[3.0], [np.nan]]), np.array([[True], [False]]), 7.0)
    assert alone == 3.0


def test_fitted_weights_are_the_best_of_the_simplex() -> None:
    rng = np.random.default_rng(2)
    truth = rng.standard_normal(301)
    members = truth + np.array([[0.3], [0.5], [2.0]]) * rng.standard_normal((3, 301))
    present = np.ones((3, 301), dtype=bool)
    weights = fitted_weights(members, present, truth)
    assert weights.sum() == pytest.approx(1)
    assert weights.min() >= 0
    grid = [(a / 50, b / 50, 1 - (a + b) / 50) for a in range(51) for b in range(51 - a)]
    best = min(200 * np.tanh(np.abs(np.array(w) @ members - truth) / 2).mean() for w in grid)
    assert 200 * np.tanh(np.abs(weights @ members - truth) / 2).mean() <= best + 0.01


def test_the_validation_error_of_fitted_weights_is_of_rows_they_have_not_seen(made: dict[str, Any]) -> None:
    price = panel().log_price.copy()
    price[131] += 50
    moved = late_blends(panel(log_price=price), made)["late_fitted"]
    assert moved["val"][0] == made["late_fitted"]["val"][0]
    assert not np.array_equal(moved["test"], made["late_fitted"]["test"])


# --- real data


@pytest.mark.slow
def test_the_houses_have_the_errors_of_the_reference(shared: Path) -> None:
    houses = pd.read_csv(shared / "data" / "houses" / "houses.csv", dtype={"zip_code": str})
    log_price, errors = np.log(houses["price_usd"].to_numpy(dtype=np.float64)), {}
    numbers = houses[["bedrooms", "bathrooms", "area_sqft"]].to_numpy(dtype=np.float64)
    order = np.random.default_rng(0).permutation(len(houses))
    for fold in range(5):
        test = np.sort(order[fold::5])
        rows = {"train": np.setdiff1d(order, test), "val": test[:0], "test": test}
        given = PricePanel(log_price, rows, numbers, ("b", "c", "a"), houses[["zip_code"]], {}, fold)
        for name, said in price_rivals(given).items():
            errors.setdefault(name, []).append(200 * np.tanh(np.abs(said["test"] - log_price[test]) / 2))
    found = {name: float(np.concatenate(each).mean()) for name, each in errors.items()}
    want = {"constant": 57.3, "ridge_attributes": 24.8, "boosting_attributes": 24.8, "net_attributes": 24.5}
    assert found == pytest.approx(want, abs=0.8)
