"""Operators with tokens of their own inside a model whose head wants one token a variate."""

from typing import Any

import pytest
import torch

from plait.core.config import validate
from plait.core.kinds import config_class, kinds
from plait.core.tokens import Batch
from plait.fusion._read_back import ReadBack, aligned
from plait.models.chimera import ChimeraConfig
from plait.testing.models import ModelCase, series_schema
from plait.testing.streams import FusionCase, example_schema

UNANCHORED = [kind for kind in kinds("fusion") if not config_class("fusion", kind).anchored]
MODEL = {"kind": "chimera", "series": {"kind": "linear"}, "text": {"kind": "text", "depth": 0}}


@pytest.mark.parametrize("kind", UNANCHORED)
def test_it_starts_closed_and_a_row_without_context_is_the_anchor_after_training_too(kind: str) -> None:
    config: Any = config_class("fusion", kind)()
    case = FusionCase(config, example_schema(config), torch.float32, "cpu")
    torch.manual_seed(0)
    module, inputs = aligned(config, case.schema).eval(), case.sample()
    want = case.anchor(inputs)["x"]
    assert isinstance(module, ReadBack)
    assert torch.equal(case.seen(case.run(module, inputs))["x"], want)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)
    absent = case.without(inputs, case.schema.contexts, slice(1, None))
    got = case.seen(case.run(module, absent))["x"]
    assert torch.equal(got[1:], want[1:])
    assert not torch.allclose(got[0], want[0])


@pytest.mark.parametrize("residual", [False, True])
def test_a_forecast_of_a_row_without_text_is_that_of_its_series_alone(residual: bool) -> None:
    config = validate(ChimeraConfig, {**MODEL, "fusion": {"kind": "perceiver"}, "residual": residual})
    case = ModelCase(config, series_schema(), torch.float32, "cpu")
    module, inputs = case.trained(), case.sample(rows=5)
    absent = inputs | {"text_mask": torch.zeros_like(inputs["text_mask"])}
    without = Batch(inputs, {}, {}).without(["text"]).inputs
    assert torch.equal(case.run(module, absent)["point"], case.run(module, without)["point"])
    assert not torch.allclose(case.run(module, inputs)["point"], case.run(module, without)["point"])


def test_the_reading_has_a_map_of_its_own() -> None:
    config = validate(ChimeraConfig, {**MODEL, "fusion": {"kind": "perceiver", "num_latents": 5, "depth": 0}})
    case = ModelCase(config, series_schema(), torch.float32, "cpu")
    maps = case.trained()(Batch(case.sample(), {}, {}), explain=True).maps
    assert set(maps) == {"attention", "attention.read"}
    assert maps["attention.read"].keys == (("null", 1), ("fused", 5))
