"""The directions of `latent_gate`, each against a reference in NumPy, row by row over the present tokens."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from plait.core.config import validate
from plait.core.errors import ConfigError
from plait.core.kinds import config_class
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens
from plait.fusion.latent_gate import LatentGateConfig
from plait.nn.attention import Attention
from plait.nn.block import Stack
from plait.nn.contexts import Contexts
from plait.nn.gate import Gate
from plait.testing import check_fusion

D, E, HEADS, HIDDEN = 19, 15, 3, 23
SCHEMA = Schema("series", {"series": D, "dated": 13, "tabular": 17})
FIELDS: dict[str, Any] = {"latent_dim": E, "heads": HEADS, "gate_hidden": HIDDEN}
Array = NDArray[np.float64]


def built(random: bool = True, **fields: Any) -> Any:
    """The operator in float64; with `random` every weight, its closed factor too."""
    torch.manual_seed(0)
    module = LatentGateConfig(**FIELDS, **fields).build(SCHEMA).double().eval()
    with torch.no_grad():
        for parameter in module.parameters() if random else ():
            parameter.normal_(std=0.5)
    return module


def streams(anchors: int = 5, dated: int = 7) -> dict[str, Tokens]:
    """Row 0 is full, row 1 lacks some tokens, row 2 has no context at all; what is absent is NaN."""
    maker = torch.Generator().manual_seed(1)
    out = {}
    for name, count in (("tabular", 11), ("series", anchors), ("dated", dated)):
        x = torch.randn(3, count, SCHEMA.streams[name], generator=maker, dtype=torch.float64)
        mask = torch.rand(3, count, generator=maker) < 0.5
        mask[0], mask[1, 0] = True, True
        mask[2] = name == "series"
        out[name] = Tokens(torch.where(mask[..., None], x, math.nan), mask)
    return out


class Reference:
    """The operator of one row's present tokens, in NumPy, from its weights by name."""

    def __init__(self, module: nn.Module) -> None:
        self.w = {name: p.detach().numpy() for name, p in module.named_parameters()}
        self.depth = module.config.depth

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.w[f"{name}.weight"].T + self.w.get(f"{name}.bias", 0.0)

    def norm(self, x: Array, name: str) -> Array:
        mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
        return (x - mean) / np.sqrt(var + 1e-5) * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def attend(self, x: Array, keys: Array, name: str) -> tuple[Array, Array]:
        """The answers and the weights (h, queries, keys)."""
        q, k, v = self.linear(x, f"{name}.query"), self.linear(keys, f"{name}.key"), self.linear(keys, f"{name}.value")
        mixed, shares = [], []
        for part in np.split(np.arange(E), HEADS):
            scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(E // HEADS))
            shares.append(scores / scores.sum(axis=1, keepdims=True))
            mixed.append(shares[-1] @ v[:, part])
        return self.linear(np.concatenate(mixed, axis=1), f"{name}.out"), np.stack(shares)

    def blocks(self, x: Array, name: str) -> Array:
        for i in range(self.depth):
            at = f"{name}.blocks.{i}"
            seen = self.norm(x, f"{at}.norm1")
            x = x + self.attend(seen, seen, f"{at}.attention")[0]
            up = gelu(self.linear(self.norm(x, f"{at}.norm2"), f"{at}.feed_forward.up"))
            x = x + self.linear(up, f"{at}.feed_forward.down")
        return self.norm(x, f"{name}.norm") if self.depth else x

    def anchor_asks(self, x: Array, c: Array) -> Array:
        keys = np.concatenate([self.w["null"][0], self.norm(c, "norm_key")])
        return self.blocks(self.attend(self.norm(x, "norm_query"), keys, "attention")[0], "blocks")

    def context_asks(self, x: Array, c: Array) -> tuple[Array, Array, Array]:
        """What the anchor's tokens read, and the weights of the asking and of the reading."""
        at, seen = "context_asks", self.norm(x, "norm_query")
        keys = np.concatenate([self.w[f"{at}.null_anchor"][0], seen])
        answers, asked = self.attend(self.norm(c, f"{at}.norm_query"), keys, f"{at}.ask")
        found = self.blocks(np.concatenate([self.w[f"{at}.null"][0], c + answers]), f"{at}.blocks")
        latent, read = self.attend(seen, self.norm(found, f"{at}.norm_key"), f"{at}.read")
        return latent, asked, read

    def fused(self, x: Array, latent: Array, form: str) -> Array:
        given = np.concatenate([latent, self.norm(x, "norm_query")], axis=1)
        gate = 1 / (1 + np.exp(-self.linear(gelu(self.linear(given, "gate.score.0")), "gate.score.2")))
        update = self.linear(gelu(self.linear(latent, "up")), "down")
        return x + gate * update if form == "residual" else gate * update + (1 - gate) * x


def gelu(x: Array) -> Array:
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def row(given: dict[str, Tokens], i: int, module: nn.Module) -> tuple[Array, Array]:
    """The present anchor tokens of a row, and its present context tokens through their projections."""
    w = {name: p.detach().numpy() for name, p in module.named_parameters()}
    kept = {name: tokens.x[i][tokens.mask[i]].numpy() for name, tokens in given.items()}
    at = "contexts.project."
    brought = [kept[n] @ w[f"{at}{n}.weight"].T + w[f"{at}{n}.bias"] for n in ("dated", "tabular")]
    return kept["series"], np.concatenate(brought)


@torch.no_grad()
@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("form", ["residual", "convex"])
@pytest.mark.parametrize("query", ["context", "both"])
def test_it_equals_the_reference(query: str, form: str, depth: int) -> None:
    module, given, notes = built(query=query, form=form, depth=depth), streams(), Notes(explain=True)
    got, shown, reference = module(given), module(given, notes), Reference(module)
    for i in range(3):
        x, c = row(given, i, module)
        mask = given["series"].mask[i]
        if not len(c):
            assert i == 2
            assert torch.equal(got.x[i, mask], given["series"].x[i, mask])
            continue
        latent, asked, read = reference.context_asks(x, c)
        if query == "both":
            latent = latent + reference.anchor_asks(x, c)
        want = torch.from_numpy(reference.fused(x, latent, form))
        for each in (got, shown):
            torch.testing.assert_close(each.x[i, mask], want, atol=1e-9, rtol=1e-9)
        others = torch.cat([given["dated"].mask[i], given["tabular"].mask[i]])
        some = torch.ones(1, dtype=torch.bool)
        for name, weights, queries, keys in (
            ("attention.context", asked, others, torch.cat([some, mask])),
            ("attention.read", read, mask, torch.cat([some, others])),
        ):
            values = notes.maps[name].values[i]
            torch.testing.assert_close(values[:, queries][..., keys], torch.from_numpy(weights), atol=1e-9, rtol=1e-9)
            assert (values[..., ~keys] == 0).all()


@torch.no_grad()
def test_maps_of_each_direction_are_named_and_labelled() -> None:
    notes = Notes(explain=True)
    built(query="both", depth=1)(streams(), notes)
    own, others = (("series", 5),), (("dated", 7), ("tabular", 11))
    assert {name: (each.axes[2], each.keys) for name, each in notes.maps.items() if each.keys} == {
        "attention": ("series token", (("null", 1), *others)),
        "attention.block0": ("series token", own),
        "attention.context": ("dated + tabular token", (("null", 1), *own)),
        "attention.block0.context": ("null + dated + tabular token", (("null", 1), *others)),
        "attention.read": ("series token", (("null", 1), *others)),
    }
    assert sorted(set(notes.maps) - {name for name, each in notes.maps.items() if each.keys}) == ["gate"]
    one = Notes(explain=True)
    built(query="context")(streams(), one)
    assert set(one.maps) == {"attention.context", "attention.read", "gate"}


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("query", ["context", "both"])
def test_queries_and_keys_learn_beside_a_single_token_on_either_side(query: str, depth: int) -> None:
    module = built(query=query, depth=depth)
    given = {name: tokens for name, tokens in streams(anchors=1, dated=1).items() if name != "tabular"}
    module(given).x.square().sum().backward()
    for name, part in module.named_modules():
        # With one anchor token a block over what the anchor asked for has one key.
        if isinstance(part, Attention) and not name.startswith("blocks."):
            sizes = {w: float(getattr(part, w).weight.grad.abs().max()) for w in ("query", "key", "value")}
            assert min(sizes["query"], sizes["key"]) > 1e-6 * sizes["value"] > 0, (name, sizes)


@torch.no_grad()
def test_beside_a_single_anchor_token_what_a_context_says_still_counts() -> None:
    module, given = built(query="context"), streams(anchors=1)
    other = {**given, "dated": Tokens(given["dated"].x * 2, given["dated"].mask)}
    # Every context token hears the same from the anchor: what is left is what it says itself.
    module.context_asks.ask.query.weight.zero_()
    module.context_asks.ask.query.bias.zero_()
    assert float((module(given).x[0] - module(other).x[0]).abs().max()) > 1e-3


@pytest.mark.parametrize("query", ["anchor", "context", "both"])
def test_it_starts_closed_by_one_factor_and_opens(query: str) -> None:
    module, given = built(random=False, query=query, depth=1), streams()
    x, mask = given["series"]
    assert torch.equal(module(given).x[mask], x[mask])
    assert [name for name, p in module.named_parameters() if not p.any() and "norm" not in name] == ["down.weight"]
    module(given).x[mask].square().sum().backward()
    assert float(module.down.weight.grad.abs().max()) > 1e-3
    assert not torch.equal(built(random=False, query=query, form="convex")(given).x[mask], x[mask])


def test_the_anchor_asks_by_default_and_starts_as_it_always_did() -> None:
    module = built(random=False, depth=1)
    assert module.config.query == "anchor"
    torch.manual_seed(0)
    parts: dict[str, Any] = {
        "contexts": Contexts({"dated": 13, "tabular": 17}, E),
        "null": torch.randn(1, 1, E) * 0.02,
        "norm_query": nn.LayerNorm(D),
        "norm_key": nn.LayerNorm(E),
        "attention": Attention(E, HEADS, query_dim=D),
        "blocks": Stack(E, 1, HEADS, 2 * E),
        "up": nn.Linear(E, HIDDEN),
        "down": nn.Linear(HIDDEN, D, bias=False),
        "gate": Gate("mlp", E + D, HIDDEN, D),
    }
    parts["down"].weight.data.zero_()
    want = {}
    for name, each in parts.items():
        some = each.state_dict() if isinstance(each, nn.Module) else {"": each}
        want |= {f"{name}.{leaf}".rstrip("."): value.double() for leaf, value in some.items()}
    found = module.state_dict()
    assert set(found) == set(want)
    assert all(torch.equal(found[name], value) for name, value in want.items())
    both = built(random=False, depth=1, query="both").state_dict()
    assert all(torch.equal(both[name], value) for name, value in want.items())
    assert {name.split(".")[0] for name in set(both) - set(want)} == {"context_asks"}


@pytest.mark.parametrize("written, read", [("series", "anchor"), ("text", "context"), ("both", "both")])
def test_the_document_s_words_are_read(written: str, read: str) -> None:
    assert validate(LatentGateConfig, {"query": written}).query == read


@pytest.mark.parametrize("written", ["words", 3, None])
def test_another_word_is_refused_with_those_there_are(written: object) -> None:
    with pytest.raises(ConfigError, match=r"query: should be 'anchor', 'context' or 'both'"):
        validate(LatentGateConfig, {"query": written})


@pytest.mark.parametrize("query", ["context", "both"])
def test_parameters_grow_with_each_inner_width(query: str) -> None:
    kind: Any = config_class("fusion", "latent_gate")
    for field in kind.inner:
        sizes = [
            sum(p.numel() for p in kind(**{**FIELDS, "query": query, field: width}).build(SCHEMA).parameters())
            for width in (3, 6, 12)
        ]
        assert sizes == sorted({*sizes})


@pytest.mark.parametrize("form", ["residual", "convex"])
@pytest.mark.parametrize("query", ["context", pytest.param("both", marks=pytest.mark.slow)])
def test_contract_of_each_direction_and_form_with_blocks(query: str, form: str) -> None:
    check_fusion(validate(LatentGateConfig, {"query": query, "form": form, "depth": 1}), graphs=False)
