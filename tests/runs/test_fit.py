"""Runs end in folders that load, predict in the unit of the data, and close the text path when it is not accepted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import plait
from plait.core.errors import ConfigError, FileError, PlaitError
from plait.models.chimera import start_from_ridge
from plait.objectives.bootstrap import Units
from plait.runs.acceptance import accept, ends_in_series_stage
from plait.runs.assemble import build_data, build_model
from plait.runs.fit import fit, warn
from plait.runs.recipe import load_recipe, resolve
from plait.runs.run import Run, load_run
from plait.training.config import TrainingConfig
from plait.training.stages import select

SMALL: list[tuple[str, Any]] = [
    ("data.weeks", 420), ("train-epochs", 1), ("batch-size", 64), ("trackers", []), ("device", "cpu"),
]  # fmt: skip


def _run(folder: Path, *fields: tuple[str, Any]) -> Run:
    folder.mkdir(parents=True)
    fit(resolve(load_recipe("chimera"), "tiny", [*SMALL, *fields]), folder)
    return load_run(folder)


@pytest.fixture(scope="module")
def rejected(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the control, whose text has nothing to say."""
    return _run(tmp_path_factory.mktemp("runs") / "control", ("data.signal", False))


@pytest.fixture(scope="module")
def always(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _run(tmp_path_factory.mktemp("runs") / "always", ("accept", "always"))


def test_a_text_path_without_a_shown_gain_is_closed_and_equals_the_anchor(rejected: Run, tmp_path: Path) -> None:
    assert rejected.metrics["accepted"] is False
    assert (
        "against the anchor alone" in rejected.metrics["acceptance"] or "not enough" in rejected.metrics["acceptance"]
    )
    assert rejected.config.model.fusion.kind == "none"
    anchor = _run(tmp_path / "anchor", ("data.signal", False), ("fusion", "none"))
    assert anchor.metrics["accepted"] is None
    own, other = rejected.model.state_dict(), anchor.model.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[k], other[k]) for k in own)
    assert rejected.metrics["metrics"]["test"] == anchor.metrics["metrics"]["test"]
    assert rejected.metrics["raw"]["test"] != rejected.metrics["metrics"]["test"]


def test_a_fusion_that_changes_the_anchor_alone_is_compared_with_one_trained_without_it(tmp_path: Path) -> None:
    stages = [
        {"name": "series", "present": ["series"], "epochs": 1},
        {"name": "fusion", "train": ["text*", "fusion.*"], "epochs": 1},
    ]
    fields = [("data.signal", False), ("training.stages", stages)]
    rejected = _run(tmp_path / "gmu", *fields, ("fusion", "gmu"), ("model.fusion.form", "arevalo"))
    anchor = _run(tmp_path / "anchor", *fields, ("fusion", "none"))
    assert rejected.metrics["accepted"] is False
    own, other = rejected.model.state_dict(), anchor.model.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[k], other[k]) for k in own)


def test_the_recipe_trains_the_film_of_a_head_beside_the_fusion(rejected: Run) -> None:
    for film in (True, False):
        config = resolve(load_recipe("chimera"), "tiny", [*SMALL, ("model.head.film", film)])
        model = build_model(config, rejected.data.schema.with_widths({"series": 7, "text": 256}))
        stage = next(stage for stage in config.training.stages if stage.name == "fusion")
        select(model, stage)
        learns = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
        assert learns == {"text", "fusion", *(["head"] if film else [])}
        own = {name for name, p in model.named_parameters() if name.startswith("head.") and p.requires_grad}
        assert all(name.startswith(("head.film.", "head.contexts.")) for name in own)


def test_a_loaded_run_scores_and_predicts_as_it_did(always: Run) -> None:
    assert always.config.model.fusion.kind == "latent_gate"
    assert always.evaluate("test")["mse"] == pytest.approx(always.metrics["metrics"]["test"]["mse"], rel=1e-6)
    stored = pd.read_csv(always.folder / "predictions.csv")
    again = always.predict(split="test")
    np.testing.assert_allclose(again.filter(like="h").to_numpy(), stored.filter(like="h").to_numpy(), rtol=1e-5)


def test_a_run_moves_to_a_device_there_is(always: Run) -> None:
    assert always.on("cpu").evaluate("test") == always.evaluate("test")
    with pytest.raises(ConfigError, match=r"device.*'tpu'"):
        always.on("tpu")


def test_predictions_are_in_the_unit_of_the_data_and_score_to_the_metric(always: Run) -> None:
    stored = pd.read_csv(always.folder / "predictions.csv")
    data = always.data
    assert len(stored) == len(data.rows("test"))
    ahead = data.origins["test"][:, None] + np.arange(1, data.horizon + 1)
    error = (stored[[f"h{h}" for h in range(1, 13)]].to_numpy() - data.table.values[ahead, 0]) / data.fitted.sd[0]
    assert (error**2).mean() == pytest.approx(always.metrics["metrics"]["test"]["mse"], rel=1e-4)
    assert stored["origin"][0] == str(data.table.times[data.origins["test"][0]])


def test_the_folder_holds_what_it_should(always: Run) -> None:
    names = {p.name for p in always.folder.iterdir()}
    assert names >= {
        "config.yaml", "environment.json", "splits.json", "metrics.jsonl", "metrics.json", "predictions.csv",
        "checkpoints", "model", "scores.safetensors", "page.json",
    }  # fmt: skip
    scores = load_file(always.folder / "scores.safetensors")
    total = scores["final.test.se"].sum() / scores["final.test.n"].sum()
    assert float(total) == pytest.approx(always.metrics["metrics"]["test"]["mse"])
    assert set(always.metrics["baselines"]) == {
        "last_value", "seasonal_naive", "seasonal_prior", "nlinear_ridge", "ridge_prior", "ridge_season_dummies",
    }  # fmt: skip


def test_the_best_baseline_is_chosen_on_validation_and_the_change_has_an_interval(tmp_path: Path) -> None:
    metrics = _run(tmp_path / "run", ("data.weeks", 700), ("fusion", "none")).metrics
    rivals, against = metrics["baselines"], metrics["best_baseline"]
    assert against["name"] == min(rivals, key=lambda name: rivals[name]["val_mse"])
    own, rival = metrics["metrics"]["test"]["mse"], rivals[against["name"]]["mse"]
    assert against["change"] == pytest.approx(own / rival - 1)
    assert against["low"] <= against["change"] <= against["high"]
    assert all(scores["mse_low"] <= scores["mse"] <= scores["mse_high"] for scores in rivals.values())


def test_a_flipped_byte_anywhere_in_the_model_is_refused(always: Run, tmp_path: Path) -> None:
    import shutil

    for name in ("weights.safetensors", "preprocessing.safetensors", "config.json", "schema.json", "manifest.json"):
        copy = tmp_path / name
        shutil.copytree(always.folder, copy)
        content = bytearray((copy / "model" / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / "model" / name).write_bytes(content)
        with pytest.raises(PlaitError):
            load_run(copy)


def test_the_ridge_start_is_the_closed_form_on_the_same_windows(tmp_path: Path) -> None:
    config = resolve(load_recipe("chimera"), "tiny", [
        *SMALL, ("backbone", "linear"), ("fusion", "none"), ("model.series.marks", False),
    ])  # fmt: skip
    data = build_data(config)
    model = build_model(config, data.schema)
    start_from_ridge(model, data)
    from plait.baselines import FORECASTS

    with torch.no_grad():
        point = model.eval()(data.batch("test", data.rows("test"))).prediction.point.numpy()
    np.testing.assert_allclose(point, FORECASTS["nlinear_ridge"](data.panel())["test"], atol=2e-4)


@pytest.mark.parametrize(
    "stages",
    [
        [{"name": "all", "epochs": 2}],
        [{"name": "s", "present": ["series"], "epochs": 1}, {"name": "all", "epochs": 1}],
    ],
)
def test_a_stage_that_trains_the_series_with_text_leaves_no_head_start(
    stages: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The anchor that acceptance compares with has gone through all stages itself, as the anchor's own arm has."""
    fields = ("data.signal", False), ("training.stages", stages)
    run = _run(tmp_path / "fused", *fields)
    assert run.metrics["accepted"] is False
    alone = _run(tmp_path / "anchor", *fields, ("fusion", "none"))
    own, other = run.model.state_dict(), alone.model.state_dict()
    assert all(torch.equal(own[k], other[k]) for k in other)
    assert run.metrics["metrics"] == alone.metrics["metrics"]
    assert (run.folder / "anchor" / "metrics.jsonl").is_file()


def test_a_training_says_beforehand_that_it_reads_no_text_or_leaking_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = pd.date_range("2020-01-05", periods=90, freq="7D")
    pd.DataFrame({"date": days, "y": np.arange(90.0) % 7}).to_csv(tmp_path / "y.csv", index=False)
    later = [f"On {day + pd.Timedelta(days=3):%Y-%m-%d} it rose." for day in days]
    pd.DataFrame({"date": days, "text": later}).to_csv(tmp_path / "texts.csv", index=False)
    fields = [("data.kind", "csv"), ("data.path", str(tmp_path / "y.csv")), ("seq-len", 6), ("pred-len", 2)]
    recipe = load_recipe("chimera")
    warn(config := resolve(recipe, "tiny", fields), build_data(config))
    assert "there is no second modality to read" in capsys.readouterr().out
    fields += [("text-path", str(tmp_path / "texts.csv"))]
    warn(config := resolve(recipe, "tiny", fields), build_data(config))
    assert capsys.readouterr().out == ""
    warn(config := resolve(recipe, "tiny", [*fields, ("data.text.future_dates", "keep")]), build_data(config))
    assert "a leak, by data.text.future_dates: keep" in capsys.readouterr().out


def test_a_series_leg_that_nothing_trains_is_refused(tmp_path: Path) -> None:
    stages = [{"name": "fusion", "train": ["text*", "fusion.*"], "epochs": 1}]
    with pytest.raises(ConfigError, match="no stage trains the series leg"):
        _run(tmp_path / "random", ("training.stages", stages))
    run = _run(tmp_path / "ridge", ("training.stages", stages), ("backbone", "linear"), ("data.signal", False))
    assert run.metrics["accepted"] is False


def test_the_series_stage_is_enough_where_nothing_later_trains_the_series() -> None:
    stages = [{"name": "s", "present": ["series"]}, {"name": "f", "train": ["text*", "fusion.*"]}]
    names = ["series.embed.weight", "head.project.weight"]
    assert ends_in_series_stage(TrainingConfig.model_validate({"stages": stages}), "series", names)
    joint = TrainingConfig.model_validate({"stages": [*stages, {"name": "all"}]})
    assert not ends_in_series_stage(joint, "series", names)
    assert not ends_in_series_stage(TrainingConfig(), "series", names)


def test_acceptance_is_the_interval_of_the_validation_gain() -> None:
    rng = np.random.default_rng(0)
    rows = 400
    anchor = {"se": 1 + rng.random(rows), "n": np.ones(rows)}
    better = {"se": 0.8 * anchor["se"], "n": np.ones(rows)}
    noise = {"se": anchor["se"] + rng.normal(0, 0.5, rows), "n": np.ones(rows)}
    assert accept(better, anchor, "se", Units(400, 24)).accepted
    assert not accept(noise, anchor, "se", Units(400, 24)).accepted
    assert not accept(anchor, anchor, "se", Units(400, 24)).accepted
    few = {k: v[:95] for k, v in better.items()}, {k: v[:95] for k, v in anchor.items()}
    assert "not enough data" in accept(*few, "se", Units(95, 24)).reason


def test_frames_train_load_and_forecast_beyond_their_end(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=160, freq="D")
    wave = np.sin(np.arange(160) * 2 * np.pi / 7)
    frame = pd.DataFrame({"date": days, "sales": 100 + 10 * wave, "visits": 5 * wave})
    texts = pd.DataFrame({"date": days[::2], "text": [f"Report {i}. All is well." for i in range(80)]})
    run = plait.fit(
        "chimera", frame, texts, out=str(tmp_path / "run"), size="tiny", lookback=14, pred_len=7, train_epochs=2,
        accept="always", trackers=[], device="cpu",
    )  # fmt: skip
    forecast = plait.load_run(run.folder).predict(frame, texts)
    assert forecast["origin"].tolist() == ["2020-06-08T00:00:00"] * 2
    assert forecast["variate"].tolist() == ["sales", "visits"]
    shuffled = plait.load_run(run.folder).predict(frame[["visits", "date", "sales"]].assign(more=1), texts)
    pd.testing.assert_frame_equal(shuffled, forecast)
    with pytest.raises(PlaitError, match="no column 'visits'"):
        plait.load_run(run.folder).predict(frame[["date", "sales"]], texts)
    sales = forecast.iloc[0][[f"h{h}" for h in range(1, 8)]].to_numpy(dtype=float)
    assert 85 < sales.min() < sales.max() < 115
    told = plait.explain(run, "val")
    assert told["fusion"] == "latent_gate"
    assert (run.folder / "explain" / "val" / "explain.json").exists()
    assert "attention" in (run.folder / "report.html").read_text()
    with pytest.raises(PlaitError, match="no split 'tset'"):
        plait.explain(run.folder, "tset")
    with pytest.raises(FileError, match="not empty"):
        plait.fit("chimera", frame, texts, out=str(run.folder), size="tiny")


def test_data_that_changed_since_the_run_began_are_refused(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=160, freq="D")
    path = tmp_path / "series.csv"
    frame = pd.DataFrame({"date": days, "sales": np.sin(np.arange(160) * 2 * np.pi / 7)})
    frame.to_csv(path, index=False)
    fields = [("data.kind", "csv"), ("data.path", str(path)), ("lookback", 14), ("pred-len", 7), ("train-epochs", 1)]
    config = resolve(load_recipe("chimera"), "tiny", [*fields, ("trackers", []), ("device", "cpu")])
    folder = tmp_path / "run"
    folder.mkdir()
    fit(config, folder)
    frame.iloc[:120].to_csv(path, index=False)
    with pytest.raises(PlaitError, match="data have changed since this run began"):
        load_run(folder).evaluate()
    with pytest.raises(PlaitError, match="data have changed since this run began"):
        fit(config, folder)
    assert load_run(folder).predict()["origin"].tolist() == ["2020-04-29T00:00:00"]


def test_a_run_that_is_none_and_one_that_has_not_ended_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such run"):
        load_run(tmp_path / "absent")
    (tmp_path / "half").mkdir()
    with pytest.raises(FileError, match=r"no config\.yaml"):
        load_run(tmp_path / "half")
    config = {"recipe": "chimera", "data": {"kind": "planted"}, "model": {"kind": "chimera"}}
    (tmp_path / "half" / "config.yaml").write_text(json.dumps(config))
    with pytest.raises(FileError, match="--resume"):
        load_run(tmp_path / "half")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([("backbone", "text")], "'text' encodes text, not series"),
        ([("model.text.kind", "linear")], "'linear' encodes series, not text"),
        ([("trackers", ["tensorbord"])], "no tracker 'tensorbord'.*did you mean tensorboard"),
        ([("data.text.path", "x.csv")], "bring their own texts"),
        (
            [("training.stages", [{"name": "series", "present": ["series"]}, {"name": "b", "train": ["fusoin.*"]}])],
            r"stage b: the glob 'fusoin\.\*' matches no parameter",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(
    tmp_path: Path, fields: list[tuple[str, Any]], words: str
) -> None:
    with pytest.raises(PlaitError, match=words):
        _run(tmp_path / "run", *fields)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
