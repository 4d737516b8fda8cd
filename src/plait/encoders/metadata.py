"""`metadata`: columns of categories and of numbers, one token a column."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Tokens


class MetadataConfig(Config):
    """What is known of a sample beside its measurement."""

    modality: ClassVar[str] = "metadata"
    kind: Literal["metadata"] = "metadata"
    dim: int = Field(32, ge=1)
    """Width of a token."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of the tokens."""

    def build(self, schema: Schema) -> "Metadata":
        """The encoder for these columns."""
        if not schema.columns:
            raise ConfigError("there is no column of metadata", where="model.metadata", fix="name columns in data")
        return Metadata(schema.columns, self)


class Metadata(nn.Module):
    """LayerNorm(column + what it says): the row of a category, or w x + b of a number, each column by its own.

    `columns` maps names to the number of known categories, 0 for a column of numbers.
    Reads `values` (b, k) int64 codes, `numbers` (b, k), `mask` (b, k). Shape: -> Tokens (b, k, dim), in the order of
    the columns. Units: numbers are standardised.
    Mask: kept; a code or number under False is never read and may be anything.
    """

    places: Tensor
    order: Tensor
    offsets: Tensor

    def __init__(self, columns: Mapping[str, int], config: MetadataConfig) -> None:
        super().__init__()
        self.dim = config.dim
        sizes = list(columns.values())
        categories = [column for column, size in enumerate(sizes) if size]
        numbers = [column for column, size in enumerate(sizes) if not size]
        starts = torch.tensor([0, *(sizes[column] for column in categories)]).cumsum(0)[:-1]
        self.split = len(categories)
        self.register_buffer("places", torch.tensor(categories + numbers), persistent=False)
        self.register_buffer("order", self.places.argsort(), persistent=False)
        self.register_buffer("offsets", starts, persistent=False)
        # Small beside a LayerNorm: a step of the optimiser soon moves a category to where it belongs.
        self.column = nn.Parameter(torch.randn(len(sizes), config.dim) * 0.1)
        self.rows = nn.Parameter(torch.randn(sum(sizes), config.dim) * 0.1) if categories else None
        self.weight = nn.Parameter(torch.randn(len(numbers), config.dim) * 0.1) if numbers else None
        self.bias = nn.Parameter(torch.zeros(len(numbers), config.dim)) if numbers else None
        self.norm, self.drop = nn.LayerNorm(config.dim), nn.Dropout(config.dropout)

    def forward(self, fields: Mapping[str, Tensor]) -> Tokens:
        """One token a column."""
        mask = fields["mask"]
        said = []
        first, rest = self.places[: self.split], self.places[self.split :]
        if self.rows is not None:
            codes = torch.where(mask, fields["values"], 0).index_select(1, first) + self.offsets
            said.append(F.embedding(codes, self.rows))
        if self.weight is not None and self.bias is not None:
            numbers = torch.where(mask, fields["numbers"], 0.0).index_select(1, rest)
            said.append(numbers[..., None] * self.weight + self.bias)
        x = torch.cat(said, dim=1).index_select(1, self.order) + self.column
        return Tokens(self.drop(self.norm(x)), mask)
