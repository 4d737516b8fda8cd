"""`forecast`: the next steps of every variate."""

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from plait.baselines import MEANINGS
from plait.core.config import Config
from plait.data.windows import ForecastData
from plait.objectives.bootstrap import Rivals
from plait.objectives.pointwise import LossName
from plait.tasks._forecast_rivals import series_rivals, text_rivals
from plait.tasks._forecasts import forecast_table, page_samples
from plait.tasks._point import PointTask


class ForecastTaskConfig(Config):
    """A point forecast, trained by a pointwise loss, scored by MSE and MAE."""

    rows_are: ClassVar[str] = "windows"
    kind: Literal["forecast"] = "forecast"
    loss: LossName = "mse"
    """mse, mae or huber (or l2, l1, smooth_l1), over known targets, in standardised units."""
    weight: float = Field(1.0, gt=0)
    """What that loss counts beside a model's own losses."""

    def build(self, data: ForecastData | None = None) -> "ForecastTask":
        """The task; it is the same for all data."""
        return ForecastTask(self.loss, self.weight)


class ForecastTask(PointTask):
    """The error of each next step, and the cheap forecasts beside it."""

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

    def rivals(self, data: ForecastData) -> Rivals:
        """Per-row scores of the cheap rivals on validation and test."""
        return series_rivals(self.baselines, data)

    def candidates(self, names: Iterable[str]) -> list[str]:
        """The rivals that may be chosen as the best: not the oracle, which knows what no model may."""
        return [name for name in names if name != "oracle"]

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
