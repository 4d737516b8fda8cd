"""`bottleneck`: each stream has blocks of its own, and a few shared tokens are all that passes between them."""

from collections.abc import Mapping
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens
from plait.nn.attention import check_heads
from plait.nn.block import Block
from plait.nn.contexts import Contexts
from plait.nn.pool import join, masked_mean


class BottleneckConfig(Config):
    """[z_i ; s_i] = Block_i([z_i ; s]) for every stream i, then s = mean of the s_i, layer by layer."""

    anchored: ClassVar[bool] = False
    inner: ClassVar[tuple[str, ...]] = ("dim", "hidden")
    kind: Literal["bottleneck"] = "bottleneck"
    dim: int | None = Field(None, ge=1)
    """Width of all streams inside and of the output; unset: the anchor's."""
    num_bottlenecks: int = Field(4, ge=1)
    """Shared tokens, through which all exchange passes."""
    depth: int = Field(2, ge=1)
    """Layers, each with a block a stream; the first has nothing to pass on yet, so that 1 exchanges nothing."""
    heads: int = Field(4, ge=1)
    """Attention heads; they divide the width."""
    hidden: int | None = Field(None, ge=1)
    """Width of the feed-forward layers; unset: twice the width of the streams."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout of attention weights, of the feed-forward layers and of the updates."""

    def build(self, schema: Schema) -> "Bottleneck":
        """The operator for these streams."""
        dim = self.dim or schema.streams[schema.anchor]
        check_heads(dim, self.heads, "model.fusion.heads")
        return Bottleneck(schema, dim, self)


class Bottleneck(nn.Module):
    """[z_i ; s_i] = Block_i([z_i ; s]) for every stream i; s = mean of s_i over the streams present; at last norm(z_i).

    s starts learned. The anchor is a stream like the others; each goes through a projection of its own. What the last
    layer makes of s is not read.
    Shape: {name: (b, n_i, d_i)} -> (b, sum of n_i, dim), the streams in the order of their names. Maps
    `attention.<stream>.block<i>` (b, h, n_i + s, n_i + s).
    Mask: the streams', and absent tokens are 0. A stream that is absent in a row gives no s_i there, its map is 0; in
    a row without any stream s is 0 from the second layer on.
    Source: Nagrani et al., NeurIPS 2021 (arXiv 2107.00135), attention bottlenecks, with a norm before each half of a
    block.
    """

    def __init__(self, schema: Schema, dim: int, config: BottleneckConfig) -> None:
        super().__init__()
        self.dim, hidden = dim, config.hidden or 2 * dim
        self.contexts = Contexts(schema.streams, dim)
        self.bottlenecks = nn.Parameter(torch.randn(1, config.num_bottlenecks, dim) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleDict({n: Block(dim, config.heads, hidden, config.dropout) for n in sorted(schema.streams)})
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """All streams' tokens, changed."""
        own = self.contexts.each(streams)
        shared = self.bottlenecks.expand(next(iter(own.values())).x.shape[0], -1, -1)
        for number in range(len(self.layers)):
            own, shared = self._layer(number, own, shared, notes)
        x, mask = join(list(own.values()))
        return Tokens(torch.where(mask[..., None], self.norm(x), 0.0), mask)

    def _layer(
        self, number: int, own: dict[str, Tokens], shared: Tensor, notes: Notes | None
    ) -> tuple[dict[str, Tokens], Tensor]:
        """The streams after one layer, and the mean over the present ones of what each made of the shared tokens."""
        blocks, places = cast(nn.ModuleDict, self.layers[number]), shared.shape[1]
        changed, answers = {}, []
        for name, tokens in own.items():
            count, present = tokens.x.shape[1], tokens.present[:, None]
            both = join([tokens, Tokens(shared, present.expand(-1, places))])
            (x, _), used = blocks[name](both, weights=notes is not None and notes.explain)
            changed[name] = Tokens(x[:, :count], tokens.mask)
            answers.append(Tokens(x[:, count:].flatten(1)[:, None], present))
            if notes is not None:
                keys = ((name, count), ("bottleneck", places))
                notes.attention(f"{name}.block{number}", used, f"{name} + bottleneck", keys)
        return changed, masked_mean(join(answers)).unflatten(-1, (places, self.dim))
