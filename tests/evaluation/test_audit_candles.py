"""Each leak that can be planted among candles is found, and honest data have none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from candle_series import random_candles
from plait.core.errors import ConfigError
from plait.data import candles
from plait.data.candle_fitted import Scaling
from plait.data.candles import CandleData
from plait.data.sources.candles import CandlesConfig
from plait.evaluation.audit import candles as audit_candles
from plait.evaluation.audit.run import audit
from plait.features.range_labels import range_labels
from plait.features.topology import Grid

BARS = 1427
FIELDS: dict[str, Any] = {
    "path": "candles.csv", "horizon": 5, "lead": 3, "threshold": 0.05, "lookback": 23, "channels": 5, "jobs": 1,
    "topology": {"window": 41, "delay": 3, "bins": 7, "layers": 2}, "splits": [0.5, 0.2, 0.3],
}  # fmt: skip
Plant = Callable[[CandleData], None]


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is recomputed in some 15 ms."""
    monkeypatch.setattr(audit_candles, "MOST", 13)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("topology"))


def written(folder: Path, **more: Any) -> Path:
    made = random_candles(BARS, seed=11)
    frame = pd.DataFrame(made | more).rename(columns={"buy": "buy_volume", "sell": "sell_volume"})
    frame.to_csv(folder / "candles.csv", index=False)
    return folder


def data_of(folder: Path, cache: str, **fields: Any) -> CandleData:
    config = CandlesConfig(**{**FIELDS, "root": str(written(folder)), "cache": cache, **fields})
    return config.build(config.read())


def found_in(data: CandleData, severity: str = "leak") -> dict[str, list[str]]:
    """The rows of each check's findings, after their words."""
    made: dict[str, list[str]] = {}
    for each in audit(data)["findings"]:
        if each["severity"] == severity:
            made.setdefault(each["check"], []).extend([each["what"], *each["rows"]])
    return made


@pytest.mark.parametrize(
    "fields", [{}, {"channels": 14, "topology": {**FIELDS["topology"], "spread": False}}, {"folds": 2, "tested": 0.4}]
)
def test_honest_data_have_no_leak(tmp_path: Path, cache: str, fields: dict[str, Any]) -> None:
    result = audit(data_of(tmp_path, cache, **fields))
    assert (result["leaks"], result["suspects"]) == (0, 0)
    assert [each["check"] for each in result["checks"]] == ["splits", "recomputed features", "fitted", "labels"]


def test_a_bar_of_two_splits_is_a_leak(tmp_path: Path, cache: str) -> None:
    data = data_of(tmp_path, cache)
    shared = data.rows_of["val"][:3]
    data.rows_of["train"] = np.concatenate([data.rows_of["train"], shared])
    rows = found_in(data)["splits"]
    assert rows[0] == "bars are rows of both train and val"
    assert rows[1:4] == [str(data.table.times[bar]) for bar in shared]


def test_a_train_row_after_the_test_is_a_leak(tmp_path: Path, cache: str) -> None:
    data = data_of(tmp_path, cache)
    late = data.rows_of["test"][-1]
    data.rows_of["test"] = data.rows_of["test"][:-1]
    data.rows_of["train"] = np.append(data.rows_of["train"], late)
    assert "rows of train come after test begins" in found_in(data)["splits"]


def test_a_label_that_reaches_into_a_later_split_is_a_leak(tmp_path: Path, cache: str) -> None:
    data = data_of(tmp_path, cache)
    begins = int(data.rows_of["val"][0])
    # A label reads the 7 bars after its own: the seven before `begins` are rows too many, the eighth reads none.
    data.rows_of["train"] = np.arange(data.rows_of["train"][0], begins)
    what, *rows = found_in(data)["splits"]
    assert what == "labels of train read bars from which val is asked: data.purge does not hold"
    assert rows == [str(data.table.times[bar]) for bar in range(begins - 7, begins)]


def test_no_embargo_is_a_suspect(tmp_path: Path, cache: str) -> None:
    data = data_of(tmp_path, cache, embargo=0)
    assert "splits" not in found_in(data)
    what, *rows = found_in(data, "suspect")["splits"]
    assert what == "labels of train read bars that the windows of val contain: data.embargo does not hold"
    begins = data.rows_of["val"][0]
    # Labels end 7 bars on; windows of 41 begin 40 bars before; the purge keeps the last 7.
    assert rows[:40] == [str(data.table.times[bar]) for bar in range(begins - 47, begins - 7)]


def test_a_channel_that_reads_a_bar_ahead_is_a_leak(
    tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = candles.candle_channels.candle_channels

    def early(preset: int, columns: Any) -> Any:
        made = honest(preset, columns)
        made[1:-1, 4] = made[2:, 4]
        return made

    monkeypatch.setattr(candles.candle_channels, "candle_channels", early)
    what, *rows = found_in(data_of(tmp_path, cache))["recomputed features"]
    assert what == "candles is not what the bars up to the row's give"
    assert len(rows) == 39


def test_an_indicator_of_the_whole_series_is_a_leak(
    tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = candles.complexity.complexity_indicators

    def centred(*columns: Any) -> Any:
        made = honest(*columns)
        return made - np.nanmean(made, axis=0)

    monkeypatch.setattr(candles.complexity, "complexity_indicators", centred)
    assert (
        "complexity is not what the bars up to the row's give"
        in found_in(data_of(tmp_path, cache))["recomputed features"]
    )


@pytest.mark.parametrize("name", ["candles", "topology", "complexity"])
def test_inputs_of_the_next_row_are_a_leak(tmp_path: Path, cache: str, name: str) -> None:
    data = data_of(tmp_path, cache)
    data._inputs[name] = torch.roll(data._inputs[name], -1, dims=0)
    what, *_ = found_in(data)["recomputed features"]
    assert what.startswith(f"{name} is not")


def _of_all_rows(data: CandleData, name: str) -> None:
    every = Scaling.of(data.feature(name)[data.first :])
    data.fitted = replace(data.fitted, **{name: every})


@pytest.mark.parametrize("name", ["candles", "topology", "complexity"])
def test_statistics_of_all_rows_are_a_leak(tmp_path: Path, cache: str, name: str) -> None:
    data = data_of(tmp_path, cache)
    _of_all_rows(data, name)
    # What the rows receive is scaled so too: only the fit itself shows it.
    again = CandleData(data.table, data.config, fitted=data.fitted)
    assert found_in(again) == {"fitted": ["what the run fitted is not what its train rows give", *(
        f"{name}.{part}" for part in ("mean", "sd")
    )]}  # fmt: skip


def test_a_grid_of_all_windows_is_a_leak(tmp_path: Path, cache: str) -> None:
    data = data_of(tmp_path, cache)
    whole = data.config.features(data.table).read()
    data.fitted = replace(data.fitted, grid=Grid.fit(whole, 7, 2))
    again = CandleData(data.table, data.config, fitted=data.fitted)
    assert "grid" in found_in(again)["fitted"]


def test_a_label_of_later_bars_is_a_leak(tmp_path: Path, cache: str) -> None:
    data = data_of(tmp_path, cache)
    columns = data.table.columns
    later = range_labels(columns["high"], columns["low"], columns["close"], 5, 4, 0.05)
    data.labels = replace(data.labels, trigger=later.trigger, max_pct=later.max_pct)
    what, *rows = found_in(data)["labels"]
    assert what == "labels are not those of the bars they read"
    right = range_labels(columns["high"], columns["low"], columns["close"], 5, 3, 0.05)
    changed = later.trigger != right.trigger
    asked = np.concatenate(list(data.rows_of.values()))
    assert len(rows) == changed[asked].sum() > 0


def test_a_row_whose_label_is_not_known_is_a_leak(tmp_path: Path, cache: str) -> None:
    data = data_of(tmp_path, cache)
    data.rows_of["test"] = np.append(data.rows_of["test"], BARS - 7)
    what, *rows = found_in(data)["labels"]
    assert what == "rows have a label that is not known yet"
    assert rows == [f"test row at {data.table.times[BARS - 7]}"]


def test_labels_of_the_file_are_held_against_it(tmp_path: Path, cache: str) -> None:
    made = random_candles(BARS, seed=11)
    labels = range_labels(made["high"], made["low"], made["close"], 5, 3, 0.05)
    written(tmp_path, Trigger=labels.trigger, Max_Pct=labels.max_pct)
    config = CandlesConfig(**{**FIELDS, "root": str(tmp_path), "cache": cache, "labels": "columns"})
    data = config.build(config.read())
    assert found_in(data) == {}
    bar = data.rows_of["val"][3]
    data.labels.trigger.setflags(write=True)
    moved = data.labels.trigger.copy()
    moved[bar] = ~moved[bar]
    data.labels = replace(data.labels, trigger=moved)
    assert found_in(data)["labels"] == ["labels are not those of the file", f"val row at {data.table.times[bar]}"]


def test_shuffled_features_are_refused(tmp_path: Path, cache: str) -> None:
    with pytest.raises(ConfigError, match="shuffled"):
        audit(data_of(tmp_path, cache, placebo=True))
