"""`vector`: each vector of a stream to a token, by fully connected layers."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Tokens


class VectorConfig(Config):
    """Features that were computed before any network, as tokens."""

    modality: str = "topology"
    """The stream that is encoded."""
    kind: Literal["vector"] = "vector"
    hidden: list[int] = [128]
    """Widths of the hidden layers."""
    dim: int = Field(64, ge=1)
    """Width of a token."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout after each hidden layer."""

    def build(self, schema: Schema) -> "Vector":
        """The encoder for this stream."""
        return Vector(schema.streams[self.modality], self)


class Vector(nn.Module):
    """W_k ReLU(... ReLU(W_1 x + b_1) ...) + b_k of each vector x.

    Reads `values` (b, m, e), `mask` (b, m). Shape: -> Tokens (b, m, dim). Units: standardised by the train rows.
    Mask: kept; a vector under False is never read.
    Source: the design document of `market`, section 0.2.
    """

    def __init__(self, width: int, config: VectorConfig) -> None:
        super().__init__()
        self.dim = config.dim
        layers: list[nn.Module] = []
        for one, other in pairwise([width, *config.hidden]):
            layers += [nn.Linear(one, other), nn.ReLU(), nn.Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear([width, *config.hidden][-1], config.dim))

    def forward(self, fields: Mapping[str, Tensor]) -> Tokens:
        """One token a vector."""
        mask = fields["mask"]
        return Tokens(self.layers(torch.where(mask[..., None], fields["values"], 0.0)), mask)
