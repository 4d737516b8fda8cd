"""The cheap answers to which class a whole series is of: probabilities of each class."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from plait.baselines.random_kernels import kernel_features
from plait.features.seasonal_prior import FloatArray, IntArray

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
MOST_DOUBT = 0.49
"""The nearest neighbour's class keeps the greater half, so that it stays the answer."""


@dataclass(frozen=True, eq=False)
class ClassPanel:
    """Series by split with the codes of their classes.

    Shape: values (n, t, v), finite, in the unit of the files; label (n,) codes 0 .. classes - 1.
    """

    values: Mapping[str, FloatArray]
    label: Mapping[str, IntArray]
    classes: int

    def known(self, split: str) -> tuple[FloatArray, IntArray]:
        """The series that an answer for a split may be fitted on: train, and for test the whole train file."""
        parts = ("train",) if split == "val" else ("train", "val")
        return tuple(np.concatenate([held[part] for part in parts]) for held in (self.values, self.label))  # type: ignore[return-value]


Answers = dict[str, FloatArray]
"""Probabilities of validation and of test. Shape: each (n, classes)."""


def class_shares(panel: ClassPanel) -> Answers:
    """Answer the shares of the classes, each counted once more: (n_c + 1) / (n + classes)."""
    made = {}
    for split in ("val", "test"):
        counts = np.bincount(panel.known(split)[1], minlength=panel.classes) + 1.0
        made[split] = np.tile(counts / counts.sum(), (len(panel.label[split]), 1))
    return made


def nearest_neighbour(panel: ClassPanel) -> Answers:
    """Answer the class of the series at the least Euclidean distance over all steps and variates; of equal ones the
    first.

    Its probability is 1 - e, e = (wrong + 1) / (n + 2) where `wrong` counts the n known series that are not of the
    class of their own nearest neighbour; e, at most 0.49, is shared by the other classes.
    Source: the reference classifier of the UCR archive (Dau et al. 2019, section 3).
    """
    made = {}
    for split in ("val", "test"):
        known, label = panel.known(split)
        known = known.reshape(len(known), -1)
        asked = panel.values[split].reshape(len(panel.values[split]), -1)
        between = _squares(known, known)
        np.fill_diagonal(between, np.inf)
        wrong = int((label[between.argmin(axis=1)] != label).sum())
        doubt = min(MOST_DOUBT, (wrong + 1) / (len(label) + 2))
        shares = np.full((len(asked), panel.classes), doubt / (panel.classes - 1))
        shares[np.arange(len(asked)), label[_squares(asked, known).argmin(axis=1)]] = 1 - doubt
        made[split] = shares
    return made


def logistic_values(panel: ClassPanel) -> Answers:
    """Fit multinomial logistic regression with an L2 penalty on the values of all steps and variates."""
    return _logistic(panel, {split: values.reshape(len(values), -1) for split, values in panel.values.items()})


def random_kernels(panel: ClassPanel) -> Answers:
    """Fit multinomial logistic regression with an L2 penalty on what random convolution kernels find.

    Source: Dempster et al. 2020 (ROCKET), with fewer kernels.
    """
    return _logistic(panel, kernel_features(panel.values))


def _logistic(panel: ClassPanel, features: Mapping[str, FloatArray]) -> Answers:
    """The regression on standardised features, at the strength of six with the lowest log loss on validation; for test
    it is fitted again on the whole train file.
    """
    within = ClassPanel(features, panel.label, panel.classes)
    answers = [_fitted(within, "val", strength) for strength in STRENGTHS]
    truth = panel.label["val"]
    losses = [-np.log(made[np.arange(len(truth)), truth]).mean() for made in answers]
    best = int(np.argmin(losses))
    return {"val": answers[best], "test": _fitted(within, "test", STRENGTHS[best])}


def _fitted(panel: ClassPanel, split: str, strength: float) -> FloatArray:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    known, label = panel.known(split)
    mean, sd = known.mean(axis=0), known.std(axis=0)
    spread = np.where(sd > 0, sd, 1.0)
    shares = np.full((len(panel.label[split]), panel.classes), TINY)
    model = LogisticRegression(C=strength, max_iter=200)
    # These systems are small: threads of a linear algebra cost more than they save.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((known - mean) / spread, label)
        shares[:, model.classes_] += model.predict_proba((panel.values[split] - mean) / spread)
    made: FloatArray = shares / shares.sum(axis=1, keepdims=True)
    return made


TINY = 1e-9
"""What a probability is at least, also of a class that no known series is of."""


def _squares(one: FloatArray, two: FloatArray) -> FloatArray:
    """Squared distances between rows, from their differences: exact where the usual expansion cancels.

    Shape: (n, f) and (m, f) -> (n, m).
    """
    return np.stack([((row - two) ** 2).sum(axis=1) for row in one])


SERIES_CLASS_RIVALS: dict[str, Callable[[ClassPanel], Answers]] = {
    "class_shares": class_shares,
    "nearest_neighbour": nearest_neighbour,
    "logistic_values": logistic_values,
    "random_kernels": random_kernels,
}

MEANINGS = {
    "class_shares": "the shares of the classes in train",
    "nearest_neighbour": "the class of the nearest train series (Euclidean)",
    "logistic_values": "logistic regression on the values",
    "random_kernels": "logistic regression on random convolution kernels",
}
"""What each of them is, for tables."""
