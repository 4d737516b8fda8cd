"""`attributes`: the numbers and categories of a row's table, through fully connected layers, to one token."""

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Tokens


class AttributesConfig(Config):
    """What a table says of a row beside its price."""

    modality: ClassVar[str] = "attributes"
    kind: Literal["attributes"] = "attributes"
    hidden: list[int] = [48]
    """Widths of the hidden layers."""
    dim: int = Field(32, ge=1)
    """Width of the token."""
    embed: int = Field(8, ge=1)
    """Width of the vector of a category."""
    noise: float = Field(0.05, ge=0)
    """Standard deviation of the noise on the numbers in training, in their own standard deviations."""
    category_dropout: float = Field(0.05, ge=0, lt=1)
    """How often a category is read as unknown in training."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout after each hidden layer."""

    def build(self, schema: Schema) -> "Attributes":
        """The encoder for this table."""
        return Attributes(schema.streams[self.modality], list(schema.columns.values()), self)


class Attributes(nn.Module):
    """W_k h + b_k, h the hidden layers drop(GELU(W x + b)) of [numbers + noise ; the vectors of the categories].

    Code 0 of a column, unknown or rare, has a vector of its own, which `category_dropout` keeps trained.
    Reads `values` (b, 1, w), `mask` (b, 1), and where there are categories `codes` (b, k) int64, 0 to n of each column.
    Shape: -> Tokens (b, 1, dim).  Units: numbers are standardised by the train rows.
    Mask: kept; numbers and codes of a row under False are never read and may be anything.
    """

    starts: Tensor

    def __init__(self, width: int, sizes: list[int], config: AttributesConfig) -> None:
        super().__init__()
        self.dim, self.noise, self.category_dropout = config.dim, config.noise, config.category_dropout
        self.register_buffer("starts", first_rows(sizes), persistent=False)
        # Small beside numbers of deviation 1: a step of the optimiser soon moves a category to where it belongs.
        self.rows = nn.Parameter(torch.randn(sum(sizes) + len(sizes), config.embed) * 0.1) if sizes else None
        widths = [width + len(sizes) * config.embed, *config.hidden]
        layers: list[nn.Module] = []
        for one, other in pairwise(widths):
            layers += [nn.Linear(one, other), nn.GELU(), nn.Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], config.dim))

    def forward(self, fields: Mapping[str, Tensor]) -> Tokens:
        """The token of every row."""
        mask = fields["mask"]
        x = torch.where(mask[..., None], fields["values"], 0.0)
        if self.training and self.noise:
            x = x + self.noise * torch.randn_like(x)
        if self.rows is not None:
            codes = torch.where(mask, fields["codes"], 0)
            if self.training and self.category_dropout:
                kept = torch.rand(codes.shape, device=codes.device) >= self.category_dropout
                codes = torch.where(kept, codes, 0)
            said = F.embedding(codes + self.starts, self.rows)
            x = torch.cat([x, said.flatten(1)[:, None].to(x.dtype)], dim=-1)
        return Tokens(self.layers(x), mask)


def first_rows(sizes: list[int]) -> Tensor:
    """Where each column's rows begin in one table of them all: n + 1 rows of a column with n known categories.

    Shape: -> (k,) int64.
    """
    return torch.tensor([0, *(size + 1 for size in sizes)], dtype=torch.int64).cumsum(0)[:-1]
