"""Imputation from files to a run folder, by both models: scores, rivals, tables, resume, gaps of new data."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from plait.core.errors import ConfigError, DataError
from plait.objectives.pointwise import row_errors
from plait.report.page import write_report
from plait.runs.assemble import build_data, build_model, start
from plait.runs.fit import fit
from plait.runs.recipe import load_recipe, resolve
from plait.runs.run import Run, load_run

SHARED: dict[str, Any] = {
    "task": "imputation", "task.pattern": "blocks", "task.block": 3, "batch-size": 32, "trackers": [],
    "device": "cpu", "seq-len": 23,
}  # fmt: skip
CALF: dict[str, Any] = {"data.kind": "csv", "model.patch.length": 7, "model.patch.stride": 5, "epochs": 8, "lr": 3e-3}
CHIMERA: dict[str, Any] = {"data.kind": "planted", "data.weeks": 257, "epochs": 1}


def frame_of(rows: int = 307, seed: int = 1) -> pd.DataFrame:
    """Two variates of a week's rhythm."""
    steps, noise = np.arange(rows), np.random.default_rng(seed)
    rhythm = np.sin(2 * np.pi * steps / 7)
    frame = pd.DataFrame({"date": pd.date_range("2020-01-01", periods=rows), "a": 10 * rhythm, "b": 3 - rhythm})
    frame[["a", "b"]] += 0.1 * noise.standard_normal((rows, 2))
    return frame


def run_of(recipe: str, folder: Path, **fields: Any) -> Run:
    folder.mkdir(parents=True)
    fit(resolve(load_recipe(recipe), "tiny", list((SHARED | fields).items())), folder)
    return load_run(folder)


@pytest.fixture(scope="module")
def calf(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("imputation")
    frame_of().to_csv(place / "series.csv", index=False)
    return run_of("calf", place / "run", **CALF, **{"data.path": str(place / "series.csv")})


@pytest.fixture(scope="module")
def chimera(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_of("chimera", tmp_path_factory.mktemp("imputation") / "run", **CHIMERA)


def test_a_rhythm_is_learned_beyond_a_straight_line(calf: Run) -> None:
    test, rivals = calf.metrics["metrics"]["test"], calf.metrics["baselines"]
    assert set(rivals) == {"carried_forward", "linear_interpolation", "window_mean", "last_season"}
    assert test["mse"] < 0.7 * rivals["linear_interpolation"]["mse"]
    assert rivals["last_season"]["mse"] < rivals["linear_interpolation"]["mse"]


@pytest.mark.parametrize("name", ["calf", "chimera"])
def test_a_loaded_run_scores_as_it_did(name: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(name)
    saved = load_file(run.folder / "scores.safetensors")
    for each, values in run.scores("test").items():
        np.testing.assert_array_equal(values, saved[f"final.test.{each}"].numpy())
    assert write_report(run.folder).stat().st_size > 10_000


def test_texts_are_joined_and_judged_as_for_forecasts(chimera: Run) -> None:
    assert chimera.metrics["accepted"] in (True, False)
    assert chimera.data.text is not None or chimera.metrics["accepted"] is False


def test_the_table_has_every_hidden_cell_and_its_errors_are_the_score(calf: Run) -> None:
    table = pd.read_csv(calf.folder / "predictions.csv")
    assert list(table.columns) == ["window", "time", "variate", "value", "imputed"]
    scores = load_file(calf.folder / "scores.safetensors")
    assert len(table) == int(scores["final.test.n"].sum())
    sd = dict(zip(calf.data.table.variates, calf.fitted.sd, strict=True))
    error = ((table["imputed"] - table["value"]) / table["variate"].map(sd)) ** 2
    assert float(error.mean()) == pytest.approx(calf.metrics["metrics"]["test"]["mse"], rel=1e-4)
    frame = frame_of().set_index("date")
    truth = [frame.loc[time, variate] for time, variate in zip(table["time"][:97], table["variate"][:97], strict=True)]
    np.testing.assert_allclose(table["value"][:97], truth, rtol=1e-6)


def test_rivals_are_scored_on_the_same_cells(calf: Run) -> None:
    data = calf.data
    batch = data.batch("val", data.rows("val"))
    filled = batch.inputs["series"].double()  # inputs hold what is carried over from what is seen
    want = row_errors(filled, batch.targets["y"], batch.targets["mask"])
    got = calf.task.rivals(data)["carried_forward"]["val"]
    for name, values in want.items():
        np.testing.assert_allclose(got[name], values.numpy(), rtol=1e-9)


def test_gaps_of_new_data_are_filled_once_and_in_their_unit(calf: Run) -> None:
    frame = frame_of(59, seed=3)
    whole = frame.copy()
    gone = np.random.default_rng(4).random((59, 2)) < 0.2
    frame[["a", "b"]] = frame[["a", "b"]].mask(gone)
    filled = calf.predict(frame)
    assert list(filled.columns) == ["time", "variate", "imputed"]
    assert len(filled) == gone.sum()
    assert not filled.duplicated(["time", "variate"]).any()
    truth = whole.melt("date", var_name="variate").assign(time=lambda f: f["date"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
    both = filled.merge(truth, on=["time", "variate"])
    assert len(both) == len(filled)
    own = both[both["variate"] == "a"]
    assert float((own["imputed"] - own["value"]).abs().mean()) < 0.7 * float(own["value"].abs().mean())
    with pytest.raises(DataError, match="no cell is missing"):
        calf.predict(whole)


@pytest.mark.slow
def test_a_training_that_was_cut_ends_bit_for_bit_as_it_would_have(calf: Run, tmp_path: Path) -> None:
    fields = {**CALF, "data.path": calf.config.data.path, "epochs": 2, "training.checkpoint_steps": 3, "keep": 99}
    whole = run_of("calf", tmp_path / "whole", **fields)
    cut = tmp_path / "cut"
    shutil.copytree(whole.folder, cut)
    places = sorted((cut / "checkpoints").iterdir())
    for place in places[2:]:
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    for name in ("metrics.json", "predictions.csv", "scores.safetensors"):
        (cut / name).unlink()
    fit(whole.config, cut)
    one, two = (json.loads((folder / "metrics.json").read_text())["metrics"] for folder in (whole.folder, cut))
    assert one == two


@pytest.mark.parametrize(
    ("recipe", "fields", "words"),
    [
        ("chimera", {"backbone": "linear"}, "starts from the ridge of forecasts, and the task is imputation"),
        ("calf", {"model.head.kind": "classification"}, "needs 2 classes or more"),
    ],
)
def test_what_does_not_fit_is_refused(recipe: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config = resolve(load_recipe(recipe), "tiny", list((SHARED | {"data.kind": "planted"} | fields).items()))
        data = build_data(config)
        start(build_model(config, data.schema), data)


def test_data_without_windows_are_refused() -> None:
    config = resolve(load_recipe("aam"), "tiny", [("data.table", "x"), ("data.metadata", "y")])
    asked = resolve(load_recipe("calf"), "tiny", [("task", "imputation")]).task
    with pytest.raises(ConfigError, match="the task imputation is of windows, data of kind asv hold samples"):
        build_data(config.model_copy(update={"task": asked}), table=type("Table", (), {"findings": ()}))
