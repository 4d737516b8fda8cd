"""`forecast`: the next steps of every variate."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator
from torch import Tensor, nn

from plait.baselines import MEANINGS
from plait.core.config import Config
from plait.core.errors import ConfigError
from plait.core.tokens import Batch, Output
from plait.data.questions import NextSteps
from plait.data.windows import ForecastData
from plait.heads._answers import QUANTILES
from plait.objectives.bootstrap import Rivals
from plait.objectives.pointwise import LossName
from plait.objectives.quantile import masked_pinball, pinball
from plait.tasks._forecast_rivals import Asked, series_rivals, text_rivals
from plait.tasks._forecasts import ahead_table, forecast_table, page_samples
from plait.tasks._intervals import Intervals, measured, pair_of
from plait.tasks._point import PointTask


class ForecastTaskConfig(Config):
    """A forecast, of points or of quantiles, scored by MSE and MAE, with intervals calibrated on validation."""

    rows_are: ClassVar[str] = "windows"
    kind: Literal["forecast"] = "forecast"
    loss: LossName = "mse"
    """mse, mae or huber (or l2, l1, smooth_l1), over known targets, in standardised units; not used with quantiles."""
    weight: float = Field(1.0, gt=0)
    """What that loss counts beside a model's own losses."""
    quantiles: list[float] | None = None
    """Levels to forecast, in pairs around 0.5, trained by the pinball loss; unset: a point."""
    coverage: float = Field(0.9, gt=0, lt=1)
    """Share of the truth that intervals are to hold; how far they reach, validation windows say."""

    @field_validator("quantiles")
    @classmethod
    def _paired(cls, levels: list[float] | None) -> list[float] | None:
        if levels is None:
            return None
        if not all(0 < level < 1 for level in levels):
            raise ValueError("levels lie between 0 and 1, without the ends")
        if any(low >= high for low, high in pairwise(levels)):
            raise ValueError("levels are given in order, each once: [0.05, 0.5, 0.95]")
        if len(levels) < 3 or 0.5 not in levels:
            raise ValueError("levels hold 0.5 and at least one pair around it: [0.05, 0.5, 0.95]")
        if any(abs(low + high - 1) > 1e-9 for low, high in zip(levels, reversed(levels), strict=True)):
            raise ValueError("levels come in pairs around 0.5, as 0.05 and 0.95")
        return levels

    @property
    def question(self) -> NextSteps | None:
        """What is asked of windows, where it is more than the next steps."""
        return NextSteps(tuple(self.quantiles)) if self.quantiles else None

    def notices(self, data: Any) -> list[str]:
        """What to know of the loss before a training."""
        if not self.quantiles:
            return []
        return [f"quantiles are trained by the pinball loss, and validation chooses by it; {self.loss} is not used"]

    def build(self, data: ForecastData | None = None) -> "ForecastTask":
        """The task; it is the same for all data."""
        return ForecastTask(self.loss, self.weight, tuple(self.quantiles or ()), self.coverage)


class ForecastTask(PointTask):
    """The error of each next step, the cheap forecasts beside it, and intervals, once a model's are measured.

    With `quantiles` the point is the median, and the pinball loss trains and chooses epochs; the metric that is
    compared stays the MSE.
    """

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

    def __init__(
        self, loss: LossName = "mse", weight: float = 1.0, quantiles: tuple[float, ...] = (), coverage: float = 0.9
    ) -> None:
        super().__init__(loss, weight)
        self.quantiles, self.coverage = quantiles, coverage
        self.chosen_by = "pinball" if quantiles else self.metric
        self.intervals: Intervals | None = None

    def losses(self, output: Output, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """The task's loss and the model's own."""
        if not self.quantiles:
            return super().losses(output, batch)
        found, targets = self._quantiles(output), batch.targets
        total, count = masked_pinball(found, targets["y"], targets["mask"], self.quantiles)
        return {"pinball": (self.weight * total, count), **output.losses}

    def weights(self, batch: Batch) -> dict[str, Tensor]:
        """Known targets of the batch."""
        return {"pinball": batch.targets["mask"].sum()} if self.quantiles else super().weights(batch)

    def scores(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Error sums of each row and its known targets; with quantiles its pinball loss; once intervals are measured
        the targets they are asked for, those they hold, and their widths.
        """
        found, y, mask = super().scores(output, batch), batch.targets["y"].double(), batch.targets["mask"]
        if self.quantiles:
            loss = pinball(self._quantiles(output).double(), y, mask, self.quantiles)
            found["pinball"] = loss.flatten(1).sum(1)
        return found if self.intervals is None else found | self.intervals.row_sums(output.prediction, y, mask)

    def _quantiles(self, output: Output) -> Tensor:
        if QUANTILES not in output.prediction.parts:
            raise ConfigError(
                "the head gives no quantiles", where="model.head.kind", fix="--model.head.kind forecast, or a point"
            )
        return output.prediction.parts[QUANTILES]

    def selection(self, scores: Mapping[str, Any]) -> float:
        """The MSE, or with quantiles the pinball loss, by which validation chooses."""
        return self.metrics(scores)[self.chosen_by]

    def metrics(self, scores: Mapping[str, Any]) -> dict[str, float]:
        """MSE and MAE over all known targets, with quantiles the pinball loss, in standardised units; of intervals the
        share of the truth that they hold, and their mean width, over the targets where they have bounds.
        """
        found = super().metrics(scores)
        if "pinball" in scores:
            found["pinball"] = float(np.sum(scores["pinball"]) / np.sum(scores["n"]))
        asked = float(np.sum(scores.get("asked", 0)))
        if asked:
            found["coverage"] = float(np.sum(scores["covered"])) / asked
            found["interval_width"] = float(np.sum(scores["width"])) / asked
        return found

    def measure(self, data: ForecastData, model: nn.Module, size: int, device: Any) -> dict[str, Tensor]:
        """Take the intervals of this model from validation windows; returns what a run keeps of them."""
        pair = pair_of(self.quantiles, self.coverage)
        self.intervals = measured(data, model, self.coverage, pair, size, device)
        return {"reach": self.intervals.reach}

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Take the intervals that `measure` returned."""
        self.intervals = Intervals(self.coverage, kept["reach"], pair_of(self.quantiles, self.coverage))

    def caveats(self, result: Mapping[str, Any]) -> list[str]:
        """That some steps have no bounds, where validation windows are too few."""
        return self.unbounded()

    def unbounded(self) -> list[str]:
        """That validation windows are too few for intervals, at all or at some steps, where that is so."""
        lacking = 0 if self.intervals is None else int(self.intervals.reach.isinf().sum())
        if self.intervals is None or not lacking:
            return []
        whole = self.intervals.reach.numel()
        where = "every step" if lacking == whole else f"{lacking} of {whole} steps"
        asked = f"{100 * self.coverage:g} % intervals"
        return [f"validation windows are too few for {asked} at {where}: these have no bounds"]

    def rivals(self, data: ForecastData) -> Rivals:
        """Per-row scores of the cheap rivals on validation and test."""
        return series_rivals(self.baselines, data, self._asked)

    @property
    def _asked(self) -> Asked:
        return Asked(self.coverage, self.quantiles)

    def candidates(self, names: Iterable[str]) -> list[str]:
        """The rivals that may be chosen as the best: not the oracle, which knows what no model may."""
        return [name for name in names if name != "oracle"]

    def context_rivals(self, data: ForecastData) -> Rivals:
        """Those of rivals that read the texts too, for comparisons."""
        return text_rivals(data, self._asked)

    def table(self, data: ForecastData, model: nn.Module, split: str, rows: Any, size: int, device: Any) -> Any:
        """The forecasts of windows as a frame, in the unit of the files: origin, variate, h1 .. hp."""
        return forecast_table(data, model, split, rows, size, device)

    def ahead(self, data: ForecastData, model: nn.Module, device: Any) -> Any:
        """The forecast beyond the last row as a frame, a line a step and variate, in the unit of the files.

        Columns: time, variate, forecast; low, high where intervals are measured; with quantiles one each (q0.05).
        """
        return ahead_table(data, model, self.intervals, self.quantiles, device)

    def page(self, data: ForecastData, model: nn.Module, device: Any) -> dict[str, Any]:
        """What the report draws for this task: a figure a sampled window, with the texts its origin saw."""
        samples = page_samples(data, model, self.intervals, device)
        made = {"kind": "forecasts", "title": "Forecasts of test windows", "samples": samples}
        if self.intervals is None:
            return made
        steps = self.intervals.by_step(data, model, "test", PAGE_BATCH, device)
        return {**made, "intervals": {"asked": self.coverage, "by_step": steps}}


PAGE_BATCH = 256
"""Test windows that the page's coverage is counted over at a time."""
