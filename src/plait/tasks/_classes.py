"""What tasks share whose answer is a class: per-row scores of logits and of probabilities, and their metrics."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plait.core.tokens import Batch, Output
from plait.objectives.bootstrap import Scores
from plait.objectives.classification import row_scores

Metric = Literal["log_loss", "error_rate"]
SCORE: dict[Metric, str] = {"log_loss": "log_loss", "error_rate": "errors"}
"""The per-row sum behind each metric."""


def class_scores(output: Output, batch: Batch) -> dict[str, Tensor]:
    """Log loss and errors of each row, and its known targets; unweighted."""
    found = row_scores(output.prediction.point, batch.targets["y"][:, 0], batch.targets["mask"][:, 0])
    return {"log_loss": found["log_loss"], "errors": found["n"] - found["correct"], "n": found["n"]}


def class_metrics(scores: Mapping[str, Any], first: Metric) -> dict[str, float]:
    """Log loss and share of errors over all known targets, `first` before the other."""
    count = float(np.sum(scores["n"]))
    both = {metric: float(np.sum(scores[score])) / count for metric, score in SCORE.items()}
    return {name: both[name] for name in (first, *both)}


def scores_of_shares(shares: NDArray[np.float64], label: NDArray[np.int64]) -> Scores:
    """The same scores of probabilities; a label of -1 is not known. Shape: (n, classes), (n,)."""
    known = label >= 0
    of_truth = np.where(known, shares[np.arange(len(label)), label], 1.0)
    wrong = known & (shares.argmax(axis=1) != label)
    return {"log_loss": -np.log(of_truth), "errors": wrong.astype(np.float64), "n": known.astype(np.float64)}
