"""`perceiver`: a few learned latents ask the tokens of all streams, then one another."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens
from plait.nn.attention import Attention, check_heads
from plait.nn.block import FeedForward, Stack
from plait.nn.contexts import Contexts, segments


class PerceiverConfig(Config):
    """z = z + Attn(q = norm(z), kv = norm(all tokens)); z = z + FFN(norm(z)); then self-attention blocks over z."""

    anchored: ClassVar[bool] = False
    inner: ClassVar[tuple[str, ...]] = ("dim", "hidden")
    kind: Literal["perceiver"] = "perceiver"
    dim: int | None = Field(None, ge=1)
    """Width of the latents; unset: the anchor's."""
    num_latents: int = Field(8, ge=1)
    """Learned latents, and so the tokens that come out."""
    depth: int = Field(1, ge=0)
    """Self-attention blocks over the latents, after they have asked the streams."""
    heads: int = Field(4, ge=1)
    """Attention heads, of the blocks too; they divide the width."""
    hidden: int | None = Field(None, ge=1)
    """Width of the feed-forward layers; unset: twice the latents'."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout of attention weights, of the feed-forward layers and of the updates."""

    def build(self, schema: Schema) -> "Perceiver":
        """The operator for these streams."""
        dim = self.dim or schema.streams[schema.anchor]
        check_heads(dim, self.heads, "model.fusion.heads")
        return Perceiver(schema, dim, self)


class Perceiver(nn.Module):
    """Learned latents z: z = z + Attn(norm(z), norm(tokens)); z = z + FFN(norm(z)); then `depth` blocks and a norm.

    The anchor is a stream like the others; each stream goes through a projection of its own, whose bias is its modality
    vector. Without blocks there is no last norm.
    Shape: {name: (b, n_i, d_i)} -> (b, l, dim). Maps `attention` (b, h, l, sum of n_i); `attention.block<i>`
    (b, h, l, l).
    Mask: all latents of a row with any present token; a row without any is 0 with a False mask. Absent keys weigh
    exactly 0.
    Source: Perceiver IO, arXiv 2107.14795, its encoder; the start of the latents has sd 0.02, as there.
    """

    def __init__(self, schema: Schema, dim: int, config: PerceiverConfig) -> None:
        super().__init__()
        self.dim, hidden = dim, config.hidden or 2 * dim
        self.contexts = Contexts(schema.streams, dim)
        self.latents = nn.Parameter(torch.randn(1, config.num_latents, dim) * 0.02)
        self.norm_query, self.norm_key, self.norm_feed = (nn.LayerNorm(dim) for _ in range(3))
        self.attention = Attention(dim, config.heads, dropout=config.dropout)
        self.feed_forward = FeedForward(dim, hidden, config.dropout)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = Stack(dim, config.depth, config.heads, hidden, config.dropout)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """The latents, which have read every stream."""
        x, mask = self.contexts(streams)
        explain = notes is not None and notes.explain
        z = self.latents.expand(x.shape[0], -1, -1)
        update, used = self.attention(self.norm_query(z), self.norm_key(x), mask, weights=explain)
        z = z + self.drop(update)
        z = z + self.drop(self.feed_forward(self.norm_feed(z)))
        if notes is not None:
            notes.attention("", used, "latent", segments(streams))
        count = z.shape[1]
        present = mask.any(dim=1, keepdim=True).expand(-1, count)
        out = self.blocks(Tokens(z, present), notes, (("latent", count),))
        return Tokens(torch.where(present[..., None], out.x, 0.0), present)
