"""Every step of validation, test and new data is hidden exactly once, and never judged by itself."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plait.core.config import validate
from plait.core.errors import ConfigError
from plait.data.hidden_steps import HiddenSteps
from plait.data.injected import ANOMALIES, inject
from plait.data.sources.csv import CsvConfig
from plait.data.table import SeriesTable
from plait.data.windows import ForecastData
from plait.features.calendar import infer_step

LOOKBACK, ROWS = 17, 307
CONFIG = validate(CsvConfig, {"kind": "csv", "path": "", "lookback": LOOKBACK, "splits": [0.6, 0.2, 0.2]})
TIMES = np.datetime64("2020-01-01", "s") + np.arange(ROWS) * np.timedelta64(86_400, "s")
QUESTION = HiddenSteps(3, 4)


def table(missing: float = 0.2) -> SeriesTable:
    rng = np.random.default_rng(3)
    values = np.sin(np.arange(ROWS) / 5)[:, None] + rng.normal(size=(ROWS, 3))
    values[rng.random(values.shape) < missing] = np.nan
    return SeriesTable(TIMES, values, ("a", "b", "c"), infer_step(TIMES))


def data(series: SeriesTable | None = None, question: HiddenSteps = QUESTION, **fields: Any) -> ForecastData:
    return ForecastData(series or table(), CONFIG, question=question, **fields)


def scored(windows: ForecastData, split: str) -> np.ndarray[Any, Any]:
    """How often each cell of the table is a target."""
    batch = windows.batch(split, windows.rows(split))
    count = np.zeros(windows.table.values.shape, dtype=int)
    rows = batch.info["row"].numpy()[:, None] + np.arange(1 - LOOKBACK, 1)
    np.add.at(count, rows, batch.targets["mask"].numpy().astype(int))
    return count


@pytest.mark.parametrize("question", [QUESTION, HiddenSteps(5, 2), HiddenSteps(1, 7), HiddenSteps(11, 3)])
def test_every_observed_cell_of_a_split_is_a_target_exactly_once(question: HiddenSteps) -> None:
    series, windows = table(), data(question=question)
    start = windows.borders.train
    for split, size in (("val", windows.borders.val), ("test", windows.borders.test)):
        want = np.zeros(series.values.shape, dtype=int)
        want[start : start + size] = ~np.isnan(series.values[start : start + size])
        np.testing.assert_array_equal(scored(windows, split), want)
        start += size
    new = data(question=question, fitted=windows.fitted, ahead=True)
    np.testing.assert_array_equal(scored(new, "ahead"), ~np.isnan(series.values))
    np.testing.assert_array_equal(new.asked(), new.rows("ahead"))


def test_a_step_is_hidden_with_all_its_variates_and_its_values_reach_no_input() -> None:
    windows = data()
    for split in ("train", "val", "test"):
        rows = windows.rows(split)
        batch = windows.training_batch(rows, "all", 3) if split == "train" else windows.batch(split, rows)
        at = batch.info["row"].numpy()[:, None] + np.arange(1 - LOOKBACK, 1)
        observed = torch.from_numpy(~np.isnan(windows.table.values[at]))
        hidden = observed & ~batch.inputs["series_mask"]
        whole = hidden.any(dim=2)
        assert torch.equal(hidden, whole[..., None] & observed)
        assert not (batch.targets["mask"] & ~hidden).any()
        for row in (0, 5, 11):
            values = windows.table.values.copy()
            values[at[row]] = np.where(hidden[row].numpy(), values[at[row]] + 1e3, values[at[row]])
            outside = np.ones(ROWS, dtype=bool)
            outside[at[row]] = False
            values[outside] -= 1e3
            other = data(fitted=windows.fitted)
            other._target = torch.from_numpy(
                np.nan_to_num((values - windows.fitted.mean) / windows.fitted.sd).astype(np.float32)
            )
            again = other.training_batch([row], "all", 3) if split == "train" else other.batch(split, [row])
            for name in ("series", "series_mask"):
                assert torch.equal(again.inputs[name][0], batch.inputs[name][row]), name


def test_what_training_hides_moves_with_the_epoch_and_comes_again() -> None:
    windows = data()
    rows = windows.rows("train")
    one, two = (windows.training_batch(rows, "all", epoch).inputs["series_mask"] for epoch in (0, 1))
    assert not torch.equal(one, two)
    assert torch.equal(one, data().training_batch(rows, "all", 0).inputs["series_mask"])
    whole = data(table(0.0)).training_batch(rows, "all", 0).inputs["series_mask"]
    assert abs(float((~whole).float().mean()) - 1 / QUESTION.turns) < 0.02
    lengths = np.unique((~whole).sum(dim=(1, 2)).numpy() // 3)
    assert lengths.min() >= 3
    assert lengths.max() <= 6


def test_anomalies_stand_in_test_rows_alone() -> None:
    series = table(0.0)
    windows = data(series)
    first = windows.borders.train + windows.borders.val
    np.testing.assert_array_equal(windows.table.values[:first], series.values[:first])
    assert not windows.labels[:first].any()
    changed = (windows.table.values != series.values).any(axis=1)
    assert changed[windows.labels].mean() > 0.7  # a flat line begins with what was there
    assert not changed[~windows.labels].any()
    for split in ("train", "val", "test"):
        batch = windows.batch(split, windows.rows(split)) if split != "train" else windows.training_batch([0], "x")
        assert bool(batch.targets["anomaly"].any()) is (split == "test")
        assert bool(batch.targets["clean"].all()) is (split == "val")
    new = data(series, fitted=windows.fitted, ahead=True)
    np.testing.assert_array_equal(new.table.values, series.values)


@given(seed=st.integers(0, 99), rows=st.integers(30, 600), missing=st.sampled_from([0.0, 0.4]))
def test_injection_is_a_function_of_the_seed_and_keeps_what_is_missing(seed: int, rows: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows + 100, 2))
    values[rng.random(values.shape) < missing] = np.nan
    sd = np.array([1.0, 5.0])
    out, label = inject(values, 100, sd, seed)
    again, _ = inject(values, 100, sd, seed)
    np.testing.assert_array_equal(out, again)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(values))
    np.testing.assert_array_equal(out[~label], values[~label])
    assert not label[:100].any()
    assert 0.01 < label[100:].mean() < 0.45


def test_each_kind_of_anomaly_is_what_it_says() -> None:
    values, sd = np.arange(12.0).reshape(6, 2), np.array([1.0, 10.0])
    made = {name: kind(values, sd, np.random.default_rng(0)) for name, kind in ANOMALIES.items()}
    for name, least, most in (("spike", 3, 6), ("level_shift", 1, 3)):
        moved = (made[name] - values) / sd
        assert np.ptp(moved, axis=0).max() < 1e-9
        assert ((np.abs(moved) >= least) & (np.abs(moved) <= most)).all()
    assert (np.std(made["noise_burst"] - values, axis=0) > 0.5 * sd).all()
    np.testing.assert_array_equal(made["flat_line"], np.tile(values[0], (6, 1)))
    seasons = [ANOMALIES["other_season"](values, sd, np.random.default_rng(n)) for n in range(9)]
    shapes = {tuple(season[:, 0]) for season in seasons}
    assert shapes == {tuple(values[::-1, 0]), tuple(values[[0, 0, 1, 1, 2, 2], 0])}


def test_a_window_that_would_be_hidden_whole_is_refused() -> None:
    with pytest.raises(ConfigError, match="a window of 17 steps is hidden whole by a stretch of 17"):
        data(question=HiddenSteps(17, 4))


def test_the_series_is_not_changed_in_place() -> None:
    series = table()
    before = series.values.copy()
    data(series)
    np.testing.assert_array_equal(series.values, before)
    assert data(replace(series)).fingerprint() == data(series).fingerprint()
