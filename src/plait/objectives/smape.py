"""Symmetric relative errors of a price (SMAPE) from a number z near the price's logarithm."""

import math
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import pairwise
from typing import Any, Protocol, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core.errors import ConfigError

LEAST = 0.01
"""Above this price z is log1p(price); below, the logarithm itself goes on, so that every z stands for a price."""
Z_LEAST, LOG_LEAST = math.log1p(LEAST), math.log(LEAST)

SEED_EDGES = (5.0, 10.0, 30.0, 60.0, 200.0)
"""Prices that part the tiers of the design document."""
TIER_WEIGHTS = (10.0, 8.0, 6.0, 4.0, 2.0, 1.0)
"""How much a row of each tier counts, the cheapest first."""


class _OfBoth(Protocol):
    @overload
    def __call__(self, *values: Tensor) -> Tensor: ...
    @overload
    def __call__(self, *values: NDArray[np.floating[Any]]) -> NDArray[np.float64]: ...


def _also_of_arrays(of_tensors: Callable[..., Tensor]) -> _OfBoth:
    """Let a function of tensors take NumPy arrays too, which it computes in float64: one formula for both."""

    @wraps(of_tensors)
    def of_both(*values: Any) -> Any:
        if isinstance(values[0], Tensor):
            return of_tensors(*values)
        return of_tensors(*(torch.tensor(np.asarray(value, dtype=np.float64)) for value in values)).numpy()

    return cast(_OfBoth, of_both)


@_also_of_arrays
def log_price(z: Tensor) -> Tensor:
    """The natural logarithm of the price that z stands for.

    ln(e^z - 1) for z >= ln 1.01, the z of a price of 0.01; below ln 0.01 + z - ln 1.01, of slope 1.
    Shape: any -> the same; tensors of half precision as float32, arrays as float64.  Finite wherever z is.
    """
    z = _wide(z)
    above = z.clamp(min=Z_LEAST)
    return torch.where(z >= Z_LEAST, above + torch.log(-torch.expm1(-above)), LOG_LEAST + (z - Z_LEAST))


@_also_of_arrays
def price_of(z: Tensor) -> Tensor:
    """The price that z stands for: exp(log_price(z)), kept within what its precision can hold above 0.

    Shape: any -> the same; tensors of half precision as float32, arrays as float64.  Units: of the files.
    """
    z = _wide(z)
    limits = torch.finfo(z.dtype)
    low, high = math.log(limits.tiny) - LOG_LEAST + Z_LEAST, math.log(limits.max)
    # Off the ends, where rounding z would lead out of range; expm1 is exact near 0, unlike exp of the logarithm.
    z = z.clamp(low + 1e-3, high - 1e-3)
    return torch.where(z >= Z_LEAST, torch.expm1(z), LEAST * torch.exp(z.clamp(max=Z_LEAST) - Z_LEAST))


@_also_of_arrays
def z_of(price: Tensor) -> Tensor:
    """The z of a price, the inverse of `price_of`: log1p(price) from 0.01 on, ln 1.01 + ln(price / 0.01) below.

    Shape: any -> the same; tensors of half precision as float32, arrays as float64.  Units: price > 0, of the files.
    """
    price = _wide(price)
    small = torch.log(price.clamp(max=LEAST)) - LOG_LEAST + Z_LEAST
    return torch.where(price >= LEAST, torch.log1p(price.clamp(min=LEAST)), small)


@_also_of_arrays
def smape(log_a: Tensor, log_b: Tensor) -> Tensor:
    """The symmetric relative error of two prices, of their natural logarithms.

    200 |a - b| / (a + b) = 200 tanh(|ln a - ln b| / 2), with no price computed, so that nothing overflows.
    Shape: any -> the same; tensors of half precision as float32, arrays as float64.  Units: SMAPE, 0 to 200.
    Its slope decays as e^-|ln a - ln b| and is not rounded to 0 where the value is rounded to 200.
    """
    gap = (_wide(log_a) - _wide(log_b)).abs()
    # Near 200 the gradient of tanh, 1 - tanh^2, cancels; that of the logistic function does not.
    near = torch.tanh(gap.clamp(max=1) / 2)
    return 200 * torch.where(gap <= 1, near, 1 - 2 * torch.sigmoid(-gap))


def smape_rows(z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """The SMAPE of each row, from the z of the prediction and of the price; 0 where the price is not known.

    Shape: all (b, ...) -> the same, float32 also under half precision.  Units: SMAPE, 0 to 200.
    Mask: what a False row holds is never read.
    """
    found = smape(log_price(torch.where(mask, z, 0.0)), log_price(torch.where(mask, y, 0.0)))
    return torch.where(mask, found, 0.0)


def tier_weights(price: Tensor, edges: Sequence[float] = SEED_EDGES, weights: Sequence[float] = TIER_WEIGHTS) -> Tensor:
    """The weight of the tier of each price: weights[0] below edges[0], weights[i] from edges[i - 1] to below edges[i].

    Shape: any -> the same.  Units: price and edges in one unit, whichever rises with the price.
    Errors: ConfigError for edges that do not rise, weights that are not positive, or one too few or too many.
    """
    if not all(one < other for one, other in pairwise(edges)):
        raise ConfigError(f"the edges of price tiers must rise, not {list(edges)}", where="tiers")
    if len(weights) != len(edges) + 1:
        raise ConfigError(
            f"{len(edges)} edges part prices into {len(edges) + 1} tiers, but there are {len(weights)} weights",
            where="tiers", fix="give a weight for each tier, the cheapest first",
        )  # fmt: skip
    if not all(0 < weight < math.inf for weight in weights):
        raise ConfigError(f"the weights of price tiers must be positive, not {list(weights)}", where="tiers")
    price = _wide(price)
    table = torch.tensor(weights, dtype=price.dtype, device=price.device)
    return table[torch.bucketize(price, torch.tensor(edges, dtype=price.dtype, device=price.device), right=True)]


def weights_of_rows(
    y: Tensor, mask: Tensor, edges: Sequence[float] = SEED_EDGES, weights: Sequence[float] = TIER_WEIGHTS
) -> Tensor:
    """The tier weight of each row from the z of its price, 0 where that is not known.

    Prices at an edge are told apart as z, for they would not all survive the way back from a rounded z.
    Shape: (b, ...) -> the same, float32 also under half precision.  Units: edges are prices; weights have none.
    Mask: what a False row holds is never read.  Errors: as `tier_weights`.
    """
    bounds = z_of(np.asarray(edges, dtype=np.float64)).tolist()
    return torch.where(mask, tier_weights(torch.where(mask, y, 0.0), bounds, weights), 0.0)


def weighted_smape_rows(
    z: Tensor, y: Tensor, mask: Tensor, edges: Sequence[float] = SEED_EDGES, weights: Sequence[float] = TIER_WEIGHTS
) -> Tensor:
    """The SMAPE of each row times the weight of its price's tier; 0 where the price is not known.

    Summed and divided by the sum of `weights_of_rows` it is a mean in units of SMAPE, 0 to 200.
    Shape: all (b, ...) -> the same, float32 also under half precision.
    Mask: what a False row holds is never read.  Errors: as `tier_weights`.
    """
    return weights_of_rows(y, mask, edges, weights) * smape_rows(z, y, mask)


def focal_smape_rows(z: Tensor, y: Tensor, mask: Tensor, gamma: float = 2.0) -> Tensor:
    """s (s / 200)^gamma of each row's SMAPE s, so that rows which fit count less; gamma = 0 is s.

    Shape: all (b, ...) -> the same, float32 also under half precision.  Units: SMAPE, 0 to 200.
    Mask: what a False row holds is never read.  Errors: ConfigError for a negative gamma.
    Source: the factor of Lin et al. 2017, equation 4, with the share of the largest error for 1 - p.
    """
    if gamma < 0:
        raise ConfigError(f"gamma of the focal SMAPE must not be negative, not {gamma:g}")
    return 200 * (smape_rows(z, y, mask) / 200) ** (1 + gamma)


def hybrid_focal_smape_rows(z: Tensor, y: Tensor, mask: Tensor, gamma: float = 2.0, share: float = 0.5) -> Tensor:
    """(1 - share) SMAPE + share focal SMAPE of each row.

    Shape: all (b, ...) -> the same, float32 also under half precision.  Units: SMAPE, 0 to 200.
    Mask: what a False row holds is never read.  Errors: ConfigError for a negative gamma, a share outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of the focal SMAPE lies between 0 and 1, not {share:g}")
    return (1 - share) * smape_rows(z, y, mask) + share * focal_smape_rows(z, y, mask, gamma)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
