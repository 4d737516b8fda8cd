"""The cheap rivals of a model of coming moves: the base rate, the last bar, the clock, linear models, boosted trees."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from plait.core.schema import SCORED, SPLITS
from plait.features.seasonal_prior import FloatArray, IntArray

Chances = dict[str, FloatArray]
"""The chance of a move that a rival gives each row of the splits "val" and "test"."""

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse penalties of a linear model; validation chooses."""
ROUNDS = 300


@dataclass(frozen=True, eq=False)
class MovePanel:
    """Hold bars as the cheap rivals see them, with the rows of each split.

    Shape: T bars; moves (T,) bool, spread (T,) the range of each bar by itself, numbers (T, k), clock (T, c) the
    columns among them that tell the time, topology (T, e) where it was computed, indicators (T, 6); each array of rows
    (n,). A rival reads rows of the splits alone.
    """

    moves: NDArray[np.bool_]
    spread: FloatArray
    numbers: FloatArray
    clock: FloatArray
    indicators: FloatArray
    topology: FloatArray | None
    rows: Mapping[str, IntArray]
    seed: int = 0


def base_rate(panel: MovePanel) -> Chances:
    """The share of train rows with a move."""
    share = panel.moves[panel.rows["train"]].mean()
    return {split: np.full(len(panel.rows[split]), share) for split in SCORED}


def last_bar_range(panel: MovePanel) -> Chances:
    """A logistic regression on the logarithm of the last bar's range."""
    return _logistic(panel, np.log(panel.spread + 1e-6)[:, None])


def time_of_week(panel: MovePanel) -> Chances:
    """A logistic regression on the time of the day and of the week, and whether it is a weekend."""
    return _logistic(panel, panel.clock)


def logistic_numbers(panel: MovePanel) -> Chances:
    """A logistic regression on numbers of volatility, volume and time."""
    return _logistic(panel, panel.numbers)


def logistic_topology(panel: MovePanel) -> Chances:
    """A logistic regression on the features of the topology alone."""
    assert panel.topology is not None
    return _logistic(panel, panel.topology)


def gradient_boosting(panel: MovePanel) -> Chances:
    """Boosted trees on the numbers and the indicators; validation chooses how many, by its log loss."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    x, moves = np.column_stack([panel.numbers, panel.indicators]), panel.moves
    train, val = panel.rows["train"], panel.rows["val"]
    model = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=ROUNDS, max_leaf_nodes=15, l2_regularization=1.0, early_stopping=False,
        random_state=panel.seed,
    )  # fmt: skip
    model.fit(x[train], moves[train])
    losses = [_log_loss(chances[:, 1], moves[val]) for chances in model.staged_predict_proba(x[val])]
    rounds = int(np.argmin(losses))
    kept = {split: islice(model.staged_predict_proba(x[panel.rows[split]]), rounds, None) for split in SCORED}
    return {split: next(stages)[:, 1] for split, stages in kept.items()}


def _logistic(panel: MovePanel, x: FloatArray) -> Chances:
    """A logistic regression on standardised columns; validation chooses the penalty, by its log loss."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x[panel.rows["train"]])
    given = {split: scaler.transform(x[panel.rows[split]]) for split in SPLITS}
    moves = {split: panel.moves[panel.rows[split]] for split in SPLITS}
    found: list[tuple[float, Chances]] = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=2000).fit(given["train"], moves["train"])
        chances = {split: model.predict_proba(given[split])[:, 1] for split in SCORED}
        found.append((_log_loss(chances["val"], moves["val"]), chances))
    return min(found, key=lambda pair: pair[0])[1]


def _log_loss(chance: FloatArray, moves: NDArray[np.bool_]) -> float:
    given = np.clip(np.where(moves, chance, 1 - chance), 1e-12, 1.0)
    return float(-np.log(given).mean())


RIVALS: dict[str, Callable[[MovePanel], Chances]] = {
    "base_rate": base_rate,
    "last_bar_range": last_bar_range,
    "time_of_week": time_of_week,
    "logistic_numbers": logistic_numbers,
    "logistic_topology": logistic_topology,
    "gradient_boosting": gradient_boosting,
}

MEANINGS = {
    "base_rate": "the share of train rows with a move",
    "last_bar_range": "logistic regression on the last bar's range",
    "time_of_week": "logistic regression on the time of day and week",
    "logistic_numbers": "logistic regression on 27 numbers of volatility, volume and time",
    "logistic_topology": "logistic regression on the features of the topology alone",
    "gradient_boosting": "boosted trees on the 27 numbers and the indicators",
}
"""What each rival is, for tables."""
