"""`forecast`: the next steps of every variate."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from torch import Tensor

from plait.core.config import Config
from plait.core.tokens import Batch, Output
from plait.objectives.pointwise import LossName, masked_loss, row_errors


class ForecastTaskConfig(Config):
    """A point forecast, trained by a pointwise loss, scored by MSE and MAE."""

    kind: Literal["forecast"] = "forecast"
    loss: LossName = "mse"
    """mse, mae or huber, over known targets, in standardised units."""

    def build(self) -> "ForecastTask":
        """The task."""
        return ForecastTask(self.loss)


class ForecastTask:
    """Loss and scores in the standardised unit of the data, over all windows, steps and variates with equal weight."""

    metric = "mse"
    score = "se"
    """The per-row sum behind the metric."""
    baselines = (
        "last_value",
        "seasonal_naive",
        "seasonal_prior",
        "nlinear_ridge",
        "ridge_prior",
        "ridge_season_dummies",
    )

    def __init__(self, loss: LossName = "mse") -> None:
        self.loss = loss

    def losses(self, output: Output, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """The task's loss and the model's own."""
        own = masked_loss(output.prediction.point, batch.targets["y"], batch.targets["mask"], self.loss)
        return {self.loss: own, **output.losses}

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

    def page(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """What the report draws for this task: a figure a sampled window, with the texts its origin saw."""
        return {"kind": "forecasts", "title": "Forecasts of test windows", "samples": samples}
