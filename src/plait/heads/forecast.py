"""`forecast`: each variate's token to its next steps, by one linear map or by two."""

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Prediction, Tokens
from plait.heads._readout import modulated
from plait.nn.contexts import Contexts
from plait.nn.film import FeatureModulation


class ForecastConfig(Config):
    """A point forecast of every variate, linear unless `hidden` or `film` is given."""

    kind: Literal["forecast"] = "forecast"
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the last linear map."""
    hidden: int = Field(0, ge=0)
    """Width of a hidden layer before the last linear map; 0 leaves it out, or with film makes it as wide as tokens."""
    film: bool = False
    """Modulate the hidden layer by the pooled context; starts closed."""

    def build(self, schema: Schema) -> "Forecast":
        """The head for these streams; without a context among them there is nothing to modulate by."""
        contexts = {name: schema.streams[name] for name in schema.contexts} if self.film else {}
        dim = schema.streams[schema.anchor]
        hidden = self.hidden or (dim if self.film else 0)
        return Forecast(dim, schema.horizon, self.dropout, hidden, contexts)


class Forecast(nn.Module):
    """W x + b for each token x; with a hidden layer W GELU(h) + b, h = W1 x + b1.

    With contexts h is (1 + gamma) * h + beta, both of the mean of the context tokens, each stream through a projection
    to the hidden width; gamma and beta are 0 at the start.
    Shape: (b, v, d) -> point (b, p, v), in the unit of the window the tokens came from.
    Mask: a token is a variate; an absent one is never read, its forecast is that of a token of 0. Absent context tokens
    are never read; a row without any is forecast bit for bit as without contexts.
    Source: Perez et al. 2018 (FiLM), which modulates before the activation.
    """

    def __init__(
        self, dim: int, horizon: int, dropout: float = 0.0, hidden: int = 0, contexts: Mapping[str, int] | None = None
    ) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden) if hidden else None
        self.drop, self.project = nn.Dropout(dropout), nn.Linear(hidden or dim, horizon)
        # Last, so that the other layers start the same with contexts and without.
        self.contexts = Contexts(contexts, hidden) if contexts else None
        self.film = FeatureModulation(hidden, hidden, hidden) if contexts else None

    def forward(self, tokens: Tokens, context: Mapping[str, Tokens]) -> Prediction:
        """The next steps of every variate."""
        x = torch.where(tokens.mask[..., None], tokens.x, 0.0)
        if self.hidden is not None:
            x = F.gelu(modulated(self.hidden(x), context, self.contexts, self.film))
        return Prediction(self.project(self.drop(x)).transpose(1, 2))
