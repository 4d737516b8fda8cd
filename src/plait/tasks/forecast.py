"""`forecast`: the next steps of every variate."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from plait.baselines import MEANINGS
from plait.core.config import Config
from plait.core.tokens import Batch, Output
from plait.data.windows import ForecastData
from plait.objectives.bootstrap import Rivals
from plait.objectives.pointwise import LossName, masked_loss, row_errors
from plait.tasks._forecast_rivals import series_rivals, text_rivals
from plait.tasks._forecasts import forecast_table, page_samples


class ForecastTaskConfig(Config):
    """A point forecast, trained by a pointwise loss, scored by MSE and MAE."""

    kind: Literal["forecast"] = "forecast"
    loss: LossName = "mse"
    """mse, mae or huber, over known targets, in standardised units."""
    weight: float = Field(1.0, gt=0)
    """What that loss counts beside a model's own losses."""

    def build(self, data: ForecastData | None = None) -> "ForecastTask":
        """The task; it is the same for all data."""
        return ForecastTask(self.loss, self.weight)


class ForecastTask:
    """Loss and scores in the standardised unit of the data, over all windows, steps and variates with equal weight."""

    metric = "mse"
    score = "se"
    """The per-row sum behind the metric."""
    unit = "standardised by the train rows"
    row_name = "windows"
    meanings = {**MEANINGS, "oracle": "ridge that knows the announced steps"}
    """What each rival is, for tables."""
    baselines = (
        "last_value",
        "seasonal_naive",
        "seasonal_prior",
        "nlinear_ridge",
        "ridge_prior",
        "ridge_season_dummies",
    )

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

    def rivals(self, data: ForecastData) -> Rivals:
        """Per-row scores of the cheap rivals on validation and test."""
        return series_rivals(self.baselines, data)

    def candidates(self, names: Iterable[str]) -> list[str]:
        """The rivals that may be chosen as the best: not the oracle, which knows what no model may."""
        return [name for name in names if name != "oracle"]

    def caveats(self, result: Mapping[str, Any]) -> list[str]:
        """What a reader of a run's result must know first."""
        return []

    def context_rivals(self, data: ForecastData) -> Rivals:
        """Those of rivals that read the texts too, for comparisons."""
        return text_rivals(data)

    def table(self, data: ForecastData, model: nn.Module, split: str, rows: Any, size: int, device: Any) -> Any:
        """The forecasts of windows as a frame, in the unit of the files: origin, variate, h1 .. hp."""
        return forecast_table(data, model, split, rows, size, device)

    def page(self, data: ForecastData, model: nn.Module, device: Any) -> dict[str, Any]:
        """What the report draws for this task: a figure a sampled window, with the texts its origin saw."""
        samples = page_samples(data, model, device)
        return {"kind": "forecasts", "title": "Forecasts of test windows", "samples": samples}
