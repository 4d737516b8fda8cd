"""`patch`: stretches of a variate as tokens that attend along time, with a bias by distance."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.nn.attention import check_heads
from plait.nn.attention_bias import BiasConfig
from plait.nn.block import Stack
from plait.nn.patches import Patches, PatchShape
from plait.nn.window_norm import WindowScaling


class PatchConfig(Config):
    """Patches of each variate by themselves, through blocks that all variates share."""

    modality: ClassVar[str] = "series"
    across: ClassVar[bool] = False
    """Whether one column's token is made of others too."""
    kind: Literal["patch"] = "patch"
    patch: PatchShape = PatchShape()
    """How a window is cut."""
    dim: int = Field(128, ge=1)
    """Width of a patch; the token of a variate is all its patches, side by side."""
    depth: int = Field(2, ge=0)
    """Transformer blocks along the patches."""
    heads: int = Field(8, ge=1)
    """Attention heads; they divide `dim`."""
    hidden: int = Field(256, ge=1)
    """Width of the feed-forward layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of patches, attention and feed-forward layers."""
    activation: Literal["gelu", "relu", "silu"] = "gelu"
    """Of the feed-forward layers."""
    norm: Literal["pre", "post"] = "pre"
    """Where a block normalises."""
    bias: BiasConfig = BiasConfig(kind="none")
    """How attention weighs a patch by how far it lies back."""
    scaling: WindowScaling = "standardise"
    """How each window is scaled before the network, and back after it."""
    prior: bool = False
    """The seasonal prior of the horizon as one more patch, after the last."""
    calendar: bool = False
    """The season of the origin (month, week, hour) as one more patch, after the last."""
    named: bool = False
    """Add a learned vector a variate to its patches. Without it all variates are encoded alike, and a head that takes
    their mean can't tell which is which."""

    def build(self, schema: Schema) -> "Patch":
        """The encoder for this series."""
        check_heads(self.dim, self.heads, "model.series.heads")
        self.patch.check(schema.lookback, "model.series.patch.length")
        return Patch(schema, self)


class Patch(nn.Module):
    """Patches + positions (+ names) -> blocks with the bias -> all patches of a variate side by side.

    Reads `values` (b, t, v), `mask` (b, t, v), and where configured `prior` (b, p, v), `season` (b,) int64. Shape:
    -> Tokens (b, v, n * dim), n patches with those of the prior and the season.
    Mask: a variate without any observed value in the window is absent; what is missing in a window is carried over from
    what is observed in it, and which values are observed enters each patch as further inputs, 0 where all are.
    Source: Nie et al. 2023 (PatchTST), with the bias of `nn.attention_bias`.
    """

    def __init__(self, schema: Schema, config: PatchConfig) -> None:
        super().__init__()
        self.config = config
        self.patches = Patches(config.patch, config.dim)
        self.embed_prior = nn.Linear(schema.horizon, config.dim) if config.prior else None
        self.embed_season = nn.Embedding(schema.seasons, config.dim) if config.calendar else None
        count = config.patch.count(schema.lookback) + config.prior + config.calendar
        self.positions = nn.Parameter(torch.randn(count, config.dim) * 0.02)
        columns = len(schema.variates) + len(schema.covariates)
        self.names = nn.Parameter(torch.randn(columns, 1, config.dim)) if config.named else None
        self.dim = count * config.dim
        self.drop = nn.Dropout(config.dropout)
        self.bias = config.bias.build(config.heads, "model.series.bias")
        self.stack = Stack(
            config.dim, config.depth, config.heads, config.hidden, config.dropout, config.activation, config.norm
        )

    def forward(self, fields: Mapping[str, Tensor]) -> Tokens:
        """One token a variate."""
        mask = fields["mask"]
        x = self.patches(fields["values"], mask)
        rows, variates = x.shape[:2]
        extra = []
        if self.embed_prior is not None:
            extra.append(self.embed_prior(fields["prior"].transpose(1, 2)))
        if self.embed_season is not None:
            extra.append(self.embed_season(fields["season"])[:, None].expand(-1, variates, -1))
        if extra:
            x = torch.cat([x, torch.stack(extra, dim=2)], dim=2)
        x = x + self.positions
        if self.names is not None:
            x = x + self.names
        x = self.drop(x).flatten(0, 1)
        bias = None if self.config.bias.kind == "none" else self.bias(x.shape[1], device=x.device)
        tokens = self.stack(Tokens.full(x), bias=bias)
        return Tokens(tokens.x.reshape(rows, variates, self.dim), mask.any(dim=1))
