"""Intervals and quantiles from a training to a loaded run: what is kept, what it holds, and forecasts with dates."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from plait.cli.predict import predict_verb
from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Output, Prediction
from plait.heads._answers import QUANTILES
from plait.models.calf import CalfConfig
from plait.report.page import write_report
from plait.runs.assemble import build_model, start
from plait.runs.fit import fit
from plait.runs.recipe import load_recipe, resolve
from plait.runs.run import Run, load_run
from plait.tasks._intervals import measured

LEVELS = [0.05, 0.5, 0.95]
LINEAR: dict[str, Any] = {"model.series.kind": "linear", "model.series.dim": 16, "epochs": 1, "trackers": []}
SHARED: dict[str, Any] = {**LINEAR, "device": "cpu", "batch-size": 64}


def monthly(rows: int = 211, seed: int = 0) -> pd.DataFrame:
    """Two variates at the end of each month, the second in another unit, some of it missing."""
    rng, steps = np.random.default_rng(seed), np.arange(rows)
    season = np.sin(2 * np.pi * steps / 12)
    frame = pd.DataFrame({"date": pd.date_range("2001-01-31", periods=rows, freq="ME"), "a": season, "b": 900 - season})
    frame[["a", "b"]] += rng.standard_normal((rows, 2)) * [0.1, 30]
    frame.loc[rng.random(rows) < 0.1, "a"] = np.nan
    return frame


def run_of(folder: Path, **fields: Any) -> Run:
    folder.mkdir(parents=True)
    fit(resolve(load_recipe("chimera"), "tiny", list((SHARED | fields).items())), folder)
    return load_run(folder)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("months")
    monthly().to_csv(place / "series.csv", index=False)
    given = {"data.kind": "csv", "data.path": str(place / "series.csv"), "data.lookback": 7, "data.horizon": 5}
    return run_of(place / "run", **given)


@pytest.fixture(scope="module")
def quantiles(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A residual model that keeps its texts, on weekly data."""
    fields = {"data.kind": "planted", "data.weeks": 331, "model.residual": True, "accept": "always"}
    return run_of(tmp_path_factory.mktemp("weeks") / "run", **fields, **{"task.quantiles": LEVELS})


@pytest.mark.parametrize("name", ["points", "quantiles"])
def test_a_loaded_run_holds_and_predicts_as_it_did(name: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(name)
    saved = load_file(run.folder / "scores.safetensors")
    scores = run.scores("test")
    assert {"asked", "covered", "width"} <= set(scores)
    for each, values in scores.items():
        np.testing.assert_array_equal(values, saved[f"final.test.{each}"].numpy())
    for split in ("val", "test"):
        found = run.metrics["metrics"][split]
        assert found["coverage"] == pytest.approx(
            float(saved[f"final.{split}.covered"].sum() / saved[f"final.{split}.asked"].sum())
        )
    again = load_run(run.folder)
    pd.testing.assert_frame_equal(again.predict(ahead=True), run.predict(ahead=True))
    by_step = run.metrics["intervals"]["by_step"]
    assert len(by_step["coverage"]) == run.schema.horizon == len(by_step["width"])
    whole = run.predict(ahead=True)
    assert (whole["low"] <= whole["forecast"]).all()
    assert (whole["forecast"] <= whole["high"]).all()
    page = write_report(run.folder).read_text(encoding="utf-8")
    assert "Bands are to hold 90" in page
    assert "test coverage (90" in page


def test_the_intervals_of_validation_hold_the_rank_of_every_step_and_variate(points: Run) -> None:
    data, size = points.data, 64
    held = []
    for batch in (data.batch("val", rows) for rows in np.array_split(data.rows("val"), 3)):
        with torch.no_grad():
            found = points.model(batch).prediction
        held.append(points.task.intervals.held(found, batch.targets["y"], batch.targets["mask"]))
    covered, asked = (torch.cat([getattr(each, name) for each in held]).sum(dim=0) for name in ("covered", "asked"))
    assert len(asked.unique()) > 1  # some targets are missing
    want = [[-(-(n + 1) * 9 // 10) for n in row] for row in asked.tolist()]
    assert covered.tolist() == want
    again = measured(data, points.model, 0.9, None, size, "cpu")
    torch.testing.assert_close(again.reach, points.task.intervals.reach, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["points", "quantiles"])
def test_coverage_does_not_depend_on_the_batch_size(name: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(name)
    found = []
    for size in (1, 7, 64):
        training = run.config.training.model_copy(update={"eval_batch_size": size})
        sized = replace(run, config=run.config.model_copy(update={"training": training}))
        found.append({split: sized.scores(split) for split in ("val", "test")})
    for other in found[1:]:
        for split in ("val", "test"):
            for each in ("asked", "covered"):
                np.testing.assert_array_equal(other[split][each], found[0][split][each])


def test_ahead_has_the_months_to_come_in_the_unit_of_the_file(points: Run) -> None:
    made = points.predict(ahead=True)
    assert list(made.columns) == ["time", "variate", "forecast", "low", "high"]
    ends = pd.date_range("2001-01-31", periods=216, freq="ME")[-5:].strftime("%Y-%m-%dT%H:%M:%S")
    assert made["time"].tolist() == [end for end in ends for _ in "ab"]
    assert made["variate"].tolist() == list("ab") * 5
    wide = points.predict()
    for variate, sd in zip("ab", points.fitted.sd, strict=True):
        own = made[made["variate"] == variate]
        np.testing.assert_array_equal(own["forecast"], wide[wide["variate"] == variate].iloc[0, 2:].astype(float))
        reach = points.calibration["reach"][:, "ab".index(variate)].numpy() * sd  # type: ignore[index]
        np.testing.assert_allclose(own["high"] - own["forecast"], reach, rtol=1e-9)
        np.testing.assert_allclose(own["forecast"] - own["low"], reach, rtol=1e-9)


def test_ahead_of_a_new_file_has_the_weeks_after_its_own_end(quantiles: Run) -> None:
    table = quantiles.data.table
    frame = pd.DataFrame({"date": table.times[:101], table.variates[0]: table.values[:101, 0]})
    made = quantiles.predict(frame, ahead=True)
    assert list(made.columns) == ["time", "variate", "forecast", "low", "high", "q0.05", "q0.5", "q0.95"]
    assert made["time"].tolist() == np.datetime_as_string(table.times[101 : 101 + len(made)], unit="s").tolist()
    np.testing.assert_array_equal(made["q0.5"], made["forecast"])
    assert (made["q0.05"] < made["q0.5"]).all()
    assert (made["q0.5"] < made["q0.95"]).all()


@torch.no_grad()
def test_text_moves_the_quantiles_of_the_residual_model_with_its_point(quantiles: Run) -> None:
    batch = quantiles.data.batch("test", quantiles.data.rows("test"))
    assert quantiles.config.model.residual
    model: Any = deepcopy(quantiles.model)
    model.text_head.weight.mul_(1e4)  # one epoch has hardly moved it
    both, alone = (model(each).prediction for each in (batch, batch.without(["text"])))
    assert (both.point - alone.point).abs().max() > 0.1
    apart = [each.parts[QUANTILES] - each.point[..., None] for each in (both, alone)]
    torch.testing.assert_close(*apart, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_leg_that_starts_as_the_ridge_starts_with_the_quantiles_of_its_train_errors(quantiles: Run) -> None:
    data = quantiles.data
    model = build_model(quantiles.config, data.schema)
    start(model, data)
    batch = data.batch("train", data.rows("train")).without(["text"])
    found = model(batch).prediction
    errors = (batch.targets["y"] - found.point)[..., 0]
    want = errors.quantile(torch.tensor([0.05, 0.95]), dim=0).T
    got = (found.parts[QUANTILES] - found.point[..., None])[0, :, 0][:, [0, 2]]
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


def test_the_verb_writes_a_table_and_plain_json_and_refuses_what_does_not_go_together(
    points: Run, tmp_path: Path
) -> None:
    run, out = str(points.folder), tmp_path / "ahead.csv"
    predict_verb([run, "--ahead", "--output", str(out), "--device", "cpu"])
    pd.testing.assert_frame_equal(pd.read_csv(out), points.predict(ahead=True), rtol=1e-6)
    new = tmp_path / "new.csv"
    monthly(29, seed=7).to_csv(new, index=False)
    told = predict_verb([run, "--ahead", "--path", str(new), "--device", "cpu"])
    assert json.loads(json.dumps(told, allow_nan=False))["forecast"][0]["time"] == "2003-06-30T00:00:00"
    with pytest.raises(ConfigError, match="--ahead of what is to come"):
        predict_verb([run, "--ahead", "--split", "test"])
    other = points.config.model_copy(update={"task": points.config.task.model_copy(update={"kind": "imputation"})})
    with pytest.raises(ConfigError, match="task imputation forecasts no steps"):
        replace(points, config=other).predict(ahead=True)


def test_an_older_run_has_no_intervals_and_says_so(points: Run, capsys: pytest.CaptureFixture[str]) -> None:
    old = replace(points, calibration=None)
    assert set(old.evaluate("test")) & {"coverage", "interval_width"} == set()
    assert old.evaluate("test")["mse"] == points.evaluate("test")["mse"]
    assert list(old.predict(ahead=True).columns) == ["time", "variate", "forecast"]
    assert "no intervals" in capsys.readouterr().err


def test_where_validation_is_too_small_intervals_have_no_bounds_and_that_is_said(
    points: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert points.calibration is not None
    reach = points.calibration["reach"].clone()
    reach[3:] = torch.inf
    few = replace(points, calibration={"reach": reach})
    made = few.predict(ahead=True)
    assert made.groupby("time")["low"].apply(lambda low: low.isna().all()).tolist() == [False] * 3 + [True] * 2
    assert "at 4 of 10 steps" in capsys.readouterr().err
    assert few.scores("test")["asked"].sum() < points.scores("test")["asked"].sum()
    assert 0 < few.evaluate("test")["coverage"] <= 1
    none = replace(points, calibration={"reach": torch.full_like(reach, torch.inf)})
    assert "coverage" not in none.evaluate("test")
    assert "at every step" in none.task.caveats({})[0]


def test_calf_answers_quantiles_through_the_same_head() -> None:
    schema = Schema("series", {"series": 3}, tuple("abc"), lookback=23, horizon=5, quantiles=(0.1, 0.5, 0.9))
    config = CalfConfig(backbone="patch", dim=8, heads=2, gpt_layers=1, patch={"length": 7, "stride": 4})
    model = config.build(schema).eval()
    inputs = {"series": 5 + 9 * torch.randn(3, 23, 3), "series_mask": torch.ones(3, 23, 3, dtype=torch.bool)}
    with torch.no_grad():
        found: Output = model(type("Batch", (), {"inputs": inputs})())
    assert isinstance(found.prediction, Prediction)
    got = found.prediction.parts[QUANTILES]
    assert got.shape == (3, 5, 3, 3)
    torch.testing.assert_close(got[..., 1], found.prediction.point)
    sd = inputs["series"].std(dim=1, correction=0)[:, None]
    torch.testing.assert_close((got[..., 2] - got[..., 1]) / sd, torch.full((3, 5, 3), 1.28155), rtol=1e-3, atol=1e-3)
