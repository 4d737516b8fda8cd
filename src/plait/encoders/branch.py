"""`branch`: the embeddings of a source, scaled and through fully connected layers, to tokens."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Tokens


class BranchConfig(Config):
    """Embeddings that a frozen encoder made, as tokens."""

    modality: str = "image"
    """The source that is encoded; the model fills it in."""
    kind: Literal["branch"] = "branch"
    hidden: list[int] = [128]
    """Widths of the hidden layers."""
    dims: list[int] | None = Field(None, min_length=1)
    """The source's width and those of the hidden layers, in place of `hidden`, as the design document writes them."""
    dim: int = Field(64, ge=1)
    """Width of a token."""
    tokens: int = Field(4, ge=1)
    """Tokens that are made of a source's one vector; a source of several vectors a row gives one token of each."""
    input_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout of the embeddings."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout after each hidden layer."""

    def build(self, schema: Schema) -> "Branch":
        """The encoder for this source. Errors: ConfigError where `dims` begins with another width than the source's."""
        width, several = schema.streams[self.modality], schema.stream_tokens.get(self.modality, 1) > 1
        if self.dims is not None and self.dims[0] != width:
            raise ConfigError(
                f"{self.modality} has embeddings of width {width}, not {self.dims[0]}",
                where=f"model.branches.{self.modality}.dims", fix=f"begin with {width}, then the hidden layers",
            )  # fmt: skip
        hidden = self.hidden if self.dims is None else self.dims[1:]
        return Branch([width, *hidden], 1 if several else self.tokens, self)


class Branch(nn.Module):
    """norm(W_k h + b_k) cut into tokens, h the hidden layers drop(GELU(norm(W x + b))) of s x, s learned, 1 at first.

    A single vector gives `tokens` tokens, so that attention has something to choose between: over one token its weight
    is 1 whatever queries and keys say, and neither learns.
    Reads `values` (b, t, w), `mask` (b, t). Shape: -> Tokens (b, t * tokens, dim), those of a vector side by side.
    Units: standardised by the train rows.
    Mask: kept; a vector under False is never read, and none of its tokens is present.
    Source: the design document of `products`, "Learnable Scaling" and "MLP Branch", with several tokens for its one.
    """

    def __init__(self, widths: list[int], tokens: int, config: BranchConfig) -> None:
        super().__init__()
        self.dim, self.tokens = config.dim, tokens
        self.scale = nn.Parameter(torch.ones(1))
        self.drop = nn.Dropout(config.input_dropout)
        layers: list[nn.Module] = []
        for one, other in pairwise(widths):
            layers += [nn.Linear(one, other), nn.LayerNorm(other), nn.GELU(), nn.Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], tokens * config.dim))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, fields: Mapping[str, Tensor]) -> Tokens:
        """The tokens of every vector."""
        mask = fields["mask"]
        x = self.drop(torch.where(mask[..., None], fields["values"], 0.0)) * self.scale
        found = self.norm(self.layers(x).unflatten(-1, (self.tokens, self.dim)))
        return Tokens(found.flatten(1, 2), mask[..., None].expand(-1, -1, self.tokens).flatten(1))
