"""Runs of samples end in folders that load, score and predict the same; what stands where in a file is irrelevant."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from data.sample_study import PLANTED, planted
from plait.baselines import samples
from plait.core.errors import PlaitError
from plait.core.files import write_file
from plait.models.aam import AamNet
from plait.runs.assemble import build_data
from plait.runs.config import RunConfig
from plait.runs.fit import fit
from plait.runs.folder import config_text, read_json
from plait.runs.recipe import load_recipe, resolve
from plait.runs.run import Run, load_run
from runs.folders import trained, weights


def configured(paths: dict[str, str], *fields: tuple[str, Any]) -> RunConfig:
    files = [(f"data.{name}", path) for name, path in paths.items()]
    usual: list[tuple[str, Any]] = [
        ("target", "age"), ("categorical-columns", "country"), ("numeric-columns", "ph"), ("data.group_by", "family"),
        ("target-transform", "zscore"), ("data.bins", 11), ("data.splits", [0.5, 0.25, 0.25]), ("batch-size", 11),
        ("epochs", 2), ("training.trackers", []), ("device", "cpu"), ("accept", "always"),
    ]  # fmt: skip
    given = {name for name, _ in fields}
    return resolve(load_recipe("aam"), "tiny", [*files, *(pair for pair in usual if pair[0] not in given), *fields])


def cheap(config: RunConfig) -> Any:
    """One rival alone: the tests of weights and predictions have no use for forests."""
    data = build_data(config)
    scores = {split: np.ones(len(data.rows(split))) for split in ("val", "test")}
    names = ("ae", "se", "n", "log_loss", "errors")
    return {"median": {split: dict.fromkeys(names, ones) for split, ones in scores.items()}}


@pytest.fixture(scope="module", autouse=True)
def _few_trees() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "FOREST", 11)
        patch.setattr(samples, "EXTRA", 11)
        yield


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return planted().write(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def run(paths: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with all its rivals."""
    return trained(tmp_path_factory.mktemp("runs") / "run", configured(paths))


def errors_of(run: Run, table: pd.DataFrame) -> Any:
    """Absolute errors of predictions of known ids, against the study as it was written."""
    ages = {name: float(cells["age"]) for name, cells in planted().metadata.items()}
    return np.abs(table["prediction"].to_numpy() - [ages[name] for name in table["sample_id"]])


# --- a run that is loaded


def test_a_loaded_run_scores_as_it_did_to_the_bit(run: Run) -> None:
    assert run.config.model.fusion.kind == "film"
    for split in ("val", "test"):
        assert run.evaluate(split) == run.metrics["metrics"][split]
    scores = run.scores("test")
    stored = load_file(run.folder / "scores.safetensors")
    assert all(np.array_equal(stored[f"final.test.{name}"].numpy(), values) for name, values in scores.items())


def test_predictions_are_stored_in_the_unit_of_the_files_and_score_to_the_metric(run: Run) -> None:
    stored, again = pd.read_csv(run.folder / "predictions.csv"), run.predict(split="test")
    assert list(stored) == ["sample_id", "prediction", "prediction_std", "low", "high", "actual"]
    pd.testing.assert_frame_equal(stored, again, rtol=1e-6)
    assert again["sample_id"].tolist() == sorted(again["sample_id"])
    assert errors_of(run, again).mean() == pytest.approx(run.metrics["metrics"]["test"]["mae"], rel=1e-12)


def test_the_rivals_are_all_there_and_the_best_is_no_column_alone(run: Run) -> None:
    rivals = run.metrics["baselines"]
    assert set(rivals) >= {
        "median", "metadata_only", "forest_median", "extra_trees_median", "knn_median", "ridge_clr", "mlp_clr",
        "column:country", "column:grown",
    }  # fmt: skip
    own = {name: scores["val_mae"] for name, scores in rivals.items() if not name.startswith("column:")}
    assert run.metrics["best_baseline"]["name"] == min(own, key=lambda name: own[name])
    assert any("grown alone" in words for words in run.metrics["caveats"])


def test_new_samples_are_predicted_as_training_scored_them_to_the_bit(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = list(run.data.ids("val"))
    files = planted().of_samples(ids).write(tmp_path / "val")
    table = run.predict(**{name: files[name] for name in ("table", "metadata")})
    assert table["sample_id"].tolist() == ids
    pd.testing.assert_frame_equal(
        table.drop(columns="actual", errors="ignore"), run.predict(split="val").drop(columns="actual"), check_exact=True
    )
    stored = load_file(run.folder / "scores.safetensors")["final.val.ae"].numpy()
    assert np.array_equal(errors_of(run, table), stored)
    shuffled = replace(planted(), order=5).of_samples(ids).write(tmp_path / "shuffled")
    again = run.predict(table=shuffled["table"], metadata=shuffled["metadata"])
    pd.testing.assert_frame_equal(again, table, check_exact=True)


def test_another_batch_size_gives_the_same_to_rounding(run: Run, paths: dict[str, str]) -> None:
    whole = run.predict(table=paths["table"], metadata=paths["metadata"])
    assert len(whole) == len(PLANTED)
    training = run.config.training.model_copy(update={"eval_batch_size": 7})
    other = replace(run, config=run.config.model_copy(update={"training": training}))
    parts = other.predict(table=paths["table"], metadata=paths["metadata"])
    scale = run.fitted.transform.overall.scale[0]
    np.testing.assert_allclose(parts["prediction"] / scale, whole["prediction"] / scale, rtol=1e-5, atol=1e-5)
    assert run.evaluate("test")["mae"] == pytest.approx(other.evaluate("test")["mae"], rel=1e-5)


def test_an_unseen_category_is_told_and_masked(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = PLANTED[:2]
    want = planted().with_cell(first, "country", "").write(tmp_path / "empty")
    files = planted().with_cell(first, "country", "tuva").write(tmp_path / "unseen")
    empty = run.predict(table=want["table"], metadata=want["metadata"])
    capsys.readouterr()
    unseen = run.predict(table=files["table"], metadata=files["metadata"])
    said = capsys.readouterr()
    assert "cells of country are categories of no train sample and are masked" in said.err
    assert "tuva" in said.err
    assert said.out == ""
    pd.testing.assert_frame_equal(
        unseen.drop(columns="actual", errors="ignore"), empty.drop(columns="actual", errors="ignore"), check_exact=True
    )
    known = run.predict(table=want["table"], metadata=planted().write(tmp_path / "known")["metadata"])
    differs = known.set_index("sample_id")["prediction"] != unseen.set_index("sample_id")["prediction"]
    assert differs[first]
    assert not differs[second]


def test_asvs_that_a_run_does_not_know_are_told_and_change_nothing(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, more = planted(), planted()
    more.features.append("novel")
    more.letters |= {"novel": "ACGTACGTTACG"}
    more.counts |= {(name, "novel"): 13 for name in PLANTED}
    plain, files = whole.write(tmp_path / "plain"), more.write(tmp_path / "more")
    want = run.predict(table=plain["table"], metadata=plain["metadata"])
    capsys.readouterr()
    found = run.predict(table=files["table"], metadata=files["metadata"])
    assert "novel" in capsys.readouterr().err
    pd.testing.assert_frame_equal(found, want, check_exact=True)


def test_new_samples_without_metadata_or_a_target_are_answered_from_their_asvs(run: Run, paths: dict[str, str]) -> None:
    table = run.predict(table=paths["table"])
    assert len(table) == len(PLANTED)
    assert "actual" not in table
    assert np.isfinite(table[["prediction", "prediction_std"]].to_numpy()).all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"frame": pd.DataFrame()}, "run of aam is not asked by 'frame'.*give table"),
        ({"metadata": "x.tsv"}, "'metadata' alone.*give table"),
        ({"tabel": "x.tsv"}, "'tabel'"),
    ],
)
def test_what_a_run_of_samples_is_not_asked_by_is_refused(run: Run, given: dict[str, Any], words: str) -> None:
    with pytest.raises(PlaitError, match=words):
        run.predict(**given)


def test_a_run_of_another_recipe_is_not_asked_by_samples(tmp_path: Path, paths: dict[str, str]) -> None:
    fields = [("data.weeks", 420), ("train-epochs", 1), ("trackers", []), ("device", "cpu"), ("fusion", "none")]
    (tmp_path / "series").mkdir()
    fit(resolve(load_recipe("chimera"), "tiny", fields), tmp_path / "series")
    with pytest.raises(PlaitError, match=r"run of chimera is not asked by 'table'.*give frame"):
        load_run(tmp_path / "series").predict(table=paths["table"])


# --- what a run depends on


def test_the_order_of_rows_and_columns_of_the_files_changes_nothing(run: Run, tmp_path: Path) -> None:
    shuffled = replace(planted(), order=3)
    config = configured(shuffled.write(tmp_path / "study"))
    assert (Path(config.data.table).read_text()) != (Path(run.config.data.table).read_text())
    again = trained(tmp_path / "run", config, cheap(config))
    assert again.data.fingerprint() == run.data.fingerprint()
    own, other = weights(run.folder), weights(again.folder)
    assert own.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in own.items())
    assert again.metrics["metrics"] == run.metrics["metrics"]


def test_a_training_that_died_goes_on_to_the_same_weights(
    run: Run, tmp_path: Path, paths: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies inside a step of the second epoch, with mixup, token dropout and checkpoints at other steps."""
    config = configured(paths, ("checkpoint-steps", 2))
    folder, forward, passes = tmp_path / "run", AamNet.forward, [0]
    folder.mkdir()

    class Died(BaseException):
        """No fault of ours."""

    def dies(self: AamNet, *given: Any) -> Any:
        passes[0] += self.training
        if passes[0] == 6:
            raise Died
        return forward(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(AamNet, "forward", dies)
        with pytest.raises(Died):
            fit(config, folder, rivals=cheap(config))
    assert not (folder / "model").exists()
    assert list((folder / "checkpoints").iterdir())
    fit(config, folder, rivals=cheap(config))
    own, other = weights(run.folder), weights(folder)
    assert all(torch.equal(tensor, other[name]) for name, tensor in own.items())
    assert read_json(folder / "metrics.json")["metrics"] == run.metrics["metrics"]


def test_metadata_that_are_not_shown_to_help_are_closed_and_what_is_left_is_the_asvs_alone(
    tmp_path: Path, paths: dict[str, str]
) -> None:
    config = configured(paths, ("accept", "validation"), ("fusion", "cross-attention"))
    found = trained(tmp_path / "fused", config, cheap(config))
    assert found.metrics["accepted"] is False
    assert "groups are fewer than 20" in found.metrics["acceptance"]
    assert found.config.model.fusion.kind == "none"
    assert found.metrics["raw_parameters"] > found.metrics["parameters"]
    alone = configured(paths, ("fusion", "none"))
    anchor = trained(tmp_path / "anchor", alone, cheap(alone))
    own, other = weights(found.folder), weights(anchor.folder)
    assert own.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in own.items())
    raw = load_run(found.folder, raw=True)
    assert raw.config.model.fusion.kind == "cross_attention"
    assert raw.evaluate("test") == found.metrics["raw"]["test"]


# --- other targets


def test_a_classifier_from_files_to_predictions(tmp_path: Path, paths: dict[str, str]) -> None:
    config = configured(
        paths, ("target", "grown"), ("target-transform", "none"), ("data.classifier", True), ("head", "classification"),
        ("task.kind", "classification"), ("task.class_weights", "balanced"), ("data.stratify", True),
    )  # fmt: skip
    found = trained(tmp_path / "run", config)
    assert found.evaluate("test") == found.metrics["metrics"]["test"]
    assert set(found.metrics["baselines"]) >= {"majority", "forest", "knn", "logistic_clr", "column:country"}
    table = found.predict(split="test")
    assert list(table) == ["sample_id", "prediction", "probability_old", "probability_young", "actual"]
    wrong = (table["prediction"] != table["actual"]).mean()
    assert wrong == pytest.approx(found.metrics["metrics"]["test"]["error_rate"])
    named = np.where(table["probability_old"] >= table["probability_young"], "old", "young")
    assert named.tolist() == table["prediction"].tolist()
    new = found.predict(table=paths["table"])
    assert len(new) == len(PLANTED)
    assert "actual" not in new


def test_the_seeds_config_trains_a_number_with_a_constraint(tmp_path: Path, paths: dict[str, str]) -> None:
    config = configured(
        paths, ("head", "regression"), ("loss", "huber"), ("target-transform", "minmax"), ("nets", 2),
        ("output-constraint", "bounded"), ("conditional-output-scaling", "country"), ("data.mixup", 0.0),
    )  # fmt: skip
    found = trained(tmp_path / "run", config, cheap(config))
    assert found.evaluate("test") == found.metrics["metrics"]["test"]
    table = found.predict(split="test")
    assert (table["prediction_std"] > 0).all()
    pd.testing.assert_frame_equal(found.predict(split="test"), table, check_exact=True)
    ids = list(found.data.ids("val"))
    files = planted().of_samples(ids).write(tmp_path / "val")
    again = found.predict(table=files["table"], metadata=files["metadata"])
    pd.testing.assert_series_equal(again["prediction"], found.predict(split="val")["prediction"], check_exact=True)
    write_file(tmp_path / "config.yaml", config_text(config).encode())
    assert resolve(load_recipe(str(tmp_path / "config.yaml")), None, []) == config
