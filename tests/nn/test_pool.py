"""Tests of pooling and joining: only present tokens count."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core.tokens import Tokens
from plait.nn.contexts import Contexts
from plait.nn.pool import AttentionPool, join, masked_mean


def test_mean_by_hand() -> None:
    x = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [50.0, 70.0]], [[5.0, 5.0], [7.0, 7.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert torch.equal(masked_mean(Tokens(x, mask)), torch.tensor([[2.0, 4.0], [0.0, 0.0]]))


@settings(deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=5), st.integers(0, 2**31))
def test_mean_equals_a_loop_whatever_is_masked(bits: list[list[bool]], seed: int) -> None:
    mask = torch.tensor(bits)
    x = torch.randn(len(bits), 7, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    got = masked_mean(Tokens(torch.where(mask[..., None], x, math.nan), mask))
    for row, present in enumerate(bits):
        seen = [x[row, i] for i in range(7) if present[i]]
        want = sum(seen) / len(seen) if seen else torch.zeros(3, dtype=torch.float64)
        torch.testing.assert_close(got[row], want)


def test_masked_content_reaches_no_gradient() -> None:
    x = torch.full((1, 3, 2), math.nan)
    x[:, 0] = 1.0
    x.requires_grad_()
    masked_mean(Tokens(x, torch.tensor([[True, False, False]]))).sum().backward()
    assert torch.equal(x.grad, torch.tensor([[[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]]))


def test_bfloat16_stays() -> None:
    assert masked_mean(Tokens.full(torch.ones(3, 5, 7, dtype=torch.bfloat16))).dtype == torch.bfloat16


def test_join_puts_streams_one_after_the_other() -> None:
    a, b = Tokens.full(torch.zeros(3, 5, 2)), Tokens(torch.ones(3, 7, 2), torch.zeros(3, 7, dtype=torch.bool))
    x, mask = join([a, b])
    assert x.shape == (3, 12, 2)
    assert x[:, 5:].eq(1).all()
    assert mask[:, :5].all()
    assert not mask[:, 5:].any()


def test_contexts_project_each_stream_by_its_own_layer_in_the_order_of_names() -> None:
    torch.manual_seed(0)
    layer = Contexts({"zebra": 5, "apple": 3}, 2)
    zebra, apple = Tokens.full(torch.randn(3, 7, 5)), Tokens.full(torch.randn(3, 11, 3))
    apple.mask[1, 4:] = False
    x, mask = layer({"zebra": zebra, "apple": apple})
    for row in range(3):
        for i in range(11):
            content = apple.x[row, i] if apple.mask[row, i] else torch.zeros(3)
            torch.testing.assert_close(x[row, i], layer.project["apple"](content))
        torch.testing.assert_close(x[row, 11:], layer.project["zebra"](zebra.x[row]))
    assert torch.equal(mask, torch.cat([apple.mask, zebra.mask], dim=1))
    assert layer({"zebra": zebra}).x.shape == (3, 7, 2)


GROUPS, GROUP, WIDTH = 3, 5, 7


def pool() -> AttentionPool:
    torch.manual_seed(0)
    return AttentionPool(WIDTH, GROUP, hidden=11).double()


def tokens(seed: int = 0, rows: int = 3) -> Tokens:
    """Row 0 is full, row 1 lacks tokens and its last group, row 2 lacks all."""
    maker = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, GROUPS * GROUP, WIDTH, generator=maker, dtype=torch.float64)
    mask = torch.rand(rows, GROUPS * GROUP, generator=maker) < 0.6
    mask[0], mask[1, -GROUP:], mask[2] = True, False, False
    mask[1, :2] = True
    return Tokens(torch.where(mask[..., None], x, math.nan), mask)


@torch.no_grad()
def test_attention_pool_equals_its_formula_group_by_group() -> None:
    layer, (x, mask) = pool(), tokens()
    got = layer(Tokens(x, mask))
    assert got.x.shape == (3, GROUPS, WIDTH)
    for row in range(3):
        for k in range(GROUPS):
            seen = [x[row, i] for i in range(k * GROUP, (k + 1) * GROUP) if mask[row, i]]
            assert got.mask[row, k] == bool(seen)
            if not seen:
                assert (got.x[row, k] == 0).all()
                continue
            inner = [torch.tanh(layer.inner.weight @ token + layer.inner.bias) for token in seen]
            shares = [math.exp(float(layer.score.weight[0] @ each)) for each in inner]
            want = sum(share * token for share, token in zip(shares, seen, strict=True)) / sum(shares)
            torch.testing.assert_close(got.x[row, k], want)


@torch.no_grad()
def test_equal_scores_give_the_mean_of_each_group() -> None:
    layer, (x, mask) = pool(), tokens()
    layer.score.weight.zero_()
    split = Tokens(x.reshape(-1, GROUP, WIDTH), mask.reshape(-1, GROUP))
    torch.testing.assert_close(layer(Tokens(x, mask)).x.flatten(0, 1), masked_mean(split))


@torch.no_grad()
def test_a_token_alone_in_its_group_is_itself() -> None:
    x = torch.randn(1, GROUPS * GROUP, WIDTH, dtype=torch.float64)
    mask = torch.zeros(1, GROUPS * GROUP, dtype=torch.bool)
    alone = [3, GROUP, GROUPS * GROUP - 1]
    mask[0, alone] = True
    got = pool()(Tokens(torch.where(mask[..., None], x, math.nan), mask))
    assert got.mask.all()
    assert torch.equal(got.x[0], x[0, alone])


@torch.no_grad()
def test_the_order_inside_a_group_and_the_other_groups_do_not_matter() -> None:
    layer, (x, mask) = pool(), tokens()
    want = layer(Tokens(x, mask))
    order = torch.cat([torch.randperm(GROUP) + k * GROUP for k in range(GROUPS)])
    shuffled = layer(Tokens(x[:, order], mask[:, order]))
    torch.testing.assert_close(shuffled.x, want.x)
    assert torch.equal(shuffled.mask, want.mask)
    turned = [2, 0, 1]
    groups = x.unflatten(1, (GROUPS, GROUP))[:, turned].flatten(1, 2)
    got = layer(Tokens(groups, mask.unflatten(1, (GROUPS, GROUP))[:, turned].flatten(1, 2)))
    torch.testing.assert_close(got.x, want.x[:, turned])


def test_what_is_absent_reaches_no_gradient_of_the_pool() -> None:
    layer, (x, mask) = pool(), tokens()
    x.requires_grad_()
    layer(Tokens(x, mask)).x.square().sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad[~mask] == 0).all()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name
