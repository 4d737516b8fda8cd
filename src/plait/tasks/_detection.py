"""How well a score a step finds labelled anomalies."""

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]


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
