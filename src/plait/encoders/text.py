"""`text`: frozen token or sentence states of the newest texts, with their age, through blocks of self-attention."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.nn.attention import check_heads
from plait.nn.block import Stack
from plait.nn.pool import AttentionPool


class TextConfig(Config):
    """From the frozen states of texts to tokens."""

    modality: ClassVar[str] = "text"
    kind: Literal["text"] = "text"
    dim: int = Field(64, ge=1)
    """Width of a token."""
    hidden: int = Field(64, ge=1)
    """Width of the layer between the frozen states and the tokens."""
    depth: int = Field(1, ge=0)
    """Self-attention blocks over the text tokens of a row; 0 leaves them out."""
    heads: int = Field(4, ge=1)
    """Attention heads; they divide `dim`."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout of the states, of the layer between and of the blocks."""

    def build(self, schema: Schema) -> "Text":
        """The encoder for this text stream."""
        if self.depth:
            check_heads(self.dim, self.heads, "model.text.heads")
        return Text(schema.streams["text"], self, schema.grouped.get("text", 1))


class Text(nn.Module):
    """MLP(state) + Linear(log1p(age in days)), then blocks; with a `group` above 1 the states of each group of
    neighbouring tokens, those of one text, are first pooled into one.

    Reads `values` (b, m, e) frozen states, `mask` (b, m), `age` (b, m) log1p of days between the text and the
    origin, the same for all tokens of a group. Shape: -> Tokens (b, m / group, dim).
    Mask: kept, a group is present where any of its tokens is; the content of absent tokens is set to 0 before anything
    reads it.
    """

    def __init__(self, width: int, config: TextConfig, group: int = 1) -> None:
        super().__init__()
        self.dim = config.dim
        self.drop = nn.Dropout(config.dropout)
        self.up, self.down = nn.Linear(width, config.hidden), nn.Linear(config.hidden, config.dim)
        self.age = nn.Linear(1, config.dim, bias=False)
        self.stack = Stack(config.dim, config.depth, config.heads, 2 * config.dim, config.dropout)
        self.pool = AttentionPool(width, group, config.hidden) if group > 1 else None

    def forward(self, fields: Mapping[str, Tensor]) -> Tokens:
        """One token a text state, or a group of them."""
        mask = fields["mask"]
        states = torch.where(mask[..., None], fields["values"], 0.0)
        age = torch.where(mask, fields["age"], 0.0)
        if self.pool is not None:
            states, mask = self.pool(Tokens(states, mask))
            # An age is never negative: the largest is that of the present tokens, whichever they are.
            age = age.unflatten(1, (-1, self.pool.group)).amax(dim=-1)
        x = self.down(self.drop(torch.nn.functional.gelu(self.up(self.drop(states))))) + self.age(age[..., None])
        tokens: Tokens = self.stack(Tokens(x, mask))
        return tokens
