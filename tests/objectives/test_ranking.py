"""Ranks of rows against scikit-learn, with weights and ties, and against the count of pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from plait.objectives.ranking import average_precision, roc_auc


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(5, 61), st.integers(2, 9))
def test_equals_scikit_learn_for_weighted_rows_with_ties(seed: int, rows: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    score, event = rng.integers(0, levels, rows) / 7, rng.random(rows) < 0.4
    event[:2] = True, False
    weight = rng.integers(0, 4, (67, rows)).astype(np.float32)
    weight[:, :2] += 1
    for ours, theirs in ((roc_auc, roc_auc_score), (average_precision, average_precision_score)):
        some = [0, 13, 63, 64, 66]
        want = [theirs(event, score, sample_weight=weight[draw]) for draw in some]
        np.testing.assert_allclose(ours(score, event, weight)[some], want, rtol=1e-12)
        np.testing.assert_allclose(ours(score, event), [theirs(event, score)], rtol=1e-12)


def test_the_share_of_pairs_in_the_right_order() -> None:
    score, event = np.array([0.1, 0.4, 0.4, 0.8, 0.9]), np.array([False, True, False, False, True])
    # Of 2 x 3 pairs: 0.4 beats 0.1, ties with 0.4, loses to 0.8; 0.9 beats all.
    assert roc_auc(score, event)[0] == pytest.approx((1 + 0.5 + 0 + 3) / 6)
    # 0.9: 1 of 1; both 0.4 are called together: 2 of 4.
    assert average_precision(score, event)[0] == pytest.approx((1 + 0.5) / 2)


def test_a_draw_with_rows_of_one_kind_has_no_rank() -> None:
    score, event = np.array([0.1, 0.2, 0.3]), np.array([True, False, True])
    weight = np.array([[1, 0, 2], [0, 3, 0], [1, 1, 1]], dtype=np.float32)
    assert np.isnan(roc_auc(score, event, weight)).tolist() == [True, True, False]
    assert np.isnan(average_precision(score, event, weight)).tolist() == [False, True, False]
