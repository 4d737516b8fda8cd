"""Mixup of samples: a partner and a share for every train row, and the counts between two samples."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plait.core.seeding import generator


class Partners(NamedTuple):
    """Whom each train row is mixed with, by its place among them, and the row's own share, in [0.5, 1].

    Shape: both (n,); share float32.
    """

    other: NDArray[np.int64]
    share: NDArray[np.float32]


def draw_partners(rows: int, alpha: float, seed: int, *key: object) -> Partners:
    """A permutation and shares max(l, 1 - l) with l from Beta(alpha, alpha): a function of seed, key and `rows` alone.

    So what a row is mixed with depends on neither the batch nor its order.
    Source: Zhang et al. (2018), mixup.
    """
    draws = generator(seed, "mixup", *key)
    other = draws.permutation(rows)
    share = draws.beta(alpha, alpha, rows)
    return Partners(other, np.maximum(share, 1 - share).astype(np.float32))


def mixed_counts(logs: Any, one: NDArray[np.int64], other: NDArray[np.int64], share: NDArray[np.float32]) -> Any:
    """Counts between those of two rows: exp(share log(1 + x) + (1 - share) log(1 + y)) - 1, for every ASV of either.

    With a share of 1 the first comes back (to rounding), without the ASVs of the other.

    Shape: logs (n, f) CSR of log(1 + counts), one and other row numbers (b,), share (b,) -> (b, f) CSR without explicit
    zeros, columns in order.
    """
    weight = share.astype(np.float64)
    both = _weighted(logs[one], weight) + _weighted(logs[other], 1.0 - weight)
    both.eliminate_zeros()
    both.data = np.expm1(both.data)
    return both


def _weighted(rows: Any, weight: NDArray[np.float64]) -> Any:
    rows.data *= np.repeat(weight, np.diff(rows.indptr))
    return rows
