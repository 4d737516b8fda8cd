"""Tests of the patch encoder: its network against one in loops, causality, gaps, and what it refuses."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from plait.core.config import validate
from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.encoders.patch import Patch, PatchConfig
from plait.nn.attention_bias import BiasConfig
from plait.nn.patches import PatchShape

B, T, V, P, SEASONS, DIM, HEADS = 3, 11, 5, 6, 13, 8, 2
SCHEMA = Schema("series", {"series": V}, tuple("abcde"), lookback=T, horizon=P, seasons=SEASONS)
LENGTH, STRIDE, COUNT = 4, 3, 4
INSIDE = [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9], [9, 10, 10, 10]]
BIASES = {
    "none": BiasConfig(kind="none"),
    "causal": BiasConfig(kind="causal"),
    "power law": BiasConfig(),
    "power law, one alpha a head": BiasConfig(alpha=[0.0, 2.0]),
    "power law, learned": BiasConfig(learn=True),
    "window": BiasConfig(kind="window", width=2.0),
    "stretched": BiasConfig(kind="stretched", alpha=0.5),
    "butterworth": BiasConfig(kind="butterworth"),
    "symmetric": BiasConfig(symmetric=True),
}
CAUSAL = [name for name in BIASES if name not in ("none", "symmetric")]


def encoder(bias: str = "none", **more: Any) -> Patch:
    config = {
        "patch": PatchShape(length=LENGTH, stride=STRIDE), "dim": DIM, "depth": 1, "heads": HEADS, "hidden": 10,
        "dropout": 0.0, "bias": BIASES[bias], **more,
    }  # fmt: skip
    torch.manual_seed(0)
    module = PatchConfig(**config).build(SCHEMA).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.startswith("stack"):  # weights far from a start at which all scores are alike
                parameter.add_(torch.randn_like(parameter) * 0.5)
    return module


def fields(seed: int = 0, gaps: bool = True) -> dict[str, Tensor]:
    maker = torch.Generator().manual_seed(seed)
    mask = torch.ones(B, T, V, dtype=torch.bool)
    if gaps:
        mask[1, 3:6, 2], mask[0, :2, 1], mask[2, :, 4] = False, False, False
    return {
        "values": torch.where(mask, torch.randn(B, T, V, generator=maker), math.nan),
        "mask": mask,
        "prior": torch.randn(B, P, V, generator=maker),
        "season": torch.tensor([0, 12, 5]),
    }


def norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * weight + bias


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


ACTIVATIONS = {"gelu": gelu, "relu": lambda x: np.maximum(x, 0), "silu": lambda x: x / (1 + np.exp(-x))}


def multiplier(name: str, head: int, i: int, j: int) -> float:
    if name == "none":
        return 1.0
    if i < j and name != "symmetric":
        return 0.0
    far = abs(i - j)
    return {
        "causal": 1.0,
        "power law": 1 / (1 + far),
        "power law, one alpha a head": (1 + far) ** -[0.0, 2.0][head],
        "power law, learned": 1 / (1 + far),
        "window": float(far < 2),
        "stretched": math.exp(-math.sqrt(far)),
        "butterworth": 1 / math.sqrt(1 + (far / 4) ** 4),
        "symmetric": 1 / (1 + far),
    }[name]


def carried(values: list[float], mask: list[bool]) -> list[float]:
    found, seen = [], [step for step in range(T) if mask[step]]
    for step in range(T):
        before = [s for s in seen if s <= step]
        found.append(values[before[-1] if before else seen[0]] if seen else 0.0)
    return found


def spelt_out(module: Patch, given: dict[str, Tensor], bias: str) -> np.ndarray:
    """The tokens of one block, in NumPy and float64, a variate at a time. Shape: (b, v, n * dim)."""
    w = {name: p.detach().double().numpy() for name, p in module.named_parameters()}
    block = {name.removeprefix("stack.blocks.0."): p for name, p in w.items()}
    config, found = module.config, []
    for row in range(B):
        for variate in range(V):
            mask = given["mask"][row, :, variate].tolist()
            held = carried(given["values"][row, :, variate].tolist(), mask)
            x = []
            for inside in INSIDE:
                token = w["patches.embed.weight"] @ [held[s] for s in inside] + w["patches.embed.bias"]
                x.append(token + w["patches.missing.weight"] @ [float(not mask[s]) for s in inside])
            if config.prior:
                prior = given["prior"][row, :, variate].double().numpy()
                x.append(w["embed_prior.weight"] @ prior + w["embed_prior.bias"])
            if config.calendar:
                x.append(w["embed_season.weight"][int(given["season"][row])])
            tokens = np.array(x) + w["positions"]
            norms = [lambda z, k=k: norm(z, block[f"norm{k}.weight"], block[f"norm{k}.bias"]) for k in (1, 2)]
            pre = config.norm == "pre"
            tokens = tokens + attended(norms[0](tokens) if pre else tokens, block, bias)
            if not pre:
                tokens = norms[0](tokens)
            inner = norms[1](tokens) if pre else tokens
            up = inner @ block["feed_forward.up.weight"].T + block["feed_forward.up.bias"]
            down = ACTIVATIONS[config.activation](up) @ block["feed_forward.down.weight"].T
            tokens = tokens + down + block["feed_forward.down.bias"]
            if not pre:
                tokens = norms[1](tokens)
            found.append(norm(tokens, w["stack.norm.weight"], w["stack.norm.bias"]).reshape(-1))
    return np.array(found).reshape(B, V, -1)


def attended(x: np.ndarray, block: dict[str, np.ndarray], bias: str) -> np.ndarray:
    n, e = len(x), DIM // HEADS
    q = x @ block["attention.query.weight"].T + block["attention.query.bias"]
    k = x @ block["attention.key.weight"].T
    v = x @ block["attention.value.weight"].T + block["attention.value.bias"]
    mixed = np.zeros((n, DIM))
    for head in range(HEADS):
        part = slice(head * e, head * e + e)
        for i in range(n):
            weights = np.array([
                multiplier(bias, head, i, j) * math.exp(q[i, part] @ k[j, part] / math.sqrt(e)) for j in range(n)
            ])  # fmt: skip
            mixed[i, part] = weights / weights.sum() @ v[:, part]
    return mixed @ block["attention.out.weight"].T + block["attention.out.bias"]


FORMS: dict[str, dict[str, Any]] = {
    **{f"bias {name}": {"bias": name} for name in BIASES},
    "relu, post": {"bias": "power law", "activation": "relu", "norm": "post"},
    "silu": {"bias": "causal", "activation": "silu"},
    "prior": {"bias": "power law", "prior": True},
    "calendar": {"bias": "none", "calendar": True},
    "prior and calendar": {"bias": "window", "prior": True, "calendar": True},
}


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_tokens_equal_the_network_spelt_out(form: str) -> None:
    module, given = encoder(**FORMS[form]).double(), fields()
    given = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in given.items()}
    x, mask = module(given)
    count = COUNT + module.config.prior + module.config.calendar
    assert x.shape == (B, V, count * DIM)
    assert module.dim == count * DIM
    np.testing.assert_allclose(x.numpy(), spelt_out(module, given, FORMS[form]["bias"]), atol=1e-5, rtol=0)
    assert mask.tolist() == [[True] * 5, [True] * 5, [True] * 4 + [False]]


@pytest.mark.parametrize("lookback, count", [(36, 4), (96, 12), (97, 12), (336, 42)])
@torch.no_grad()
def test_the_width_of_a_token_is_all_its_patches(lookback: int, count: int) -> None:
    schema = Schema("series", {"series": V}, tuple("abcde"), lookback=lookback, horizon=P)
    module = PatchConfig(dim=8, depth=1, heads=2, hidden=8).build(schema)
    values = torch.randn(B, lookback, V)
    x, _ = module({"values": values, "mask": torch.ones_like(values, dtype=torch.bool)})
    assert x.shape == (B, V, module.dim) == (B, V, 8 * count)


@torch.no_grad()
def test_without_a_block_tokens_are_patches_and_positions() -> None:
    module, given = encoder(depth=0), fields()
    got = module(given).x.unflatten(-1, (COUNT, DIM))
    assert torch.equal(got, module.patches(given["values"], given["mask"]) + module.positions)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("depth", [1, 2])
@torch.no_grad()
def test_a_value_changes_no_patch_before_the_first_that_holds_it(bias: str, depth: int) -> None:
    module, given = encoder(bias, depth=depth), fields(gaps=False)
    before = module(given).x.unflatten(-1, (COUNT, DIM))
    for step in range(T):
        values = given["values"].clone()
        values[:, step:] = fields(seed=1, gaps=False)["values"][:, step:]
        after = module({**given, "values": values}).x.unflatten(-1, (COUNT, DIM))
        apart = (after - before).abs().amax(dim=(0, 1, 3))
        first = next(number for number, inside in enumerate(INSIDE) if max(inside) >= step)
        assert float(apart[first]) > 0
        if bias in CAUSAL:
            assert (apart[:first] == 0).all()
        elif first:
            assert float(apart[first - 1]) > 0


@pytest.mark.parametrize("bias", CAUSAL)
@torch.no_grad()
def test_prior_and_season_come_after_every_patch(bias: str) -> None:
    module, given = encoder(bias, prior=True, calendar=True), fields()
    before = module(given).x.unflatten(-1, (COUNT + 2, DIM))
    prior = module({**given, "prior": given["prior"] + 1}).x.unflatten(-1, (COUNT + 2, DIM))
    season = module({**given, "season": given["season"] - 1 + SEASONS * (given["season"] == 0)})
    apart = [(each - before).abs().amax(dim=(0, 1, 3)) for each in (prior, season.x.unflatten(-1, (COUNT + 2, DIM)))]
    assert (apart[0] > 0).tolist() == [False] * COUNT + [True, True]
    assert (apart[1] > 0).tolist() == [False] * COUNT + [False, True]


@pytest.mark.parametrize("bias", BIASES)
@torch.no_grad()
def test_variates_are_independent_of_each_other(bias: str) -> None:
    module, given = encoder(bias, prior=True, calendar=True), fields()
    before = module(given).x
    changed = {name: tensor.clone() for name, tensor in given.items()}
    changed["values"][..., 1], changed["prior"][..., 1] = 7.0, -7.0
    changed["mask"][..., 1] = True
    after = module(changed).x
    assert torch.equal(after[:, [0, 2, 3, 4]], before[:, [0, 2, 3, 4]])
    assert not torch.equal(after[:, 1], before[:, 1])
    order = [3, 0, 4, 1, 2]
    moved = {name: t if name == "season" else t[..., order] for name, t in given.items()}
    torch.testing.assert_close(module(moved).x, before[:, order], atol=1e-5, rtol=0)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("junk", [math.inf, 1e30])
def test_what_is_missing_is_never_read_and_an_unobserved_variate_is_absent(bias: str, junk: float) -> None:
    outcomes = []
    for value in (math.nan, junk):
        module, given = encoder(bias), fields()
        given["values"] = torch.where(given["mask"], given["values"], value)
        x, mask = module(given)
        assert torch.isfinite(x).all()
        assert torch.equal(mask, given["mask"].any(dim=1))
        slopes = torch.autograd.grad(x.square().sum(), list(module.parameters()), allow_unused=True)
        outcomes.append([x.detach(), *[each for each in slopes if each is not None]])
    for got, want in zip(*outcomes, strict=True):
        assert torch.equal(got, want)


@torch.no_grad()
def test_a_batch_without_any_value_is_absent_and_finite() -> None:
    given = fields()
    x, mask = encoder("power law")({**given, "mask": torch.zeros_like(given["mask"])})
    assert not mask.any()
    assert torch.isfinite(x).all()


@torch.no_grad()
def test_a_value_that_is_missing_differs_from_one_that_is_carried() -> None:
    module, given = encoder(), fields(gaps=False)
    given["values"][:, 5] = given["values"][:, 4]
    before = module(given).x
    gap = given["mask"].clone()
    gap[:, 5, 0] = False
    after = module({**given, "mask": gap}).x
    assert not torch.equal(after[:, 0], before[:, 0])
    assert torch.equal(after[:, 1:], before[:, 1:])


def test_a_learned_bias_is_a_parameter_and_the_others_are_none() -> None:
    assert {name for name, _ in encoder("power law, learned").named_parameters() if "bias.rho" in name} == {"bias.rho"}
    assert not [name for name in encoder("power law").state_dict() if name.startswith("bias")]


@pytest.mark.parametrize(
    "more, words",
    [
        (
            {"patch": {"length": T + 1}},
            r"model\.series\.patch\.length: a patch of 12 steps is longer than the lookback of 11 \(shorten it",
        ),
        ({"dim": 9}, r"model\.series\.heads: 2 heads do not divide the width 9 \(heads that do: \[1, 3\]\)"),
        ({"bias": {"alpha": [1.0, 1.0, 1.0]}}, r"model\.series\.bias\.alpha: 3 alphas for 2 heads"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_with_its_field(more: dict[str, Any], words: str) -> None:
    config = {"patch": {"length": LENGTH}, "dim": DIM, "heads": HEADS, **more}
    with pytest.raises(ConfigError, match=words):
        validate(PatchConfig, config).build(SCHEMA)


@pytest.mark.parametrize(
    "more, words",
    [
        ({"bias": {"alpha": -1.0}}, r"bias: alpha: -1\.0 is negative"),
        ({"bias": {"kind": "windows"}}, "bias.kind: .*'window'"),
        ({"patch": {"stride": 0}}, "patch.stride: .*greater than or equal to 1"),
    ],
)
def test_a_config_that_can_not_be_is_refused_with_its_field(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        validate(PatchConfig, more)
