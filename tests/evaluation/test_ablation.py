"""Parts of a model side by side: what is trained, what is a repeat, and what the result says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plait.cli.verdict import tell_ablation
from plait.core.errors import ConfigError
from plait.evaluation.ablation import Ablation, without_repeats
from plait.evaluation.compare import Comparison, Plan
from plait.evaluation.comparisons import comparison_of
from plait.evaluation.fusions import FusionComparison
from plait.runs.recipe import load_recipe, resolve

FIELDS: list[tuple[str, Any]] = [
    ("data.kind", "planted"), ("data.weeks", 500), ("seq-len", 36), ("train-epochs", 1), ("trackers", []),
    ("device", "cpu"), ("d-model", 8), ("n-heads", 2), ("gpt-layers", 1),
]  # fmt: skip


def _plan(*fields: tuple[str, Any], recipe: str = "calf", seeds: tuple[int, ...] = (0, 1)) -> Plan:
    chosen = load_recipe(recipe)
    given = [*FIELDS, *fields] if recipe == "calf" else []
    return Plan.of_recipe(chosen, resolve(chosen, "tiny", given), seeds)


def test_arms_that_the_fields_make_equal_are_trained_once() -> None:
    plan, repeats = without_repeats(_plan())
    assert list(repeats) == ["random_weights"]
    assert "the same as language_model" in repeats["random_weights"]
    assert set(plan.arms) == set(load_recipe("calf").arms) - {"random_weights"}
    causal, also = without_repeats(_plan(("bias", "causal")))
    assert set(also) == {"random_weights", "language_model_causal"}
    # Without its weights a backbone that has some is another model.
    given, none = without_repeats(_plan(("backbone", "some/folder")))
    assert not none
    assert "random_weights" in given.arms
    assert "language_model_causal" not in causal.arms


def test_every_arm_stands_against_the_anchor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = _plan()
    kept = ("anchor", "patch_causal", "patch_power_law_2", "random_weights", "language_model")
    plan = replace(plan, arms={name: plan.arms[name] for name in kept})
    result = comparison_of(plan, None, tmp_path).run()
    arms = {arm["name"]: arm for arm in result["arms"]}
    assert list(arms) == ["anchor", "patch_causal", "patch_power_law_2", "random_weights"]
    assert set(result["left_out"]) == {"language_model"}
    assert arms["anchor"]["against_anchor"]["value"] == 0
    for name, arm in arms.items():
        # Two seeds, one mean each: the change is the mean of the seeds' changes, near that of the means.
        own, alone = arm["mean"], arms["anchor"]["mean"]
        assert arm["against_anchor"]["value"] == pytest.approx(own / alone - 1, abs=0.02), name
    assert arms["patch_causal"]["mean"] != arms["patch_power_law_2"]["mean"]
    assert {arm["name"] for arm in result["rivals"]} >= {"last_value", "nlinear_ridge"}
    tell_ablation(result)
    said = capsys.readouterr().out
    assert "patch_power_law_2" in said
    assert "left out: language_model: with these fields it is the same as random_weights" in said
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("arms/*/metrics.json")}
    assert len(times) == 8
    Ablation(plan, tmp_path).run()
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_the_recipe_says_which_comparison_it_is(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    chimera = _plan(recipe="chimera")
    assert isinstance(comparison_of(chimera, None, tmp_path / "a"), Comparison)
    assert isinstance(comparison_of(chimera, ["add"], tmp_path / "b"), FusionComparison)
    with pytest.raises(ConfigError, match="calf fuses nothing"):
        comparison_of(_plan(), ["add"], tmp_path / "c")
