"""Candles as a data set: rows, labels, what is fitted on which rows, what reaches a model, placebo and balance."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from candle_series import LABELLED
from data.market_files import BARS, SMALL, candle_file, small_data
from plait.core.errors import ConfigError, DataError
from plait.data.candle_fitted import CandleFitted
from plait.data.candle_table import CandleTable
from plait.data.candles import CandleData
from plait.data.sources.candles import CandlesConfig
from plait.features import candle_channels
from plait.features.range_labels import range_labels
from plait.features.topology import Grid, vectorise, window_diagrams, window_spread


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("market")


@pytest.fixture(scope="module")
def data(folder: Path) -> CandleData:
    return small_data(folder)


def test_rows_have_a_full_past_and_a_known_label(data: CandleData) -> None:
    rows = np.concatenate(list(data.rows_of.values()))
    assert rows.min() == 672
    assert data.labels.known[rows].all()
    # 10 bars are read ahead, so the last row is the eleventh from the end.
    assert rows.max() == BARS - 11


def test_between_splits_no_label_and_no_window_reaches_over(data: CandleData) -> None:
    # A label's ten bars, and a window of eleven bars whose first reads 138 more.
    assert data.gap == 10 + 138 + 11
    for one, next_one in (("train", "val"), ("val", "test")):
        label_ends = data.rows_of[one][-1] + 10
        window_begins = data.rows_of[next_one][0] - (138 + 11) + 1
        assert label_ends < window_begins


def test_a_batch_is_what_the_features_say_standardised_by_train_rows(data: CandleData) -> None:
    columns = {name: data.table.columns[name] for name in ("open", "high", "low", "close", "volume", "buy", "sell")}
    channels = candle_channels.candle_channels(14, columns)
    train = data.rows_of["train"]
    seen = channels[train[0] - 10 : train[-1] + 1]
    batch = data.batch("test", [3, 0])
    for place, row in enumerate(data.rows_of["test"][[3, 0]]):
        want = (channels[row - 10 : row + 1] - seen.mean(axis=0)) / seen.std(axis=0)
        np.testing.assert_allclose(batch.inputs["candles"][place], want, rtol=1e-4, atol=1e-5)
    assert batch.info["row"].tolist() == data.rows_of["test"][[3, 0]].tolist()
    closes = data.table.columns["close"]
    of_train = window_diagrams(closes, train, 31, 2, 3)
    grid = Grid.fit(of_train, 7, 2)
    whole = np.column_stack([vectorise(of_train, grid), window_spread(closes, train, 31)])
    row = data.rows_of["test"][[3]]
    own = np.column_stack([vectorise(window_diagrams(closes, row, 31, 2, 3), grid), window_spread(closes, row, 31)])
    sd = whole.std(axis=0)
    want = (own - whole.mean(axis=0)) / np.where(sd > 0, sd, 1)
    np.testing.assert_allclose(batch.inputs["topology"][:1, 0], want, rtol=1e-3, atol=1e-4)
    assert data.schema.streams == {"candles": 14, "topology": 2 * (7 + 2 + 2) + 2, "complexity": 6}


def test_targets_are_the_labels(data: CandleData) -> None:
    columns = data.table.columns
    labels = range_labels(columns["high"], columns["low"], columns["close"], threshold=0.05)
    batch, rows = data.batch("val", data.rows("val")), data.rows_of["val"]
    assert np.array_equal(batch.targets["trigger"].numpy() > 0, labels.trigger[rows])
    np.testing.assert_allclose(batch.targets["max_pct"], labels.max_pct[rows], rtol=1e-6)
    assert batch.targets["mask"].all()


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("place", [0, -1])
def test_inputs_are_those_of_bars_that_end_with_their_row(data: CandleData, split: str, place: int) -> None:
    row = int(data.rows_of[split][place])
    table = data.table
    cut = CandleTable(table.times[: row + 1], {name: each[: row + 1] for name, each in table.columns.items()})
    # With what the run fitted: a fit on train rows may read train rows after this one.
    alone = CandleData(cut, data.config, 0, data.fitted, ahead=True)
    own, found = data.batch(split, [place]), alone.batch("ahead", alone.asked())
    assert found.info["row"].tolist() == own.info["row"].tolist() == [row]
    for name in own.inputs:
        assert torch.equal(own.inputs[name], found.inputs[name]), name


def test_which_bars_are_rows_does_not_depend_on_what_is_read(folder: Path, data: CandleData) -> None:
    config = data.config
    alone = CandleData(data.table, config, reads=frozenset({"candles"}))
    assert list(alone.schema.streams) == ["candles"]
    for split in ("train", "val", "test"):
        assert np.array_equal(alone.rows_of[split], data.rows_of[split])
    assert torch.equal(alone.batch("test", [5]).inputs["candles"], data.batch("test", [5]).inputs["candles"])


def test_a_placebo_permutes_views_together_within_each_split_and_nothing_else(folder: Path, data: CandleData) -> None:
    placebo = small_data(folder, placebo=True)
    for split in ("train", "val", "test"):
        own, other = (each.batch(split, each.rows(split)) for each in (data, placebo))
        assert torch.equal(own.inputs["candles"], other.inputs["candles"])
        assert torch.equal(own.targets["trigger"], other.targets["trigger"])
        views = [torch.cat([each.inputs["topology"], each.inputs["complexity"]], dim=2)[:, 0] for each in (own, other)]
        assert not (views[0] == views[1]).all(dim=1).any()
        assert sorted(views[0].tolist()) == sorted(views[1].tolist())
    again = small_data(folder, placebo=True)
    assert torch.equal(again.batch("test", [0]).inputs["topology"], placebo.batch("test", [0]).inputs["topology"])


def test_balanced_training_rows_have_a_move_every_second_time(folder: Path) -> None:
    data = small_data(folder, sampling="balanced")
    index = data.rows("train")
    one, again, other = (data.training_batch(index, "all", epoch) for epoch in (0, 0, 1))
    assert one.targets["trigger"].mean() == pytest.approx(0.5, abs=1 / len(index))
    assert torch.equal(one.info["row"], again.info["row"])
    assert not torch.equal(one.info["row"], other.info["row"])
    assert set(one.info["row"].tolist()) <= set(data.rows_of["train"].tolist())
    # A part of an epoch holds the rows of the whole one at its places.
    assert torch.equal(data.training_batch(index[7:20], "all", 0).info["row"], one.info["row"][7:20])
    assert torch.equal(data.batch("train", index).info["row"], torch.from_numpy(data.rows_of["train"]))


def test_what_was_fitted_comes_back_from_its_files(data: CandleData) -> None:
    again = CandleFitted.read(data.fitted.tensors(), data.fitted.record())
    other = CandleData(data.table, data.config, 0, again)
    whole, found = (each.batch("test", [1, 7]) for each in (data, other))
    for name in whole.inputs:
        assert torch.equal(whole.inputs[name], found.inputs[name])


def test_new_bars_are_asked_for_the_last_one(data: CandleData) -> None:
    ahead = CandleData(data.table, data.config, 0, data.fitted, ahead=True)
    assert ahead.rows_of["ahead"].tolist() == [BARS - 1]
    assert ahead.batch("ahead", ahead.asked()).targets["mask"].tolist() == [False]


@pytest.mark.parametrize(
    "fields, fault, words",
    [
        ({"threshold": 5.0}, DataError, "no bar of train is followed by a move of 500.0%"),
        ({"threshold": 1e-6}, DataError, "every bar of train is followed by a move of 0.0%"),
        ({"purge": 9}, ConfigError, "a label reads 10 bars ahead"),
        ({"labels": "columns"}, DataError, "no columns Trigger and Max_Pct"),
        ({"embargo": 2000}, DataError, "no bar is left"),
        ({"fold": 2}, ConfigError, "fold 2 is asked for, and no folds"),
    ],
)
def test_what_can_not_be_is_refused(
    folder: Path, fields: dict[str, object], fault: type[Exception], words: str
) -> None:
    with pytest.raises(fault, match=words):
        small_data(folder, **fields)


def test_too_few_bars_say_how_many_are_needed(tmp_path: Path) -> None:
    config = CandlesConfig(path=candle_file(tmp_path / "few.csv", bars=600), cache=str(tmp_path), **SMALL)
    with pytest.raises(DataError, match="600 bars, a row needs 673"):
        config.build(config.read())


def test_the_labels_of_the_published_file_are_the_computed_ones(shared: Path, tmp_path: Path) -> None:
    fields = {"root": str(shared / "data" / "candles"), "path": LABELLED, "cache": str(tmp_path)}
    config = CandlesConfig(**fields, topology={"window": 31}, labels="columns")  # type: ignore[arg-type]
    table = config.read()
    data = CandleData(table, config, reads=frozenset({"candles"}))
    assert not [finding for finding in data.findings if "labels" in finding.what]
    assert table.trigger is not None
    changed = table.trigger.copy()
    changed[2000:2003] ^= True
    other = CandleData(
        CandleTable(table.times, table.columns, (), changed, table.max_pct), config, reads=frozenset({"candles"})
    )
    (finding,) = (each for each in other.findings if "labels" in each.what)
    assert finding.count == 3


def test_blocks_of_the_bootstrap_are_no_shorter_than_what_neighbouring_labels_share(folder: Path) -> None:
    assert small_data(folder).units("test").block == 20
    assert small_data(folder, lookback=31).units("test").block == 31


def test_new_bars_bring_no_labels_wherever_those_of_the_run_came_from(folder: Path, data: CandleData) -> None:
    config = data.config.model_copy(update={"labels": "columns"})
    ahead = CandleData(data.table, config, 0, data.fitted, ahead=True)
    assert not ahead.batch("ahead", ahead.asked()).targets["mask"].any()


def test_bars_without_volume_have_the_channels_of_prices_and_say_so(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    frame = pd.read_csv(candle_file(path), dtype=str).drop(columns=["volume", "buy_volume", "sell_volume"])
    frame.to_csv(path, index=False)
    config = CandlesConfig(path=str(path), cache=str(tmp_path / "cache"), **SMALL)
    data = config.build(config.read())
    assert data.names == ("open", "high", "low", "close")
    assert "3 columns are not there, so fewer channels can be built: volume, buy_volume, sell_volume" in data.notices()
    assert np.isfinite(data.numbers[672:]).all()
    with pytest.raises(DataError, match="the widest that can be built is 4"):
        CandleData(data.table, config.model_copy(update={"channels": 14}))
