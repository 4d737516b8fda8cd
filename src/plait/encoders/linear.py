"""`linear`: each variate's window through one linear map (NLinear), started from the closed-form ridge."""

from collections.abc import Mapping
from math import ceil
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.nn.window_norm import WindowScaling, carry

USUAL, EVEN = 32, 8
"""The width of a token where none is given, and of what it is a multiple, so that heads divide it."""


class LinearConfig(Config):
    """A linear series encoder. With the linear forecast head it is NLinear."""

    modality: ClassVar[str] = "series"
    across: ClassVar[bool] = False
    """Whether one column's token is made of others too."""
    kind: Literal["linear"] = "linear"
    dim: int | None = Field(None, ge=1)
    """Width of a token; unset: 32, or as much as a start from the ridge of a longer horizon may need."""
    start: Literal["ridge", "random"] = "ridge"
    """`ridge`: encoder and head start as the closed-form ridge of the training windows."""
    scaling: WindowScaling = "last"
    """How each window is scaled before the network, and back after it."""
    marks: bool = True
    """Calendar marks of the origin as further inputs."""
    prior: bool = False
    """The seasonal prior of the horizon as further inputs."""
    calendar: bool = False
    """The season of the origin (month, week, hour), one-hot, as further inputs."""

    def build(self, schema: Schema) -> "Linear":
        """The encoder for this series."""
        return Linear(schema, self)


class Linear(nn.Module):
    """W [window ; prior ; marks and season of the origin] + b for each variate, with weights shared by variates.

    Reads `values` (b, t, v), `mask` (b, t, v), and where configured `marks` (b, t, k), `prior` (b, p, v), `season`
    (b,) int64. Shape: -> Tokens (b, v, dim).
    Mask: a variate without any observed value in the window is absent; what is missing in a window is carried over
    from what is observed in it.
    Source: Zeng et al. 2023 (NLinear).
    """

    def __init__(self, schema: Schema, config: LinearConfig) -> None:
        super().__init__()
        self.config, self.seasons = config, schema.seasons
        width = schema.lookback + (schema.horizon if config.prior else 0)
        width += (schema.marks if config.marks else 0) + (schema.seasons if config.calendar else 0)
        least = schema.horizon if config.start == "ridge" else 0
        self.dim = config.dim or max(USUAL, EVEN * ceil(least / EVEN))
        self.embed = nn.Linear(width, self.dim)

    def features(self, fields: Mapping[str, Tensor]) -> Tensor:
        """The inputs of the map. Shape: (b, v, f), in the order window, prior, marks, season."""
        values = carry(fields["values"], fields["mask"])
        parts = [values.transpose(1, 2)]
        if self.config.prior:
            parts.append(fields["prior"].transpose(1, 2))
        variates = values.shape[2]
        if self.config.marks:
            parts.append(fields["marks"][:, -1:].expand(-1, variates, -1))
        if self.config.calendar:
            # Not F.one_hot: its check of the codes reads them back from the device.
            season = fields["season"][:, None] == torch.arange(self.seasons, device=values.device)
            parts.append(season.to(values.dtype)[:, None].expand(-1, variates, -1))
        return torch.cat(parts, dim=-1)

    def forward(self, fields: Mapping[str, Tensor]) -> Tokens:
        """One token a variate."""
        return Tokens(self.embed(self.features(fields)), fields["mask"].any(dim=1))

    def start_from(self, coef: Tensor, head: nn.Linear, intercept: Tensor) -> None:
        """Set this map and a head so that head(encoder(x)) = coef x + intercept.

        Shape: `coef` (p, f), `intercept` (p,). coef = U S V^T is split as sqrt(S): the first min(p, f) units carry
        the forecast, the others keep their random start for the fusion to read, and the head starts with 0 for them.
        """
        u, s, vt = torch.linalg.svd(coef.double(), full_matrices=False)
        rank = len(s)
        if rank > self.dim:
            raise ConfigError(
                f"width {self.dim} can't hold a ridge of rank {rank}", where="model.series.dim",
                fix=f"give at least {rank}, or model.series.start: random",
            )  # fmt: skip
        root = s.sqrt()
        with torch.no_grad():
            self.embed.weight[:rank] = (root[:, None] * vt).to(self.embed.weight)
            self.embed.bias[:rank] = 0.0
            head.weight.zero_()
            head.weight[:, :rank] = (u * root).to(head.weight)
            head.bias.copy_(intercept)
