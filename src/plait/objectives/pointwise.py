"""Pointwise losses of a forecast as (sum, weight) over the targets that are known."""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import BeforeValidator
from torch import Tensor

OTHER_NAMES = {"l2": "mse", "l1": "mae", "smooth_l1": "huber"}
"""What torch and other toolkits call these losses."""


def _usual(name: object) -> object:
    return OTHER_NAMES.get(name.lower(), name.lower()) if isinstance(name, str) else name


LossName = Annotated[Literal["mse", "mae", "huber"], BeforeValidator(_usual)]


def pointwise(point: Tensor, y: Tensor, mask: Tensor, kind: LossName) -> Tensor:
    """The pointwise loss of each target, 0 where it is not known.

    mse: (f - y)^2; mae: |f - y|; huber: delta 1.  Shape: all (b, p, v) -> the same.
    Mask: what a False target holds is never read. float32 also under half precision.
    """
    assert point.shape == y.shape
    error = torch.where(mask, point.float() - y, 0.0)
    if kind == "mse":
        return error**2
    return error.abs() if kind == "mae" else F.huber_loss(error, torch.zeros_like(error), reduction="none")


def masked_loss(point: Tensor, y: Tensor, mask: Tensor, kind: LossName) -> tuple[Tensor, Tensor]:
    """Sum of the pointwise loss over known targets, and their number. Shape: all (b, p, v) -> two scalars."""
    return pointwise(point, y, mask, kind).sum(), mask.sum()


def row_errors(point: Tensor, y: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Squared and absolute error summed over each row, and its known targets. Shape: three of (b,) float64."""
    assert point.shape == y.shape
    error = torch.where(mask, point.double() - y.double(), 0.0).flatten(1)
    return {"se": (error**2).sum(1), "ae": error.abs().sum(1), "n": mask.flatten(1).sum(1).double()}
