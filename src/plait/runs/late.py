"""Late fusion: what separately trained models say, averaged, with equal weights or those that validation asks for."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.objectives.bootstrap import Scores

FloatArray = NDArray[np.float64]
STEPS = (0.25, 0.1, 0.05, 0.01)
"""How much weight moves from one model to another at a time, from coarse to fine."""


def equal(count: int) -> FloatArray:
    """The same weight for each of so many models. Shape: -> (k,), sum 1."""
    return np.full(count, 1 / count)


def simplex_weights(error: Callable[[FloatArray], float], count: int) -> FloatArray:
    """Non-negative weights of sum 1 with a small error: weight moves between two models while the error falls.

    From equal weights and from each model alone, in steps from 0.25 to 0.01; the best end is taken, so that the error
    is never above that of equal weights or of the best model alone. It needs no gradient: an error of ranks or of
    absolute values has none everywhere.
    Shape: -> (k,).
    """
    starts = [equal(count), *np.eye(count)]
    ends = [_descended(error, start) for start in starts]
    return min(ends, key=lambda end: end[0])[1]


def _descended(error: Callable[[FloatArray], float], weights: FloatArray) -> tuple[float, FloatArray]:
    best = error(weights)
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for giver in range(len(weights)):
                for taker in range(len(weights)):
                    share = min(step, weights[giver])
                    if giver == taker or share <= 0:
                        continue
                    tried = weights.copy()
                    tried[giver] -= share
                    tried[taker] += share
                    found = error(tried)
                    if found < best - 1e-12:
                        best, weights, moved = found, tried, True
    return best, weights


def fitted(task: Any, scores: Sequence[Scores]) -> FloatArray:
    """The weights of models that bring the task's selection on these (validation) rows lowest. Shape: -> (k,)."""
    return simplex_weights(lambda weights: task.selection(task.together(scores, weights)), len(scores))
