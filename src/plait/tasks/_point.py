"""What tasks share whose answer is a number a step and variate: losses and scores over known targets."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from plait.core.tokens import Batch, Output
from plait.data.windows import ForecastData
from plait.objectives.bootstrap import Rivals
from plait.objectives.pointwise import LossName, masked_loss, row_errors


class PointTask:
    """Loss and scores in the standardised unit of the data, over all windows, steps and variates with equal weight."""

    metric = "mse"
    score = "se"
    """The per-row sum behind the metric."""
    unit = "standardised by the train rows"
    row_name = "windows"

    def __init__(self, loss: LossName = "mse", weight: float = 1.0) -> None:
        self.loss, self.weight = loss, weight

    def losses(self, output: Output, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """The task's loss and the model's own."""
        total, count = masked_loss(output.prediction.point, batch.targets["y"], batch.targets["mask"], self.loss)
        return {self.loss: (self.weight * total, count), **output.losses}

    def weights(self, batch: Batch) -> dict[str, Tensor]:
        """Known targets of the batch."""
        return {self.loss: batch.targets["mask"].sum()}

    def scores(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Squared and absolute error sums of each row, and its known targets."""
        return row_errors(output.prediction.point, batch.targets["y"], batch.targets["mask"])

    def selection(self, scores: Mapping[str, Any]) -> float:
        """The MSE, by which validation chooses."""
        return self.metrics(scores)["mse"]

    def metrics(self, scores: Mapping[str, Any]) -> dict[str, float]:
        """MSE and MAE over all known targets, in standardised units."""
        count = float(np.sum(scores["n"]))
        return {"mse": float(np.sum(scores["se"])) / count, "mae": float(np.sum(scores["ae"])) / count}

    def candidates(self, names: Iterable[str]) -> list[str]:
        """The rivals that may be chosen as the best."""
        return list(names)

    def caveats(self, result: Mapping[str, Any]) -> list[str]:
        """What a reader of a run's result must know first."""
        return []

    def context_rivals(self, data: ForecastData) -> Rivals:
        """Those of the rivals that read the texts too, for comparisons."""
        return {}
