"""Tests of the text encoder: groups of token states become one token a text, with the age of that text."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from plait.core.schema import Schema
from plait.encoders.text import Text, TextConfig

ROWS, TEXTS, GROUP, WIDTH = 3, 2, 5, 7
SCHEMA = Schema("series", {"series": 1, "text": WIDTH}, stream_tokens={"text": TEXTS * GROUP})
POOLED = replace(SCHEMA, grouped={"text": GROUP})


def encoder(schema: Schema, depth: int = 0) -> Text:
    torch.manual_seed(0)
    return TextConfig(dim=11, hidden=13, depth=depth, heads=1).build(schema).double().eval()


def fields() -> dict[str, Tensor]:
    """Row 0 is full, row 1 lacks the first token of a text and row 2 a whole text; what is absent is NaN."""
    maker = torch.Generator().manual_seed(0)
    mask = torch.ones(ROWS, TEXTS * GROUP, dtype=torch.bool)
    mask[1, 0], mask[1, 7], mask[2, GROUP:] = False, False, False
    values = torch.randn(ROWS, TEXTS * GROUP, WIDTH, generator=maker, dtype=torch.float64)
    age = torch.tensor([[0.0, 2.0], [1.0, 3.0], [0.5, 4.0]], dtype=torch.float64).repeat_interleave(GROUP, dim=1)
    return {
        "values": torch.where(mask[..., None], values, math.nan),
        "mask": mask,
        "age": torch.where(mask, age, math.nan),
    }


@torch.no_grad()
def test_a_group_is_pooled_and_has_the_age_of_its_text() -> None:
    module, given = encoder(POOLED), fields()
    assert module.pool is not None
    x, mask = module(given)
    assert mask.tolist() == [[True, True], [True, True], [True, False]]
    assert torch.isfinite(x).all()
    ages = ((0.0, 2.0), (1.0, 3.0), (0.5, None))
    for row in range(ROWS):
        for text, age in enumerate(ages[row]):
            if age is None:
                continue
            part = slice(text * GROUP, (text + 1) * GROUP)
            states = given["values"][row, part][given["mask"][row, part]]
            scores = (
                torch.tanh(states @ module.pool.inner.weight.T + module.pool.inner.bias) @ module.pool.score.weight[0]
            )
            pooled = torch.softmax(scores, dim=0) @ states
            inner = torch.nn.functional.gelu(module.up.weight @ pooled + module.up.bias)
            want = module.down.weight @ inner + module.down.bias + module.age.weight[:, 0] * age
            torch.testing.assert_close(x[row, text], want)


@torch.no_grad()
def test_groups_of_one_are_no_groups() -> None:
    alone, plain = encoder(replace(SCHEMA, grouped={"text": 1}), depth=1), encoder(SCHEMA, depth=1)
    assert alone.pool is None
    assert alone.state_dict().keys() == plain.state_dict().keys()
    got, want = alone(fields()), plain(fields())
    assert torch.equal(got.x[got.mask], want.x[want.mask])


def test_the_other_layers_start_the_same_with_and_without_a_pool() -> None:
    pooled, plain = encoder(POOLED, depth=1).state_dict(), encoder(SCHEMA, depth=1).state_dict()
    assert {name for name in pooled if name not in plain} == {
        "pool.inner.weight",
        "pool.inner.bias",
        "pool.score.weight",
    }
    assert all(torch.equal(pooled[name], value) for name, value in plain.items())
