"""Scores of detection against scikit-learn and against the slowest way to say them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from plait.tasks._detection import adjusted, precision_recall


@given(seed=st.integers(0, 9999), share=st.sampled_from([0.0, 0.05, 0.5, 1.0]))
def test_alarms_and_their_adjustment(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    label, alarm = np.repeat(rng.random(11) < 0.4, 5), rng.random(55) < share
    want = alarm.copy()
    for start in range(55):
        stop = start
        while stop < 55 and label[stop]:
            stop += 1
        if label[start] and (start == 0 or not label[start - 1]) and alarm[start:stop].any():
            want[start:stop] = True
    np.testing.assert_array_equal(adjusted(alarm, label), want)
    sklearn = precision_recall_fscore_support(label, alarm, average="binary", zero_division=0)[:3]
    np.testing.assert_allclose(precision_recall(alarm, label), sklearn, atol=1e-12)


def test_without_an_anomaly_there_is_nothing_to_find() -> None:
    nothing = np.zeros(7, dtype=bool)
    assert precision_recall(nothing, nothing) == (0, 0, 0)
