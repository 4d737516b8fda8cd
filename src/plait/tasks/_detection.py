"""How well a score a step finds labelled anomalies."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def average_precision(score: Floats, label: Flags) -> float:
    """The area under precision over recall, sum of (recall_k - recall_{k-1}) precision_k over falling thresholds.

    Steps of the same score are crossed together; 0 where there is no anomaly. Shape: two of (t,).
    """
    if not label.any():
        return 0.0
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(label[order])
    last = np.append(np.diff(score[order]) != 0, True)
    precision, recall = (hits / np.arange(1, len(score) + 1))[last], (hits / hits[-1])[last]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def adjusted(alarm: Flags, label: Flags) -> Flags:
    """The alarms with every step of an anomaly set where one of its steps is. Shape: two of (t,) -> (t,).

    Source: Xu et al. 2018 (Donut), section 4.2.
    """
    edges = np.diff(np.pad(label, 1).astype(np.int8))
    out = alarm.copy()
    for start, stop in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        out[start:stop] |= alarm[start:stop].any()
    return out


def precision_recall(alarm: Flags, label: Flags) -> tuple[float, float, float]:
    """Precision, recall and F1 of alarms; each 0 where it has no meaning. Shape: two of (t,)."""
    right = float((alarm & label).sum())
    precision, recall = right / max(int(alarm.sum()), 1), right / max(int(label.sum()), 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-300)
