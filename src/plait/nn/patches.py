"""A window cut into overlapping patches, each to a vector."""

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.errors import ConfigError
from plait.nn.window_norm import carry


class PatchShape(Config):
    """How a window is cut into patches."""

    length: int = Field(16, ge=1)
    """Steps of a patch."""
    stride: int = Field(8, ge=1)
    """Steps from one patch to the next; the window's last value is repeated this often at its end."""

    def count(self, lookback: int) -> int:
        """The number of patches of a window."""
        return (lookback + self.stride - self.length) // self.stride + 1

    def check(self, lookback: int, where: str) -> None:
        """Refuse patches that are longer than the window."""
        if self.length > lookback:
            raise ConfigError(
                f"a patch of {self.length} steps is longer than the lookback of {lookback}", where=where,
                fix="shorten it, or give a longer data.lookback",
            )  # fmt: skip


class Patches(nn.Module):
    """W x + M missing + b for each patch of each variate.

    Patch i holds the steps i * stride .. i * stride + length - 1 of the window, whose last value is repeated `stride`
    times at its end.
    Shape: values (b, t, v), mask (b, t, v) bool -> (b, v, n, dim).
    Mask: what is missing is carried over from what is observed in the window, and marked; a variate without an observed
    value is 0 throughout.
    Source: Nie et al. 2023 (PatchTST), section 3.1.
    """

    def __init__(self, shape: PatchShape, dim: int) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Linear(shape.length, dim)
        self.missing = nn.Linear(shape.length, dim, bias=False)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """The vectors of all patches."""
        found: Tensor = self.embed(self.cut(carry(values, mask))) + self.missing(self.cut((~mask).to(values.dtype)))
        return found

    def cut(self, x: Tensor) -> Tensor:
        """The patches of each variate. Shape: (b, t, v) -> (b, v, n, length)."""
        padded = F.pad(x.transpose(1, 2), (0, self.shape.stride), mode="replicate")
        return padded.unfold(-1, self.shape.length, self.shape.stride)
