"""The pinball loss of quantiles, as (sum, weight) over the targets that are known."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pinball(quantiles: Tensor, y: Tensor, mask: Tensor, levels: Sequence[float]) -> Tensor:
    """The pinball loss of each target, the mean over levels; 0 where the target is not known.

    Of level l and its quantile q: max(l (y - q), (l - 1) (y - q)). The quantile of that level has the least
    expectation; of a single value that stands for all levels it is half the absolute error, where they lie in pairs
    around 0.5.
    Shape: quantiles (b, p, v, q), the others (b, p, v) -> (b, p, v).
    Mask: what a False target holds is never read. float32 also under half precision.
    Source: Koenker & Bassett 1978, equation 1.1.
    """
    wide = quantiles.to(torch.promote_types(quantiles.dtype, torch.float32))
    error = torch.where(mask[..., None], y[..., None] - wide, 0.0)
    level = torch.tensor(levels, dtype=error.dtype, device=error.device)
    return torch.maximum(level * error, (level - 1) * error).mean(dim=-1)


def masked_pinball(quantiles: Tensor, y: Tensor, mask: Tensor, levels: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Sum of the pinball loss over known targets, and their number. Shape: as `pinball` -> two scalars."""
    return pinball(quantiles, y, mask, levels).sum(), mask.sum()
