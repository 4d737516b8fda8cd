"""A comparison in folds: every sample tested once, by the training that held it out, and judged by whole groups."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from data.sample_study import PLANTED, planted
from plait.baselines import samples
from plait.cli.verbs import check_resumes
from plait.core import yaml
from plait.core.errors import ConfigError
from plait.evaluation import compare
from plait.evaluation.compare import Comparison, Plan
from plait.runs.folder import read_json
from plait.runs.recipe import load_recipe, resolve

RECIPE = load_recipe("aam")
FOLDS = 3


def plan_of(folder: Path, *fields: tuple[str, Any], folds: int = FOLDS) -> Plan:
    """Two ASVs tell the age, the country tells nothing."""
    files = [(f"data.{name}", path) for name, path in planted().write(folder).items()]
    usual: list[tuple[str, Any]] = [
        ("target", "age"), ("categorical-columns", "country"), ("target-transform", "zscore"), ("data.bins", 7),
        ("batch-size", 19), ("epochs", 1), ("training.trackers", []), ("device", "cpu"),
    ]  # fmt: skip
    config = resolve(RECIPE, "tiny", [*files, *usual, *fields])
    return replace(Plan.of_recipe(RECIPE, config, (0,)), folds=folds)


@pytest.fixture(scope="module", autouse=True)
def _few_trees() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "FOREST", 3)
        patch.setattr(samples, "EXTRA", 3)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("compared")
    comparison = Comparison(plan_of(folder / "study", ("data.group_by", "family")), made(folder / "out"))
    return comparison, comparison.run()


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def arm(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in result["arms"] if each["name"] == name)


def stored(comparison: Comparison, name: str, which: str = "raw") -> list[np.ndarray]:
    """The absolute errors on test of each fold, as its run folder holds them."""
    folders = [comparison.folder / "arms" / f"{name}-fold{fold}-seed0" for fold in range(FOLDS)]
    return [load_file(folder / "scores.safetensors")[f"{which}.test.ae"] for folder in folders]


def test_the_recipe_compares_in_five_folds_unless_said_otherwise(tmp_path: Path) -> None:
    plan = Plan.of_recipe(RECIPE, plan_of(tmp_path).config, (0, 1))
    assert plan.folds == 5
    assert (plan.of("fused", 1, 3).data.folds, plan.of("fused", 1, 3).data.fold) == (5, 3)
    assert plan.of("fused", 1, 3).seed == 1
    whole = replace(plan, folds=0).of("anchor", 0)
    assert (whole.data.folds, whole.model.fusion.kind) == (None, "none")


def test_every_sample_is_tested_once_and_families_stay_whole(done: tuple[Comparison, dict[str, Any]]) -> None:
    parts = done[0].trainings.parts
    assert len(parts) == FOLDS
    tested = [name for part in parts for name in part.data.ids("test")]
    assert sorted(tested) == sorted(PLANTED)
    cells = planted().metadata
    for part in parts:
        families = [{cells[name]["family"] for name in part.data.ids(split)} for split in ("train", "val", "test")]
        assert not families[0] & families[1]
        assert not (families[0] | families[1]) & families[2]


def test_scores_stand_in_the_order_of_the_folds_with_the_groups_of_their_rows(
    done: tuple[Comparison, dict[str, Any]],
) -> None:
    comparison, result = done
    shared = comparison.trainings
    raw = shared.run(comparison.plan)
    for name in ("anchor", "fused", "placebo"):
        rows = shared.rows(raw[name]["test"])
        np.testing.assert_array_equal(rows.total[0], np.concatenate(stored(comparison, name)))
        assert rows.count.tolist() == [1.0] * len(PLANTED)
        shown = arm(result, name if name == "anchor" else f"{name}_raw")
        assert shown["mean"] == pytest.approx(np.concatenate(stored(comparison, name)).mean())
    tested = [name for part in shared.parts for name in part.data.ids("test")]
    families = [planted().metadata[name]["family"] for name in tested]
    groups = shared.units["test"].groups
    assert groups is not None
    pairs = set(zip(families, groups.tolist(), strict=True))
    assert len(pairs) == len(set(families)) == len(set(groups.tolist()))
    rival = np.concatenate([part.rivals["median"]["test"]["ae"] for part in shared.parts])
    assert arm(result, "median")["mean"] == pytest.approx(rival.mean())


def test_the_result_says_what_was_drawn_and_that_the_country_is_not_shown_to_help(
    done: tuple[Comparison, dict[str, Any]],
) -> None:
    comparison, result = done
    families = len({cells["family"] for cells in planted().metadata.values()})
    facts = {name: result[name] for name in ("folds", "drawn", "lacking", "windows", "metric", "row_name", "seeds")}
    assert facts == {
        "folds": FOLDS, "drawn": f"{families} groups of rows", "lacking": "", "windows": len(PLANTED),
        "metric": "mae", "row_name": "samples", "seeds": [0],
    }  # fmt: skip
    assert read_json(comparison.folder / "compare.json")["drawn"] == facts["drawn"]
    (verdict,) = result["verdicts"]
    assert verdict["modality"] == "metadata"
    assert verdict["helps"] is False
    assert len(verdict["accepted"]) == len(verdict["placebo_accepted"]) == FOLDS
    assert verdict["low"] <= verdict["effect"] <= verdict["high"]
    assert not result["best_baseline"]["name"].startswith("column:")


def test_the_placebo_learns_from_permuted_metadata_and_is_scored_on_the_same_samples(
    done: tuple[Comparison, dict[str, Any]],
) -> None:
    comparison = done[0]
    for fold in range(FOLDS):
        for name in ("anchor", "fused", "placebo"):
            config = yaml.read(comparison.folder / "arms" / f"{name}-fold{fold}-seed0" / "config.yaml")
            assert (config["data"]["folds"], config["data"]["fold"]) == (FOLDS, fold)
            assert config["data"]["placebo"] is (name == "placebo")
    differs = [a != b for a, b in zip(stored(comparison, "fused"), stored(comparison, "placebo"), strict=True)]
    assert all(each.any() for each in differs)


def test_a_fold_that_is_missing_is_trained_again_and_no_other(
    done: tuple[Comparison, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, result = done
    folder = comparison.folder / "arms" / "placebo-fold1-seed0"
    (folder / "metrics.json").unlink()
    trained, fit = [], compare.fit

    def spied(config: Any, place: Path, **given: Any) -> Any:
        trained.append(place.name)
        return fit(config, place, **given)

    monkeypatch.setattr(compare, "fit", spied)
    again = Comparison(comparison.plan, comparison.folder).run()
    assert trained == ["placebo-fold1-seed0"]
    assert again == result


def test_too_few_groups_give_no_verdict(tmp_path: Path) -> None:
    result = Comparison(plan_of(tmp_path / "study", ("data.group_by", "clinic"), folds=2), made(tmp_path / "out")).run()
    assert result["lacking"] == "5 groups are fewer than 20"
    (verdict,) = result["verdicts"]
    assert verdict["helps"] is None
    assert (verdict["low"], verdict["high"]) == (None, None)
    assert "not enough data" in verdict["text"]
    assert result["windows"] == len(PLANTED)
    assert arm(result, "fused")["mean"] > 0


def test_more_folds_than_groups_and_a_study_without_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="7 folds of 5 groups"):
        Comparison(plan_of(tmp_path / "one", ("data.group_by", "clinic"), folds=7), made(tmp_path / "a"))
    bare = plan_of(tmp_path / "two", ("data.categories", []))
    with pytest.raises(ConfigError, match="no metadata, so there is nothing to compare"):
        Comparison(bare, made(tmp_path / "b"))


def test_a_comparison_in_folds_is_known_for_what_it_is(done: tuple[Comparison, dict[str, Any]]) -> None:
    comparison, _ = done
    check_resumes(comparison.folder, comparison.plan.arms, None)
    with pytest.raises(ConfigError, match="is for the verdict"):
        check_resumes(comparison.folder, comparison.plan.arms, ["gmu"])


def test_a_column_as_good_as_the_model_is_told_first(done: tuple[Comparison, dict[str, Any]]) -> None:
    comparison, result = done
    fused = next(arm["mean"] for arm in result["arms"] if arm["name"] == "fused_raw")
    alone = {arm["name"]: arm["mean"] for arm in result["arms"] if arm["name"].startswith("column:")}
    named = {name.removeprefix("column:") for name, error in alone.items() if error <= 1.1 * fused}
    told = " ".join(result["caveats"])
    assert all(name in told for name in named)
    assert bool(result["caveats"]) == bool(named)
