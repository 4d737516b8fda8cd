"""The fusion kinds side by side: budgets on real models, what does not fit, resuming, and what the result holds."""

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from pydantic import Field
from torch import nn

from plait.cli.verdict import tell_fusions
from plait.core.config import Config
from plait.core.errors import ConfigError
from plait.core.kinds import config_class, kinds
from plait.core.schema import Schema
from plait.core.tokens import Tokens, anchored
from plait.evaluation import fusions
from plait.evaluation.compare import Plan
from plait.evaluation.fusions import FusionComparison, fusion_parameters, matched, named_kinds
from plait.runs.assemble import build_model
from plait.runs.config import RunConfig
from plait.runs.recipe import load_recipe, resolve

RECIPE = load_recipe("chimera")
FIELDS: list[tuple[str, Any]] = [
    ("data.weeks", 700), ("data.text.newest", 1), ("train-epochs", 1), ("trackers", []), ("device", "cpu"),
]  # fmt: skip
SCHEMA = Schema(
    "series", {"series": 3, "text": 256}, ("a", "b", "c"), 24, 12, 4, 52, stream_tokens={"text": 6}
)  # fmt: skip


def _plan(*fields: tuple[str, Any], size: str = "tiny", seeds: tuple[int, ...] = (0, 1)) -> Plan:
    return Plan.of_recipe(RECIPE, resolve(RECIPE, size, [*FIELDS, *fields]), seeds)


def _own(config: RunConfig) -> tuple[Any, int]:
    fusion = config.model.resolve(SCHEMA).fusion
    return fusion, fusion_parameters(config, fusion, SCHEMA)


class SpareConfig(Config):
    """A fusion of ours, installed for a test: odd widths can't be built, and its bound lies in the field."""

    anchored: ClassVar[bool] = True
    closed: ClassVar[bool] = True
    inner: ClassVar[tuple[str, ...]] = ("width",)
    kind: Literal["spare"] = "spare"
    width: int = Field(4, gt=1)

    def build(self, schema: Schema) -> "Spare":
        """The operator."""
        if self.width % 7:
            raise ConfigError("7 does not divide the width", where="model.fusion.width")
        return Spare(schema, self.width)


class WideConfig(SpareConfig):
    """The same with a width that fits from the start."""

    width: int = Field(14, gt=1)


class Spare(nn.Module):
    """x, with weights that do nothing."""

    def __init__(self, schema: Schema, width: int) -> None:
        super().__init__()
        self.anchor, self.dim = schema.anchor, schema.streams[schema.anchor]
        self.weight = nn.Parameter(torch.zeros(width, 11))

    def forward(self, streams: Any, notes: Any = None) -> Tokens:
        """The anchor's tokens."""
        anchor, _ = anchored(streams, self.anchor)
        return Tokens(anchor.x + 0.0 * self.weight.sum(), anchor.mask)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Adds a kind to the registry as an installed package would."""

    def add(config: type[Config]) -> None:
        config_class.cache_clear()
        monkeypatch.setattr(fusions, config.__name__, config, raising=False)
        monkeypatch.setitem(kinds("fusion"), "spare", f"plait.evaluation.fusions:{config.__name__}")

    yield add
    config_class.cache_clear()


# --- names


def test_all_are_the_kinds_of_the_registry_without_the_anchor(install: Any) -> None:
    install(SpareConfig)
    assert sorted(named_kinds("all")) == sorted({*kinds("fusion")} - {"none"})
    assert {"add", "cross_attention", "spare"} <= set(named_kinds("all"))


def test_kinds_are_named_with_either_dash_and_once() -> None:
    assert named_kinds("low-rank, add,low_rank,cross-attention") == ["low_rank", "add", "cross_attention"]


@pytest.mark.parametrize(
    "text, words",
    [
        ("add,concta", r"--fusions: no fusion of kind 'concta' \(did you mean concat\?\)"),
        ("al", r"--fusions: no fusion of kind 'al' \(did you mean all\?\)"),
        ("add,", "no fusion of kind ''"),
        ("none,add", "'none' is the anchor's arm"),
    ],
)
def test_a_name_that_is_no_kind_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        named_kinds(text)


# --- budgets


INNER = {"cross_attention": "hidden", "latent_gate": "gate_hidden", "film": "hidden"}
WITH_INNER = [kind for kind in named_kinds("all") if getattr(config_class("fusion", kind)(), "inner", None)]


@pytest.mark.parametrize("size", ["tiny", "base", "seed"])
def test_a_kind_with_an_inner_width_comes_within_a_tenth_of_the_budget(size: str) -> None:
    config = _plan(size=size).config
    _, budget = _own(config)
    assert set(INNER) <= set(WITH_INNER)
    for kind in WITH_INNER:
        usual: Any = config_class("fusion", kind)()
        found = matched(config, kind, SCHEMA, budget)
        model: Any = build_model(_with(config, found.fusion), SCHEMA)
        real = sum(p.numel() for p in model.fusion.parameters())
        assert (found.parameters, found.label) == (real, "matched"), kind
        assert abs(real - budget) <= 0.1 * budget, kind
        for field, value in found.inner.items():
            if value is not None:
                usual = fusions._put(usual, field, value)
        assert found.fusion == usual, "its other fields are as they are"


def _with(config: RunConfig, fusion: Any) -> RunConfig:
    return config.model_copy(update={"model": config.model.model_copy(update={"fusion": fusion})})


def test_the_least_width_is_what_the_field_says() -> None:
    least = {kind: fusions._least(config_class("fusion", kind)(), field) for kind, field in INNER.items()}
    assert least == {"cross_attention": 0, "latent_gate": 1, "film": 1}
    assert fusions._least(SpareConfig(), "width") == 2


def test_the_width_is_the_one_nearest_to_the_budget() -> None:
    config = _plan().config
    _, budget = _own(config)
    found = matched(config, "film", SCHEMA, budget)
    width = found.inner["hidden"]
    near = [found.fusion.model_copy(update={"hidden": other}) for other in (1, width - 1, width, width + 1, 2 * width)]
    sizes = [fusion_parameters(config, fusion, SCHEMA) for fusion in near]
    assert sizes == sorted(sizes)
    assert abs(found.parameters - budget) == min(abs(size - budget) for size in sizes)


def test_a_kind_without_an_inner_width_is_marked() -> None:
    config = _plan(size="base").config
    _, budget = _own(config)
    found = matched(config, "add", SCHEMA, budget)
    assert (found.label, found.inner) == ("smaller", {})
    assert found.parameters < 0.9 * budget
    assert matched(config, "add", SCHEMA, found.parameters // 2).label == "larger"
    assert matched(config, "add", SCHEMA, round(found.parameters * 1.05)).label == "matched"


def test_a_budget_below_the_least_width_leaves_the_kind_as_it_is() -> None:
    found = matched(_plan().config, "film", SCHEMA, 10)
    assert found.label == "larger"
    assert found.inner == {"hidden": None}


def test_widths_that_do_not_fit_are_passed_over(install: Any) -> None:
    install(WideConfig)
    found = matched(_plan().config, "spare", SCHEMA, 11 * 1000)
    assert found.inner == {"width": 1001}
    assert (found.parameters, found.label) == (11 * 1001, "matched")
    assert matched(_plan().config, "spare", SCHEMA, 11 * 14).fusion == WideConfig()


def test_a_recipe_without_a_fusion_sets_no_budget(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="own fusion is 'none'"):
        FusionComparison(_plan(("fusion", "none")), ["add"], tmp_path)


# --- a comparison


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[FusionComparison, dict[str, Any]]:
    """Two kinds beside the recipe's own, which does not have to be named, for two seeds."""
    plan = _plan(("fusion", "low_rank"))
    comparison = FusionComparison(plan, ["add", "cross_attention"], tmp_path_factory.mktemp("fusions"))
    return comparison, comparison.run()


def test_the_result_holds_quality_and_cost_of_every_kind(done: tuple[FusionComparison, dict[str, Any]]) -> None:
    comparison, result = done
    assert json.loads((comparison.folder / "fusions.json").read_text()) == result
    assert set(result) == {
        "metric", "unit", "row_name", "recipe", "seeds", "folds", "windows", "block", "drawn", "lacking",
        "default", "budget", "anchor", "fusions", "left_out",
    }  # fmt: skip
    assert [each["kind"] for each in result["fusions"]] == ["low_rank", "add", "cross_attention"]
    assert (result["default"], result["seeds"], result["recipe"]) == ("low_rank", [0, 1], "chimera")
    assert (result["metric"], result["block"], result["left_out"]) == ("mse", 24, [])
    cost = {"parameters", "total_parameters", "error", "train_ms", "peak_mib"}
    assert set(result["anchor"]) == cost
    for each in result["fusions"]:
        assert set(each) == cost | {"kind", "label", "ratio", "inner", "against_default", "against_anchor", "accepted"}
        assert each["error"]["low"] <= each["error"]["mean"] <= each["error"]["high"]
        assert each["against_anchor"]["low"] <= each["against_anchor"]["value"] <= each["against_anchor"]["high"]
        assert len(each["accepted"]) == 2
        assert each["parameters"] == pytest.approx(each["ratio"] * result["budget"])
        assert each["total_parameters"] > result["anchor"]["total_parameters"] + each["parameters"]
        assert each["peak_mib"] > result["anchor"]["peak_mib"] > 0
        assert min(each["train_ms"], result["anchor"]["train_ms"]) > 0
    own = result["fusions"][0]
    assert (own["label"], own["parameters"], own["against_default"]) == ("matched", result["budget"], None)


def test_the_numbers_are_those_of_the_runs(done: tuple[FusionComparison, dict[str, Any]]) -> None:
    """The error and its changes are raw: what validation did not accept is not hidden behind the anchor's score."""
    comparison, result = done

    def runs(arm: str) -> list[dict[str, Any]]:
        folders = [comparison.folder / "arms" / f"{arm}-seed{seed}" for seed in (0, 1)]
        return [json.loads((folder / "metrics.json").read_text()) for folder in folders]

    errors = {arm: [run["raw"]["test"]["mse"] for run in runs(arm)] for arm in ("anchor", "low_rank", "add")}
    own, add = result["fusions"][0], result["fusions"][1]
    assert add["error"]["mean"] == pytest.approx(sum(errors["add"]) / 2)
    for against, rival in (("against_anchor", "anchor"), ("against_default", "low_rank")):
        changes = [one / other - 1 for one, other in zip(errors["add"], errors[rival], strict=True)]
        assert add[against]["value"] == pytest.approx(sum(changes) / 2)
    assert own["accepted"] == [run["accepted"] for run in runs("low_rank")]
    assert own["total_parameters"] == runs("low_rank")[0]["raw_parameters"]


def test_a_finished_comparison_trains_nothing_again(done: tuple[FusionComparison, dict[str, Any]]) -> None:
    comparison, result = done
    stamps = {p: p.stat().st_mtime_ns for p in comparison.folder.glob("arms/*/metrics.json")}
    assert {p.parent.name for p in stamps} == {
        f"{arm}-seed{seed}" for arm in ("anchor", "add", "low_rank", "cross_attention") for seed in (0, 1)
    }
    plan = _plan(("fusion", "low_rank"))
    again = FusionComparison(plan, ["add", "cross_attention"], comparison.folder).run()
    assert {p: p.stat().st_mtime_ns for p in comparison.folder.glob("arms/*/metrics.json")} == stamps
    assert _untimed(again) == _untimed(result)


def _untimed(result: dict[str, Any]) -> dict[str, Any]:
    every = [result["anchor"], *result["fusions"]]
    return {**result, "anchor": None, "fusions": [{k: v for k, v in e.items() if k != "train_ms"} for e in every]}


def test_the_table_says_all_of_it(
    done: tuple[FusionComparison, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    tell_fusions({**done[1], "left_out": [{"kind": "odd", "reason": "it does not fit"}]})
    lines = capsys.readouterr().out.splitlines()
    (add,) = [line for line in lines if line.startswith("  add ")]
    kind = done[1]["fusions"][1]
    assert f"{kind['error']['mean']:.4f} [" in add
    assert f"{kind['parameters']}, {kind['label']}: x{kind['ratio']:.2f}" in add
    assert "left out: odd: it does not fit" in lines
    assert any(line.startswith("no placebo is among these arms") for line in lines)


def test_what_does_not_fit_is_left_out_with_its_reason_and_too_few_windows_give_no_interval(
    install: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(SpareConfig)
    plan = _plan(("fusion", "add"), ("data.weeks", 420), seeds=(3,))
    result = FusionComparison(plan, ["spare", "add"], tmp_path).run()
    reason = "model.fusion.width: 7 does not divide the width"
    assert result["left_out"] == [{"kind": "spare", "reason": reason}]
    assert f"spare does not fit this recipe and is left out: {reason}" in capsys.readouterr().out
    assert [each["kind"] for each in result["fusions"]] == ["add"]
    assert (tmp_path / "arms" / "add-seed3").is_dir()
    add = result["fusions"][0]
    assert (add["error"]["low"], add["against_anchor"]["low"], add["accepted"]) == (None, None, [False])
    assert isinstance(add["against_anchor"]["value"], float)
