"""Split-conformal prediction: how far an interval must reach, by the scores of data that trained nothing."""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def conformal_rank(count: int, coverage: float) -> int:
    """ceil((n + 1) c) for n scores and a coverage c, exactly: 100 x 0.07 is 7, and no float above it."""
    return math.ceil((count + 1) * Fraction(str(coverage)))


def conformal_reach(scores: FloatArray, coverage: float) -> NDArray[np.float64]:
    """The k-th smallest known score of each column, k = ceil((n + 1) c), n the known scores of that column.

    A further score, exchangeable with these, lies at or below it with a chance of at least c: of k / (n + 1) where no
    two are equal. A column of so few scores that k > n has no such bound: infinity.
    Shape: scores (n, ...), NaN where not known -> (...,).
    Source: Vovk, Gammerman & Shafer 2005, section 2.2; Lei et al. 2018, section 2.2 (split conformal).
    """
    flat = scores.reshape(len(scores), math.prod(scores.shape[1:]))
    known = (~np.isnan(flat)).sum(axis=0)
    rank_of = {int(count): conformal_rank(int(count), coverage) for count in np.unique(known)}
    rank = np.array([rank_of[int(count)] for count in known])
    reach = np.full(flat.shape[1], np.inf)
    bounded = rank <= known
    if bounded.any():
        columns = flat[:, bounded]
        ends = np.unique(rank[bounded]) - 1
        # What is not known is partitioned behind every score.
        ordered = np.partition(np.where(np.isnan(columns), np.inf, columns), ends, axis=0)
        reach[bounded] = np.take_along_axis(ordered, rank[None, bounded] - 1, axis=0)[0]
    return reach.reshape(scores.shape[1:])
