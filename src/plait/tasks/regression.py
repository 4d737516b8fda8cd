"""`regression`: one number a sample, scored in the unit of the files."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.errors import ConfigError
from plait.core.tokens import Batch, Output
from plait.data.samples import SampleData
from plait.objectives.auxiliary import AuxiliaryConfig
from plait.objectives.bootstrap import Rivals
from plait.objectives.pointwise import pointwise, row_errors
from plait.objectives.regression import asymmetric, cdf_of_bins, crps, quantiles_of_bins
from plait.tasks import _samples
from plait.tasks._auxiliary import Auxiliary

MIDDLE, OUTER = (0.16, 0.84), (0.1, 0.9)
"""Levels between which lie the sd of a normal distribution about its mean, and 80 % of any."""


class RegressionTaskConfig(Config):
    """A number a sample, trained by a loss on the transformed target, scored by MAE and MSE in its own unit."""

    rows_are: ClassVar[str] = "samples"
    kind: Literal["regression"] = "regression"
    loss: Literal["crps", "mae", "mse", "huber", "quantile", "asymmetric"] = "crps"
    """crps of a predicted distribution (head distribution), or a loss of the number (head regression)."""
    metric: Literal["mae", "mse"] = "mae"
    """By what validation chooses, and what is compared; no auxiliary objective is among it."""
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    """Objectives learned beside the target."""
    level: float = Field(0.5, gt=0, lt=1)
    """With loss quantile: the level that is predicted."""
    over: float = Field(1.0, gt=0)
    """With loss asymmetric: what an error above the target weighs."""
    under: float = Field(1.0, gt=0)
    """With loss asymmetric: what an error below the target weighs."""
    passes: int = Field(20, ge=2)
    """Passes with dropout for the spread of a number's prediction; a distribution has its own."""

    def build(self, data: SampleData) -> "RegressionTask":
        """The task on these data, whose target transform gives scores their unit."""
        return RegressionTask(self, data)


class RegressionTask:
    """Loss in the transformed unit, scores in the unit of the files. Shape: targets (b, 1), answers (b, 1)."""

    row_name = "samples"

    def __init__(self, config: RegressionTaskConfig, data: SampleData) -> None:
        self.config, self.data = config, data
        self.auxiliary = Auxiliary(config.auxiliary, data)
        self.metric, self.score = config.metric, "ae" if config.metric == "mae" else "se"
        self.target = str(data.fitted.target)
        self.unit = f"{self.target}, in the unit of the files"
        self.meanings = _samples.meanings(_samples.column_names(data))
        self._thresholds = data.tables.get("thresholds")

    def losses(self, output: Output, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """The task's loss, each net by itself, the auxiliary ones, and the model's own.

        A mixed row's is by the shares of its two targets.
        """
        targets = batch.targets
        rows = self._rows(output, targets["y"], targets["mask"])
        if "share" in targets:
            other, share = self._rows(output, targets["y_other"], targets["mask_other"]), targets["share"]
            rows = share * rows + (1 - share) * other
        own: dict[str, tuple[Tensor, Tensor]] = {self.config.loss: (rows.sum(), targets["mask"].sum())}
        return {**own, **self.auxiliary.losses(output, batch), **output.losses}

    def _rows(self, output: Output, y: Tensor, mask: Tensor) -> Tensor:
        """The mean loss of the nets for each row. Shape: (b,)."""
        config, parts = self.config, output.prediction.parts
        needed = "logits" if config.loss == "crps" else "points"
        if needed not in parts:
            head = "distribution" if config.loss == "crps" else "regression"
            raise ConfigError(
                f"the loss {config.loss} needs the head {head}", where="task.loss",
                fix=f"--head {head}" if head == "distribution" else f"--head {head}, or --loss crps",
            )  # fmt: skip
        if config.loss == "crps":
            assert self._thresholds is not None
            logits = parts["logits"]
            wide = y.expand(-1, logits.shape[1]), mask.expand(-1, logits.shape[1])
            return crps(logits, *wide, self._thresholds.to(logits.device)).mean(dim=1)
        points = parts["points"][..., 0]
        y, mask = y.expand_as(points), mask.expand_as(points)
        if config.loss == "quantile":
            return asymmetric(points, y, mask, 1 - config.level, config.level).mean(dim=1)
        if config.loss == "asymmetric":
            return asymmetric(points, y, mask, config.over, config.under).mean(dim=1)
        return pointwise(points, y, mask, config.loss).mean(dim=1)

    def weights(self, batch: Batch) -> dict[str, Tensor]:
        """Known targets of the batch, and what the auxiliary losses are divided by."""
        return {self.config.loss: batch.targets["mask"].sum(), **self.auxiliary.weights(batch)}

    def scores(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Squared and absolute errors of each row in the unit of the files, and its known targets."""
        rows = batch.info["row"]
        point, truth = self.data.in_unit(output.prediction.point, rows), self.data.truth(rows)
        return row_errors(point, truth, batch.targets["mask"].to(point.device))

    def selection(self, scores: Mapping[str, Any]) -> float:
        """The metric, by which validation chooses."""
        return self.metrics(scores)[self.metric]

    def metrics(self, scores: Mapping[str, Any]) -> dict[str, float]:
        """MAE and MSE over all known targets, in the unit of the files."""
        count = float(np.sum(scores["n"]))
        both = {"mae": float(np.sum(scores["ae"])) / count, "mse": float(np.sum(scores["se"])) / count}
        return {name: both[name] for name in (self.metric, *both)}

    def rivals(self, data: SampleData) -> Rivals:
        """Per-row scores of the cheap rivals on validation and test, each study or batch column alone among them."""
        return _samples.sample_rivals(data, _samples.error_sums)

    def context_rivals(self, data: SampleData) -> Rivals:
        """None more: what metadata say alone is among the rivals of every run."""
        return {}

    def candidates(self, names: Iterable[str]) -> list[str]:
        """The rivals that may be chosen as the best."""
        return _samples.candidates(names)

    def caveats(self, result: Mapping[str, Any]) -> list[str]:
        """The columns that predict the target about as well as the model."""
        return _samples.confounding(result, self.target)

    def table(self, data: SampleData, model: nn.Module, split: str, rows: Any, size: int, device: Any) -> pd.DataFrame:
        """Predictions in the unit of the files: sample_id, prediction, prediction_std, low and high, actual if known.

        Of a distribution, `prediction_std` is half of what lies between its 16th and 84th percentile, `low` and `high`
        are its 10th and 90th; of a number both are those of passes with dropout.
        """
        model.eval()
        rows = np.asarray(rows, dtype=np.int64)
        made = list(_samples.predictions(data, model, split, rows, size, device))
        point = torch.cat([found.point for _, found in made]).double().cpu().numpy()[:, 0]
        if "logits" in made[0][1].parts:
            assert self._thresholds is not None
            cdf = torch.cat([cdf_of_bins(found.parts["logits"]).mean(dim=1) for _, found in made]).cpu()
            spread = quantiles_of_bins(cdf, self._thresholds, (*MIDDLE, *OUTER)).double().numpy()
        else:
            passes = _samples.spread_of_passes(data, model, split, rows, size, device, self.config.passes)
            answers = np.stack([found.point.double().cpu().numpy()[:, 0] for found in passes])
            spread = np.quantile(answers, (*MIDDLE, *OUTER), axis=0).T
        natural = data.original_unit(np.column_stack([point, spread]), split, rows)
        ids = data.ids(split)
        frame = pd.DataFrame({
            "sample_id": [ids[row] for row in rows],
            "prediction": natural[:, 0],
            "prediction_std": (natural[:, 2] - natural[:, 1]) / 2,
            "low": natural[:, 3],
            "high": natural[:, 4],
        })  # fmt: skip
        actual = data.targets(split)[rows].astype(np.float64)
        return frame.assign(actual=actual) if np.isfinite(actual).any() else frame

    def page(self, data: SampleData, model: nn.Module, device: Any) -> dict[str, Any]:
        """What the report draws for this task: every test sample's prediction beside its target."""
        table = self.table(data, model, "test", data.rows("test"), 256, device)
        named = table.rename(columns={"sample_id": "id"})
        columns = ["id", "actual", "prediction", "low", "high"]
        points = named[columns].astype(object).where(named[columns].notna(), None).to_dict(orient="records")
        return {"kind": "samples", "title": "Predictions of test samples", "unit": self.target, "points": points}
