"""Classes of whole series from files to a run folder: its table, new series, the verbs, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from data.test_labelled_series import problem
from plait.cli.predict import predict_verb
from plait.core.errors import ConfigError, DataError
from plait.core.tokens import Batch
from plait.evaluation.audit.run import audit
from plait.evaluation.compare import Plan
from plait.objectives.bootstrap import Bootstrap, Units
from plait.report.page import write_report
from plait.runs.assemble import build_data, build_model
from plait.runs.fit import fit
from plait.runs.recipe import load_recipe, resolve
from plait.runs.run import Run, load_run
from plait.tasks.series_class import SeriesClassTask, SeriesClassTaskConfig

FIELDS: dict[str, Any] = {"data": "UEA", "task": "classification", "trackers": [], "device": "cpu", "epochs": 3}
SMALL = {"model.series.patch.length": 5, "model.series.patch.stride": 3}


def config_of(folder: Path, size: str | None = None, **fields: Any) -> Any:
    return resolve(load_recipe("chimera"), size, list((FIELDS | {"root-path": str(folder)} | fields).items()))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("series_class")
    (folder / "run").mkdir()
    fit(config_of(problem(folder), **SMALL), folder / "run")
    return load_run(folder / "run")


def test_the_words_of_other_toolkits_choose_data_task_head_and_what_is_usual(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert (config.data.kind, config.task.kind, config.model.head.kind) == (
        "labelled_series", "series_class", "classification"
    )  # fmt: skip
    assert (config.model.series.kind, config.model.series.named) == ("patch", True)
    tiny = config_of(tmp_path, "tiny")
    assert (tiny.model.series.kind, tiny.model.head.kind) == ("itransformer", "classification")


def test_the_table_and_the_page_are_the_scores(run: Run) -> None:
    table = pd.read_csv(run.folder / "predictions.csv")
    classes = ["up", "down", "rare"]
    assert list(table.columns) == ["case", "class", *(f"probability_{each}" for each in classes), "actual"]
    assert list(table["case"]) == list(range(1, 22))
    shares = table[[f"probability_{each}" for each in classes]].to_numpy()
    truth = table["actual"].map({name: code for code, name in enumerate(classes)}).to_numpy()
    test = run.metrics["metrics"]["test"]
    assert -np.log(shares[np.arange(21), truth]).mean() == pytest.approx(test["log_loss"], rel=1e-4)
    wrong = table["class"] != table["actual"]
    assert wrong.mean() == pytest.approx(test["error_rate"])
    assert wrong.groupby(table["actual"]).mean().mean() == pytest.approx(test["balanced_error"])
    page = json.loads((run.folder / "page.json").read_text(encoding="utf-8"))
    assert np.trace(page["confusion"]) == (~wrong).sum()
    assert set(run.metrics["baselines"]) == {"class_shares", "nearest_neighbour", "logistic_values", "random_kernels"}
    assert "validation holds 5 series" in run.metrics["caveats"][0]
    assert "classes of test series" in write_report(run.folder).read_text(encoding="utf-8").lower()


def test_a_loaded_run_scores_as_it_did_and_its_audit_holds(run: Run) -> None:
    assert run.evaluate("test")["log_loss"] == run.metrics["metrics"]["test"]["log_loss"]
    assert run.fitted.classes == ("up", "down", "rare")
    assert audit(run.data)["leaks"] == 0


def test_new_series_are_answered_as_the_same_series_of_test(run: Run, tmp_path: Path) -> None:
    """With their classes, and without the last column; a longer one by its last steps."""
    own = pd.read_csv(run.folder / "predictions.csv")
    test = next(Path(run.config.data.root).glob("*_TEST.ts"))
    found = run.predict(str(test))
    pd.testing.assert_frame_equal(found, own, check_exact=False, rtol=1e-5)
    head, body = test.read_text(encoding="utf-8").split("@data\n")
    bare = "".join(line.rsplit(":", 1)[0] + "\n" for line in body.splitlines())
    new = tmp_path / "new.ts"
    new.write_text(
        head.replace("@classLabel true up down rare", "@classLabel false") + "@data\n" + bare, encoding="utf-8"
    )
    told = predict_verb([str(run.folder), "--path", str(new)])["forecast"]
    assert "actual" not in told[0]
    assert [line["class"] for line in told] == list(own["class"])


def test_there_is_something_to_predict(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to predict"):
        predict_verb([str(run.folder)])
    (tmp_path / "new.csv").write_text("date,a\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"are a \.ts file"):
        predict_verb([str(run.folder), "--path", str(tmp_path / "new.csv")])


@pytest.mark.parametrize("leg", ["patch", "itransformer", "linear"])
def test_what_stands_under_a_false_mask_is_never_read(tmp_path: Path, leg: str) -> None:
    extra = SMALL if leg == "patch" else {"model.series.start": "random"} if leg == "linear" else {}
    config = config_of(problem(tmp_path), "tiny", backbone=leg, **extra)
    data = build_data(config)
    model = build_model(config.model_copy(update={"model": config.model.resolve(data.schema)}), data.schema).eval()
    batch = data.batch("test", data.rows("test"))
    mask = batch.inputs["series_mask"]
    assert not bool(mask.all())
    other = {**batch.inputs, "series": torch.where(mask, batch.inputs["series"], torch.nan)}
    with torch.no_grad():
        one, two = (model(each).prediction.point for each in (batch, Batch(other, batch.targets, batch.info)))
    assert one.shape == (21, 3)
    assert torch.equal(one, two)


def test_named_variates_are_told_apart_and_others_are_not(tmp_path: Path) -> None:
    problem(tmp_path)
    for named in (True, False):
        config = config_of(tmp_path, **SMALL, **{"model.series.named": named})
        data = build_data(config)
        model = build_model(config.model_copy(update={"model": config.model.resolve(data.schema)}), data.schema).eval()
        batch = data.batch("test", data.rows("test"))
        turned = {name: each[..., [2, 0, 1]] if each.shape[-1] else each for name, each in batch.inputs.items()}
        with torch.no_grad():
            one, two = (model(each).prediction.point for each in (batch, Batch(turned, batch.targets, batch.info)))
        assert torch.allclose(one, two, atol=1e-5) is not named


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model.head.kind": "forecast"}, "the head forecast answers steps"),
        ({"backbone": "linear"}, "starts from the ridge of forecasts"),
        ({"model.series.calendar": True}, "have no dates, so no season"),
        ({"model.series.prior": True}, "have no dates, so no season"),
        ({"residual": True}, "residual adds to a forecast"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config_of(tmp_path, **fields)


def test_other_rows_than_the_task_asks_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"forecast is of windows, .* hold whole series \(--task.kind series_class\)"):
        build_data(config_of(problem(tmp_path), "tiny", task="forecast"))
    with pytest.raises(ConfigError, match="series_class is of whole series, data of kind planted hold windows"):
        build_data(resolve(load_recipe("chimera"), "tiny", [("task", "classification")]))


def test_a_comparison_says_that_there_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="labelled_series have no text beside the series"):
        Plan.of_recipe(load_recipe("chimera"), config_of(tmp_path), (0,))


def test_the_balanced_error_is_the_mean_over_classes_and_follows_the_draw() -> None:
    task = SeriesClassTask(SeriesClassTaskConfig(), ("a", "b"))
    scores = {
        "log_loss": np.ones(5), "errors": np.array([1.0, 0, 0, 0, 0]), "n": np.array([1.0, 1, 1, 1, 0]),
        "label": np.array([0.0, 0, 0, 1, 1]),
    }  # fmt: skip
    assert task.metrics(scores) == pytest.approx({"log_loss": 1.25, "error_rate": 0.25, "balanced_error": 1 / 6})
    drawn = np.array([[2, 1, 1, 3, 9], [1, 1, 1, 0, 9]], dtype=np.float32)
    np.testing.assert_allclose(task.statistics(scores)["balanced_error"](drawn), [0.25, 1 / 3])


def test_an_interval_is_known_where_no_resample_draws_every_class() -> None:
    names = tuple(map(str, range(53)))
    task, label = SeriesClassTask(SeriesClassTaskConfig(), names), np.arange(53.0)
    scores = {"log_loss": np.ones(53), "errors": (label < 20) * 1.0, "n": np.ones(53), "label": label}
    drawn = Bootstrap(Units(53, groups=np.arange(53)), 1)
    found = drawn.statistic([20 / 53], [task.statistics(scores)["balanced_error"]])
    assert 0.2 < found.low < 20 / 53 < found.high < 0.6
