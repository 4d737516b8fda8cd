"""`nbeats`: the channels of a window to tokens, by stacks of blocks that each take away what they explain."""

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Tokens

StackKind = Literal["trend", "seasonality", "generic"]


class NbeatsConfig(Config):
    """Stacks of fully connected blocks, doubly residual: each explains part of the window and says what it saw."""

    modality: ClassVar[str] = "candles"
    kind: Literal["nbeats"] = "nbeats"
    stacks: list[StackKind] = Field(["trend", "seasonality", "generic", "generic"], min_length=1)
    """What a stack can take away: polynomials, waves, or anything."""
    blocks: int = Field(1, ge=1)
    """Blocks of a stack."""
    layers: int = Field(2, ge=1)
    """Fully connected layers of a block."""
    hidden: int = Field(64, ge=1)
    """Width of these layers."""
    dim: int = Field(64, ge=1)
    """Width of what a stack says."""
    degree: int = Field(3, ge=1)
    """Highest power of a trend."""
    harmonics: int = Field(8, ge=1)
    """Waves of a season: 1, 2, ... cycles a window; no more than half its steps are taken."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout after each layer."""
    joined: bool = False
    """One token of all stacks side by side, as the design document has it, and not a token a stack."""

    def build(self, schema: Schema) -> "Nbeats":
        """The encoder for windows of these channels."""
        return Nbeats(schema.lookback, schema.streams[schema.anchor], self)


class Nbeats(nn.Module):
    """x_0 the window; each block b of each stack says s_b(x_b) and leaves x_(b+1) = x_b - backcast_b(x_b).

    A block is fully connected layers h and two linear maps of them: what it says, and the coefficients of its backcast
    for each channel, over powers of time (trend), over waves (seasonality) or over the steps (generic). A stack's token
    is the sum of what its blocks say. The last block has no backcast, which nothing would read.
    Reads `values` (b, t, c) and `mask` (b, t, c). Shape: -> Tokens (b, stacks, dim), or with `joined` (b, 1, stacks *
    dim). Units: channels standardised by the train rows.
    Mask: an absent value is 0, the train mean, and its content is never read; a window without any is absent.
    Source: Oreshkin et al. 2020 (N-BEATS), sections 3.1 to 3.3; the design document of `market`, section 0, without its
    attention over one token, whose queries and keys can't learn.
    """

    def __init__(self, steps: int, channels: int, config: NbeatsConfig) -> None:
        super().__init__()
        self.joined = config.joined
        self.dim = config.dim * len(config.stacks) if config.joined else config.dim
        last = len(config.stacks) * config.blocks - 1
        self.stacks = nn.ModuleList(
            nn.ModuleList(
                _Block(kind, steps, channels, config, backcast=number * config.blocks + block < last)
                for block in range(config.blocks)
            )
            for number, kind in enumerate(config.stacks)
        )

    def forward(self, fields: Mapping[str, Tensor]) -> Tokens:
        """One token a stack, or one of all."""
        mask = fields["mask"]
        x = torch.where(mask, fields["values"], 0.0)
        said = []
        for stack in self.stacks:
            total: Tensor | None = None
            for block in stack:  # type: ignore[attr-defined]
                word, backcast = block(x)
                total = word if total is None else total + word
                x = x if backcast is None else x - backcast
            said.append(total)
        tokens = torch.stack([each for each in said if each is not None], dim=1)
        tokens = tokens.flatten(1)[:, None] if self.joined else tokens
        return Tokens(tokens, mask.any(dim=(1, 2))[:, None].expand(-1, tokens.shape[1]))


class _Block(nn.Module):
    """A window -> what it says of it (b, dim), and the part of it that it takes away (b, t, c)."""

    basis: Tensor | None

    def __init__(self, kind: StackKind, steps: int, channels: int, config: NbeatsConfig, backcast: bool) -> None:
        super().__init__()
        widths = [steps * channels, *[config.hidden] * config.layers]
        layers: list[nn.Module] = []
        for one, other in pairwise(widths):
            layers += [nn.Linear(one, other), nn.ReLU(), nn.Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers)
        self.say = nn.Linear(config.hidden, config.dim)
        self.channels = channels
        basis = _basis(kind, steps, config) if backcast else None
        self.register_buffer("basis", basis, persistent=False)
        width = (steps if basis is None else len(basis)) * channels
        self.backcast = nn.Linear(config.hidden, width) if backcast else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        h = self.layers(x.flatten(1))
        if self.backcast is None:
            return self.say(h), None
        coefficients = self.backcast(h).unflatten(1, (-1, self.channels))
        if self.basis is None:
            return self.say(h), coefficients
        return self.say(h), torch.einsum("bkc,kt->btc", coefficients, self.basis.to(coefficients.dtype))


def _basis(kind: StackKind, steps: int, config: NbeatsConfig) -> Tensor | None:
    """Functions of time over a window, powers or waves; none for what is generic. Shape: (k, t)."""
    time = torch.arange(steps) / steps
    if kind == "trend":
        return torch.stack([time**power for power in range(config.degree + 1)])
    if kind == "seasonality":
        waves = 2 * torch.pi * torch.arange(1, min(config.harmonics, (steps - 1) // 2) + 1)[:, None] * time
        return torch.cat([waves.cos(), waves.sin()])
    return None
