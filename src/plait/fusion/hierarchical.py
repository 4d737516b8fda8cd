"""`hierarchical`: a tree whose inner nodes are fusions of what stands below them."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field, field_validator
from torch import nn

from plait.core.config import Config, PartOf
from plait.core.errors import ConfigError
from plait.core.protocols import Fusion
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens
from plait.nn.contexts import Contexts
from plait.nn.pool import join

Tree = str | list[Any]


class HierarchicalConfig(Config):
    """Streams fused pair by pair along a tree, as in [[a, b], [c, d]]."""

    anchored: ClassVar[bool] = False
    kind: Literal["hierarchical"] = "hierarchical"
    tree: list[Any] | None = None
    """Nested lists of stream names, each name once; unset: neighbours in pairs, and those again."""
    node: Annotated[Any, PartOf("fusion")] = {"kind": "cross_attention"}
    """The fusion of every inner node, each with weights of its own; an anchored one runs with every child as anchor."""
    dim: int | None = Field(None, ge=1)
    """Width that the streams are brought to; unset: the anchor's."""

    @field_validator("tree")
    @classmethod
    def _is_a_tree(cls, tree: list[Any] | None) -> list[Any] | None:
        for each in [] if tree is None else [tree, *inner_lists(tree)]:
            if len(each) < 2 or not all(isinstance(child, str | list) for child in each):
                raise ValueError(f"a node holds two or more stream names or nodes, not {each}")
        if tree is not None and len(set(leaves(tree))) < len(list(leaves(tree))):
            raise ValueError(f"a stream stands in the tree more than once: {sorted(leaves(tree))}")
        return tree

    @property
    def inner(self) -> tuple[str, ...]:
        """The fields that set the operator's inner widths: its own, then the node's."""
        return ("dim", *(f"node.{name}" for name in getattr(self.node, "inner", ()) if name != "dim"))

    def build(self, schema: Schema) -> "Hierarchical":
        """The operator for these streams; a tree that misses one or names another is a ConfigError."""
        tree = balanced(list(schema.streams)) if self.tree is None else self.tree
        named, given = set(leaves(tree)), set(schema.streams)
        if named != given:
            unknown, missed = sorted(named - given), sorted(given - named)
            found = [f"names no stream: {', '.join(unknown)}"] * bool(unknown)
            found += [f"misses {', '.join(missed)}"] * bool(missed)
            raise ConfigError(
                f"the tree {'; it '.join(found)}", where="model.fusion.tree",
                fix=f"each of {', '.join(schema.streams)}, once",
            )  # fmt: skip
        return Hierarchical(schema, tree, self)


class Hierarchical(nn.Module):
    """Streams, each by its own affine projection, fused from the leaves of a tree to its root.

    A node whose fusion is anchored gives norm([f_1 ; f_2 ; ...]), f_i the fusion with child i as the anchor and the
    others as its context, so that every child attends to the others; any other fusion f gives norm(f(children)).
    Inside the tree no fusion starts closed.
    Shape: {name: (b, m_i, d_i)} -> (b, n, dim), n the sum of m_i where the nodes are anchored.
    Maps and own losses: those of every node, named `<name>.<leaves of the node>[.<anchor>]`.
    Mask: a token is present where its own is; a stream that is left out is one that is absent in every row.
    Source: the design document of `products`, with several tokens a stream in place of one.
    """

    def __init__(self, schema: Schema, tree: list[Any], config: HierarchicalConfig) -> None:
        super().__init__()
        dim = config.dim or schema.streams[schema.anchor]
        self.project = Contexts(schema.streams, dim)
        self.root = Node(tree, dim, config.node)
        self.dim: int = self.root.dim

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """The root's tokens, 0 where they are absent."""
        out: Tokens = self.root(self.project.each(streams), notes or Notes())
        return Tokens(torch.where(out.mask[..., None], out.x, 0.0), out.mask)


class Node(nn.Module):
    """The fusion of a node's children, and of theirs before it. Shape: {leaf: (b, m, d)} -> (b, n, dim)."""

    def __init__(self, tree: list[Any], dim: int, config: Any) -> None:
        super().__init__()
        self.name = "+".join(leaves(tree))
        self.children_named = ["+".join(leaves(child)) for child in tree]
        self.inner = nn.ModuleDict()
        widths = dict.fromkeys(self.children_named, dim)
        for name, child in zip(self.children_named, tree, strict=True):
            if isinstance(child, list):
                node = Node(child, dim, config)
                self.inner[name], widths[name] = node, node.dim
        anchors = self.children_named if config.anchored else self.children_named[:1]
        self.anchored = bool(config.anchored)
        self.fusions = nn.ModuleDict({name: opened(config.build(Schema(name, widths))) for name in anchors})
        self.dim: int = cast(Fusion, self.fusions[anchors[0]]).dim
        self.norm = nn.LayerNorm(self.dim)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes) -> Tokens | None:
        """The node's tokens, or None where no stream below it is given."""
        children: dict[str, Tokens] = {}
        for name in self.children_named:
            found = self.inner[name](streams, notes) if name in self.inner else streams.get(name)
            if found is not None:
                children[name] = found
        fused = []
        for anchor, fusion in self.fusions.items():
            if children and (anchor in children or not self.anchored):
                inner = Notes(notes.explain)
                fused.append(fusion(children, inner))
                notes.include(inner, f"{self.name}.{anchor}" if self.anchored else self.name)
        if not fused:
            return None
        joined = join(fused)
        return Tokens(self.norm(joined.x), joined.mask)


def opened(fusion: nn.Module) -> nn.Module:
    """The operator with layers that start at 0 started as others are: a tree has no anchor to equal, and a closed
    factor behind another opens a step later with each level.
    """
    for layer in fusion.modules():
        if isinstance(layer, nn.Linear) and not layer.weight.is_meta and not layer.weight.any():
            layer.reset_parameters()
    return fusion


def balanced(names: list[Tree]) -> list[Any]:
    """Neighbours in pairs, and those again: [a, b, c, d] -> [[a, b], [c, d]], [a, b, c] -> [[a, b], c]."""
    while len(names) > 2:
        pairs = [names[i : i + 2] for i in range(0, len(names), 2)]
        names = [pair if len(pair) == 2 else pair[0] for pair in pairs]
    return names


def leaves(tree: Tree) -> Iterator[str]:
    """The names in a tree, from left to right."""
    if isinstance(tree, str):
        yield tree
    else:
        for child in tree:
            yield from leaves(child)


def inner_lists(tree: list[Any]) -> Iterator[list[Any]]:
    """The nodes below the root."""
    for child in tree:
        if isinstance(child, list):
            yield child
            yield from inner_lists(child)
