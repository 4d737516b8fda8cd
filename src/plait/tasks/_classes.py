"""What tasks share whose answer is a class: per-row scores of logits and of probabilities, and their metrics."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plait.core.tokens import Batch, Output
from plait.objectives.bootstrap import Scores
from plait.objectives.classification import cross_entropy, row_scores

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


class ClassTask:
    """Cross-entropy over rows whose class is known, in the shape (b, 1) of targets `y` and `mask`; log loss and share
    of errors.
    """

    row_name = "rows"

    def __init__(self, metric: Metric, row: str) -> None:
        self.metric, self.score = metric, SCORE[metric]
        self.unit = f"nats a {row}" if metric == "log_loss" else f"share of {self.row_name}"

    def losses(self, output: Output, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """The cross-entropy and the model's own losses."""
        y, mask = (batch.targets[name][:, 0] for name in ("y", "mask"))
        return {"cross_entropy": cross_entropy(output.prediction.point, y, mask), **output.losses}

    def weights(self, batch: Batch) -> dict[str, Tensor]:
        """Rows of the batch whose class is known."""
        return {"cross_entropy": batch.targets["mask"].sum()}

    def scores(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Log loss and errors of each row, and whether its class is known."""
        return class_scores(output, batch)

    def selection(self, scores: Mapping[str, Any]) -> float:
        """The metric, by which validation chooses."""
        return self.metrics(scores)[self.metric]

    def metrics(self, scores: Mapping[str, Any]) -> dict[str, float]:
        """Log loss and share of errors over all rows whose class is known."""
        return class_metrics(scores, self.metric)

    def candidates(self, names: Iterable[str]) -> list[str]:
        """The rivals that may be chosen as the best."""
        return list(names)
