"""Anomaly from files to a run folder: what is found, at which threshold, and what the adjusted F1 is worth."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from plait.report.page import write_report
from plait.runs.fit import fit
from plait.runs.recipe import load_recipe, resolve
from plait.runs.run import Run, load_run

SHARED: dict[str, Any] = {"task": "anomaly", "batch-size": 32, "trackers": [], "device": "cpu"}
CALF: dict[str, Any] = {
    "data.kind": "csv", "seq-len": 29, "model.patch.length": 7, "model.patch.stride": 5, "epochs": 6, "lr": 3e-3,
    "training.ema": 0.0, "task.block": 5, "data.splits": [0.5, 0.2, 0.3],
}  # fmt: skip
PLANTED: dict[str, Any] = {"data.kind": "planted", "data.weeks": 311, "seq-len": 13, "task.block": 3, "epochs": 1}


def rhythm(rows: int, seed: int) -> pd.DataFrame:
    steps, noise = np.arange(rows), np.random.default_rng(seed).standard_normal((rows, 2))
    frame = pd.DataFrame({"date": pd.date_range("2020-01-01", periods=rows)})
    frame["a"] = 10 * np.sin(2 * np.pi * steps / 11) + 0.5 * noise[:, 0]
    frame["b"] = np.cos(2 * np.pi * steps / 11) + 0.05 * noise[:, 1]
    return frame


def run_of(recipe: str, folder: Path, **fields: Any) -> Run:
    folder.mkdir(parents=True)
    fit(resolve(load_recipe(recipe), "tiny", list((SHARED | fields).items())), folder)
    return load_run(folder)


@pytest.fixture(scope="module")
def calf(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("anomaly")
    rhythm(607, 1).to_csv(place / "series.csv", index=False)
    return run_of("calf", place / "run", **CALF, **{"data.path": str(place / "series.csv")})


def test_what_breaks_a_rhythm_is_found(calf: Run) -> None:
    test, rivals = calf.metrics["metrics"]["test"], calf.metrics["baselines"]
    assert set(rivals) == {"linear_interpolation", "window_mean", "random"}
    assert calf.metrics["best_baseline"]["name"] != "random"
    assert test["auc_pr"] > 2 * rivals["random"]["auc_pr"]
    assert test["mse"] < rivals["window_mean"]["mse"]


def test_random_scores_have_a_high_adjusted_f1(calf: Run) -> None:
    random = calf.metrics["baselines"]["random"]
    assert random["f1"] < 0.1
    assert random["point_adjusted_f1"] > 3 * random["f1"]
    share = calf.data.labels[-len(calf.data.labels) * 3 // 10 :].mean()
    assert random["auc_pr"] == pytest.approx(share, rel=0.25)


def test_metrics_are_those_of_the_table_in_the_order_of_time(calf: Run) -> None:
    table, test = pd.read_csv(calf.folder / "predictions.csv"), calf.metrics["metrics"]["test"]
    assert list(table.columns) == ["time", "score", "alarm", "anomaly"]
    assert len(table) == calf.data.borders.test
    assert table["time"].is_monotonic_increasing
    assert not table["time"].duplicated().any()
    np.testing.assert_array_equal(table["anomaly"], calf.data.labels[-len(table) :])
    label, alarm = table["anomaly"], table["alarm"]
    assert test["auc_pr"] == pytest.approx(average_precision_score(label, table["score"]), rel=1e-3)
    for name, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        assert test[name] == pytest.approx(score(label, alarm, zero_division=0))
    segment = (label != label.shift()).cumsum()
    found = alarm | (label & alarm.groupby(segment).transform("any"))
    assert test["point_adjusted_f1"] == pytest.approx(f1_score(label, found, zero_division=0))
    clean = calf.predict(split="val")["score"]
    assert test["threshold"] == pytest.approx(np.quantile(clean, 0.99), rel=1e-6)
    np.testing.assert_array_equal(alarm, table["score"] > test["threshold"])


def test_a_loaded_run_scores_as_it_did_and_has_a_report(calf: Run) -> None:
    saved = load_file(calf.folder / "scores.safetensors")
    for split in ("val", "test"):
        for name, values in calf.scores(split).items():
            np.testing.assert_array_equal(values, saved[f"final.{split}.{name}"].numpy())
    assert "Alarms of test steps" in write_report(calf.folder).read_text(encoding="utf-8")


def test_every_step_of_new_data_has_a_score(calf: Run) -> None:
    new = rhythm(71, 5)
    new.loc[40, "a"] += 40
    scores = calf.predict(new)
    assert list(scores.columns) == ["time", "score"]
    assert len(scores) == 71
    assert int(scores["score"].idxmax()) == 40


def test_texts_are_read_as_for_forecasts(tmp_path: Path) -> None:
    run = run_of("chimera", tmp_path / "run", **PLANTED, accept="always")
    assert run.data.schema.contexts == ("text",)
    assert {"auc_pr", "f1", "point_adjusted_f1"} <= set(run.metrics["metrics"]["test"])
