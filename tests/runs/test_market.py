"""`market` from a file of candles to a run folder: what it keeps, that it loads, predicts and compares."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from data.market_files import SMALL, candle_file
from plait.core.errors import DataError
from plait.evaluation.compare import Comparison, Plan
from plait.objectives.ranking import roc_auc
from plait.runs.assemble import stages_for
from plait.runs.config import RunConfig
from plait.runs.fit import fit, tell, warn
from plait.runs.recipe import load_recipe, resolve
from plait.runs.run import Run, load_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("market")


def config_of(folder: Path, **fields: Any) -> RunConfig:
    path = folder / "candles.csv"
    if not path.is_file():
        candle_file(path)
    data = {f"data.{name}": value for name, value in SMALL.items() if name != "topology"}
    data |= {f"data.topology.{name}": value for name, value in SMALL["topology"].items()}
    own = {"data.path": str(path), "data.cache": str(folder / "cache"), "device": "cpu", "trackers": [], "epochs": 2}
    return resolve(load_recipe("market"), "tiny", list({**data, **own, **fields}.items()))


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    (folder / "run").mkdir()
    fit(config_of(folder, **{"model.fusion.kind": "token_transformer"}), folder / "run")
    return load_run(folder / "run", raw=True)


def test_the_run_s_scores_are_those_of_the_loaded_model(run: Run) -> None:
    kept = json.loads((run.folder / "metrics.json").read_text())
    found = run.evaluate("test")
    for name in ("brier", "auc", "average_precision"):
        assert found[name] == pytest.approx(kept["raw"]["test"][name], rel=1e-5)
    assert float(run.model.temperature) != 1  # type: ignore[arg-type]


def test_predictions_are_in_a_table_and_on_new_bars_the_same(folder: Path, run: Run) -> None:
    whole = run.predict(split="test")
    assert list(whole) == ["open_time", "trigger_prob", "max_pct", "trigger", "actual_max_pct"]
    frame = pd.read_csv(folder / "candles.csv", dtype=str)
    at = int(np.flatnonzero(frame["open_time"] == whole["open_time"].iloc[-1].replace("T", " "))[0])
    cut = run.predict(frame.iloc[: at + 1])
    assert cut["open_time"].tolist() == [whole["open_time"].iloc[-1]]
    assert cut["trigger_prob"].iloc[0] == pytest.approx(whole["trigger_prob"].iloc[-1], rel=1e-5)
    assert cut["max_pct"].iloc[0] == pytest.approx(whole["max_pct"].iloc[-1], rel=1e-4, abs=1e-5)


def test_bars_of_another_length_are_refused(folder: Path, run: Run) -> None:
    frame = pd.read_csv(folder / "candles.csv", dtype=str)
    frame["open_time"] = pd.date_range("2025-01-01", periods=len(frame), freq="h").astype(str)
    with pytest.raises(DataError, match="the run learned bars of 900 s, these are of 3600 s"):
        run.predict(frame)


def test_what_is_said_of_a_run(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    tell(json.loads((run.folder / "metrics.json").read_text()))
    said = capsys.readouterr().out
    assert "auc " in said
    assert "last_bar_range" in said
    assert "topology and complexity" in said


def test_a_training_says_that_rare_rows_are_weighed_twice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(folder, **{"data.sampling": "balanced"})
    warn(config, config.data.build(config.data.read(), reads=frozenset({"candles"})))
    assert "both weigh rare moves" in capsys.readouterr().out


def test_rates_of_parts_that_are_absent_fall_away(folder: Path) -> None:
    config = config_of(folder, **{"training.lr_of": {"fusion.*": 1e-4, "legs.candles.*": 1e-3}})
    data = config.data.build(config.data.read(), reads=frozenset({"candles"}))
    torch.manual_seed(0)
    alone = config.model.alone().build(data.schema)
    assert stages_for(config.training, alone, fused=False).lr_of == {"legs.candles.*": 1e-3}


@pytest.mark.slow
def test_a_comparison_walks_forward_and_ranks_all_folds_together(folder: Path) -> None:
    recipe = load_recipe("market")
    config = config_of(folder, epochs=1)
    (folder / "compare").mkdir()
    names = ("anchor", "fused", "placebo", "without_candles")
    plan = Plan(config, recipe.modality, {name: recipe.arms[name] for name in names}, (0, 1), recipe.meanings, folds=2)
    result = Comparison(plan, folder / "compare").run()
    arms = {arm["name"]: arm for arm in result["arms"]}
    assert {*names, "fused_raw", "placebo_raw", "last_bar_range", "gradient_boosting"} <= set(arms)
    assert result["verdicts"][0]["modality"] == "topology and complexity"
    ranks = []
    for seed in (0, 1):
        folds = [
            load_file(folder / f"compare/arms/without_candles-fold{fold}-seed{seed}/scores.safetensors")
            for fold in (0, 1)
        ]
        logit, event = (np.concatenate([each[f"raw.test.{name}"] for each in folds]) for name in ("logit", "event"))
        ranks.append(float(roc_auc(logit, event > 0)[0]))
    found = arms["without_candles"]["also"]["auc"]
    assert found["value"] == pytest.approx(np.mean(ranks))
    assert found["low"] < found["value"] < found["high"]
    assert arms["base_rate"]["also"]["auc"]["value"] == pytest.approx(0.5, abs=0.1)


def test_a_model_without_candles_is_kept_without_a_question(folder: Path) -> None:
    (folder / "without").mkdir()
    result = fit(config_of(folder, epochs=1, **{"model.without": ["candles"]}), folder / "without")
    assert result["accepted"] is True
    assert "candles are left out" in result["acceptance"]
    kept = load_run(folder / "without")
    assert kept.config.model.reads == {"topology", "complexity"}
    assert result["modality"] == "topology and complexity"


def test_a_comparison_takes_the_folds_of_the_fields(folder: Path) -> None:
    plan = Plan.of_recipe(load_recipe("market"), config_of(folder, **{"data.folds": 3}), (0,))
    assert plan.folds == 3
    assert plan.in_fold(2).data.folds == 3
    assert Plan.of_recipe(load_recipe("market"), config_of(folder), (0,)).folds == 5
