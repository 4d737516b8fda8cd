"""Tests of pooling by abundance: against the sums written out, from presence to abundance, and with tokens absent."""

import math

import pytest
import torch
from torch import Tensor

from plait.core.tokens import Tokens
from plait.nn.abundance_pool import AbundancePool

ROWS, COUNT, DIM, HEADS, KEY, VALUE = 3, 7, 5, 3, 2, 11


def pool(heads: int = HEADS) -> AbundancePool:
    torch.manual_seed(0)
    return AbundancePool(DIM, heads, KEY, VALUE).double()


def sample() -> tuple[Tokens, Tensor]:
    """Row 0 is full, row 1 lacks some tokens, row 2 has none; absent content is NaN."""
    maker = torch.Generator().manual_seed(0)
    mask = torch.ones(ROWS, COUNT, dtype=torch.bool)
    mask[1, [1, 4, 6]], mask[2] = False, False
    x = torch.randn(ROWS, COUNT, DIM, generator=maker, dtype=torch.float64)
    logs = torch.rand(ROWS, COUNT, generator=maker, dtype=torch.float64) * 6
    return Tokens(torch.where(mask[..., None], x, math.nan), mask), torch.where(mask, logs, math.nan)


@torch.no_grad()
@pytest.mark.parametrize("counted", [False, True])
def test_each_head_is_the_sum_of_the_formula(counted: bool) -> None:
    module, (tokens, logs) = pool(), sample()
    got, weights = module(tokens, logs if counted else None, weights=True)
    assert got.shape == (ROWS, HEADS * VALUE)
    assert weights is not None
    keys, values = module.key.weight.view(HEADS, KEY, DIM), module.value.weight.view(HEADS, VALUE, DIM)
    for row in range(ROWS):
        there = [j for j in range(COUNT) if tokens.mask[row, j]]
        for head in range(HEADS):
            scores = []
            for j in there:
                score = float(module.query[head] @ (keys[head] @ tokens.x[row, j])) / math.sqrt(KEY)
                scores.append(score + (float(module.abundance[head] * logs[row, j]) / 3 if counted else 0.0))
            total = sum(map(math.exp, scores))
            want = torch.zeros(VALUE, dtype=torch.float64)
            for j, score in zip(there, scores, strict=True):
                want += math.exp(score) / total * (values[head] @ tokens.x[row, j])
                assert float(weights[row, head, j]) == pytest.approx(math.exp(score) / total, abs=1e-12)
            torch.testing.assert_close(got[row, head * VALUE : (head + 1) * VALUE], want, rtol=0, atol=1e-12)


@torch.no_grad()
def test_absent_tokens_weigh_nothing_and_a_row_without_any_is_zero() -> None:
    module, (tokens, logs) = pool(), sample()
    got, weights = module(tokens, logs, weights=True)
    assert weights is not None
    assert bool((weights.transpose(1, 2)[~tokens.mask] == 0).all())
    assert bool((got[2] == 0).all())
    assert torch.isfinite(got).all()
    assert module(tokens, logs)[1] is None


def test_absent_content_reaches_no_gradient() -> None:
    module, (tokens, logs) = pool(), sample()
    loss = module(tokens, logs)[0].square().sum()
    for gradient in torch.autograd.grad(loss, list(module.parameters())):
        assert torch.isfinite(gradient).all()
        assert float(gradient.abs().max()) > 0


@torch.no_grad()
def test_heads_start_from_presence_to_abundance() -> None:
    module, (tokens, logs) = pool(), sample()
    assert module.abundance.tolist() == [0.0, 0.5, 1.0]
    assert pool(heads=1).abundance.tolist() == [0.0]
    module.query.zero_()
    weights = module(tokens, logs, weights=True)[1]
    assert weights is not None
    torch.testing.assert_close(weights[0, 0], torch.full((COUNT,), 1 / COUNT, dtype=torch.float64), rtol=0, atol=1e-12)
    # With beta 1 the odds of two tokens are the cube root of the odds of their counts plus 1.
    odds = weights[0, 2, 0] / weights[0, 2, 1]
    torch.testing.assert_close(odds**3, torch.exp(logs[0, 0] - logs[0, 1]), rtol=1e-10, atol=0)


@torch.no_grad()
def test_the_order_of_tokens_is_irrelevant() -> None:
    module, (tokens, logs) = pool(), sample()
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    moved = module(Tokens(tokens.x[:, order], tokens.mask[:, order]), logs[:, order])[0]
    torch.testing.assert_close(moved, module(tokens, logs)[0], rtol=0, atol=1e-12)


@torch.no_grad()
def test_half_precision_keeps_its_scores_in_float32() -> None:
    torch.manual_seed(0)
    module = AbundancePool(DIM, 1, KEY, VALUE).to(torch.bfloat16)
    module.query.zero_()
    module.abundance.fill_(1.0)
    tokens = Tokens.full(torch.ones(1, COUNT, DIM, dtype=torch.bfloat16))
    got, weights = module(tokens, torch.linspace(0, 9, COUNT).bfloat16()[None], weights=True)
    assert got.dtype == torch.bfloat16
    assert weights is not None
    assert weights.dtype == torch.float32
    want = torch.softmax(torch.linspace(0, 9, COUNT).bfloat16().float() / 3, dim=0)
    torch.testing.assert_close(weights[0, 0], want, rtol=0, atol=1e-6)
