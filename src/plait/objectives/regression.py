"""Losses of a number a row as (sum, weight): asymmetric, quantile, and of a predicted distribution over bins.

The symmetric ones, mse, mae and huber, are `pointwise.masked_loss`, for any shape; of classes, `classification`.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from plait.core.errors import ConfigError, DataError


def asymmetric(point: Tensor, y: Tensor, mask: Tensor, over: float = 1.0, under: float = 1.0) -> Tensor:
    """The absolute error of each target, weighted by its sign; 0 where the target is not known.

    over (f - y) where f > y, under (y - f) where f < y; with 1 and 1 it is the mae. Its minimum is the quantile
    under / (over + under) of y.  Shape: all (b, ...) -> the same.  Units: of y.
    Mask: what a False row holds is never read.  Errors: ConfigError unless both weights are positive.
    """
    if not (over > 0 and under > 0):
        raise ConfigError(f"the weights of over- and under-prediction are positive, not {over:g} and {under:g}")
    error = torch.where(mask, _wide(point) - y, 0.0)
    return over * F.relu(error) + under * F.relu(-error)


def asymmetric_loss(
    point: Tensor, y: Tensor, mask: Tensor, over: float = 1.0, under: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Sum of `asymmetric` over known targets, and their number. Shape: all (b, ...) -> two scalars."""
    return asymmetric(point, y, mask, over, under).sum(), mask.sum()


def quantile_loss(predicted: Tensor, y: Tensor, mask: Tensor, levels: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Sum of the pinball loss over known targets and levels, and their number.

    max(u (y - f), (u - 1) (y - f)) for level u.  Shape: predicted (b, ..., q), y and mask (b, ...) -> two scalars.
    Units: of y.  Mask: what a False row holds is never read.  Errors: ConfigError for a level outside (0, 1).
    Source: Koenker & Bassett 1978.
    """
    error = torch.where(mask[..., None], y[..., None] - _wide(predicted), 0.0)
    u = _levels(levels).to(error)
    return torch.maximum(u * error, (u - 1) * error).sum(), mask.sum() * len(levels)


def thresholds_of(y: NDArray[np.float64], bins: int = 40) -> Tensor:
    """The thresholds of at most `bins` bins: evenly spaced quantiles of training targets, without repeats.

    Shape: y (n,) -> (k,) float32, increasing, from the smallest to the largest target; an unknown target is NaN.
    Units: of y.
    Errors: DataError where fewer than two are left.
    """
    known = y[np.isfinite(y)]
    thresholds = np.unique(np.quantile(known, np.linspace(0, 1, bins)).astype(np.float32)) if len(known) else known
    if len(thresholds) < 2:
        raise DataError("the training targets do not spread over two bins", fix="choose another target or more bins")
    return torch.from_numpy(thresholds)


def cdf_of_bins(logits: Tensor) -> Tensor:
    """The distribution function at the thresholds: F_j = sum of softmax(logits)_i over i <= j.

    Bin j is what lies above t_{j-1} up to t_j, and bin 1 all up to t_1; so the last F is 1.

    Shape: (b, ..., k) -> (b, ..., k), in [0, 1], never decreasing. Members of an ensemble are averaged here, as F.
    """
    share = _wide(logits).softmax(-1)
    below = torch.ones(share.shape[-1], share.shape[-1], dtype=torch.bool, device=share.device).tril()
    # Not cumsum: it has no deterministic kernel on CUDA. Zeros in place keep the order of the sums, so F never falls.
    return torch.where(below, share[..., None, :], 0.0).sum(-1).clamp(max=1.0)


def crps(logits: Tensor, y: Tensor, mask: Tensor, thresholds: Tensor) -> Tensor:
    """The continuous ranked probability score of each distribution over bins; 0 where the target is not known.

    sum over j < k of (t_{j+1} - t_j) (F_j - 1[y <= t_j])^2, with F of `cdf_of_bins`. It is the integral of
    (F(t) - 1[y <= t])^2 for the step function F, with y rounded up to the next threshold; for all mass on t_i and
    y = t_j it is abs(t_i - t_j). A y below t_1 or above t_k adds its distance, which has no gradient.

    Shape: logits (b, ..., k), y and mask (b, ...), thresholds (k,) increasing -> (b, ...).  Units: of y.
    Mask: what a False row holds is never read.  Errors: ConfigError where bins and thresholds are not of one number.
    Source: Matheson & Winkler 1976; Gneiting & Raftery 2007, eq. 20.
    """
    if logits.shape[-1] != len(thresholds):
        raise ConfigError(f"{logits.shape[-1]} bins, but {len(thresholds)} thresholds")
    cdf = cdf_of_bins(torch.where(mask[..., None], logits, 0.0))
    reached = y[..., None] <= thresholds[:-1]
    inside = (thresholds.diff() * (cdf[..., :-1] - reached.to(cdf)) ** 2).sum(-1)
    outside = F.relu(thresholds[0] - y) + F.relu(y - thresholds[-1])
    return torch.where(mask, inside + outside, 0.0)


def crps_of_bins(logits: Tensor, y: Tensor, mask: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of `crps` over known targets, and their number. Shape: logits (b, ..., k), y (b, ...) -> two scalars."""
    return crps(logits, y, mask, thresholds).sum(), mask.sum()


def quantiles_of_bins(cdf: Tensor, thresholds: Tensor, levels: Sequence[float]) -> Tensor:
    """Read quantiles from a distribution function, linear between thresholds; a level below F_1 reads t_1.

    t_{j-1} + (t_j - t_{j-1}) (u - F_{j-1}) / (F_j - F_{j-1}) for the first F_j >= u. They never cross and lie in
    [t_1, t_k]; differentiable in F.

    Shape: cdf (b, ..., k), thresholds (k,) increasing -> (b, ..., q).  Units: of y.
    Errors: ConfigError for a level outside (0, 1).
    """
    u = _levels(levels).to(cdf).expand(*cdf.shape[:-1], -1).contiguous()
    last = len(thresholds) - 1
    at = torch.searchsorted(cdf.detach().contiguous(), u).clamp(max=last)
    before = (at - 1).clamp(min=0)
    low, high = thresholds[before], thresholds[at]
    start, end = cdf.gather(-1, before), cdf.gather(-1, at)
    # Inside, start < u <= end. Below F_1, and above F_k where the sum rounds to less than 1, there is no step to share.
    inner = (at > 0) & (u <= end)
    share = (u - start) / torch.where(inner, end - start, 1.0)
    value = low + torch.where(inner, share, 1.0) * (high - low)
    return torch.where(value > high, high, value)


def median_of_bins(cdf: Tensor, thresholds: Tensor) -> Tensor:
    """Read the median, the answer that the mean absolute error asks for.

    Shape: (b, ..., k) -> (b, ...).  Units: of y.
    """
    return quantiles_of_bins(cdf, thresholds, (0.5,))[..., 0]


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _levels(levels: Sequence[float]) -> Tensor:
    if not levels or not all(0 < level < 1 for level in levels):
        raise ConfigError(f"quantile levels lie between 0 and 1, not {list(levels)}")
    return torch.tensor(levels, dtype=torch.float64)
