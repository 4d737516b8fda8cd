"""`cross_attention`: every anchor token asks the context tokens, and may turn to a learned null token instead."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens, anchored
from plait.nn.attention import Attention, check_heads
from plait.nn.block import FeedForward
from plait.nn.contexts import Contexts, beside_null, segments


class CrossAttentionConfig(Config):
    """x + Wo Attn(q = norm(x), kv = norm(context tokens) + a learned null token), Wo = 0 at the start."""

    anchored: ClassVar[bool] = True
    inner: ClassVar[tuple[str, ...]] = ("hidden",)
    kind: Literal["cross_attention"] = "cross_attention"
    heads: int = Field(4, ge=1)
    """Attention heads; they divide the anchor's width."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout of attention weights and of the update."""
    hidden: int = Field(0, ge=0)
    """Width of an optional feed-forward layer after the attention; 0 leaves it out."""

    @property
    def closed(self) -> bool:
        """Whether the operator equals the anchor at initialisation."""
        return True

    def build(self, schema: Schema) -> "CrossAttention":
        """The operator for these streams."""
        check_heads(schema.streams[schema.anchor], self.heads, "model.fusion.heads")
        return CrossAttention(schema, self)


class CrossAttention(nn.Module):
    """x + Wo Attn(norm(x), [null ; norm(c)]), then optionally x + FFN(norm(x)), c the context tokens.

    The null token makes two keys of one, so that query and key projections learn even from a single context token,
    and lets a position take what no context says: its value is learned, one constant for all rows.
    Shape: (b, n, d) -> (b, n, d). Map `attention` (b, h, n, 1 + m), key 0 is the null token.
    Mask: the anchor's; absent keys weigh exactly 0; the null token competes only beside real tokens, and a row
    without any gets an update of exactly 0.
    """

    def __init__(self, schema: Schema, config: CrossAttentionConfig) -> None:
        super().__init__()
        self.anchor, self.dim = schema.anchor, schema.streams[schema.anchor]
        self.contexts = Contexts({name: schema.streams[name] for name in schema.contexts}, self.dim)
        self.null = nn.Parameter(torch.randn(1, 1, self.dim) * 0.02)
        self.norm_query, self.norm_key = nn.LayerNorm(self.dim), nn.LayerNorm(self.dim)
        self.attention = Attention(self.dim, config.heads, dropout=config.dropout, zero_out=True)
        self.drop = nn.Dropout(config.dropout)
        self.feed_forward = self.norm_feed = None
        if config.hidden:
            self.norm_feed = nn.LayerNorm(self.dim)
            self.feed_forward = FeedForward(self.dim, config.hidden, config.dropout, zero_out=True)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """The anchor's tokens, changed."""
        anchor, contexts = anchored(streams, self.anchor)
        if not contexts:
            return anchor
        context = self.contexts(contexts)
        present = context.present[:, None]
        keys, mask = beside_null(self.null, Tokens(self.norm_key(context.x), context.mask))
        explain = notes is not None and notes.explain
        update, used = self.attention(self.norm_query(anchor.x), keys, mask, weights=explain)
        fused = anchor.x + self.drop(update)
        if self.feed_forward is not None and self.norm_feed is not None:
            fused = fused + self.drop(self.feed_forward(self.norm_feed(fused)))
        if notes is not None:
            notes.attention("", used, self.anchor, (("null", 1), *segments(contexts)))
        return Tokens(torch.where(present[..., None], fused, anchor.x), anchor.mask)
