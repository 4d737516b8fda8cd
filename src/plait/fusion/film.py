"""`film`: the pooled context scales and shifts every feature of every anchor token."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens, anchored
from plait.nn.contexts import Contexts
from plait.nn.film import FeatureModulation


class FilmConfig(Config):
    """(1 + gamma(pool(c))) * x + beta(pool(c)), gamma and beta 0 at the start."""

    anchored: ClassVar[bool] = True
    inner: ClassVar[tuple[str, ...]] = ("hidden",)
    kind: Literal["film"] = "film"
    hidden: int | None = Field(None, ge=1)
    """Width of the layer between the pooled context and the scales and shifts; unset: the anchor's."""

    @property
    def closed(self) -> bool:
        """Whether the operator equals the anchor at initialisation."""
        return True

    def build(self, schema: Schema) -> "Film":
        """The operator for these streams."""
        return Film(schema, self.hidden or schema.streams[schema.anchor])


class Film(nn.Module):
    """(1 + gamma) * x + beta for every anchor token x, both from pool(c) by an MLP whose last layer starts at 0.

    Shape: (b, n, d) -> (b, n, d).
    Mask: the anchor's; the mean reads present context tokens only; a row without any returns the anchor exactly.
    Source: Perez et al. 2018 (FiLM).
    """

    def __init__(self, schema: Schema, hidden: int) -> None:
        super().__init__()
        self.anchor, self.dim = schema.anchor, schema.streams[schema.anchor]
        self.contexts = Contexts({name: schema.streams[name] for name in schema.contexts}, self.dim)
        self.film = FeatureModulation(self.dim, hidden, self.dim)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """The anchor's tokens, changed."""
        anchor, contexts = anchored(streams, self.anchor)
        if not contexts:
            return anchor
        return Tokens(self.film(anchor.x, self.contexts(contexts)), anchor.mask)
