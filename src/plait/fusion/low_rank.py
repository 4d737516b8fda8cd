"""`low_rank`: what each anchor token takes from the pooled context passes a narrow waist."""

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


class LowRankConfig(Config):
    """x + B (A [x ; pool(c)]), B = 0 at the start."""

    anchored: ClassVar[bool] = True
    kind: Literal["low_rank"] = "low_rank"
    rank: int = Field(8, ge=1)
    """Width of the waist; well below the anchor's, or it constrains nothing."""

    @property
    def closed(self) -> bool:
        """Whether the operator equals the anchor at initialisation."""
        return True

    def build(self, schema: Schema) -> "LowRank":
        """The operator for these streams."""
        return LowRank(schema, self.rank)


class LowRank(nn.Module):
    """x + B (A [x ; pool(c)]), A from 2 d to the rank, B from the rank to d.

    All updates lie in one subspace of as many dimensions as the rank, so that little of a context that does not help
    can enter.
    Shape: (b, n, d) -> (b, n, d).
    Mask: the anchor's; the mean reads present context tokens only; a row without any gets an update of exactly 0.
    Source: the constrained fusion of arXiv 2603.22372.
    """

    def __init__(self, schema: Schema, rank: int) -> None:
        super().__init__()
        self.anchor, self.dim = schema.anchor, schema.streams[schema.anchor]
        self.contexts = Contexts({name: schema.streams[name] for name in schema.contexts}, self.dim)
        self.down = nn.Linear(2 * self.dim, rank)
        self.up = nn.Linear(rank, self.dim, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """The anchor's tokens, changed."""
        anchor, contexts = anchored(streams, self.anchor)
        if not contexts:
            return anchor
        context = self.contexts(contexts)
        pooled = masked_mean(context)[:, None].expand(-1, anchor.x.shape[1], -1)
        update = self.up(self.down(torch.cat([anchor.x, pooled], dim=-1)))
        return Tokens(anchor.x + torch.where(context.present[:, None, None], update, 0.0), anchor.mask)
