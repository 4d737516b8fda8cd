"""A comparison of `products`: its arms and rivals, late fusion worked out anew, its page, and what has none."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from page_parser import check_whole, rows_of
from plait.core.errors import ConfigError
from plait.evaluation.compare import Comparison, Plan
from plait.report.page import write_report
from plait.runs.assemble import build_data
from plait.runs.folder import write_start
from plait.runs.recipe import load_recipe
from plait.runs.run import load_run
from runs.product_runs import of_generator, of_shop, smape

ARMS = ("anchor", "fused", "placebo", "sources_alone", "flat", "hierarchical")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan, dict[str, Any]]:
    """Every arm of the recipe on two folds of the generator, one seed."""
    folder = tmp_path_factory.mktemp("compare")
    plan = Plan.of_recipe(load_recipe("products"), of_generator(**{"data.folds": 2, "epochs": 1}), (0,))
    write_start(folder, plan.config)
    return folder, plan, Comparison(plan, folder).run()


def answered(folder: Path, arm: str, kind: str, split: str, fold: int) -> dict[str, Any]:
    """The log prices that an arm says before acceptance, and the true ones."""
    scores = load_file(folder / f"arms/{arm}-fold{fold}-seed0/scores.safetensors")
    return {name: scores[f"{kind}.{split}.{name}"] for name in ("said", "truth")}


def trained_apart(result: dict[str, Any], name: str) -> dict[str, Any]:
    (arm,) = [arm for arm in result["arms"] if arm["name"] == name and "trained apart" in arm["meaning"]]
    return arm


def test_a_comparison_has_every_arm_and_rival(compared: tuple[Path, Plan, dict[str, Any]]) -> None:
    folder, plan, result = compared
    assert tuple(plan.arms) == ARMS
    assert plan.modality == "image_b and text_a and text_b"
    names = {arm["name"] for arm in result["arms"]}
    assert len(names) == len(result["arms"])
    assert {*ARMS, "fused_raw", "placebo_raw", "late_mean", "late_weighted", "constant", "concat_ridge"} <= names
    assert {f"ridge_{name}" for name in ("image_a", "image_b", "text_a", "text_b")} <= names
    assert (result["windows"], result["folds"]) == (199, 2)
    true = build_data(plan.in_fold(0))
    tested = pd.concat([pd.read_csv(folder / f"arms/flat-fold{n}-seed0/predictions.csv") for n in (0, 1)])
    assert sorted(tested["id"]) == sorted(true.table.ids)
    flat = next(arm for arm in result["arms"] if arm["name"] == "flat")
    raw = [answered(folder, "flat", "raw", "test", fold) for fold in (0, 1)]
    rows = np.concatenate([smape(np.exp(each["said"]), np.exp(each["truth"])) for each in raw])
    assert flat["mean"] == pytest.approx(rows.mean())


def test_each_arm_is_set_against_the_anchor_and_the_best_rival_on_the_same_rows(
    compared: tuple[Path, Plan, dict[str, Any]],
) -> None:
    folder, _, result = compared
    arms = {arm["name"]: arm for arm in result["arms"]}

    def errors(name: str) -> Any:
        raw = [answered(folder, name, "raw", "test", fold) for fold in (0, 1)]
        return np.concatenate([smape(np.exp(each["said"]), np.exp(each["truth"])) for each in raw])

    for name in ("flat", "hierarchical"):
        change = arms[name]["against_anchor"]
        assert change["value"] == pytest.approx(errors(name).mean() / errors("anchor").mean() - 1)
        assert change["low"] <= change["value"] <= change["high"]
    assert arms["anchor"]["against_anchor"] == {"value": 0, "low": 0, "high": 0}
    best = result["best_baseline"]["name"]
    assert arms[best]["against_best"] == {"value": 0, "low": 0, "high": 0}
    told = {name: result["best_baseline"][key] for name, key in (("value", "change"), ("low", "low"), ("high", "high"))}
    assert arms["fused"]["against_best"] == told


def test_late_fusion_is_the_mean_of_log_prices_of_what_was_trained_apart(
    compared: tuple[Path, Plan, dict[str, Any]],
) -> None:
    folder, _, result = compared
    rows: dict[str, list[Any]] = {"late_mean": [], "late_weighted": []}
    tolerance = {"late_mean": 1e-6, "late_weighted": 1e-3}  # weights to a hundredth
    for fold in (0, 1):
        said = {
            split: [answered(folder, arm, "raw", split, fold) for arm in ("anchor", "sources_alone")]
            for split in ("val", "test")
        }

        def error(shares: tuple[float, float], split: str, said: dict[str, Any] = said) -> Any:
            first, second = said[split]
            price = np.exp(shares[0] * first["said"] + shares[1] * second["said"])
            return smape(price, np.exp(first["truth"]))

        rows["late_mean"].append(error((0.5, 0.5), "test"))
        grid = [(share / 100, 1 - share / 100) for share in range(101)]
        best = min(grid, key=lambda shares: error(shares, "val").mean())
        rows["late_weighted"].append(error(best, "test"))
    for name, found in rows.items():
        assert trained_apart(result, name)["mean"] == pytest.approx(np.concatenate(found).mean(), rel=tolerance[name])


def test_a_comparison_has_a_page(compared: tuple[Path, Plan, dict[str, Any]]) -> None:
    folder, _, result = compared
    html = write_report(folder).read_text(encoding="utf-8")
    page = check_whole(html)
    told = rows_of(html)
    assert len(told) == len(result["arms"])
    for arm in result["arms"]:
        assert any(row.startswith(arm["name"]) and f"{arm['mean']:.4g}"[:4] in row for row in told), arm["name"]
    assert "image_b and text_a and text_b" in page.text


@pytest.mark.parametrize("fields", [{"data.sources": {"photos": {"path": "photos.npy"}}}, {"data.sources": {}}])
def test_one_source_has_nothing_beside_it_to_compare(tmp_path: Path, fields: dict[str, Any]) -> None:
    lone = {} if not fields["data.sources"] else {
        "data.numbers": [], "data.categories": [], "data.log": [], "data.ratios": [], "data.prefix": None,
    }  # fmt: skip
    config = of_shop(tmp_path, **fields, **lone)
    with pytest.raises(ConfigError, match=r"nothing beside it to compare"):
        Plan.of_recipe(load_recipe("products"), config, (0,))


@pytest.mark.slow
def test_a_comparison_of_a_table_and_one_source(tmp_path: Path) -> None:
    """`sources_alone` is then of one source, without a fusion."""
    config = of_shop(tmp_path / "shop", **{"data.sources": {"photos": {"path": "photos.npy"}}, "data.folds": 3})
    (tmp_path / "compare").mkdir()
    plan = Plan.of_recipe(load_recipe("products"), config, (0,))
    result = Comparison(plan, tmp_path / "compare").run()
    assert result["verdicts"][0]["modality"] == "photos"
    alone = load_run(tmp_path / "compare/arms/sources_alone-fold1-seed0")
    assert alone.config.model.fusion.kind == "none"
    assert alone.model.required == ("photos", "photos_mask")
