"""Tests of feature-wise modulation: its formula, its closed start, and rows without context."""

import math

import torch
import torch.nn.functional as F

from plait.core.tokens import Tokens
from plait.nn.film import FeatureModulation

WIDTH, HIDDEN, DIM = 5, 11, 7


def modulation(fresh: bool = False) -> FeatureModulation:
    torch.manual_seed(0)
    layer = FeatureModulation(WIDTH, HIDDEN, DIM).double()
    if not fresh:
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.normal_(std=0.5)
    return layer


def given() -> tuple[torch.Tensor, Tokens]:
    """Row 0 has all its context, row 1 a part, row 2 none; what is absent is NaN."""
    maker = torch.Generator().manual_seed(1)
    x = torch.randn(3, 4, DIM, generator=maker, dtype=torch.float64)
    context = torch.randn(3, 6, WIDTH, generator=maker, dtype=torch.float64)
    mask = torch.tensor([[True] * 6, [False, True, True, False, True, False], [False] * 6])
    return x, Tokens(torch.where(mask[..., None], context, math.nan), mask)


@torch.no_grad()
def test_modulation_equals_its_formula_token_by_token() -> None:
    layer, (x, context) = modulation(), given()
    got = layer(x, context)
    for row in (0, 1):
        seen = [context.x[row, i] for i in range(6) if context.mask[row, i]]
        inner = F.gelu(layer.up.weight @ (sum(seen) / len(seen)) + layer.up.bias)
        out = layer.down.weight @ inner + layer.down.bias
        for token in range(4):
            for i in range(DIM):
                want = (1 + out[i]) * x[row, token, i] + out[DIM + i]
                torch.testing.assert_close(got[row, token, i], want)


@torch.no_grad()
def test_a_row_without_context_keeps_every_bit() -> None:
    layer, (x, context) = modulation(), given()
    got = layer(x, context)
    assert torch.equal(got[2], x[2])
    assert not torch.equal(got[1], x[1])


def test_the_start_is_closed_by_one_zero_layer_and_opens() -> None:
    layer, (x, context) = modulation(fresh=True), given()
    assert torch.equal(layer(x, context), x)
    layer(x, context).square().sum().backward()
    grown = {name for name, p in layer.named_parameters() if (p.grad != 0).any()}
    assert grown == {"down.weight", "down.bias"}
    with torch.no_grad():
        for parameter in layer.down.parameters():
            parameter.sub_(0.01 * parameter.grad)
    layer.zero_grad()
    layer(x, context).square().sum().backward()
    assert all((p.grad != 0).any() for p in layer.parameters())


def test_absent_context_reaches_no_gradient() -> None:
    layer, (x, context) = modulation(), given()
    context.x.requires_grad_()
    layer(x, context).square().sum().backward()
    assert (context.x.grad[~context.mask] == 0).all()
    assert (context.x.grad[context.mask] != 0).any()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())
