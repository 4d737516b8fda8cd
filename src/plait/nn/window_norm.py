"""Per-window scaling of a series, undone at the end, and values carried over its gaps."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

WindowScaling = Literal["standardise", "last", "none"]


class Scale(NamedTuple):
    """Shift and scale of each window and variate. Shape: both (b, 1, v)."""

    shift: Tensor
    scale: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """Values of a window in its own unit."""
        return (x - self.shift) / self.scale

    def undo(self, x: Tensor) -> Tensor:
        """Values in the unit the window came in."""
        return x * self.scale + self.shift

    def of(self, columns: slice) -> "Scale":
        """The scale of some variates alone."""
        return Scale(self.shift[..., columns], self.scale[..., columns])


def carry(x: Tensor, mask: Tensor) -> Tensor:
    """The values with each missing one replaced by the last observed before it in its window, else the first after it.

    Shape: `x` (b, t, v), `mask` (b, t, v) bool -> (b, t, v). Mask: a variate without an observed value becomes 0.
    """
    steps = torch.arange(x.shape[1], device=x.device)[None, :, None]
    last = torch.where(mask, steps, -1).cummax(dim=1).values
    first = torch.where(mask, steps, x.shape[1] - 1).amin(dim=1, keepdim=True)
    held = x.gather(1, torch.where(last < 0, first, last))
    return torch.where(mask.any(dim=1, keepdim=True), held, 0.0)


def window_scale(x: Tensor, mask: Tensor, scaling: WindowScaling, eps: float = 1e-5) -> Scale:
    """The scale of each window from its observed values.

    standardise: (x - mean) / sqrt(var + eps); last: x - (last observed value of the window); none: x.
    Shape: `x` (b, t, v), `mask` (b, t, v) bool. A window without an observed value keeps shift 0 and scale 1.
    Source: Kim et al. 2022 (RevIN) without the affine part; Zeng et al. 2023 (NLinear).
    """
    one, zero = torch.ones_like(x[:, :1]), torch.zeros_like(x[:, :1])
    if scaling == "none":
        return Scale(zero, one)
    if scaling == "last":
        return Scale(carry(x, mask)[:, -1:], one)
    count = mask.sum(dim=1, keepdim=True)
    kept = torch.where(mask, x, 0.0)
    mean = kept.sum(dim=1, keepdim=True) / count.clamp(min=1)
    spread = torch.where(mask, (x - mean) ** 2, 0.0).sum(dim=1, keepdim=True) / count.clamp(min=1)
    return Scale(mean, torch.where(count > 0, torch.sqrt(spread + eps), one))
