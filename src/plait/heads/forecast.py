"""`forecast`: each variate's token to its next steps, by one linear map or by two, and to their quantiles."""

from collections.abc import Mapping
from statistics import NormalDist
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Prediction, Tokens
from plait.heads._answers import QUANTILES
from plait.heads._readout import modulated
from plait.nn.contexts import Contexts
from plait.nn.film import FeatureModulation

LEAST = 1e-3
"""Quantiles start at least this far apart, in the unit of the window."""


class ForecastConfig(Config):
    """A forecast of every variate, linear unless `hidden` or `film` is given; of quantiles where the task asks."""

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
        return Forecast(dim, schema.horizon, self.dropout, hidden, contexts, schema.quantiles)


class Forecast(nn.Module):
    """W x + b for each token x; with a hidden layer W GELU(h) + b, h = W1 x + b1.

    With contexts h is (1 + gamma) * h + beta, both of the mean of the context tokens, each stream through a projection
    to the hidden width; gamma and beta are 0 at the start.
    With `levels` the point is the median. The next level above it lies higher by softplus(s), s one more linear map of
    x or h, the level after that higher by another, and so down from the median: no two quantiles cross. That map starts
    with weights of 0 and the distances of a Normal distribution of sd 1, in the unit of the window.
    Shape: (b, v, d) -> point (b, p, v), in the unit of the window the tokens came from; `quantiles` (b, p, v, q).
    Mask: a token is a variate; an absent one is never read, its forecast is that of a token of 0. Absent context tokens
    are never read; a row without any is forecast bit for bit as without contexts.
    Source: Perez et al. 2018 (FiLM), which modulates before the activation.
    """

    def __init__(
        self,
        dim: int,
        horizon: int,
        dropout: float = 0.0,
        hidden: int = 0,
        contexts: Mapping[str, int] | None = None,
        levels: tuple[float, ...] = (),
    ) -> None:
        super().__init__()
        self.levels = levels
        self.hidden = nn.Linear(dim, hidden) if hidden else None
        self.drop, self.project = nn.Dropout(dropout), nn.Linear(hidden or dim, horizon)
        # Last, so that the other layers start the same with contexts and without.
        self.contexts = Contexts(contexts, hidden) if contexts else None
        self.film = FeatureModulation(hidden, hidden, hidden) if contexts else None
        self.spread = nn.Linear(hidden or dim, horizon * (len(levels) - 1)) if levels else None
        if self.spread is not None:
            nn.init.zeros_(self.spread.weight)
            self._start(torch.tensor([NormalDist().inv_cdf(level) for level in levels]).expand(horizon, -1))

    def start_from(self, residuals: Tensor) -> None:
        """Start the distances between quantiles as those of the residuals of each step.

        Shape: residuals (n, p), NaN where not known; a step without any keeps its start.
        """
        if self.spread is not None:
            levels = torch.tensor(self.levels, dtype=residuals.dtype)
            found = [step[~step.isnan()] for step in residuals.T]
            self._start(torch.stack([one.quantile(levels) if len(one) else levels * torch.nan for one in found]))

    def _start(self, quantiles: Tensor) -> None:
        """Set the biases of the spread for quantiles (p, q) around a point of 0; a step of NaN is left as it is."""
        assert self.spread is not None
        quantiles = quantiles.clone()
        quantiles[:, len(self.levels) // 2] = 0.0
        distance = quantiles.diff(dim=1).clamp(min=LEAST)
        with torch.no_grad():
            bias = self.spread.bias.view_as(distance)
            bias.copy_(torch.where(distance.isnan(), bias, distance.expm1().log()))

    def forward(self, tokens: Tokens, context: Mapping[str, Tokens]) -> Prediction:
        """The next steps of every variate."""
        x = torch.where(tokens.mask[..., None], tokens.x, 0.0)
        if self.hidden is not None:
            x = F.gelu(modulated(self.hidden(x), context, self.contexts, self.film))
        x = self.drop(x)
        point = self.project(x).transpose(1, 2)
        return Prediction(point, {} if self.spread is None else {QUANTILES: self._quantiles(point, self.spread(x))})

    def _quantiles(self, point: Tensor, spread: Tensor) -> Tensor:
        """The quantiles around the median. Shape: point (b, p, v), spread (b, v, p * (q - 1)) -> (b, p, v, q)."""
        half = len(self.levels) // 2
        distance = F.softplus(spread.unflatten(-1, (-1, 2 * half))).transpose(1, 2)
        below = distance[..., :half].flip(-1).cumsum(-1).flip(-1)
        above = distance[..., half:].cumsum(-1)
        median = point[..., None]
        return torch.cat([median - below, median, median + above], dim=-1)
