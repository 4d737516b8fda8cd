"""The cheap answers to where a series goes next: probabilities of each class."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from plait.core.schema import SPLITS
from plait.features.seasonal_prior import FloatArray, IntArray

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True, eq=False)
class DirectionPanel:
    """Windows by split with what is known of their classes.

    Shape: windows (n, f); label and previous (n,) codes 0 .. classes - 1, -1 where not known.
    """

    windows: Mapping[str, FloatArray]
    label: Mapping[str, IntArray]
    """The class that is asked for."""
    previous: Mapping[str, IntArray]
    """That of the steps up to the origin."""
    classes: int


def class_shares(panel: DirectionPanel) -> dict[str, FloatArray]:
    """Answer the shares of the classes among the train windows, each counted once more: (n_c + 1) / (n + classes).

    Shape: per split (n, classes). Units: probabilities.
    """
    shares = _shares(panel.label["train"], panel.classes)
    return {split: np.tile(shares, (len(panel.label[split]), 1)) for split in SPLITS}


def last_direction(panel: DirectionPanel) -> dict[str, FloatArray]:
    """Answer the shares of the classes among the train windows whose last direction was the same, each counted once
    more; where that is not known, among all.

    Shape: per split (n, classes). Units: probabilities.
    """
    label, previous = panel.label["train"], panel.previous["train"]
    rows = [_shares(label[previous == code], panel.classes) for code in range(panel.classes)]
    table = np.stack([*rows, _shares(label, panel.classes)])  # -1 finds the last
    return {split: table[panel.previous[split]] for split in SPLITS}


def logistic_window(panel: DirectionPanel) -> dict[str, FloatArray]:
    """Fit multinomial logistic regression with an L2 penalty on the window, standardised by the train windows.

    Its strength, one of five, has the lowest log loss on validation.

    Shape: per split (n, classes). Units: probabilities.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    known = panel.label["train"] >= 0
    train = panel.windows["train"][known]
    mean, sd = train.mean(axis=0), train.std(axis=0)
    x = {split: (panel.windows[split] - mean) / np.where(sd > 0, sd, 1.0) for split in SPLITS}
    best, lowest = class_shares(panel), np.inf
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x["train"][known], panel.label["train"][known])
        made = {split: np.zeros((len(x[split]), panel.classes)) for split in SPLITS}
        for split in SPLITS:
            made[split][:, model.classes_] = model.predict_proba(x[split])
        loss = _log_loss(made["val"], panel.label["val"])
        if loss < lowest:
            best, lowest = made, loss
    return best


DIRECTION_RIVALS: dict[str, Callable[[DirectionPanel], dict[str, FloatArray]]] = {
    "class_shares": class_shares,
    "last_direction": last_direction,
    "logistic_window": logistic_window,
}

MEANINGS = {
    "class_shares": "the shares of the classes in train",
    "last_direction": "their shares after the last direction",
    "logistic_window": "logistic regression on the window",
}
"""What each of them is, for tables."""


def _shares(label: IntArray, classes: int) -> FloatArray:
    counts = np.bincount(label[label >= 0], minlength=classes).astype(np.float64) + 1
    shares: FloatArray = counts / counts.sum()
    return shares


def _log_loss(shares: FloatArray, label: IntArray) -> float:
    known = label >= 0
    with np.errstate(divide="ignore"):
        return float(-np.log(shares[known, label[known]]).mean()) if known.any() else 0.0
