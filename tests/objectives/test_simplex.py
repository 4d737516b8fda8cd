"""Weights of late fusion: on the simplex, never worse than equal ones or the best alone, and the known optimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.objectives.simplex import equal_weights, simplex_weights


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=5), st.integers(0, 1000))
def test_weights_lie_on_the_simplex_and_lose_to_no_simple_choice(wanted: list[float], seed: int) -> None:
    answers = np.random.default_rng(seed).normal(size=(len(wanted), 31))
    truth = np.asarray(wanted) @ answers

    def error(weights: np.ndarray) -> float:
        return float(np.abs(weights @ answers - truth).mean())

    weights = simplex_weights(error, len(wanted))
    assert weights.min() >= -1e-12
    assert weights.sum() == pytest.approx(1)
    assert (
        error(weights) <= min(error(equal_weights(len(wanted))), *(error(one) for one in np.eye(len(wanted)))) + 1e-12
    )


def test_a_known_mixture_is_found_to_a_hundredth() -> None:
    answers = np.random.default_rng(3).normal(size=(3, 997))
    known = np.array([0.62, 0.0, 0.38])
    found = simplex_weights(lambda w: float(np.abs((w - known) @ answers).mean()), 3)
    assert np.abs(found - known).max() <= 0.0101
