"""Attributes as features: numbers, codes, and encoded prices against a reference that leaves each row out by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from plait.features.attributes import AttributeFit, NumberScaling, entered_numbers
from plait.features.target_encoding import EncodedTarget, shrunk

Array = NDArray[np.float64]


def planted(n: int = 37, seed: int = 3) -> tuple[dict[str, Array], dict[str, list[str]], Array]:
    """Numbers with holes, two columns of categories with rare and empty cells, and log prices that both tell."""
    chance = np.random.default_rng(seed)
    size, rooms = chance.normal(5, 2, n), chance.integers(1, 6, n).astype(float)
    size[[2, 11]] = np.nan
    zips = [["9110", "9111", "9205", "3000", "3007", "7777", ""][k] for k in chance.integers(0, 7, n)]
    zips[5] = "5555"
    kind = [["flat", "house", "barn"][k] for k in chance.integers(0, 3, n)]
    logs = 12 + 0.2 * np.nan_to_num(size, nan=5) + np.array([len(z) and int(z[0]) / 9 for z in zips])
    return {"size": size, "rooms": rooms}, {"zip": zips, "kind": kind}, logs + chance.normal(0, 0.3, n)


def entered(numbers: dict[str, Array], train: dict[str, Array]) -> Array:
    """Standardised, clipped numbers with an indicator where train rows lack some, written once more."""
    columns, flags = [], []
    for name, of_train in train.items():
        known = of_train[~np.isnan(of_train)]
        z = (numbers[name] - known.mean()) / known.std()
        columns.append(np.clip(np.where(np.isnan(z), 0, z), -4, 4))
        if np.isnan(of_train).any():
            flags.append(np.isnan(numbers[name]).astype(float))
    return np.stack([*columns, *flags], axis=1)


def reference(
    cell: str, cells: Sequence[str], x: Array, logs: Array, k: float, prefix: int | None
) -> tuple[float, float, float]:
    """What rows with `cells`, numbers x and log prices say of a row with `cell`: price, residual, log count."""
    inner = np.column_stack([np.ones(len(x)), x])
    weights = np.linalg.solve(inner.T @ inner + np.diag([0.0] + [1.0] * x.shape[1]), inner.T @ logs)
    said = []
    for values in (logs, logs - inner @ weights):
        mean, sd = values.mean(), values.std()
        parent = mean
        if prefix and cell:
            near = [v for v, c in zip(values, cells, strict=True) if c and c[:prefix] == cell[:prefix]]
            parent = (sum(near) + k * mean) / (len(near) + k)
        own = [v for v, c in zip(values, cells, strict=True) if cell and c == cell]
        said.append(((sum(own) + k * parent) / (len(own) + k) - mean) / sd)
    return said[0], said[1], float(np.log1p(sum(bool(cell) and c == cell for c in cells)))


def others(values: Sequence[str], row: int) -> list[str]:
    return [value for place, value in enumerate(values) if place != row]


@pytest.mark.parametrize("prefix", [None, 2])
@pytest.mark.parametrize("strength", [3.0, 0.5])
def test_train_rows_are_encoded_by_all_other_rows(prefix: int | None, strength: float) -> None:
    numbers, cells, logs = planted()
    fit = AttributeFit.fit(numbers, cells, logs, 3, strength, prefix)
    made = fit.encode_train(numbers, cells, logs)
    x, n = entered(numbers, numbers), len(logs)
    assert made.shape == (n, len(fit.columns)) == (n, 3 + 6)
    np.testing.assert_allclose(made[:, :3], x, rtol=1e-6, atol=1e-6)
    for place, column in enumerate(("zip", "kind")):
        want = np.array([
            reference(cells[column][row], others(cells[column], row), np.delete(x, row, 0), np.delete(logs, row),
                      strength, prefix)
            for row in range(n)
        ])  # fmt: skip
        want[:, 2] = (want[:, 2] - want[:, 2].mean()) / want[:, 2].std()
        np.testing.assert_allclose(made[:, 3 + 3 * place : 6 + 3 * place], np.clip(want, -4, 4), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prefix", [None, 2])
def test_other_rows_are_encoded_by_all_train_rows(prefix: int | None) -> None:
    numbers, cells, logs = planted()
    fit = AttributeFit.fit(numbers, cells, logs, 3, 3.0, prefix)
    new = {"zip": ["9110", "9199", "4444", "", "5555"], "kind": ["barn", "tent", "flat", "", "house"]}
    given = {"size": np.array([1.0, np.nan, 5, 6, 1e9]), "rooms": np.array([1.0, 2, np.nan, 4, 5])}
    made, x = fit.encode(given, new), entered(numbers, numbers)
    np.testing.assert_allclose(made[:, :3], entered(given, numbers), rtol=1e-5, atol=1e-6)
    assert made[4, 0] == 4
    for place, column in enumerate(("zip", "kind")):
        own = [np.log1p(cells[column].count(c) - 1) if c else 0 for c in cells[column]]
        for row, cell in enumerate(new[column]):
            price, residual, count = reference(cell, cells[column], x, logs, 3.0, prefix)
            want = np.clip([price, residual, (count - np.mean(own)) / np.std(own)], -4, 4)
            np.testing.assert_allclose(made[row, 3 + 3 * place : 6 + 3 * place], want, rtol=1e-4, atol=1e-5)
    if prefix:
        assert made[1, 3] != made[2, 3]
    else:
        assert made[1, 3] == made[2, 3] == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 36), st.floats(-9, 30), st.integers(0, 99))
def test_no_feature_of_a_train_row_reads_its_own_price(row: int, price: float, seed: int) -> None:
    numbers, cells, logs = planted(seed=seed)
    moved = logs.copy()
    moved[row] = price
    one, other = (
        AttributeFit.fit(numbers, cells, each, 3, 3.0, 2).encode_train(numbers, cells, each) for each in (logs, moved)
    )
    np.testing.assert_allclose(one[row], other[row], rtol=1e-5, atol=1e-5)
    if abs(price - logs[row]) > 1 and cells["kind"].count(cells["kind"][row]) > 1:
        assert np.abs(np.delete(one, row, 0) - np.delete(other, row, 0)).max() > 1e-3


def test_a_price_that_only_its_own_row_tells_is_not_leaked() -> None:
    """Prices that are noise: without the row itself the encoding can't correlate with them; with it, it does."""
    chance = np.random.default_rng(5)
    logs, cells = chance.normal(13, 1, 601), {"zip": [str(k) for k in chance.integers(0, 199, 601)]}
    fit = AttributeFit.fit({}, cells, logs, 3, 1.0, None)
    assert fit.columns == ("zip price", "zip count")
    honest, leaky = fit.encode_train({}, cells, logs)[:, 0], fit.encode({}, cells)[:, 0]
    assert abs(np.corrcoef(honest, logs)[0, 1]) < 0.12
    assert np.corrcoef(leaky, logs)[0, 1] > 0.4


def test_codes_are_of_categories_that_enough_train_rows_have() -> None:
    cells = {"zip": ["b"] * 3 + ["a"] * 5 + ["c"] * 2 + [""] * 7}
    logs = np.linspace(1, 2, 17)
    fit = AttributeFit.fit({}, cells, logs, 3, 3.0, None)
    assert fit.categories["zip"].known == ("a", "b")
    assert fit.codes({"zip": ["a", "b", "c", "", "d"]})[:, 0].tolist() == [1, 2, 0, 0, 0]
    every = AttributeFit.fit({}, cells, logs, 1, 3.0, None)
    assert every.codes({"zip": ["a", "b", "c", ""]})[:, 0].tolist() == [1, 2, 3, 0]


def test_without_shrinkage_a_level_is_its_mean_and_with_much_it_is_its_parent() -> None:
    cells, logs = {"zip": ["91a"] * 3 + ["91b"] * 5 + ["33c"] * 3}, np.arange(11.0)
    raw = AttributeFit.fit({}, cells, logs, 3, 0.0, 2).encode({}, {"zip": ["91a", "91z", "33c"]})[:, 0]
    np.testing.assert_allclose(raw * logs.std() + logs.mean(), [1, 3.5, 9], rtol=1e-6)
    drawn = AttributeFit.fit({}, cells, logs, 3, 1e9, 2).encode({}, {"zip": ["91a", "91z", "33c"]})[:, 0]
    np.testing.assert_allclose(drawn, 0, atol=1e-6)
    np.testing.assert_allclose(shrunk(np.array([10.0, 0.0]), np.array([5.0, 0.0]), 8.0, 0.0), [2, 8])


def test_a_residual_of_numbers_that_tell_the_price_says_nothing() -> None:
    size = np.linspace(0, 9, 101)
    cells = {"zip": [str(int(s)) for s in size]}
    fit = AttributeFit.fit({"size": size}, cells, 3 + 2 * size, 3, 1.0, None)
    assert np.abs(fit.encode({"size": size}, cells)[:, 1]).max() > 1
    left = EncodedTarget.residual(fit.numbers.apply({"size": size}), 3 + 2 * size)
    assert np.abs(left.values).max() < 0.11  # the ridge shrinks the slope by n / (n + 1)


def test_numbers_enter_as_logarithms_and_ratios() -> None:
    columns = {"area": np.array([100.0, 0, -3, np.nan, np.e]), "rooms": np.array([4.0, 2, 0, 1, np.nan])}
    made = entered_numbers(columns, ["area"], ["area/rooms", "rooms / area"])
    assert list(made) == ["log area", "rooms", "area/rooms", "rooms / area"]
    np.testing.assert_allclose(made["log area"], [np.log(100), np.nan, np.nan, np.nan, 1])
    np.testing.assert_allclose(made["area/rooms"], [25, 0, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(made["rooms / area"], [0.04, np.nan, 0, np.nan, np.nan])


def test_a_number_that_no_train_row_has_or_that_does_not_vary_keeps_its_unit() -> None:
    scaling = NumberScaling.of({"none": np.full(5, np.nan), "same": np.full(5, 7.0)})
    made = scaling.apply({"none": np.array([2.0, np.nan]), "same": np.array([8.0, np.nan])})
    assert scaling.columns == ("none", "same", "none missing")
    assert made.tolist() == [[2, 1, 0], [0, 0, 1]]
