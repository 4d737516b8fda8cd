"""`bilinear`: what an anchor token takes from the context is a product of both, in a narrow space."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens, anchored
from plait.nn.contexts import Contexts
from plait.nn.pool import masked_mean


class BilinearConfig(Config):
    """x + W (tanh(U x) * tanh(V c)), W = 0 at the start."""

    anchored: ClassVar[bool] = True
    closed: ClassVar[bool] = True
    inner: ClassVar[tuple[str, ...]] = ("rank",)
    kind: Literal["bilinear"] = "bilinear"
    rank: int = Field(16, ge=1)
    """Width of the space in which both are multiplied."""

    def build(self, schema: Schema) -> "Bilinear":
        """The operator for these streams."""
        return Bilinear(schema, self.rank)


class Bilinear(nn.Module):
    """x + W (tanh(U x) * tanh(c)), c the mean of the context tokens, each stream by its own projection.

    Shape: (b, n, d) -> (b, n, d).
    Mask: the anchor's; a row without context gets an update of exactly 0.
    Source: the low-rank bilinear pooling of Kim et al. 2017 (arXiv 1610.04325), with a residual.
    """

    def __init__(self, schema: Schema, rank: int) -> None:
        super().__init__()
        self.anchor, self.dim = schema.anchor, schema.streams[schema.anchor]
        self.contexts = Contexts({name: schema.streams[name] for name in schema.contexts}, rank)
        self.down = nn.Linear(self.dim, rank)
        self.up = nn.Linear(rank, self.dim, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """The anchor's tokens, changed."""
        anchor, contexts = anchored(streams, self.anchor)
        if not contexts:
            return anchor
        context = self.contexts(contexts)
        update = self.up(torch.tanh(self.down(anchor.x)) * torch.tanh(masked_mean(context))[:, None])
        return Tokens(anchor.x + torch.where(context.present[:, None, None], update, 0.0), anchor.mask)
