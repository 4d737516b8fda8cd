"""`itransformer`: the whole lookback of a variate is one token, and variates attend to each other."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.nn.attention import check_heads
from plait.nn.block import Stack
from plait.nn.window_norm import WindowScaling, carry


class ITransformerConfig(Config):
    """Inverted series: one token a variate, calendar marks as further tokens."""

    modality: ClassVar[str] = "series"
    kind: Literal["itransformer"] = "itransformer"
    dim: int = Field(128, ge=1)
    """Width of a token."""
    depth: int = Field(2, ge=0)
    """Transformer blocks."""
    heads: int = Field(8, ge=1)
    """Attention heads; they divide `dim`."""
    hidden: int = Field(256, ge=1)
    """Width of the feed-forward layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of tokens, attention and feed-forward layers."""
    activation: Literal["gelu", "relu", "silu"] = "gelu"
    """Of the feed-forward layers."""
    norm: Literal["pre", "post"] = "post"
    """Where a block normalises."""
    scaling: WindowScaling = "standardise"
    """How each window is scaled before the network, and back after it."""
    marks: bool = True
    """Calendar marks of the lookback as tokens of their own, which blocks read; left out at depth 0."""
    prior: bool = False
    """The seasonal prior of the horizon as further inputs of each variate's token."""
    calendar: bool = False
    """The season of the origin (month, week, hour) as a token of its own."""

    @property
    def across(self) -> bool:
        """Whether one column's token is made of others too."""
        return self.depth > 0

    def build(self, schema: Schema) -> "ITransformer":
        """The encoder for this series."""
        check_heads(self.dim, self.heads, "model.series.heads")
        if self.calendar and not self.depth:
            raise ConfigError(
                "without blocks no variate reads the season", where="model.series.calendar", fix="give depth 1 or more"
            )
        return ITransformer(schema, self)


class ITransformer(nn.Module):
    """Linear(lookback -> dim) per variate, then blocks over variates and calendar tokens.

    Reads `values` (b, t, v), `mask` (b, t, v), and where configured `marks` (b, t, k), `prior` (b, p, v), `season`
    (b,) int64. Shape: -> Tokens (b, v, dim); calendar tokens are dropped at the end.
    Mask: a variate without any observed value in the window is absent; what is missing in a window is carried over
    from what is observed in it. Whether each value is observed enters as further inputs of its variate's token, 0
    where all are.
    Source: Liu et al. 2024 (iTransformer), section 3.
    """

    def __init__(self, schema: Schema, config: ITransformerConfig) -> None:
        super().__init__()
        self.dim, self.config = config.dim, config
        width = schema.lookback + (schema.horizon if config.prior else 0)
        self.embed = nn.Linear(width, config.dim)
        self.missing = nn.Linear(schema.lookback, config.dim, bias=False)
        marks = config.marks and schema.marks and config.depth
        self.embed_marks = nn.Linear(schema.lookback, config.dim) if marks else None
        self.embed_season = nn.Embedding(schema.seasons, config.dim) if config.calendar else None
        self.drop = nn.Dropout(config.dropout)
        self.stack = Stack(
            config.dim, config.depth, config.heads, config.hidden, config.dropout, config.activation, config.norm
        )

    def embedded(self, fields: Mapping[str, Tensor]) -> Tokens:
        """What the blocks read: one token a variate, then those of the calendar. Shape: -> Tokens (b, v + k, dim)."""
        mask = fields["mask"]
        values = carry(fields["values"], mask)
        if self.config.prior:
            values = torch.cat([values, fields["prior"]], dim=1)
        x = self.embed(values.transpose(1, 2)) + self.missing((~mask).to(values.dtype).transpose(1, 2))
        present = mask.any(dim=1)
        variates = x.shape[1]
        extra = []
        if self.embed_marks is not None:
            extra.append(self.embed_marks(fields["marks"].transpose(1, 2)))
        if self.embed_season is not None:
            extra.append(self.embed_season(fields["season"])[:, None])
        if extra:
            x = torch.cat([x, *extra], dim=1)
            always = present.new_ones(()).expand(x.shape[0], x.shape[1] - variates)
            present = torch.cat([present, always], dim=1)
        return Tokens(self.drop(x), present)

    def forward(self, fields: Mapping[str, Tensor]) -> Tokens:
        """One token a variate."""
        tokens, variates = self.stack(self.embedded(fields)), fields["values"].shape[2]
        return Tokens(tokens.x[:, :variates], tokens.mask[:, :variates])
