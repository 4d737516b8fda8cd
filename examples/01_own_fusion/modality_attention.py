"""`modality_attention`: one token a row, the mean of its modalities weighted by what they say."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Map, Notes, Tokens
from plait.nn.contexts import Contexts
from plait.nn.pool import masked_mean


class ModalityAttentionConfig(Config):
    """sum of a_i c_i, a = softmax(w^T tanh(W c_i)) over the modalities that are present."""

    anchored: ClassVar[bool] = False
    inner: ClassVar[tuple[str, ...]] = ("hidden",)
    kind: Literal["modality_attention"] = "modality_attention"
    hidden: int = Field(32, ge=1)
    """Width of the layer that scores a modality."""

    def build(self, schema: Schema) -> "ModalityAttention":
        """The operator for these streams."""
        return ModalityAttention(schema, self.hidden)


class ModalityAttention(nn.Module):
    """sum of a_i c_i, c_i the mean of the tokens of modality i by its own projection, a = softmax(w^T tanh(W c_i)).

    Shape: {name: (b, m_i, d_i)} -> (b, 1, d), d the anchor's width. Map `share` (b, modalities), in the order of names.
    Mask: a modality without tokens has the weight 0; a row without any is 0, with a False mask.
    """

    def __init__(self, schema: Schema, hidden: int) -> None:
        super().__init__()
        self.dim = schema.streams[schema.anchor]
        self.project = Contexts(schema.streams, self.dim)
        self.inner = nn.Linear(self.dim, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """One token a row."""
        each = self.project.each(streams)
        x = torch.stack([masked_mean(tokens) for tokens in each.values()], dim=1)
        here = torch.stack([tokens.present for tokens in each.values()], dim=1)
        some = here.any(dim=1, keepdim=True)
        scores = self.score(torch.tanh(self.inner(x))).squeeze(-1)
        # A row without any modality keeps its scores, so that its softmax stays finite; its content is 0.
        weights = torch.softmax(scores.masked_fill(~here & some, float("-inf")), dim=1)
        if notes is not None and notes.explain:
            notes.maps["share"] = Map(torch.where(some, weights, 0.0), ("row", "modality: " + ", ".join(each)))
        return Tokens((weights[..., None] * x).sum(dim=1, keepdim=True), some)
