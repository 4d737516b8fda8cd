"""What is hidden of a window reaches no input, is a fixed share, and is chosen by names and rows alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core.config import validate
from plait.core.errors import DataError
from plait.data.hidden import HiddenCells, scattered
from plait.data.questions import tiles
from plait.data.sources.csv import CsvConfig
from plait.data.table import SeriesTable
from plait.data.windows import ForecastData
from plait.features.calendar import infer_step

LOOKBACK, VARIATES, ROWS = 13, 3, 127
CONFIG = validate(CsvConfig, {"kind": "csv", "path": "", "lookback": LOOKBACK, "splits": [0.6, 0.2, 0.2]})


def table(missing: float = 0.0, seed: int = 0) -> SeriesTable:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(ROWS, VARIATES)).cumsum(axis=0)
    values[rng.random(values.shape) < missing] = np.nan
    times = np.datetime64("2020-01-01", "s") + np.arange(ROWS) * np.timedelta64(86_400, "s")
    return SeriesTable(times, values, ("a", "b", "c"), infer_step(times))


def data(series: SeriesTable | None = None, question: HiddenCells | None = None, **fields: Any) -> ForecastData:
    return ForecastData(series or table(0.1), CONFIG, question=question or HiddenCells(0.25), **fields)


def all_of(windows: ForecastData, split: str) -> Any:
    return windows.batch(split, windows.rows(split))


@pytest.mark.parametrize("block", [1, 5])
def test_changing_hidden_values_changes_no_bit_of_the_inputs(block: int) -> None:
    question = HiddenCells(0.375, block)
    before = data(question=question)
    for split in ("train", "val", "test"):
        batch = all_of(before, split)
        for row in (0, 7, len(batch.info["row"]) - 1):
            series = table(0.1)
            values, end = series.values.copy(), int(batch.info["row"][row])
            inside = slice(end + 1 - LOOKBACK, end + 1)
            hidden = batch.targets["mask"][row].numpy()
            assert hidden.any()
            values[inside][hidden] += 1e3
            # What lies outside the window may not reach it either.
            outside = np.ones(ROWS, dtype=bool)
            outside[inside] = False
            values[outside] -= 7e3
            after = data(replace(series, values=values), question, fitted=before.fitted).batch(split, [row])
            for name, tensor in before.batch(split, [row]).inputs.items():
                assert torch.equal(tensor, after.inputs[name]), name
            known = batch.targets["mask"][row]
            assert float((after.targets["y"][0] - batch.targets["y"][row])[known].abs().min()) > 1


def test_inputs_and_targets_part_the_observed_cells_between_them() -> None:
    series = table(0.2)
    windows = data(series)
    z = (series.values - windows.fitted.mean) / windows.fitted.sd
    for split in ("train", "val", "test"):
        batch = all_of(windows, split)
        rows = batch.info["row"].numpy()[:, None] + np.arange(1 - LOOKBACK, 1)
        seen, hidden = batch.inputs["series_mask"].numpy(), batch.targets["mask"].numpy()
        assert not (seen & hidden).any()
        np.testing.assert_array_equal(seen | hidden, ~np.isnan(z[rows]))
        np.testing.assert_allclose(batch.targets["y"].numpy()[hidden], z[rows][hidden], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(batch.inputs["series"].numpy()[seen], z[rows][seen], rtol=1e-5, atol=1e-6)


def test_windows_lie_wholly_in_their_split_and_every_one_counts() -> None:
    windows = data()
    start = 0
    for split, size in zip(("train", "val", "test"), (76, 26, 25), strict=True):
        np.testing.assert_array_equal(windows.origins[split], np.arange(start + LOOKBACK - 1, start + size))
        start += size
    assert windows.schema.horizon == LOOKBACK
    assert windows.units("test").block == 2 * LOOKBACK


@settings(max_examples=40, deadline=None)
@given(
    share=st.sampled_from([0.125, 0.25, 0.375, 0.5]),
    block=st.integers(1, 7),
    seed=st.integers(0, 999),
    missing=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_the_share_is_that_of_each_window_and_some_cell_stays(
    share: float, block: int, seed: int, missing: float
) -> None:
    rng = np.random.default_rng(seed)
    observed = rng.random((11, LOOKBACK, VARIATES)) >= missing
    hidden = HiddenCells(share, block, seed).hidden(observed, np.arange(11) * 17, "test")
    assert not (hidden & ~observed).any()
    seen = observed.sum(axis=(1, 2))
    wanted = np.minimum(np.floor(share * seen + 0.5), np.maximum(seen - 1, 0))
    np.testing.assert_array_equal(hidden.sum(axis=(1, 2)), wanted)


def test_blocks_are_stretches_of_one_variate() -> None:
    observed = np.ones((101, 47, 3), dtype=bool)
    runs = []
    for block in (1, 5):
        hidden = HiddenCells(0.25, block).hidden(observed, np.arange(101), "test")
        edges = np.diff(np.pad(hidden, ((0, 0), (1, 1), (0, 0))).astype(int), axis=1)
        runs.append(hidden.sum() / (edges == 1).sum())
        if block == 5:
            # Variates are hidden by themselves: two agree no more often than chance has it.
            both = (hidden[..., 0] & hidden[..., 1]).mean()
            assert abs(both - 0.25**2) < 0.01
    assert 1.2 < runs[0] < 1.5  # 1 / (1 - 0.25), less the ends
    assert runs[1] > 4


def test_masks_are_functions_of_names_and_rows_and_differ_between_epochs() -> None:
    windows = data()
    first = windows.training_batch([3, 5, 11], "all", 0)
    again = data().training_batch([11, 3], "all", 0)
    assert torch.equal(first.targets["mask"][[2, 0]], again.targets["mask"])
    other = [windows.training_batch([3, 5, 11], *key) for key in (("all", 1), ("fusion", 0))]
    assert not any(torch.equal(first.targets["mask"], batch.targets["mask"]) for batch in other)
    whole = all_of(windows, "test").targets["mask"]
    assert torch.equal(whole[[4, 2]], windows.batch("test", [4, 2]).targets["mask"])
    assert torch.equal(whole, all_of(data(seed=5), "test").targets["mask"])  # a run's own seed asks the same
    assert not torch.equal(whole, all_of(data(question=HiddenCells(0.25, seed=1)), "test").targets["mask"])


def test_scattered_numbers_are_even_and_each_place_has_its_own() -> None:
    found = scattered(7, np.arange(211)[:, None], np.arange(101))
    assert len(np.unique(found)) == found.size
    share = found.astype(np.float64) / 2**64
    assert abs(share.mean() - 0.5) < 0.01
    assert np.abs(np.corrcoef(share[:, :5].T) - np.eye(5)).max() < 0.25
    assert abs(np.corrcoef(share[:-1].ravel(), share[1:].ravel())[0, 1]) < 0.03
    assert scattered(7, np.array([3]), np.array([5]))[0] == found[3, 5]


def test_new_data_are_asked_for_what_they_lack_and_for_no_row_twice() -> None:
    series = table(0.2)
    windows = data(series, fitted=data(series).fitted, ahead=True)
    batch = windows.batch("ahead", windows.asked())
    assert batch.info["row"].tolist() == [12, 25, 38, 51, 64, 77, 90, 103, 116, 126]
    assert not batch.targets["mask"].any()
    rows = batch.info["row"].numpy()[:, None] + np.arange(1 - LOOKBACK, 1)
    np.testing.assert_array_equal(batch.inputs["series_mask"].numpy(), ~np.isnan(series.values[rows]))


@given(lookback=st.integers(1, 31), more=st.integers(0, 200))
def test_tiles_cover_every_row(lookback: int, more: int) -> None:
    ends = tiles(lookback + more, lookback)
    covered = np.unique(ends[:, None] + np.arange(1 - lookback, 1))
    np.testing.assert_array_equal(covered, np.arange(lookback + more))
    assert len(ends) == -(-(lookback + more) // lookback)


def test_the_seasonal_prior_of_a_window_is_made_of_the_rows_before_it() -> None:
    series = table(0.0)
    windows = data(series, prior=True)
    z, period = windows.z, series.step.period
    for split in ("train", "test"):
        batch = all_of(windows, split)
        assert batch.inputs["series_prior"].shape == batch.inputs["series"].shape
        for n, origin in enumerate(batch.info["row"].tolist()):
            start = origin + 1 - LOOKBACK
            for step in (0, 3, LOOKBACK - 1):
                newest = start + step - period * -(-(step + 1) // period)
                earlier = [row for row in range(newest, -1, -period)][:7]
                last = z[start - 1, 0] if start else 0.0
                want = np.mean(z[earlier, 0]) if earlier else last
                assert float(batch.inputs["series_prior"][n, step, 0]) == pytest.approx(want, abs=1e-5)


def test_what_can_not_be_asked_is_refused() -> None:
    short = CONFIG.model_copy(update={"lookback": 29})
    with pytest.raises(DataError, match="the val split has 26 rows, a window needs 29"):
        ForecastData(table(), short, question=HiddenCells(0.25))


def test_a_horizon_that_has_no_effect_is_told() -> None:
    asked = CONFIG.model_copy(update={"horizon": 5})
    found = ForecastData(table(), asked, question=HiddenCells(0.25))
    assert found.notices() == ["data.horizon (--pred-len) has no effect: the answer is of the window's 13 steps"]
    assert data().notices() == []
