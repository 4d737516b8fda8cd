"""Tests of `attend` and `Attention` against loops that spell the equation out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plait.core.errors import ConfigError
from plait.nn.attention import Attention, attend, check_heads

B, H, N, M, E = 3, 2, 5, 7, 11


def spelt_out(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Attention one number at a time. `mask` and `bias` (b, h, n, m); NaN under a False mask is never touched."""
    b, h, n, e = q.shape
    out, weights = torch.zeros_like(q), torch.zeros(b, h, n, k.shape[2], dtype=q.dtype)
    for row in range(b):
        for head in range(h):
            for i in range(n):
                keys = [j for j in range(k.shape[2]) if mask[row, head, i, j]]
                scores = {
                    j: sum(float(q[row, head, i, c]) * float(k[row, head, j, c]) for c in range(e)) / math.sqrt(e)
                    + float(bias[row, head, i, j])
                    for j in keys
                }
                total = sum(math.exp(s) for s in scores.values())
                for j in keys:
                    weights[row, head, i, j] = math.exp(scores[j]) / total
                    out[row, head, i] += weights[row, head, i, j] * v[row, head, j]
    return out, weights


def sample(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    maker = torch.Generator().manual_seed(seed)
    sizes = ((B, H, N, E), (B, H, M, E), (B, H, M, E))
    q, k, v = (torch.randn(size, generator=maker, dtype=dtype) for size in sizes)
    return q, k, v


def key_masks() -> dict[str, Tensor]:
    ragged = torch.ones(B, M, dtype=torch.bool)
    ragged[1, ::2], ragged[2] = False, False
    causal = (torch.arange(M) <= torch.arange(N)[:, None] + 1).expand(B, 1, N, M).clone()
    causal[1, 0, 3] = False
    causal[2, :, :, 0] = False
    return {"all": torch.ones(B, M, dtype=torch.bool), "ragged and an empty row": ragged, "by query": causal}


def spread(mask: Tensor) -> Tensor:
    return (mask[:, None, None] if mask.dim() == 2 else mask).expand(B, H, N, M)


@pytest.mark.parametrize("name", key_masks())
@pytest.mark.parametrize("bias_shape", [None, (N, M), (H, 1, M), (B, H, N, M)])
@pytest.mark.parametrize("weights", [False, True])
def test_attend_equals_the_equation(name: str, bias_shape: tuple[int, ...] | None, weights: bool) -> None:
    q, k, v = sample()
    mask = key_masks()[name]
    bias = None if bias_shape is None else torch.randn(bias_shape, dtype=q.dtype)
    whole = torch.zeros(B, H, N, M, dtype=q.dtype) if bias is None else bias.expand(B, H, N, M)
    want, want_weights = spelt_out(q, k, v, spread(mask), whole)
    out, used = attend(q, k, v, mask, bias, weights=weights)
    torch.testing.assert_close(out, want, atol=1e-12, rtol=1e-12)
    if weights:
        torch.testing.assert_close(used, want_weights, atol=1e-12, rtol=1e-12)
        assert (used[~spread(mask)] == 0).all()
    else:
        assert used is None


def test_one_query_two_keys_by_hand() -> None:
    q, k = torch.tensor([[[[2.0]]]]), torch.tensor([[[[0.0], [math.log(3) / 2]]]])
    out, used = attend(q, k, torch.tensor([[[[1.0], [5.0]]]]), weights=True)
    torch.testing.assert_close(used, torch.tensor([[[[0.25, 0.75]]]]))
    torch.testing.assert_close(out, torch.tensor([[[[4.0]]]]))


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_without_a_key_is_exactly_zero(weights: bool, dtype: torch.dtype) -> None:
    q, k, v = sample(dtype=dtype)
    mask = key_masks()["ragged and an empty row"]
    out, _ = attend(q, k, v, mask, torch.randn(N, M, dtype=dtype), weights=weights)
    assert torch.equal(out[2], torch.zeros_like(out[2]))
    assert out.dtype == dtype
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", ["ragged and an empty row", "by query"])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("junk", [math.nan, math.inf, 1e300])
def test_hidden_keys_are_never_read_by_outputs_or_gradients(name: str, weights: bool, junk: float) -> None:
    mask = key_masks()[name]
    if mask.dim() == 4:
        mask[..., -1] = False  # what some query may see is read
    hidden = ~spread(mask).any(dim=2)[..., None]
    outcomes = []
    for value in (0.0, junk):
        q, k, v = (t.requires_grad_() for t in sample())
        filled = [torch.where(hidden, value, t) for t in (k, v)]
        out, _ = attend(q, *filled, mask, weights=weights)
        outcomes.append([out, *torch.autograd.grad(out.square().sum(), (q, k, v))])
    assert hidden.any()
    for got, want in zip(*outcomes, strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_explain_path_equals_fast_path(dtype: torch.dtype, tolerance: float) -> None:
    for mask in (None, *key_masks().values()):
        for bias in (None, torch.randn(H, N, M, dtype=dtype)):
            fast, none = attend(*sample(dtype=dtype), mask, bias)
            slow, used = attend(*sample(dtype=dtype), mask, bias, weights=True)
            assert none is None
            assert used is not None
            torch.testing.assert_close(slow, fast, atol=tolerance, rtol=tolerance)
            total = used.sum(dim=-1)
            some = torch.ones_like(total) if mask is None else spread(mask).any(dim=-1).to(total)
            torch.testing.assert_close(total, some, atol=1e-6, rtol=0)


@pytest.mark.parametrize("weights", [False, True])
def test_gradient_of_the_bias_equals_finite_differences(weights: bool) -> None:
    q, k, v = sample()
    mask = key_masks()["ragged and an empty row"]
    bias = torch.randn(H, N, M, dtype=torch.float64, requires_grad=True)
    target = torch.randn(B, H, N, E, dtype=torch.float64)

    def loss(given: Tensor) -> Tensor:
        return (attend(q, k, v, mask, given, weights=weights)[0] * target).sum()

    (got,) = torch.autograd.grad(loss(bias), bias)
    for place in ((0, 0, 0), (1, 2, 3), (0, 4, 6), (1, 3, 5)):
        step = torch.zeros_like(bias)
        step[place] = 1e-6
        with torch.no_grad():
            slope = (loss(bias + step) - loss(bias - step)) / 2e-6
        assert float(got[place]) == pytest.approx(float(slope), abs=1e-7)


def test_a_single_key_gives_queries_and_keys_no_gradient() -> None:
    q, k, v = (t.requires_grad_() for t in sample())
    out, _ = attend(q, k[:, :, :1], v[:, :, :1])
    for gradient in torch.autograd.grad(out.square().sum(), (q, k)):
        assert gradient.abs().max() < 1e-12


@settings(deadline=None, max_examples=60)
@given(
    data=st.data(),
    n=st.sampled_from((1, 3, 5)),
    m=st.sampled_from((1, 2, 7)),
    weights=st.booleans(),
)
def test_any_mask_gives_means_over_its_keys(data: st.DataObject, n: int, m: int, weights: bool) -> None:
    bits = data.draw(st.lists(st.lists(st.booleans(), min_size=m, max_size=m), min_size=B, max_size=B))
    mask = torch.tensor(bits)
    maker = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    q, k = (torch.randn(B, H, count, E, generator=maker, dtype=torch.float64) for count in (n, m))
    v = torch.randn(B, H, m, 1, generator=maker, dtype=torch.float64)
    out, _ = attend(q, k, torch.where(mask[:, None, :, None], v, torch.nan), mask, weights=weights)
    for row in range(B):
        seen = v[row][:, mask[row]]
        if len(seen[0]) == 0:
            assert torch.equal(out[row], torch.zeros_like(out[row]))
            continue
        low, high = seen.amin(dim=1, keepdim=True), seen.amax(dim=1, keepdim=True)
        assert ((out[row] >= low - 1e-9) & (out[row] <= high + 1e-9)).all()


def test_order_of_keys_does_not_matter() -> None:
    q, k, v = sample()
    mask = key_masks()["ragged and an empty row"]
    order = torch.tensor([4, 0, 6, 2, 5, 1, 3])
    got, _ = attend(q, k[:, :, order], v[:, :, order], mask[:, order])
    torch.testing.assert_close(got, attend(q, k, v, mask)[0], atol=1e-12, rtol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("context_dim", [None, 13])
def test_attention_layer_equals_heads_spelt_out(context_dim: int | None) -> None:
    torch.manual_seed(0)
    dim, heads = 6, 3
    layer = Attention(dim, heads, context_dim).double()
    x, context = torch.randn(B, N, dim, dtype=torch.float64), torch.randn(B, M, context_dim or dim, dtype=torch.float64)
    mask = key_masks()["ragged and an empty row"]
    mixed = torch.zeros(B, N, dim, dtype=torch.float64)
    for head in range(heads):
        part = slice(head * 2, head * 2 + 2)
        q = x @ layer.query.weight[part].T + layer.query.bias[part]
        k = context @ layer.key.weight[part].T
        v = context @ layer.value.weight[part].T + layer.value.bias[part]
        none = torch.zeros(B, 1, N, M, dtype=torch.float64)
        out, _ = spelt_out(q[:, None], k[:, None], v[:, None], spread(mask)[:, :1], none)
        mixed[:, :, part] = out[:, 0]
    want = mixed @ layer.out.weight.T + layer.out.bias
    got, used = layer(x, context, mask, weights=True)
    torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)
    assert used.shape == (B, heads, N, M)


def test_zero_out_starts_at_zero_and_keeps_no_bias() -> None:
    layer = Attention(6, 2, zero_out=True)
    out, _ = layer(torch.randn(B, N, 6), torch.randn(B, M, 6))
    assert torch.equal(out, torch.zeros(B, N, 6))
    assert layer.out.bias is None


def test_dropout_acts_in_training_alone() -> None:
    layer, x = Attention(6, 2, dropout=0.5), torch.randn(B, N, 6)
    assert not torch.equal(layer(x, x)[0], layer(x, x)[0])
    layer.eval()
    assert torch.equal(layer(x, x)[0], layer(x, x)[0])


def test_heads_that_do_not_divide_the_width_are_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"model\.text\.heads: 4 heads do not divide the width 6 .*\[1, 2, 3, 6\]"):
        check_heads(6, 4, "model.text.heads")
    with pytest.raises(ConfigError):
        Attention(7, 2)
