"""Tests of what the heads of one answer a row share: the pooled mean, the hidden layer and the context's modulation."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from plait.core.kinds import config_class
from plait.core.schema import Schema
from plait.core.tokens import Prediction, Tokens
from plait.heads._readout import Readout, readout_of

SCHEMA = Schema("asv", {"asv": 19, "metadata": 17, "facts": 5}, outputs=3, bins=7)
ALONE = Schema("asv", {"asv": 19}, outputs=3, bins=7)
KINDS = ("regression", "distribution", "classification")
HIDDEN = 11


def spread(part: Any) -> Any:
    """The part in float64, every parameter random: what starts closed is open."""
    part = part.double().eval()
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.normal_(std=0.5)
    return part


def head(kind: str, schema: Schema = SCHEMA, fresh: bool = False, **fields: Any) -> Any:
    torch.manual_seed(0)
    part = config_class("heads", kind)(**fields).build(schema)  # type: ignore[attr-defined]
    return part.double().eval() if fresh else spread(part)


def streams() -> tuple[Tokens, dict[str, Tokens]]:
    """Row 0 is full, row 1 lacks a token and some context, row 2 has no context; what is absent is NaN."""
    maker = torch.Generator().manual_seed(1)
    found = {}
    for name, count in (("metadata", 5), ("asv", 3), ("facts", 2)):
        x = torch.randn(3, count, SCHEMA.streams[name], generator=maker, dtype=torch.float64)
        mask = torch.ones(3, count, dtype=torch.bool)
        mask[1, -1] = False
        mask[2] = name == "asv"
        found[name] = Tokens(torch.where(mask[..., None], x, math.nan), mask)
    return found.pop("asv"), found


def tensors(prediction: Prediction) -> list[torch.Tensor]:
    return [prediction.point, *prediction.parts.values()]


@pytest.mark.parametrize(("hidden", "film"), [(HIDDEN, True), (HIDDEN, False), (0, False)])
@torch.no_grad()
def test_readout_equals_its_formula_row_by_row(hidden: int, film: bool) -> None:
    tokens, context = streams()
    part: Readout = spread(readout_of(SCHEMA, 5, hidden, 0.3, film))
    w, got = dict(part.named_parameters()), part(tokens, context)
    assert got.shape == (3, 5)
    for row in range(3):
        there = [x for x, m in zip(tokens.x[row], tokens.mask[row], strict=True) if m]
        x = sum(there, torch.zeros(19, dtype=torch.float64)) / len(there)
        x = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt() * w["norm.weight"] + w["norm.bias"]
        if hidden:
            x = w["hidden.weight"] @ x + w["hidden.bias"]
            seen = []
            for name, (c, mask) in sorted(context.items()) if film else ():
                matrix, bias = w[f"contexts.project.{name}.weight"], w[f"contexts.project.{name}.bias"]
                seen += [matrix @ token + bias for token, here in zip(c[row], mask[row], strict=True) if here]
            if seen:
                inner = F.gelu(w["film.up.weight"] @ (sum(seen) / len(seen)) + w["film.up.bias"])
                change = w["film.down.weight"] @ inner + w["film.down.bias"]
                x = (1 + change[:HIDDEN]) * x + change[HIDDEN:]
            x = F.gelu(x)
        torch.testing.assert_close(got[row], w["project.weight"] @ x + w["project.bias"])


@torch.no_grad()
def test_a_row_without_a_token_is_that_of_a_mean_of_zero() -> None:
    part: Readout = spread(readout_of(ALONE, 5, HIDDEN, 0.3, False))
    absent = Tokens(torch.full((1, 3, 19), math.nan).double(), torch.zeros(1, 3, dtype=torch.bool))
    zero = Tokens.full(torch.zeros(1, 1, 19).double())
    assert torch.equal(part(absent, {}), part(zero, {}))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_modulated_head_starts_as_the_one_without_context(kind: str) -> None:
    tokens, context = streams()
    part = head(kind, fresh=True, film=True)
    others = (head(kind, fresh=True), head(kind, ALONE, fresh=True, film=True))
    for number, want in enumerate(tensors(part(tokens, {}))):
        assert torch.equal(tensors(part(tokens, context))[number], want)
        for other in others:
            assert torch.equal(tensors(other(tokens, context))[number], want)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_row_without_context_is_answered_from_its_tokens_alone(kind: str) -> None:
    tokens, context = streams()
    part = head(kind, film=True)
    for got, want in zip(tensors(part(tokens, context)), tensors(part(tokens, {})), strict=True):
        assert torch.equal(got[2], want[2])
        assert not any(torch.allclose(got[row], want[row]) for row in (0, 1))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_without_film_no_context_is_read_and_nothing_is_built_for_it(kind: str) -> None:
    tokens, context = streams()
    part = head(kind)
    assert torch.equal(part(tokens, context).point, part(tokens, {}).point)
    assert not [name for name, _ in part.named_parameters() if "film" in name or "contexts" in name]


@torch.no_grad()
def test_a_stream_that_is_not_of_the_schema_is_not_read() -> None:
    tokens, context = streams()
    part: Readout = spread(readout_of(Schema("asv", {"asv": 19, "metadata": 17}), 5, HIDDEN, 0.3, True))
    assert torch.equal(part(tokens, context), part(tokens, {"metadata": context["metadata"]}))
    assert torch.equal(part(tokens, {"facts": context["facts"]}), part(tokens, {}))


def test_film_without_a_width_has_a_layer_as_wide_as_the_tokens() -> None:
    wide, none = (readout_of(SCHEMA, 5, 0, 0.3, film) for film in (True, False))
    assert wide.hidden is not None
    assert wide.hidden.weight.shape == (19, 19)
    assert none.hidden is None
    assert none.project.weight.shape == (5, 19)


def test_dropout_acts_on_the_normalised_mean_only() -> None:
    tokens, _ = streams()
    part = spread(readout_of(ALONE, 5, HIDDEN, 0.5, False)).train()
    torch.manual_seed(3)
    got = part(tokens, {})
    torch.manual_seed(3)
    kept = torch.where(tokens.mask[..., None], tokens.x, 0.0)
    x = part.norm(kept.sum(1) / tokens.mask.sum(1, keepdim=True))
    torch.testing.assert_close(got, part.project(F.gelu(part.hidden(F.dropout(x, 0.5)))))


@pytest.mark.parametrize("kind", KINDS)
def test_defaults(kind: str) -> None:
    config = config_class("heads", kind)()
    fields = {"kind": kind, "hidden": 96, "dropout": 0.3, "film": False}
    assert config.model_dump() == fields | ({"constraint": "none"} if kind == "regression" else {})
