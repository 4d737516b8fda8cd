"""Pointwise losses of a forecast as (sum, weight) over the targets that are known."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["mse", "mae", "huber"]


def masked_loss(point: Tensor, y: Tensor, mask: Tensor, kind: LossName) -> tuple[Tensor, Tensor]:
    """Sum of the pointwise loss over known targets, and their number.

    mse: (f - y)^2; mae: |f - y|; huber: delta 1.  Shape: all (b, p, v) -> two scalars.
    Mask: what a False target holds is never read. Sums are float32 also under half precision.
    """
    error = torch.where(mask, point.float() - y, 0.0)
    if kind == "mse":
        total = (error**2).sum()
    elif kind == "mae":
        total = error.abs().sum()
    else:
        total = F.huber_loss(error, torch.zeros_like(error), reduction="sum")
    return total, mask.sum()


def row_errors(point: Tensor, y: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Squared and absolute error summed over each row, and its known targets. Shape: three of (b,) float64."""
    error = torch.where(mask, point.double() - y.double(), 0.0).flatten(1)
    return {"se": (error**2).sum(1), "ae": error.abs().sum(1), "n": mask.flatten(1).sum(1).double()}
