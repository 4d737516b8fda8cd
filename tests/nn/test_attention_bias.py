"""Tests of the biases of attention by distance: our attention and a GPT-2 against a closed form in loops."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import DynamicCache, GPT2Config, GPT2Model

from plait.core.config import validate
from plait.core.errors import ConfigError
from plait.core.tokens import Tokens
from plait.nn.attention import attend
from plait.nn.attention_bias import AttentionBias, BiasConfig
from plait.nn.block import Stack

B, H, N, DIM = 3, 3, 7, 12
CAUSAL = {
    "power law": BiasConfig(),
    "power law, weak": BiasConfig(alpha=0.5),
    "power law, alpha 0": BiasConfig(alpha=0.0),
    "power law, one alpha a head": BiasConfig(alpha=[0.0, 0.7, 2.0]),
    "power law, learned": BiasConfig(alpha=0.8, learn=True),
    "power law, learned a head": BiasConfig(alpha=[0.3, 0.7, 2.0], learn=True),
    "stretched": BiasConfig(kind="stretched", alpha=0.6),
    "stretched, one alpha a head": BiasConfig(kind="stretched", alpha=[0.0, 0.5, 1.5]),
    "stretched, learned": BiasConfig(kind="stretched", alpha=0.5, learn=True),
    "window": BiasConfig(kind="window", width=3.0),
    "window of the query alone": BiasConfig(kind="window", width=0.5),
    "butterworth": BiasConfig(kind="butterworth", cutoff=2.5, order=3),
    "butterworth, usual": BiasConfig(kind="butterworth"),
    "causal": BiasConfig(kind="causal"),
}
BOTH_WAYS = {
    "none": BiasConfig(kind="none"),
    "power law, symmetric": BiasConfig(alpha=0.5, symmetric=True),
    "power law, symmetric and learned": BiasConfig(alpha=[0.3, 0.7, 2.0], learn=True, symmetric=True),
    "stretched, symmetric": BiasConfig(kind="stretched", alpha=0.5, symmetric=True),
    "window, symmetric": BiasConfig(kind="window", width=3.0, symmetric=True),
    "butterworth, symmetric": BiasConfig(kind="butterworth", symmetric=True),
}
FORMS = CAUSAL | BOTH_WAYS


def multiplier(config: BiasConfig, alpha: float, dt: float) -> float:
    """What exp(q k) is multiplied by for a key that lies dt behind its query."""
    if dt < 0 and not config.symmetric and config.kind != "none":
        return 0.0
    far = abs(dt)
    if config.kind == "power_law":
        return (1 + far) ** -alpha
    if config.kind == "stretched":
        return math.exp(-(far**alpha)) if alpha and far else 1.0
    if config.kind == "window":
        return float(far < (config.width or 4))
    if config.kind == "butterworth":
        return 1 / math.sqrt(1 + (far / (config.cutoff or 4)) ** (2 * (config.order or 2)))
    return 1.0


def multipliers(
    config: BiasConfig, times: Sequence[float], prefix: int = 0, present: Sequence[bool] | None = None
) -> np.ndarray:
    """The multipliers of all heads, queries and keys, one number at a time. Shape: (h, n, n)."""
    n = len(times)
    found = np.zeros((H, n, n))
    for head in range(H):
        alpha = config.alphas[head % len(config.alphas)]
        for i in range(n):
            for j in range(n):
                if present is not None and not present[j]:
                    continue
                if j < prefix:
                    found[head, i, j] = 1.0
                elif i >= prefix:
                    found[head, i, j] = multiplier(config, alpha, times[i] - times[j])
    return found


def renormalised(q: Tensor, k: Tensor, factor: np.ndarray) -> np.ndarray:
    """factor * exp(q k / sqrt e) over its sum, in float64. Shape: q, k (b, h, n, e), factor (h, n, n)."""
    b, h, n, e = q.shape
    wide_q, wide_k = q.detach().double().numpy(), k.detach().double().numpy()
    found = np.zeros((b, h, n, n))
    for row in range(b):
        for head in range(h):
            for i in range(n):
                scores = [float(wide_q[row, head, i] @ wide_k[row, head, j]) / math.sqrt(e) for j in range(n)]
                weights = np.array([factor[head, i, j] * math.exp(scores[j]) for j in range(n)])
                found[row, head, i] = weights / weights.sum()
    return found


def sample(seed: int = 0, n: int = N, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    maker = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(B, H, n, 5, generator=maker).to(dtype) for _ in range(3))
    return q, k, v


def embeddings(seed: int = 0, n: int = N) -> Tensor:
    return torch.randn(B, n, DIM, generator=torch.Generator().manual_seed(seed))


@cache
def gpt2(implementation: str = "sdpa") -> GPT2Model:
    """A GPT-2 of two layers whose scores are far from equal."""
    config = GPT2Config(
        vocab_size=1, bos_token_id=None, eos_token_id=None, use_cache=False, attn_pdrop=0, resid_pdrop=0, embd_pdrop=0,
        n_layer=2, n_embd=DIM, n_head=H, n_positions=32, initializer_range=0.3, attn_implementation=implementation,
    )  # fmt: skip
    torch.manual_seed(0)
    return GPT2Model(config).eval()


@cache
def stack() -> Stack:
    torch.manual_seed(0)
    found = Stack(DIM, 2, H, 16).eval()
    with torch.no_grad():
        for block in found.blocks:
            for layer in (block.attention.query, block.attention.key, block.attention.value):
                layer.weight.mul_(3)
    return found


def run_stack(x: Tensor, bias: Tensor | None, positions: Tensor | None = None) -> Tensor:
    return stack()(Tokens.full(x), bias=bias).x


def run_gpt2(x: Tensor, bias: Tensor | None, positions: Tensor | None = None) -> Tensor:
    if bias is not None and bias.dim() == 3:
        bias = bias[None]
    found: Tensor = gpt2()(inputs_embeds=x, attention_mask=bias, position_ids=positions).last_hidden_state
    return found


Run = Callable[..., Tensor]
RUNS: dict[str, Run] = {"ours": run_stack, "gpt2": run_gpt2}
each_run = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


# The matrix


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_every_matrix_equals_the_closed_form(data: st.DataObject) -> None:
    strength = st.sampled_from((0.0, 0.25, 1.0, 2.0)) | st.lists(st.floats(0.1, 3), min_size=H, max_size=H)
    fields: dict[str, Any] = {
        "power_law": {"alpha": strength}, "stretched": {"alpha": strength}, "window": {"width": st.floats(0.5, 9)},
        "butterworth": {"cutoff": st.floats(0.5, 9), "order": st.integers(1, 40)}, "causal": {}, "none": {},
    }  # fmt: skip
    kind = data.draw(st.sampled_from(sorted(fields)))
    config = BiasConfig(kind=kind, symmetric=data.draw(st.booleans()), **data.draw(st.fixed_dictionaries(fields[kind])))
    n, prefix = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 2))
    rows = data.draw(st.lists(st.lists(st.integers(0, 60), min_size=n, max_size=n), min_size=2, max_size=2))
    present = data.draw(st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=2, max_size=2))
    times = torch.tensor(rows) / 4
    got = config.build(H)(times=times, mask=torch.tensor(present), prefix=prefix)
    assert torch.isfinite(got).all()
    for row in range(2):
        want = multipliers(config, times[row].tolist(), prefix, present[row])
        weights = got[row].double().exp().expand(H, n, n).numpy()
        np.testing.assert_allclose(weights[:, present[row]], want[:, present[row]], atol=1e-6, rtol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prefix", [0, 2])
def test_in_token_units_the_distance_is_the_number_of_tokens(form: str, prefix: int) -> None:
    got = FORMS[form].build(H)(N, prefix=prefix).detach().double().exp().expand(H, N, N).numpy()
    np.testing.assert_allclose(got, multipliers(FORMS[form], range(N), prefix), atol=1e-6, rtol=0)


def test_the_third_row_by_hand() -> None:
    power = BiasConfig(alpha=2.0).build(1)(3)[0].exp()
    torch.testing.assert_close(power, torch.tensor([[1, 0, 0], [1 / 4, 1, 0], [1 / 9, 1 / 4, 1]]))
    window = BiasConfig(kind="window", width=2.0).build(1)(3)[0].exp()
    assert window.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    assert float(BiasConfig(kind="butterworth", cutoff=2.0).build(1)(3)[0, 2, 0].exp()) == pytest.approx(2**-0.5)
    assert float(BiasConfig(kind="stretched", alpha=0.5).build(1)(5)[0, 4, 0]) == pytest.approx(-2.0)


def test_prefix_tokens_are_seen_without_decay_and_see_one_another_alone() -> None:
    bias = BiasConfig(alpha=3.0).build(H)(5, prefix=2)[0].exp()
    assert bias.tolist()[:2] == [[1, 1, 0, 0, 0]] * 2
    assert (bias[2:, :2] == 1).all()
    torch.testing.assert_close(bias[2:, 2:], BiasConfig(alpha=3.0).build(H)(3)[0].exp())


@pytest.mark.parametrize("form", FORMS)
def test_regular_time_stamps_equal_token_units_exactly(form: str) -> None:
    bias, steps = FORMS[form].build(H), torch.arange(N).expand(B, N)
    for times in (steps, steps.float(), steps.double() + 0.5, 1_700_000_000 + steps):
        got = bias(times=times)
        assert got.shape == (B, bias(N).shape[0], N, N)
        assert torch.equal(got, bias(N).expand_as(got))


def test_every_row_has_its_own_time_stamps() -> None:
    times = torch.tensor([[0.0, 0.25, 3.0], [5.0, 5.0, 9.5]])
    bias = BiasConfig(alpha=1.0).build(H)(times=times)
    for row in range(2):
        alone = BiasConfig(alpha=1.0).build(H)(times=times[row : row + 1])
        assert torch.equal(bias[row : row + 1], alone)
        np.testing.assert_allclose(
            bias[row].exp().expand(H, 3, 3), multipliers(BiasConfig(), times[row].tolist()), atol=1e-6
        )


@pytest.mark.parametrize("form", CAUSAL)
def test_tokens_of_one_moment_see_each_other(form: str) -> None:
    bias = FORMS[form].build(H)(times=torch.tensor([[0.0, 7.0, 7.0]]))
    assert (bias[0, :, 1:, 1:] == 0).all()
    assert (bias[0, :, 0, 1:].exp() == 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_slice_of_queries_equals_the_last_rows(form: str) -> None:
    bias, times = FORMS[form].build(H), torch.rand(B, N).cumsum(dim=1)
    mask = torch.rand(B, N, generator=torch.Generator().manual_seed(0)) < 0.7
    for more in ({}, {"prefix": 2}, {"mask": mask}, {"times": times}, {"times": times, "prefix": 2, "mask": mask}):
        whole = bias(N, **more)
        for queries in (1, 3, N):
            assert torch.equal(bias(N, queries=queries, **more), whole[..., -queries:, :])


@pytest.mark.parametrize("form", FORMS)
def test_a_matrix_of_one_token_leaves_it_alone(form: str) -> None:
    assert (FORMS[form].build(H)(1) == 0).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("learned", [False, True])
def test_time_stamps_of_padding_and_of_the_prefix_are_never_read(form: str, learned: bool) -> None:
    config = FORMS[form]
    if learned:
        config = BiasConfig(kind="stretched", alpha=0.5, learn=True, symmetric=config.symmetric)
    mask = torch.tensor([[True] * 5 + [False] * 2, [True] * 7])
    stamps = torch.rand(2, N, generator=torch.Generator().manual_seed(0)).cumsum(dim=1)
    outcomes = []
    for junk in (0.0, math.nan, math.inf):
        times = torch.where(mask, stamps, junk)
        times[:, :2] = junk
        bias = config.build(H)
        found = bias(times=times, mask=mask, prefix=2)
        assert torch.isfinite(found).all()
        q, k, v = (t[:2] for t in sample())
        out = attend(q, k, v, bias=found)[0]
        slopes = [] if bias.rho is None else torch.autograd.grad(out.square().sum(), bias.rho)
        outcomes.append([found.detach(), *slopes])
    for got in outcomes[1:]:
        for a, b in zip(got, outcomes[0], strict=True):
            assert torch.equal(a, b)


def test_steep_families_stay_finite_at_long_distances() -> None:
    far = torch.tensor([[0.0, 1e9]])
    for config in (
        BiasConfig(kind="butterworth", cutoff=1.0, order=64),
        BiasConfig(kind="stretched", alpha=20.0),
        BiasConfig(kind="stretched", alpha=20.0, learn=True),
        BiasConfig(alpha=80.0, learn=True),
    ):
        bias = config.build(H)
        found = bias(times=far)
        assert torch.isfinite(found).all()
        assert (found[..., 1, 0].exp() < 1e-19).all()
        if bias.rho is not None:
            (slope,) = torch.autograd.grad(torch.softmax(found, dim=-1)[..., 0].sum(), bias.rho)
            assert torch.isfinite(slope).all()


# The laws, on our attention and on GPT-2


@each_run
@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_a_change_at_a_step_changes_no_output_before_it(form: str, run: Run) -> None:
    x, bias = embeddings(), FORMS[form].build(H)(N)
    before = run(x, bias)
    for step in range(1, N):
        changed = x.clone()
        changed[:, step:] = embeddings(seed=step)[:, step:]
        after = run(changed, bias)
        apart = (after - before).abs().amax(dim=(0, 2))
        assert (apart[step:] > 0).all()
        if form in CAUSAL:
            assert float(apart[:step].max()) == 0.0
        else:
            assert float(apart[step - 1]) > 0


@settings(deadline=None, max_examples=60)
@given(
    data=st.data(), n=st.integers(2, 40), alpha=st.floats(0, 4), kind=st.sampled_from(("power_law", "stretched")),
    weights=st.booleans(), dtype=st.sampled_from((torch.float32, torch.bfloat16, torch.float16)),
)  # fmt: skip
def test_at_any_length_and_strength_what_follows_is_not_read(
    data: st.DataObject, n: int, alpha: float, kind: Any, weights: bool, dtype: torch.dtype
) -> None:
    step = data.draw(st.integers(1, n - 1))
    bias = BiasConfig(kind=kind, alpha=alpha).build(H)(n, dtype=dtype)
    q, k, v = sample(n=n, dtype=dtype)
    before, _ = attend(q, k, v, bias=bias, weights=weights)
    k[:, :, step:], v[:, :, step:] = 100.0, -100.0
    after, _ = attend(q, k, v, bias=bias, weights=weights)
    assert torch.equal(after[:, :, :step], before[:, :, :step])
    assert not torch.equal(after[:, :, step:], before[:, :, step:])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("units", ["tokens", "stamps"])
def test_weights_of_our_attention_equal_the_closed_form(form: str, units: str) -> None:
    q, k, v = sample()
    times = [0.0, 0.5, 0.5, 4.0, 4.25, 9.0, 30.0] if units == "stamps" else list(map(float, range(N)))
    module = FORMS[form].build(H)
    bias = (module(times=torch.tensor([times])) if units == "stamps" else module(N)).detach()
    want = renormalised(q, k, multipliers(FORMS[form], times))
    slow, used = attend(q, k, v, bias=bias, weights=True)
    fast, _ = attend(q, k, v, bias=bias)
    assert used is not None
    np.testing.assert_allclose(used.numpy(), want, atol=1e-6, rtol=0)
    for out in (slow, fast):
        np.testing.assert_allclose(out.numpy(), want @ v.double().numpy(), atol=3e-6, rtol=0)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_weights_of_gpt2_equal_the_closed_form(form: str) -> None:
    x, bias, eager = embeddings(), FORMS[form].build(H)(N)[None], gpt2("eager")
    found = eager(inputs_embeds=x, attention_mask=bias, output_attentions=True, output_hidden_states=True)
    for number, block in enumerate(eager.h):
        projected = block.attn.c_attn(block.ln_1(found.hidden_states[number]))
        q, k, _ = (t.unflatten(-1, (H, -1)).transpose(1, 2) for t in projected.split(DIM, dim=-1))
        want = renormalised(q, k, multipliers(FORMS[form], range(N)))
        np.testing.assert_allclose(found.attentions[number].numpy(), want, atol=1e-6, rtol=0)
    torch.testing.assert_close(run_gpt2(x, bias), found.last_hidden_state, atol=5e-6, rtol=0)


@pytest.mark.parametrize("kind", ["power_law", "stretched"])
@torch.no_grad()
def test_alpha_0_is_causal_attention_bit_for_bit(kind: Any) -> None:
    causal = BiasConfig(kind="causal").build(H)(N)
    zero, a_head = (BiasConfig(kind=kind, alpha=alpha).build(H)(N) for alpha in (0.0, [0.0, 0.0, 0.0]))
    assert torch.equal(zero, causal)
    assert torch.equal(a_head.expand(H, N, N), causal.expand(H, N, N))
    q, k, v = sample()
    assert torch.equal(attend(q, k, v, bias=zero)[0], attend(q, k, v, bias=causal)[0])
    own = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(attend(q, k, v, bias=zero)[0], own, atol=1e-6, rtol=0)
    for run in RUNS.values():
        assert torch.equal(run(embeddings(), zero), run(embeddings(), causal))


@torch.no_grad()
def test_alpha_0_is_the_causal_attention_of_gpt2() -> None:
    for n in (1, N, 31):
        x, zero = embeddings(n=n), BiasConfig(alpha=0.0).build(H)(n)
        torch.testing.assert_close(run_gpt2(x, zero), run_gpt2(x, None), atol=5e-6, rtol=0)
        eager = gpt2("eager")
        assert torch.equal(
            eager(inputs_embeds=x, attention_mask=zero[None]).last_hidden_state,
            eager(inputs_embeds=x).last_hidden_state,
        )


@torch.no_grad()
def test_a_head_of_alpha_0_is_causal_beside_others_that_decay() -> None:
    q, k, v = sample()
    got, _ = attend(q, k, v, bias=BiasConfig(alpha=[0.0, 1.0, 2.0]).build(H)(N))
    want, _ = attend(q, k, v, bias=BiasConfig(kind="causal").build(H)(N))
    assert torch.equal(got[:, 0], want[:, 0])
    assert not torch.equal(got[:, 1], want[:, 1])


@pytest.mark.parametrize("form", FORMS)
def test_the_last_queries_of_our_attention_equal_the_full_pass(form: str) -> None:
    q, k, v = sample()
    bias = FORMS[form].build(H)
    whole, _ = attend(q, k, v, bias=bias(N))
    for queries in (1, 3):
        got, _ = attend(q[:, :, -queries:], k, v, bias=bias(N, queries=queries))
        torch.testing.assert_close(got, whole[:, :, -queries:], atol=1e-6, rtol=0)


@pytest.mark.parametrize("form", CAUSAL)
@pytest.mark.parametrize("pieces", [[1] * N, [4, 3], [2, 1, 4]])
@torch.no_grad()
def test_cached_decoding_of_gpt2_equals_the_full_pass(form: str, pieces: list[int]) -> None:
    x, bias, past, done = embeddings(), FORMS[form].build(H), DynamicCache(), 0
    parts = []
    for piece in pieces:
        done += piece
        parts.append(decoded(x[:, done - piece : done], bias(done, queries=piece), past))
    torch.testing.assert_close(torch.cat(parts, dim=1), run_gpt2(x, bias(N)), atol=5e-6, rtol=0)


def decoded(x: Tensor, bias: Tensor, past: DynamicCache) -> Tensor:
    found: Tensor = gpt2()(
        inputs_embeds=x, attention_mask=bias[None], past_key_values=past, use_cache=True
    ).last_hidden_state  # fmt: skip
    return found


@torch.no_grad()
def test_cached_decoding_after_a_prefix_equals_the_full_pass() -> None:
    x, bias, past = embeddings(), BiasConfig(alpha=2.0).build(H), DynamicCache()
    parts = [decoded(x[:, :2], bias(2, prefix=2), past)]
    parts += [decoded(x[:, i : i + 1], bias(i + 1, queries=1, prefix=2), past) for i in range(2, N)]
    torch.testing.assert_close(torch.cat(parts, dim=1), run_gpt2(x, bias(N, prefix=2)), atol=5e-6, rtol=0)


LEFT, RIGHT = 3, 2


def padding() -> tuple[Tensor, Tensor, list[slice]]:
    """A mask with a row without padding, one padded on the left, one on the right; positions; what is present."""
    mask = torch.ones(B, N, dtype=torch.bool)
    mask[1, :LEFT], mask[2, -RIGHT:] = False, False
    return mask, (mask.long().cumsum(dim=1) - 1).clamp(min=0), [slice(0, N), slice(LEFT, N), slice(0, N - RIGHT)]


@each_run
@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_padding_gives_no_nan_and_changes_nothing(form: str, run: Run) -> None:
    mask, positions, kept = padding()
    x, module = embeddings(), FORMS[form].build(H)
    bias = module(N, mask=mask)
    found = run(x, bias, positions)
    assert torch.isfinite(found).all()
    other = run(torch.where(mask[..., None], x, embeddings(seed=9) * 50), bias, positions)
    assert torch.isfinite(other).all()
    assert torch.equal(other[mask], found[mask])
    for row, part in enumerate(kept):
        short = x[row : row + 1, part]
        want = run(short, module(short.shape[1]))
        torch.testing.assert_close(found[row : row + 1, part], want, atol=5e-6, rtol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("junk", [math.nan, math.inf, 1e30])
@torch.no_grad()
def test_absent_tokens_of_our_stack_are_never_read_beside_a_bias(form: str, junk: float) -> None:
    mask, _, kept = padding()
    x, module = embeddings(), FORMS[form].build(H)
    found = stack()(Tokens(torch.where(mask[..., None], x, junk), mask), bias=module(N)).x
    assert torch.isfinite(found).all()
    for row, part in enumerate(kept):
        want = run_stack(x[row : row + 1, part], module(N)[..., part, part])
        torch.testing.assert_close(found[row : row + 1, part], want, atol=5e-6, rtol=0)


@pytest.mark.parametrize("form", ["power law", "causal", "none"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@torch.no_grad()
def test_gpt2_honours_the_padding_in_the_mask_and_a_dropped_one_would_show(form: str, implementation: str) -> None:
    mask, positions, kept = padding()
    x, module, model = embeddings(), FORMS[form].build(H), gpt2(implementation)

    def apart(bias: Tensor, row: int) -> float:
        found = model(inputs_embeds=x, attention_mask=bias, position_ids=positions).last_hidden_state
        short = x[row : row + 1, kept[row]]
        want = model(inputs_embeds=short, attention_mask=module(short.shape[1])[None]).last_hidden_state
        return float((found[row : row + 1, kept[row]] - want).abs().max())

    assert apart(module(N, mask=mask), 1) < 5e-6
    assert apart(module(N)[None], 1) > 1e-2  # left padding lies behind every token
    assert apart(module(N, mask=mask), 2) < 5e-6
    if form == "none":
        assert apart(module(N)[None], 2) > 1e-2


@each_run
@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_prefix_tokens_never_read_what_has_a_time(form: str, run: Run) -> None:
    x, bias = embeddings(), FORMS[form].build(H)(N, prefix=2)
    before = run(x, bias)
    changed = x.clone()
    changed[:, 2:] = embeddings(seed=1)[:, 2:]
    assert torch.equal(run(changed, bias)[:, :2], before[:, :2])
    changed = x.clone()
    changed[:, 0] = embeddings(seed=1)[:, 0]
    assert ((run(changed, bias) - before).abs().amax(dim=2) > 0).all()


@each_run
@torch.no_grad()
def test_one_row_of_stamps_reads_as_its_tokens_alone(run: Run) -> None:
    x, times = embeddings(), torch.tensor([[0.0, 1, 2, 3, 4, 5, 6], [0, 2, 2, 5, 5, 5, 8], [0, 0.1, 0.3, 3, 3, 9, 90]])
    bias = BiasConfig().build(H)
    found = run(x, bias(times=times))
    torch.testing.assert_close(found[:1], run(x[:1], bias(N)), atol=5e-6, rtol=0)
    changed = x.clone()
    changed[1, 4] = embeddings(seed=1)[1, 4]
    apart = (run(changed, bias(times=times)) - found).abs().amax(dim=2)
    assert (apart[1] > 0).tolist() == [False, False, False, True, True, True, True]
    assert (apart[[0, 2]] == 0).all()


# Half precision


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_no_nan_and_excludes_exactly(form: str, dtype: torch.dtype) -> None:
    mask, _, _ = padding()
    bias = FORMS[form].build(H)(N, mask=mask, dtype=dtype).detach()
    assert bias.dtype == dtype
    assert torch.isfinite(bias).all()
    q, k, v = (t * 8 for t in sample(dtype=dtype))
    fast, _ = attend(q, k, v, bias=bias)
    slow, used = attend(q, k, v, bias=bias, weights=True)
    assert used is not None
    for row in range(B):
        seen = multipliers(FORMS[form], range(N), present=mask[row].tolist()) > 0
        some = np.nonzero(seen.any(axis=2))
        assert (used[row].numpy()[some][~seen[some]] == 0).all()
        plain = torch.softmax(bias.expand(B, H, N, N)[row], dim=-1).float().numpy()
        assert (plain[some][~seen[some]] == 0).all()
    for out in (fast, slow):
        assert out.dtype == dtype
        assert torch.isfinite(out).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_gpt2_in_half_precision_keeps_the_order_of_time(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = GPT2Model(gpt2().config).to(dtype).eval()
    mask, positions, _ = padding()
    bias = BiasConfig().build(H)(N, mask=mask, dtype=dtype)
    x = embeddings().to(dtype)

    def run(given: Tensor) -> Tensor:
        found: Tensor = model(inputs_embeds=given, attention_mask=bias, position_ids=positions).last_hidden_state
        return found

    before = run(x)
    assert torch.isfinite(before).all()
    changed = torch.where(mask[..., None], x, 50.0)
    changed[:, 4:] = 5.0
    early = mask.clone()
    early[:, 4:] = False
    assert torch.equal(run(changed)[early], before[early])


# What is kept


def test_a_matrix_is_built_once_a_length() -> None:
    bias = BiasConfig().build(H)
    first = bias(N)
    assert bias(N) is first
    again = bias(N + 1)
    assert again.shape == (1, N + 1, N + 1)
    assert bias(N + 1) is again
    assert torch.equal(bias(N), first)
    for more in ({"queries": 1}, {"prefix": 1}):
        found = bias(N, **more)
        assert bias(N, **more) is found
        assert found.shape != first.shape or not torch.equal(found, first)


def test_a_learned_matrix_is_built_anew() -> None:
    bias = BiasConfig(learn=True).build(H)
    first = bias(N)
    with torch.no_grad():
        bias.rho += 1
    assert not torch.equal(bias(N), first)
    assert list(bias.state_dict()) == ["rho"]
    assert not BiasConfig().build(H).state_dict()


def test_the_memory_of_one_strength_is_four_bytes_a_pair_of_tokens() -> None:
    bias = BiasConfig().build(8)
    assert bias(96).untyped_storage().nbytes() == 96 * 96 * 4
    assert sum(kept.untyped_storage().nbytes() for kept in bias.kept.values()) == 96 * 96 * 4
    assert BiasConfig(alpha=[1.0] * 8).build(8)(96).untyped_storage().nbytes() == 8 * 96 * 96 * 4


@torch.no_grad()
def test_equal_strengths_a_head_give_what_one_gives() -> None:
    q, k, v = sample()
    one, each = (BiasConfig(alpha=alpha).build(H)(N) for alpha in (0.7, [0.7, 0.7, 0.7]))
    assert torch.equal(each, one.expand(H, N, N))
    assert torch.equal(attend(q, k, v, bias=one)[0], attend(q, k, v, bias=each)[0])


def test_a_matrix_that_was_built_in_inference_mode_serves_a_training() -> None:
    bias, model, x = BiasConfig().build(H), gpt2(), embeddings()
    with torch.inference_mode():
        bias(N)
    for run in RUNS.values():
        given = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(run(given, bias(N)).square().sum(), given)
        assert torch.isfinite(slope).all()
    assert not model.training


# Learning


@pytest.mark.parametrize("kind", ["power_law", "stretched"])
@pytest.mark.parametrize("alpha", [1e-3, 0.25, 1.0, 30.0, 100.0, [0.1, 1.0, 9.0]])
def test_learning_starts_at_the_given_alpha(kind: Any, alpha: float | list[float]) -> None:
    bias = BiasConfig(kind=kind, alpha=alpha, learn=True).build(H)
    assert bias.rho is not None
    assert bias.rho.shape == (H,)
    want = torch.tensor(alpha).expand(H)
    torch.testing.assert_close(bias.alpha.flatten(), want, atol=0, rtol=1e-6)
    fixed = BiasConfig(kind=kind, alpha=alpha).build(H)(N).expand(H, N, N)
    torch.testing.assert_close(bias(N).exp(), fixed.exp(), atol=1e-6, rtol=0)


def learned(symmetric: bool, kind: Any) -> AttentionBias:
    return BiasConfig(kind=kind, alpha=[0.3, 0.9, 1.7], learn=True, symmetric=symmetric).build(H).double()


@pytest.mark.parametrize("model", ["attend", "attend with weights", "gpt2"])
@pytest.mark.parametrize("kind", ["power_law", "stretched"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_gradient_of_a_learned_alpha_equals_finite_differences(model: str, kind: Any, symmetric: bool) -> None:
    bias = learned(symmetric, kind)
    mask, positions, _ = padding()
    q, k, v = sample(dtype=torch.float64)
    network = GPT2Model(gpt2().config).double().eval() if model == "gpt2" else None

    def loss() -> Tensor:
        given = bias(N, mask=mask, dtype=torch.float64)
        if network is None:
            out = attend(q, k, v, bias=given, weights="weights" in model)[0].transpose(1, 2).flatten(2)
        else:
            x = embeddings().double()
            out = network(inputs_embeds=x, attention_mask=given, position_ids=positions).last_hidden_state
        return (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype))[mask].sum()

    (slope,) = torch.autograd.grad(loss(), bias.rho)
    for head in range(H):
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                bias.rho[head] += step
                ends.append(float(loss()))
                bias.rho[head] -= step
        want = (ends[0] - ends[1]) / 2e-5
        assert abs(want) > 1e-3
        assert float(slope[head]) == pytest.approx(want, rel=1e-5)


def test_a_learned_alpha_stays_positive_however_hard_it_is_pushed() -> None:
    bias = BiasConfig(alpha=0.5, learn=True).build(H)
    push = torch.optim.SGD(bias.parameters(), lr=5.0)
    for _ in range(20):
        push.zero_grad()
        bias.alpha.sum().backward()
        push.step()
    assert (bias.alpha > 0).all()
    assert (bias.alpha < 0.05).all()


def test_alpha_is_found_again_by_learning() -> None:
    q, k, v = sample()
    want, _ = attend(q, k, v, bias=BiasConfig(alpha=[0.2, 1.0, 2.0]).build(H)(N))
    bias = BiasConfig(alpha=1.0, learn=True).build(H)
    adam = torch.optim.Adam(bias.parameters(), lr=0.1)
    for _ in range(200):
        adam.zero_grad()
        (attend(q, k, v, bias=bias(N))[0] - want).square().sum().backward()
        adam.step()
    torch.testing.assert_close(bias.alpha.flatten(), torch.tensor([0.2, 1.0, 2.0]), atol=1e-2, rtol=0)


# Refusals


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"alpha": -0.5}, r"alpha: -0\.5 is negative, which would favour what is far"),
        ({"alpha": [1.0, -2.0]}, r"alpha: \[1\.0, -2\.0\] is negative"),
        ({"alpha": []}, "alpha: the list is empty, give one number, or one a head"),
        ({"kind": "window", "alpha": 1.0}, r"alpha: 'window' does not read it \(it reads width\)"),
        ({"kind": "causal", "width": 3.0}, r"width: 'causal' does not read it \(it reads no field of its own\)"),
        ({"kind": "none", "alpha": 0.0}, r"alpha: 'none' does not read it \(it reads no field of its own\)"),
        ({"cutoff": 2.0}, r"cutoff: 'power_law' does not read it \(it reads alpha\)"),
        ({"kind": "stretched", "order": 2}, r"order: 'stretched' does not read it \(it reads alpha\)"),
        ({"kind": "butterworth", "width": 2.0}, r"width: 'butterworth' does not read it \(it reads cutoff, order\)"),
        ({"kind": "window", "learn": True}, "learn: 'window' has no alpha to learn"),
        ({"kind": "none", "learn": True}, "learn: 'none' has no alpha to learn"),
        ({"alpha": 0.0, "learn": True}, "learn: softplus can't start at alpha 0, begin with a small one"),
        ({"alpha": [1.0, 0.0], "learn": True}, "learn: softplus can't start at alpha 0"),
        ({"kind": "window", "width": 0.0}, "width: .*greater than 0"),
        ({"kind": "butterworth", "cutoff": 0.0}, "cutoff: .*greater than 0"),
        ({"kind": "butterworth", "order": 0}, "order: .*greater than or equal to 1"),
        ({"kind": "power"}, "kind: .*'power_law', 'stretched', 'window', 'butterworth', 'causal' or 'none'"),
        ({"alpha": math.inf}, "alpha.*finite"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        validate(BiasConfig, fields)


def test_the_wrong_number_of_alphas_is_refused_where_it_stands() -> None:
    for alphas in ([1.0, 2.0], [1.0] * 4):
        with pytest.raises(ConfigError, match=rf"model\.bias\.alpha: {len(alphas)} alphas for 3 heads \(give one, or"):
            BiasConfig(alpha=alphas).build(H)
    with pytest.raises(ConfigError, match=r"model\.series\.bias\.alpha: 2 alphas for 3 heads"):
        BiasConfig(alpha=[1.0, 2.0]).build(H, "model.series.bias")
    assert torch.equal(BiasConfig(alpha=[2.0]).build(H)(N), BiasConfig(alpha=2.0).build(H)(N))


def test_a_bias_says_whether_it_decays() -> None:
    assert {kind: BiasConfig(kind=kind).decays for kind in ("power_law", "window", "causal", "none")} == {
        "power_law": True, "window": True, "causal": False, "none": False,
    }  # fmt: skip
