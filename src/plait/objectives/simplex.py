"""Weights of a mean, 0 or more and 1 together, that an error asks for."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def equal_weights(count: int) -> FloatArray:
    """The same weight for each of so many. Shape: -> (k,), sum 1."""
    return np.full(count, 1 / count)


def simplex_weights(error: Callable[[FloatArray], float], count: int) -> FloatArray:
    """The weights of the smallest error that is found, by sequential least squares from several starts.

    Starts are equal weights and most of the weight on each member; equal weights and each member alone are candidates
    too, so that what comes out is no worse than the simple choices.
    Shape: -> (k,), each 0 or more, sum 1. Source: Kraft 1988, as SciPy's SLSQP.
    """
    from scipy.optimize import minimize

    equal = equal_weights(count)
    starts = [equal, *(0.9 * np.eye(count) + 0.1 * equal)]
    found = [
        minimize(
            error, start, method="SLSQP", bounds=[(0.0, 1.0)] * count, options={"maxiter": 200, "ftol": 1e-7},
            constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        ).x
        for start in starts
    ]  # fmt: skip
    positive = [np.maximum(weights, 0.0) for weights in found]
    tried = [equal, *np.eye(count), *(weights / weights.sum() for weights in positive)]
    return np.asarray(min(tried, key=error), dtype=np.float64)
