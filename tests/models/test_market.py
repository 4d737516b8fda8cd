"""The model of market: what it counts, what it starts from, which views it reads."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from plait.core.schema import Schema
from plait.core.tokens import Batch
from plait.fusion.add import AddConfig
from plait.fusion.none import NoneConfig
from plait.fusion.token_transformer import TokenTransformerConfig
from plait.models.market import Market, MarketConfig
from plait.runs.recipe import load_recipe, resolve

SCHEMA = Schema(
    "candles", {"candles": 14, "topology": 214, "complexity": 6}, tuple("abcdefghijklmn"), 96,
    stream_tokens={"topology": 1, "complexity": 1}, outputs=2,
)  # fmt: skip


def of_size(size: str, *overrides: tuple[str, object]) -> Market:
    config = resolve(load_recipe("market"), size, [("data.path", "x.csv"), *overrides])
    with torch.device("meta"):
        width = 214 + 2 * config.data.topology.spread
        built: Market = config.model.build(replace(SCHEMA, streams={**SCHEMA.streams, "topology": width}))
    return built


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("cls, fusion", [(False, 1_990_912), (True, 1_991_424)])
def test_the_fusion_of_the_seed_size_counts_what_its_document_s_layers_do(cls: bool, fusion: int) -> None:
    model = of_size("seed", ("fusion-use-cls-token", cls))
    assert count(model.fusion) == fusion
    # Its three tokens: 4 stacks of 256 side by side, and one of each other view.
    widths = [getattr(model.legs[name], "dim") for name in ("candles", "topology", "complexity")]  # noqa: B009
    assert widths == [1024, 256, 64]


def test_the_base_size_has_fewer_than_a_million_parameters() -> None:
    assert count(of_size("base")) < 1_000_000


def test_the_counts_of_the_guide_are_computed_ones() -> None:
    guide = Path(__file__).parents[2] / "docs" / "models" / "market.md"
    shown = [line.split("|")[1:-1] for line in guide.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    for cells in (row for row in shown if row[0].strip(" `") in ("tiny", "base", "seed")):
        model = of_size(cells[0].strip(" `"))
        parts = [*(model.legs[name] for name in ("candles", "topology", "complexity")), model.fusion, model.head, model]
        counts = [count(part) for part in parts]
        assert [cell.strip() for cell in cells[1:]] == [f"{each:,}" for each in counts]


def batch(rows: int = 3, seed: int = 0) -> Batch:
    maker = torch.Generator().manual_seed(seed)
    inputs = {
        "candles": torch.randn(rows, 96, 14, generator=maker),
        "topology": torch.randn(rows, 1, 214, generator=maker),
        "complexity": torch.randn(rows, 1, 6, generator=maker),
    }
    masks = {
        f"{n}_mask": torch.ones(t.shape if n == "candles" else t.shape[:2], dtype=torch.bool) for n, t in inputs.items()
    }
    return Batch(inputs | masks, {}, {})


def test_linear_maps_start_by_glorot_with_biases_of_0() -> None:
    torch.manual_seed(0)
    model = MarketConfig().build(SCHEMA)
    maps = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert all(not module.bias.any() for module in maps if module.bias is not None)
    widest = max(maps, key=lambda module: module.weight.numel())
    bound = (6 / (widest.in_features + widest.out_features)) ** 0.5
    assert float(widest.weight.abs().max()) == pytest.approx(bound, rel=1e-3)


def test_a_closed_fusion_stays_closed_at_the_start() -> None:
    torch.manual_seed(0)
    fused = MarketConfig(fusion=AddConfig()).build(SCHEMA).eval()
    torch.manual_seed(0)
    alone = MarketConfig(fusion=NoneConfig()).build(SCHEMA).eval()
    assert torch.equal(fused(batch()).prediction.point, alone(batch()).prediction.point)


def test_shift_and_temperature_change_the_logit_alone() -> None:
    model = MarketConfig().build(SCHEMA).eval()
    before = model(batch()).prediction.point
    model.temperature.fill_(2.0)
    model.shift.fill_(0.7)
    after = model(batch()).prediction.point
    torch.testing.assert_close(after[:, 0], (before[:, 0] - 0.7) / 2)
    assert torch.equal(after[:, 1], before[:, 1])
    assert {"shift", "temperature"} <= set(model.state_dict())


@pytest.mark.parametrize("left_out", ["candles", "topology", "complexity"])
def test_a_view_that_is_left_out_is_not_read(left_out: str) -> None:
    torch.manual_seed(0)
    config = MarketConfig(without=[left_out])  # type: ignore[list-item]
    model = config.build(SCHEMA).eval()
    assert left_out not in model.legs
    assert left_out not in config.reads
    whole = batch()
    changed = Batch(whole.inputs | {left_out: torch.full_like(whole.inputs[left_out], 7.0)}, {}, {})
    assert torch.equal(model(whole).prediction.point, model(changed).prediction.point)


@pytest.mark.parametrize("view", ["candles", "topology", "complexity"])
@pytest.mark.parametrize("fusion", [None, TokenTransformerConfig()])
def test_one_view_is_that_view_fused_with_nothing(view: str, fusion: Any) -> None:
    others = [name for name in ("candles", "topology", "complexity") if name != view]
    config = MarketConfig(without=others, fusion=fusion).resolve(SCHEMA)
    assert config.fusion.kind == "none"
    assert config.reads == {view}
    # What a run writes down is read again.
    again = MarketConfig.model_validate(config.model_dump(mode="json"))
    assert again.reads == {view}
    assert list(again.build(SCHEMA).legs) == [view]
    assert config.alone().reads == {"candles"}


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"without": ["candles", "topology", "complexity"]}, "nothing is left"),
        ({"without": ["candles"], "fusion": AddConfig()}, "can't be left out"),
        ({"without": ["candles"], "fusion": NoneConfig()}, "can't be left out"),
        ({"topology": {"kind": "vector", "modality": "complexity"}}, "encodes complexity, not topology"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        MarketConfig(**fields)  # type: ignore[arg-type]
