"""The tree of fusions against its formula, what it refuses, and every kind as its node."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from plait.core.config import validate
from plait.core.errors import ConfigError, DataError
from plait.core.kinds import kinds
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens
from plait.fusion.hierarchical import Hierarchical, HierarchicalConfig, balanced
from plait.testing import check_fusion

D = 7
SCHEMA = Schema("clip", {"clip": D, "siglip": 5, "words": 3, "qwen": 11})
TREE = [["clip", "siglip"], ["words", "qwen"]]


def built(**fields: Any) -> Hierarchical:
    """The operator in float64 with random weights."""
    torch.manual_seed(0)
    module = validate(HierarchicalConfig, {"kind": "hierarchical", **fields}).build(SCHEMA).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module


def streams() -> dict[str, Tokens]:
    """Two rows; in the second `siglip` has no token. What is absent is NaN."""
    maker = torch.Generator().manual_seed(1)
    found = {}
    for count, (name, width) in zip((3, 5, 2, 4), SCHEMA.streams.items(), strict=True):
        mask = torch.rand(2, count, generator=maker) < 0.7
        mask[:, 0] = True
        mask[1] &= name != "siglip"
        x = torch.randn(2, count, width, generator=maker, dtype=torch.float64)
        found[name] = Tokens(torch.where(mask[..., None], x, math.nan), mask)
    return found


def norm(x: Tensor, w: dict[str, Tensor], at: str) -> Tensor:
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * w[f"{at}.weight"] + w[f"{at}.bias"]


def fuse(children: dict[str, list[Tensor]], w: dict[str, Tensor], at: str) -> list[Tensor]:
    """A node of `add`: every child's tokens plus what the mean of the others' says, each through a projection."""
    out = []
    for anchor, tokens in children.items():
        f = f"{at}.fusions.{anchor}"
        others: list[Tensor] = []
        for name, context in children.items():
            if name != anchor:
                p = f"{f}.contexts.project.{name}"
                others += [w[f"{p}.weight"] @ x + w[f"{p}.bias"] for x in context]
        update: Tensor | float = 0.0
        if others:
            update = w[f"{f}.update.weight"] @ torch.stack(others).mean(dim=0) + w[f"{f}.update.bias"]
        out += [norm(x + update, w, f"{at}.norm") for x in tokens]
    return out


@torch.no_grad()
def test_a_tree_of_add_equals_its_formula() -> None:
    module, given = built(tree=TREE, node={"kind": "add"}), streams()
    w = dict(module.named_parameters())
    x, mask = module(given)
    assert torch.equal(mask, torch.cat([given[name].mask for name in ("clip", "siglip", "words", "qwen")], dim=1))
    assert (x[~mask] == 0).all()
    for row in range(2):
        leaf = {}
        for name in SCHEMA.streams:
            weight, bias = w[f"project.project.{name}.weight"], w[f"project.project.{name}.bias"]
            present = given[name].x[row, given[name].mask[row]]
            leaf[name] = [weight @ token + bias for token in present]
        images = fuse({name: leaf[name] for name in ("clip", "siglip")}, w, "root.inner.clip+siglip")
        texts = fuse({name: leaf[name] for name in ("words", "qwen")}, w, "root.inner.words+qwen")
        want = fuse({"clip+siglip": images, "words+qwen": texts}, w, "root")
        torch.testing.assert_close(x[row, mask[row]], torch.stack(want), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    "names, tree",
    [
        (["a", "b"], ["a", "b"]),
        (["a", "b", "c"], [["a", "b"], "c"]),
        (["a", "b", "c", "d"], [["a", "b"], ["c", "d"]]),
        (["a", "b", "c", "d", "e"], [[["a", "b"], ["c", "d"]], "e"]),
    ],
)
def test_a_tree_that_is_not_given_pairs_neighbours(names: Sequence[Any], tree: list[Any]) -> None:
    assert balanced(list(names)) == tree


@pytest.mark.parametrize(
    "tree, words",
    [
        ([["clip", "siglip"], ["words", "qwem"]], "names no stream: qwem; it misses qwen"),
        (["clip", "siglip", "words"], "misses qwen"),
        ([["clip"], ["siglip", "words", "qwen"]], "a node holds two or more"),
        (["clip", "siglip", "words", "qwen", "clip"], "more than once"),
        ([["clip", 3], ["siglip", "words", "qwen"]], "a node holds two or more"),
        ([], "a node holds two or more"),
    ],
)
def test_a_tree_that_does_not_fit_is_refused(tree: list[Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        validate(HierarchicalConfig, {"kind": "hierarchical", "tree": tree}).build(SCHEMA)


def test_no_stream_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="no stream is given"):
        built(node={"kind": "add"})({})


def test_maps_and_losses_of_every_node_are_named() -> None:
    notes = Notes(explain=True)
    built(tree=TREE, node={"kind": "latent_gate", "latent_dim": 4, "gate_l1": 1.0})(streams(), notes)
    places = [f"{node}.{child}" for node, child in (
        ("clip+siglip", "clip"), ("clip+siglip", "siglip"), ("words+qwen", "words"), ("words+qwen", "qwen"),
        ("clip+siglip+words+qwen", "clip+siglip"), ("clip+siglip+words+qwen", "words+qwen"),
    )]  # fmt: skip
    assert set(notes.maps) == {f"{name}.{place}" for name in ("attention", "gate") for place in places}
    assert set(notes.losses) == {f"gate_l1.{place}" for place in places}
    assert notes.maps["attention.clip+siglip.clip"].keys == (("null", 1), ("siglip", 5))


@pytest.mark.slow
@pytest.mark.parametrize("kind", kinds("fusion"))
def test_every_kind_is_a_node(kind: str) -> None:
    check_fusion(HierarchicalConfig(node={"kind": kind}), graphs=False)
