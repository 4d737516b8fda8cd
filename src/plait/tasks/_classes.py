"""What tasks share whose answer is a class: per-row scores of logits and of probabilities, and their metrics."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plait.core.protocols import Dataset
from plait.core.tokens import Batch, Output
from plait.objectives.bootstrap import Scores
from plait.objectives.classification import cross_entropy, row_scores
from plait.tasks._windows import batches

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


class Named(NamedTuple):
    """What a model says of rows, and what is so. Shape: shares (n, classes); row and label (n,), -1 not known."""

    shares: NDArray[np.float64]
    row: NDArray[np.int64]
    label: NDArray[np.int64]

    @classmethod
    def of(cls, data: Dataset, model: nn.Module, split: str, rows: Any, size: int, device: Any) -> "Named":
        """The answers for rows of a split."""
        model.eval()
        shares, row, label = [], [], []
        for batch in batches(data, split, np.asarray(rows, dtype=np.int64), size):
            with torch.no_grad():
                shares.append(model(batch.to(device)).prediction.point.double().softmax(dim=-1).cpu().numpy())
            row.append(batch.info["row"].numpy())
            label.append(torch.where(batch.targets["mask"], batch.targets["y"], -1)[:, 0].numpy())
        return cls(np.concatenate(shares), np.concatenate(row), np.concatenate(label))

    def table(self, lead: Mapping[str, Any], classes: Sequence[str]) -> pd.DataFrame:
        """The columns `lead`, then class, a probability of each class, and actual where any is known."""
        names = np.array([*classes, None], dtype=object)
        frame = pd.DataFrame({
            **lead, "class": names[self.shares.argmax(axis=1)],
            **{f"probability_{name}": self.shares[:, code] for code, name in enumerate(classes)},
        })  # fmt: skip
        return frame.assign(actual=names[self.label]) if (self.label >= 0).any() else frame


def class_page(table: pd.DataFrame, classes: Sequence[str], title: str) -> dict[str, Any]:
    """What a report draws of a table of classes: how often each is named as which, where it is known."""
    known = table[table["actual"].notna()] if "actual" in table else table.iloc[:0].assign(actual="")
    counts = pd.crosstab(known["actual"], known["class"])
    square = counts.reindex(index=list(classes), columns=list(classes), fill_value=0)
    return {"kind": "classes", "title": title, "classes": list(classes), "confusion": square.to_numpy().tolist()}
