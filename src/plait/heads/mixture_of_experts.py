"""`mixture_of_experts`: several small networks, and a gate that says how much each is heard."""

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Prediction, Tokens
from plait.nn.pool import masked_mean


class MixtureOfExpertsConfig(Config):
    """One number a row for every output of the target, from experts that may each know some rows best."""

    kind: Literal["mixture_of_experts"] = "mixture_of_experts"
    experts: int = Field(3, ge=2)
    """Networks that answer; a gate over one would be 1 whatever a row says, and never learn."""
    hidden: int = Field(256, ge=1)
    """Width of an expert's hidden layer."""
    top_k: int | None = Field(None, ge=2)
    """How many of the experts a row hears, those its gate likes best; unset: all."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of the normalised mean of the tokens."""

    @model_validator(mode="after")
    def _enough_experts(self) -> "MixtureOfExpertsConfig":
        if self.top_k is not None and self.top_k > self.experts:
            raise ValueError(f"top_k: there are {self.experts} experts, no row can hear {self.top_k}")
        return self

    def build(self, schema: Schema) -> "MixtureOfExperts":
        """The head for these streams. Errors: ConfigError where the data have no number a row to predict."""
        if schema.outputs < 1:
            raise ConfigError(
                "there is no target of numbers a row", where="model.head.kind", fix="give a target, or another head"
            )
        return MixtureOfExperts(schema.streams[schema.anchor], schema.outputs, self)


class MixtureOfExperts(nn.Module):
    """sum over i of g_i (V_i GELU(U_i x + a_i) + c_i), g = softmax(G x + d), x = drop(norm(mean of a row's tokens)).

    With `top_k` the softmax is over the k largest logits, of equal ones the first, and every other g_i is exactly 0.
    Shape: (b, n, d) -> point (b, outputs), `points` (b, 1, outputs), `gate` (b, 1, experts), `experts`
    (b, 1, experts * outputs), what each expert answers.  Units: of the target.
    Mask: absent tokens are never read; a row without any is that of a mean of 0.
    Source: Jacobs et al. 1991; Shazeer et al. 2017, equations 1, 3 and 5, without noise.
    """

    def __init__(self, dim: int, outputs: int, config: MixtureOfExpertsConfig) -> None:
        super().__init__()
        self.experts, self.top_k = config.experts, config.top_k
        self.norm, self.drop = nn.LayerNorm(dim), nn.Dropout(config.dropout)
        self.gate = nn.Linear(dim, config.experts)
        # All experts read the same x, so their hidden layers are one linear map.
        self.hidden = nn.Linear(dim, config.experts * config.hidden)
        self.project = EachLinear(config.experts, config.hidden, outputs)

    def together(self, parts: Mapping[str, Tensor]) -> Tensor:
        """One answer of several nets: the mean of their numbers. Shape: `points` (b, m, outputs) -> (b, outputs)."""
        return parts["points"].mean(dim=1)

    def forward(self, tokens: Tokens, context: Mapping[str, Tokens]) -> Prediction:
        """The answer of every row, the gate and what each expert says."""
        x = self.drop(self.norm(masked_mean(tokens)))
        gate = self._shares(self.gate(x))
        answers = self.project(F.gelu(self.hidden(x)).unflatten(-1, (self.experts, -1)))
        point = (gate[..., None] * answers).sum(dim=1)
        parts = {"points": point, "gate": gate, "experts": answers.flatten(1)}
        return Prediction(point, {name: part[:, None] for name, part in parts.items()})

    def _shares(self, logits: Tensor) -> Tensor:
        if self.top_k is not None:
            place = logits.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
            logits = logits.masked_fill(place >= self.top_k, float("-inf"))
        return torch.softmax(logits, dim=-1)


class EachLinear(nn.Module):
    """W_i x_i + b_i, a linear map of its own for each of several vectors, all in one batched product.

    Shape: (b, experts, hidden) -> (b, experts, outputs); weight (experts * outputs, hidden), bias (experts * outputs,).
    """

    def __init__(self, experts: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.experts, bound = experts, hidden**-0.5  # as nn.Linear starts
        self.weight = nn.Parameter(torch.empty(experts * outputs, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(experts * outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """The maps of every row."""
        weight = self.weight.unflatten(0, (self.experts, -1)).mT
        found: Tensor = torch.bmm(x.transpose(0, 1), weight).transpose(0, 1)
        bias: Tensor = self.bias.unflatten(0, (self.experts, -1))
        return found + bias
