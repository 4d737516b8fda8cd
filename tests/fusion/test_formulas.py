"""Each fusion operator against its formula, written out token by token."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.core.errors import ConfigError, DataError
from plait.core.kinds import config_class
from plait.core.schema import Schema
from plait.core.tokens import Map, Tokens

D, HEADS = 20, 4
SCHEMA = Schema("series", {"series": D, "dated": 13, "tabular": 17})
Weights = dict[str, Tensor]


def part(kind: str, **fields: object) -> nn.Module:
    """An operator in float64 with every weight random, its closed factor too."""
    torch.manual_seed(0)
    module = config_class("fusion", kind)(**fields).build(SCHEMA).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module


def streams() -> dict[str, Tokens]:
    """Row 0 is full, row 1 lacks some tokens, row 2 has no context at all; what is absent is NaN."""
    maker = torch.Generator().manual_seed(1)
    out = {}
    for name, count in (("tabular", 11), ("series", 5), ("dated", 7)):
        x = torch.randn(3, count, SCHEMA.streams[name], generator=maker, dtype=torch.float64)
        mask = torch.rand(3, count, generator=maker) < 0.5
        mask[0] = True
        mask[2] = name == "series"
        out[name] = Tokens(torch.where(mask[..., None], x, math.nan), mask)
    return out


def context_tokens(weights: Weights, row: int) -> list[Tensor]:
    """The present context tokens of a row, each through the projection of its stream, in the order of names."""
    tokens = []
    for name in ("dated", "tabular"):
        matrix, bias = weights[f"contexts.project.{name}.weight"], weights[f"contexts.project.{name}.bias"]
        x, mask = streams()[name]
        tokens += [matrix @ x[row, i] + bias for i in range(x.shape[1]) if mask[row, i]]
    return tokens


def norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def add(x: Tensor, context: list[Tensor], w: Weights) -> Tensor:
    return x + w["update.weight"] @ (sum(context) / len(context)) + w["update.bias"]


def concat_seed(x: Tensor, context: list[Tensor], w: Weights) -> Tensor:
    return w["mix.weight"] @ torch.cat([x, sum(context) / len(context)]) + w["mix.bias"]


def concat(x: Tensor, context: list[Tensor], w: Weights) -> Tensor:
    return x + concat_seed(x, context, w)


def attention_weights(x: Tensor, context: list[Tensor], w: Weights) -> tuple[Tensor, Tensor]:
    """The weights (h, 1 + m) of one token over the null token and the context, and the keys (1 + m, d)."""
    keys = torch.stack([w["null"][0, 0], *(norm(c, w, "norm_key") for c in context)])
    query = w["attention.query.weight"] @ norm(x, w, "norm_query") + w["attention.query.bias"]
    rows = []
    for head in range(HEADS):
        part = slice(head * D // HEADS, (head + 1) * D // HEADS)
        scores = [float(query[part] @ (w["attention.key.weight"][part] @ key)) / math.sqrt(D / HEADS) for key in keys]
        top = max(scores)
        shares = torch.tensor([math.exp(s - top) for s in scores], dtype=torch.float64)
        rows.append(shares / shares.sum())
    return torch.stack(rows), keys


def cross_attention(x: Tensor, context: list[Tensor], w: Weights) -> Tensor:
    shares, keys = attention_weights(x, context, w)
    mixed = torch.zeros(D, dtype=torch.float64)
    for head in range(HEADS):
        part = slice(head * D // HEADS, (head + 1) * D // HEADS)
        for share, key in zip(shares[head], keys, strict=True):
            mixed[part] += share * (w["attention.value.weight"][part] @ key + w["attention.value.bias"][part])
    return x + w["attention.out.weight"] @ mixed


def cross_attention_feed_forward(x: Tensor, context: list[Tensor], w: Weights) -> Tensor:
    y = cross_attention(x, context, w)
    inner = w["feed_forward.up.weight"] @ norm(y, w, "norm_feed") + w["feed_forward.up.bias"]
    return y + w["feed_forward.down.weight"] @ F.gelu(inner)


FORMULAS: dict[str, tuple[str, dict[str, object], Callable[[Tensor, list[Tensor], Weights], Tensor]]] = {
    "none": ("none", {}, lambda x, context, w: x),
    "add": ("add", {}, add),
    "concat": ("concat", {}, concat),
    "concat, seed": ("concat", {"form": "seed"}, concat_seed),
    "cross_attention": ("cross_attention", {"heads": HEADS}, cross_attention),
    "cross_attention, hidden": ("cross_attention", {"heads": HEADS, "hidden": 23}, cross_attention_feed_forward),
}


@torch.no_grad()
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("explain", [False, True])
def test_operator_equals_its_formula(name: str, explain: bool) -> None:
    kind, fields, formula = FORMULAS[name]
    module, given = part(kind, **fields), streams()
    weights = dict(module.named_parameters())
    x, mask = module(given, {} if explain else None)
    assert torch.equal(mask, given["series"].mask)
    assert torch.isfinite(x).all()
    for row in range(3):
        context = context_tokens(weights, row) if weights else []
        for i in range(5):
            if mask[row, i]:
                anchor = given["series"].x[row, i]
                want = formula(anchor, context, weights) if context else anchor
                torch.testing.assert_close(x[row, i], want, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_attention_map_equals_the_formula_and_names_its_axes() -> None:
    module, given = part("cross_attention", heads=HEADS), streams()
    weights = dict(module.named_parameters())
    maps: dict[str, Map] = {}
    module(given, maps)
    values, axes = maps["attention"]
    assert values.shape == (3, HEADS, 5, 1 + 7 + 11)
    assert axes == ("row", "head", "series token", "null + context token")
    present = torch.cat([torch.ones(3, 1, dtype=torch.bool), given["dated"].mask, given["tabular"].mask], dim=1)
    for row in (0, 1):
        assert (values[row][..., ~present[row]] == 0).all()
        for i in range(5):
            if given["series"].mask[row, i]:
                want, _ = attention_weights(given["series"].x[row, i], context_tokens(weights, row), weights)
                torch.testing.assert_close(values[row, :, i, present[row]], want, atol=1e-10, rtol=1e-10)
    assert (values[2] == 0).all()


@torch.no_grad()
def test_null_token_lets_a_position_decline() -> None:
    module, given = part("cross_attention", heads=HEADS), streams()
    module.norm_query.weight.zero_()
    module.norm_query.bias.fill_(1.0)
    module.attention.query.weight.copy_(torch.eye(D))
    module.attention.query.bias.zero_()
    module.attention.key.weight.copy_(torch.eye(D))
    module.null.fill_(1e3)
    module.attention.value.bias.zero_()
    module.attention.value.weight[:, :].zero_()
    maps: dict[str, Map] = {}
    x, mask = module(given, maps)
    assert maps["attention"].values[:2, ..., 0].min() > 1 - 1e-9
    assert torch.equal(x[mask], given["series"].x[mask])


def test_an_absent_anchor_stream_is_refused_by_name() -> None:
    given = streams()
    del given["series"]
    with pytest.raises(DataError, match=r"anchor stream 'series' is absent .*streams: tabular, dated"):
        part("add")(given)


def test_heads_must_divide_the_anchor_width() -> None:
    with pytest.raises(ConfigError, match=r"model\.fusion\.heads: 3 heads do not divide the width 20"):
        config_class("fusion", "cross_attention")(heads=3).build(SCHEMA)
