"""`concat`: each anchor token and the pooled context side by side through one projection."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens, anchored
from plait.nn.contexts import Contexts
from plait.nn.pool import masked_mean


class ConcatConfig(Config):
    """x + W [x ; pool(c)], W = 0 at the start; or the open form in which the projection replaces x."""

    anchored: ClassVar[bool] = True
    kind: Literal["concat"] = "concat"
    form: Literal["residual", "seed"] = "residual"
    """`residual` starts closed; `seed` is W [x ; pool(c)] without the residual, open."""

    @property
    def closed(self) -> bool:
        """Whether the operator equals the anchor at initialisation."""
        return self.form == "residual"

    def build(self, schema: Schema) -> "Concat":
        """The operator for these streams."""
        return Concat(schema, self.form)


class Concat(nn.Module):
    """x + W [x ; pool(c)], or W [x ; pool(c)] in the form `seed`.

    Shape: (b, n, d) -> (b, n, d).
    Mask: the anchor's; the mean reads present context tokens only; a row without any returns the anchor exactly.
    """

    def __init__(self, schema: Schema, form: str) -> None:
        super().__init__()
        self.anchor, self.dim, self.residual = schema.anchor, schema.streams[schema.anchor], form == "residual"
        self.contexts = Contexts({name: schema.streams[name] for name in schema.contexts}, self.dim)
        self.mix = nn.Linear(2 * self.dim, self.dim)
        if self.residual:
            nn.init.zeros_(self.mix.weight)
            nn.init.zeros_(self.mix.bias)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """The anchor's tokens, changed."""
        anchor, contexts = anchored(streams, self.anchor)
        if not contexts:
            return anchor
        context = self.contexts(contexts)
        pooled = masked_mean(context)[:, None].expand(-1, anchor.x.shape[1], -1)
        mixed = self.mix(torch.cat([anchor.x, pooled], dim=-1))
        fused = anchor.x + mixed if self.residual else mixed
        return Tokens(torch.where(context.present[:, None, None], fused, anchor.x), anchor.mask)
