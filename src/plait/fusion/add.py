"""`add`: the pooled context, projected, is added to every anchor token."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens, anchored
from plait.nn.contexts import Contexts
from plait.nn.pool import masked_mean


class AddConfig(Config):
    """x + W pool(c), W = 0 at the start."""

    anchored: ClassVar[bool] = True
    kind: Literal["add"] = "add"

    @property
    def closed(self) -> bool:
        """Whether the operator equals the anchor at initialisation."""
        return True

    def build(self, schema: Schema) -> "Add":
        """The operator for these streams."""
        return Add(schema)


class Add(nn.Module):
    """x + W pool(c), the same update for every anchor token.

    Shape: (b, n, d) -> (b, n, d).
    Mask: the anchor's; the mean reads present context tokens only; a row without any gets an update of exactly 0.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.anchor, self.dim = schema.anchor, schema.streams[schema.anchor]
        self.contexts = Contexts({name: schema.streams[name] for name in schema.contexts}, self.dim)
        self.update = nn.Linear(self.dim, self.dim)
        nn.init.zeros_(self.update.weight)
        nn.init.zeros_(self.update.bias)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """The anchor's tokens, changed."""
        anchor, contexts = anchored(streams, self.anchor)
        if not contexts:
            return anchor
        context = self.contexts(contexts)
        update = self.update(masked_mean(context))[:, None]
        return Tokens(anchor.x + torch.where(context.present[:, None, None], update, 0.0), anchor.mask)
