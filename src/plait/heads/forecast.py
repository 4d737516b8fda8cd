"""`forecast`: one linear map from each variate's token to its next steps."""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Prediction, Tokens


class ForecastConfig(Config):
    """A linear point forecast of every variate."""

    kind: Literal["forecast"] = "forecast"
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the linear map."""

    def build(self, schema: Schema) -> "Forecast":
        """The head for these streams."""
        return Forecast(schema.streams[schema.anchor], schema.horizon, self.dropout)


class Forecast(nn.Module):
    """W x + b for each token. Shape: (b, v, d) -> point (b, p, v), in the unit of the window the tokens came from.

    Mask: a token is a variate; an absent one is never read, its forecast is b.
    """

    def __init__(self, dim: int, horizon: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.drop, self.project = nn.Dropout(dropout), nn.Linear(dim, horizon)

    def forward(self, tokens: Tokens, context: Mapping[str, Tokens]) -> Prediction:
        """The next steps of every variate."""
        x = torch.where(tokens.mask[..., None], tokens.x, 0.0)
        return Prediction(self.project(self.drop(x)).transpose(1, 2))
