"""The planted control: text that announces is found and used, shuffled and unrelated text is not accepted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plait.core.errors import ConfigError
from plait.evaluation.compare import Comparison, Plan
from plait.runs.recipe import load_recipe, resolve


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_recovers_the_gap_and_turns_on_the_control(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "plait.cli.main", "demo", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert json.loads((tmp_path / "runs" / "demo" / "compare.json").read_text()) == result
    verdict = result["verdicts"][0]
    assert result["recovery"]["value"] >= 0.8
    assert verdict["helps"] is True
    assert verdict["beyond_calendar"] is True
    assert verdict["accepted"] == [True, True]
    assert verdict["placebo_accepted"] == [False, False]
    assert verdict["placebo_gains"] is False
    control = result["control"]["verdicts"][0]
    assert control["helps"] is False
    assert control["accepted"] == [False, False]
    assert "does not help" in control["text"]
    page = (tmp_path / "runs" / "demo" / "report.html").read_text()
    assert "does not help" in page
    assert len(page) < 2_000_000


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, dict[str, Any]]:
    recipe = load_recipe("chimera")
    fields = [("data.weeks", 700), ("train-epochs", 1), ("trackers", []), ("device", "cpu")]
    plan = Plan.of_recipe(recipe, resolve(recipe, "tiny", fields), (0, 1))
    comparison = Comparison(plan, tmp_path_factory.mktemp("compare"))
    return comparison, comparison.run()


def test_a_comparison_has_all_arms_on_the_same_windows(small: tuple[Comparison, dict[str, Any]]) -> None:
    _, result = small
    names = [arm["name"] for arm in result["arms"]]
    assert names == [
        "anchor", "calendar", "fused", "fused_raw", "placebo", "placebo_raw", "last_value", "seasonal_naive",
        "seasonal_prior", "nlinear_ridge", "ridge_prior", "ridge_season_dummies", "bag_of_words_ridge", "oracle",
    ]  # fmt: skip
    assert all(arm["low"] <= arm["mean"] <= arm["high"] for arm in result["arms"])
    assert [arm["seeds"] for arm in result["arms"]][:6] == [2] * 6
    verdict = result["verdicts"][0]
    assert {"modality", "effect", "low", "high", "placebo_effect", "helps", "beyond_calendar", "text"} <= set(verdict)
    assert result["best_baseline"]["name"] != "oracle"


def test_what_is_not_accepted_is_the_anchor_exactly(small: tuple[Comparison, dict[str, Any]]) -> None:
    _, result = small
    arms = {arm["name"]: arm for arm in result["arms"]}
    for name in ("fused", "placebo"):
        accepted = result["verdicts"][0]["accepted" if name == "fused" else "placebo_accepted"]
        if not any(accepted):
            assert arms[name]["mean"] == arms["anchor"]["mean"]
    verdict = result["verdicts"][0]
    assert verdict["helps"] is (verdict["high"] < 0 and verdict["against_placebo"]["high"] < 0)


def test_a_finished_comparison_is_read_and_not_trained_again(small: tuple[Comparison, dict[str, Any]]) -> None:
    comparison, result = small
    stamps = {p: p.stat().st_mtime_ns for p in comparison.folder.glob("arms/*/metrics.json")}
    assert len(stamps) == 8
    again = Comparison(comparison.plan, comparison.folder).run()
    assert again == result
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps


def test_data_without_text_leave_nothing_to_compare(shared: Path, tmp_path: Path) -> None:
    recipe = load_recipe("chimera")
    config = resolve(recipe, "tiny", [("data.kind", "ett"), ("data.root", str(shared / "data" / "ett"))])
    with pytest.raises(ConfigError, match=r"no text.*data\.text\.path"):
        Comparison(Plan.of_recipe(recipe, config, (0,)), tmp_path)
