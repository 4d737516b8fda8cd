"""Direction from files to a run folder: by a series, with texts, its table, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Batch
from plait.evaluation.audit.run import audit
from plait.report.page import write_report
from plait.runs.assemble import build_data, build_model
from plait.runs.fit import fit
from plait.runs.recipe import load_recipe, resolve
from plait.runs.run import Run, load_run

SHARED: dict[str, Any] = {"task": "direction", "batch-size": 32, "trackers": [], "device": "cpu"}
CALF: dict[str, Any] = {
    "data.kind": "csv", "seq-len": 17, "pred-len": 5, "model.patch.length": 7, "model.patch.stride": 5, "epochs": 6,
    "lr": 3e-3, "training.ema": 0.0,
}  # fmt: skip
PLANTED: dict[str, Any] = {"data.kind": "planted", "data.weeks": 257, "epochs": 1}


def run_of(recipe: str, folder: Path, **fields: Any) -> Run:
    folder.mkdir(parents=True)
    fit(resolve(load_recipe(recipe), "tiny", list((SHARED | fields).items())), folder)
    return load_run(folder)


@pytest.fixture(scope="module")
def calf(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A rhythm of 11 steps, whose direction its window tells."""
    place, steps = tmp_path_factory.mktemp("direction"), np.arange(307)
    noise = 0.1 * np.random.default_rng(1).standard_normal((307, 2))
    values = {"a": np.cos(steps / 11 * 2 * np.pi) + noise[:, 0], "b": noise[:, 1]}
    frame = pd.DataFrame({"date": pd.date_range("2020-01-01", periods=307), **values})
    frame.to_csv(place / "series.csv", index=False)
    return run_of("calf", place / "run", **CALF, **{"data.path": str(place / "series.csv")})


@pytest.fixture(scope="module")
def chimera(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_of("chimera", tmp_path_factory.mktemp("direction") / "run", **PLANTED, accept="always")


def test_a_rhythm_is_told_better_than_by_shares(calf: Run) -> None:
    test, rivals = calf.metrics["metrics"]["test"], calf.metrics["baselines"]
    assert set(rivals) == {"class_shares", "last_direction", "logistic_window"}
    assert test["log_loss"] < 0.75 * rivals["class_shares"]["log_loss"]
    assert rivals["class_shares"]["log_loss"] == pytest.approx(np.log(3), abs=0.05)
    assert test["error_rate"] < 0.3


@pytest.mark.parametrize("name", ["calf", "chimera"])
def test_the_table_and_the_page_are_the_scores(name: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(name)
    table = pd.read_csv(run.folder / "predictions.csv")
    shares = table[[f"probability_{each}" for each in ("down", "flat", "up")]].to_numpy()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    known = table["actual"].notna().to_numpy()
    truth = table.loc[known, "actual"].map({"down": 0, "flat": 1, "up": 2}).to_numpy()
    test = run.metrics["metrics"]["test"]
    assert -np.log(shares[known, truth]).mean() == pytest.approx(test["log_loss"], rel=1e-4)
    assert (table["class"] != table["actual"])[known].mean() == pytest.approx(test["error_rate"])
    page = json.loads((run.folder / "page.json").read_text(encoding="utf-8"))
    assert np.trace(page["confusion"]) == pytest.approx((1 - test["error_rate"]) * known.sum())
    for each, values in run.scores("test").items():
        np.testing.assert_array_equal(values, load_file(run.folder / "scores.safetensors")[f"final.test.{each}"])
    assert "confusion" in write_report(run.folder).read_text(encoding="utf-8").lower()


@pytest.mark.parametrize(
    ("recipe", "fields"),
    [
        ("chimera", {}),
        ("chimera", {"backbone": "patch"}),
        ("calf", {"token_axis": "variate", "model.bias.kind": "none"}),
        ("calf", {}),
    ],
)
def test_the_answer_is_of_the_variate_that_is_asked_for(recipe: str, fields: dict[str, Any]) -> None:
    # Legs read all variates alike: nothing but the place of the answer can tell which of them is meant.
    kind = {"data.kind": "csv", "data.path": "none.csv", "backbone": "patch"} if recipe == "calf" else PLANTED
    config = resolve(load_recipe(recipe), "tiny", list((SHARED | kind | fields).items()))
    facts = Schema("series", {"series": 3}, ("a", "b", "c"), lookback=96, horizon=5, outputs=3)
    models = [build_model(config, replace(facts, about=name)).eval() for name in ("a", "c")]
    series = torch.randn(7, 96, 3, generator=torch.Generator().manual_seed(1))
    marks = {"series_marks": torch.zeros(7, 96, 0), "series_season": torch.zeros(7, dtype=torch.int64)}
    batches = [
        Batch({"series": each, "series_mask": torch.ones_like(each, dtype=torch.bool), **marks}, {}, {})
        for each in (series, series.flip(2))
    ]
    with torch.no_grad():
        first, turned = (model(batch).prediction.point for model, batch in zip(models, batches, strict=True))
        other = models[1](batches[0]).prediction.point
    torch.testing.assert_close(first, turned, rtol=1e-5, atol=1e-6)
    assert (first - other).abs().max() > 1e-3


def test_new_data_are_answered_for_their_last_window(calf: Run) -> None:
    dates = pd.date_range("2024-01-01", periods=17)
    cosine = np.cos(2 * np.pi * np.arange(17) / 11)
    answers = calf.predict(pd.DataFrame({"date": dates, "a": cosine, "b": np.zeros(17)}))
    assert list(answers["origin"]) == ["2024-01-17T00:00:00"]
    assert "actual" not in answers
    assert answers["class"][0] == "up"  # the 17th step is just after the trough


def test_texts_reach_the_classes_and_the_audit_holds(chimera: Run) -> None:
    data = chimera.data
    assert data.schema.contexts == ("text",)
    batch = data.batch("test", data.rows("test")[:7])
    assert chimera.model(batch).prediction.point.shape == (7, 3)
    assert {"series", "text"} == set(data.schema.streams)
    assert audit(data)["leaks"] == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"residual": True}, "residual adds to a forecast"),
        ({"model.head.kind": "forecast"}, "the head forecast answers steps"),
        ({"backbone": "linear"}, "starts from the ridge of forecasts, and the task is direction"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve(load_recipe("chimera"), "tiny", list((SHARED | PLANTED | fields).items()))


def test_a_forecast_is_not_asked_of_a_head_of_classes() -> None:
    fields = [*(SHARED | PLANTED).items(), ("task", "forecast"), ("model.head.kind", "classification")]
    config = resolve(load_recipe("chimera"), "tiny", fields)
    with pytest.raises(ConfigError, match="needs 2 classes or more"):
        build_model(config, build_data(config).schema)
