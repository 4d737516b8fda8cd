"""Few windows to learn from, and data that were never learned from."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait.core.errors import ConfigError, DataError, FileError
from plait.runs.assemble import build_data
from plait.runs.config import RunConfig
from plait.runs.fit import fit, tell
from plait.runs.recipe import load_recipe, resolve
from plait.runs.run import load_run

ROWS, LOOKBACK, HORIZON = 600, 24, 6


def written(path: Path, seed: int = 0, step: str = "h", scale: float = 1.0) -> str:
    """A file of two noisy cycles."""
    maker, t = np.random.default_rng(seed), np.arange(ROWS)
    values = {n: scale * (np.sin(2 * np.pi * t / 24 + k) + 0.2 * maker.normal(size=ROWS)) for k, n in enumerate("ab")}
    pd.DataFrame({"date": pd.date_range("2020-01-01", periods=ROWS, freq=step), **values}).to_csv(path, index=False)
    return str(path)


def config_of(folder: Path, **fields: Any) -> RunConfig:
    own = {"data.kind": "csv", "data.path": written(folder / "own.csv"), "trackers": [], "device": "cpu"}
    own |= {"seq-len": LOOKBACK, "pred-len": HORIZON, "train-epochs": 1, "backbone": "patch", "d-model": 8}
    return resolve(load_recipe("calf"), "tiny", list((own | fields).items()))


def test_few_shot_learns_from_the_earliest_windows_and_changes_no_other_split(tmp_path: Path) -> None:
    whole, few = build_data(config_of(tmp_path)), build_data(config_of(tmp_path, percent=10))
    count = len(whole.rows("train"))
    assert len(few.rows("train")) == count * 10 // 100
    np.testing.assert_array_equal(few.origins["train"], whole.origins["train"][: count * 10 // 100])
    for split in ("val", "test"):
        np.testing.assert_array_equal(few.origins[split], whole.origins[split])
        # Standardised alike, so that errors can be compared.
        assert bool((few.batch(split, [0]).targets["y"] == whole.batch(split, [0]).targets["y"]).all())


def test_few_shot_rivals_learn_from_as_few(tmp_path: Path) -> None:
    config = config_of(tmp_path, percent=5)
    whole, few = build_data(config_of(tmp_path)), build_data(config)
    task = config.task.build(few)
    ridges = [task.metrics(task.rivals(data)["nlinear_ridge"]["test"])["mse"] for data in (whole, few)]
    naive = [task.metrics(task.rivals(data)["last_value"]["test"])["mse"] for data in (whole, few)]
    assert ridges[1] > ridges[0]
    assert naive[0] == naive[1]


def test_a_share_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 % of 90 train windows is none"):
        build_data(config_of(tmp_path, percent=1, **{"data.rows": 170, "data.splits": [0.7, 0.1, 0.2], "seq-len": 23}))


def test_other_data_are_scored_after_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = written(tmp_path / "there.csv", seed=1, scale=50.0)
    (tmp_path / "run").mkdir()
    result = fit(config_of(tmp_path, **{"zero-shot": there}), tmp_path / "run")
    found = result["zero_shot"]
    assert found["data"] == there
    assert {"last_value", "nlinear_ridge"} <= set(found["baselines"])
    run = load_run(tmp_path / "run")
    source = run.config.data.model_copy(update={"path": there, "zero_shot": None})
    data = build_data(run.config.model_copy(update={"data": source}))
    task = run.config.task.build(data)
    batch = data.batch("test", data.rows("test"))
    scored = task.scores(run.model(batch), batch)
    scores = task.metrics({name: values.detach().numpy() for name, values in scored.items()})
    assert found["test"]["mse"] == pytest.approx(scores["mse"], rel=1e-5)
    # In their own unit, and not in that of the data that were learned from.
    assert found["test"]["mse"] < 10
    assert found["test"]["mse"] != pytest.approx(result["metrics"]["test"]["mse"], rel=1e-6)
    tell(result)
    assert f"zero-shot on {there}: test mse" in capsys.readouterr().out


def test_other_data_of_more_columns_are_answered_column_by_column(tmp_path: Path) -> None:
    there = written(tmp_path / "there.csv", seed=1)
    (tmp_path / "run").mkdir()
    result = fit(config_of(tmp_path, **{"zero-shot": there, "data.targets": ["a"]}), tmp_path / "run")
    run, single = load_run(tmp_path / "run"), []
    for name in ("a", "b"):
        source = run.config.data.model_copy(update={"path": there, "zero_shot": None, "targets": [name]})
        data = build_data(run.config.model_copy(update={"data": source}))
        task = run.config.task.build(data)
        batch = data.batch("test", data.rows("test"))
        scored = task.scores(run.model(batch), batch)
        single.append(task.metrics({each: values.detach().numpy() for each, values in scored.items()})["mse"])
    assert result["zero_shot"]["test"]["mse"] == pytest.approx(np.mean(single), rel=1e-5)


@pytest.mark.parametrize("fault", ["missing", "step"])
def test_what_can_not_be_scored_is_refused_before_the_training(tmp_path: Path, fault: str) -> None:
    there = str(tmp_path / "nowhere.csv") if fault == "missing" else written(tmp_path / "days.csv", step="D")
    (tmp_path / "run").mkdir()
    with pytest.raises(FileError if fault == "missing" else ConfigError):
        fit(config_of(tmp_path, **{"zero-shot": there}), tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_data_that_are_read_from_no_path_have_no_other_data_of_their_kind(tmp_path: Path) -> None:
    fields = [("data.kind", "planted"), ("zero-shot", "there.csv"), ("trackers", []), ("device", "cpu")]
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match="not read from a path"):
        fit(resolve(load_recipe("calf"), "tiny", [*fields, ("backbone", "patch")]), tmp_path / "run")
