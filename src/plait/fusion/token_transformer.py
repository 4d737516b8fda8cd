"""`token_transformer`: the tokens of all streams in one transformer, and one token a row that stands for them."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens
from plait.nn.attention import check_heads
from plait.nn.block import Stack
from plait.nn.contexts import Contexts, beside_null, segments
from plait.nn.pool import masked_mean


class TokenTransformerConfig(Config):
    """pool(norm(blocks(tokens + a learned position for each modality))), pool the mean or a CLS token."""

    anchored: ClassVar[bool] = False
    single: ClassVar[bool] = True
    """A row comes out as one token."""
    inner: ClassVar[tuple[str, ...]] = ("dim", "hidden")
    kind: Literal["token_transformer"] = "token_transformer"
    dim: int | None = Field(None, ge=1)
    """Width of all streams inside and of the output; unset: the anchor's."""
    heads: int = Field(4, ge=1)
    """Attention heads; they divide the width."""
    depth: int = Field(2, ge=1)
    """Self-attention blocks."""
    hidden: int | None = Field(None, ge=1)
    """Width of the feed-forward layers; unset: four times the width of the tokens."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout of attention weights, of the feed-forward layers, of the updates and of the output projection."""
    cls: bool = False
    """Return a learned token that attends to all others, instead of their mean."""
    project: bool = False
    """A linear layer, a ReLU and dropout after the pooling."""

    def build(self, schema: Schema) -> "TokenTransformer":
        """The operator for these streams."""
        dim = self.dim or schema.streams[schema.anchor]
        check_heads(dim, self.heads, "model.fusion.heads")
        return TokenTransformer(schema, dim, self)


class TokenTransformer(nn.Module):
    """norm(blocks([cls ;] W_i x + b_i + position_i)) over the tokens x of all streams i, then their mean or the CLS.

    With `project`, relu(W pooled + b) at the end. The anchor is a stream like the others. `position` has a row for each
    stream in the order of names, then one for the CLS token.
    Shape: {name: (b, n_i, d_i)} -> (b, 1, dim). Maps `attention.block<i>` (b, h, m, m), m the sum of n_i, and 1 more
    with `cls`, key 0.
    Mask: any present token in the row; a row without any is 0 with a False mask, with `cls` too. Absent keys weigh
    exactly 0, and the mean reads present tokens only.
    Source: the design document of `market`, sections 3 and 4, which has no norm after the blocks.
    """

    def __init__(self, schema: Schema, dim: int, config: TokenTransformerConfig) -> None:
        super().__init__()
        self.dim = dim
        self.contexts = Contexts(schema.streams, dim)
        self.rows = {name: row for row, name in enumerate(sorted(schema.streams))}
        self.position = nn.Parameter(torch.randn(len(self.rows) + config.cls, dim) * 0.02)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02) if config.cls else None
        self.blocks = Stack(dim, config.depth, config.heads, config.hidden or 4 * dim, config.dropout)
        self.project = nn.Linear(dim, dim) if config.project else None
        self.drop = nn.Dropout(config.dropout)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """One token a row."""
        keys = segments(streams)
        x, mask = self.contexts(streams)
        tokens = Tokens(x + self._positions(keys), mask)
        if self.cls is not None:
            tokens = beside_null(self.cls + self.position[-1], tokens)
            keys = (("cls", 1), *keys)
        done = self.blocks(tokens, notes, keys)
        pooled = masked_mean(done) if self.cls is None else done.x[:, 0]
        if self.project is not None:
            pooled = self.drop(torch.relu(self.project(pooled)))
        present = mask.any(dim=1, keepdim=True)
        return Tokens(torch.where(present, pooled, 0.0)[:, None], present)

    def _positions(self, keys: tuple[tuple[str, int], ...]) -> Tensor:
        """The position of every token's stream. Shape: (sum of n_i, dim)."""
        return torch.cat([self.position[self.rows[name]].expand(count, -1) for name, count in keys])
