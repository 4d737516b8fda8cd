"""`anomaly`: the steps of a series that their surroundings do not explain."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from plait.baselines.imputation import IMPUTATIONS
from plait.core.config import Config
from plait.core.schema import SCORED
from plait.core.seeding import generator
from plait.core.tokens import Batch, Output
from plait.data.hidden_steps import HiddenSteps
from plait.data.windows import ForecastData
from plait.objectives.bootstrap import Rivals, Scores
from plait.objectives.pointwise import LossName
from plait.objectives.ranking import average_precision
from plait.tasks._detection import adjusted, precision_recall
from plait.tasks._point import PointTask
from plait.tasks._windows import batches

CHUNK = 1024
RANDOM, DRAWS = "random", 50
"""The rival whose scores say nothing, and how often it is drawn: one draw finds much or nothing by chance."""


class AnomalyTaskConfig(Config):
    """Steps hidden whole and told from the rest of the window; the error is the score of a step."""

    rows_are: ClassVar[str] = "windows"
    kind: Literal["anomaly"] = "anomaly"
    loss: LossName = "mse"
    """mse, mae or huber (or l2, l1, smooth_l1), over hidden steps, in standardised units."""
    weight: float = Field(1.0, gt=0)
    """What that loss counts beside a model's own losses."""
    block: int = Field(8, ge=1)
    """Steps of a hidden stretch."""
    turns: int = Field(4, ge=2)
    """Every so manieth stretch is hidden, in so many turns."""
    false_alarms: float = Field(0.01, gt=0, lt=1)
    """Share of the steps of validation whose score lies above the threshold."""
    mask_seed: int = Field(0, ge=0)
    """Seed of the injected anomalies, and of what is hidden in training."""

    @property
    def question(self) -> HiddenSteps:
        """What is hidden of the windows."""
        return HiddenSteps(self.block, self.turns, self.mask_seed)

    def build(self, data: ForecastData) -> "AnomalyTask":
        """The task on these data."""
        return AnomalyTask(self)


class AnomalyTask(PointTask):
    """The error of each hidden step, the mean over variates of its square, as the score of that step.

    The threshold is the quantile of the scores of validation, in which no anomaly is injected. What is found in test
    stands beside its reconstruction error, by which validation chooses.
    """

    row_name = "turns of windows"
    meanings = {
        "linear_interpolation": "distance from a straight line over the stretch",
        "window_mean": "distance from the window's mean",
        RANDOM: "random scores: what the adjusted F1 is worth (its error is the mean of train's)",
    }

    def __init__(self, config: AnomalyTaskConfig) -> None:
        super().__init__(config.loss, config.weight)
        self.quantile = 1 - config.false_alarms
        self.seed = config.mask_seed
        self._threshold: float | None = None

    def scores(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Error sums of each row, and of each of its hidden steps the score, whether it is known, and the label."""
        return _row_scores(output.prediction.point.double(), batch)

    def of_split(self, scores: Scores) -> Scores:
        """The scores of a split, with the threshold that those of validation, which comes first, have set."""
        if scores["clean"].all():
            self._threshold = self._quantile(scores)
        return scores if self._threshold is None else _with_threshold(scores, self._threshold)

    def _quantile(self, scores: Scores) -> float:
        return float(np.quantile(_steps(scores)[0], self.quantile))

    def metrics(self, scores: Mapping[str, Any]) -> dict[str, float]:
        """MSE and MAE over hidden cells; of test also average precision, and at the threshold F1, that of adjusted
        alarms, precision and recall.
        """
        found = super().metrics(scores)
        score, label = _steps(scores)
        if not label.any():
            return found
        threshold = float(scores["threshold"][0]) if "threshold" in scores else None
        draws = [_detected(each, label, threshold) for each in score.reshape(len(label), -1).T]
        found |= {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}
        return found if threshold is None else {**found, "threshold": threshold}

    def rivals(self, data: ForecastData) -> Rivals:
        """Per-row scores of cheap reconstructions of the same steps, and of random numbers, on validation and test."""
        made: Rivals = {}
        for name in ("linear_interpolation", "window_mean", RANDOM):
            found = {split: self._of_rival(name, data, split) for split in SCORED}
            threshold = self._quantile(found["val"])
            made[name] = {split: _with_threshold(scores, threshold) for split, scores in found.items()}
        return made

    def _of_rival(self, name: str, data: ForecastData, split: str) -> Scores:
        parts: list[Scores] = []
        for batch in batches(data, split, data.rows(split), CHUNK):
            found = _row_scores(_cheap(name, batch), batch)
            parts.append({each: tensor.double().numpy() for each, tensor in found.items()})
        scores = {each: np.concatenate([part[each] for part in parts]) for each in parts[0]}
        if name == RANDOM:
            scores["step"] = generator(self.seed, RANDOM, split).random((*scores["step"].shape, DRAWS))
        return scores

    def candidates(self, names: Iterable[str]) -> list[str]:
        """The rivals that reconstruct."""
        return [name for name in names if name != RANDOM]

    def table(self, data: ForecastData, model: nn.Module, split: str, rows: Any, size: int, device: Any) -> Any:
        """One line a step, once: time, score, and of a run's own data alarm and whether an anomaly was injected."""
        frame = self._scored(data, model, split, rows, size, device)
        if split == "ahead":
            return frame.drop(columns="anomaly")
        clean = self._scored(data, model, "val", data.rows("val"), size, device)
        threshold = float(np.nanquantile(clean["score"], self.quantile))
        frame.insert(2, "alarm", frame["score"] > threshold)
        return frame

    def page(self, data: ForecastData, model: nn.Module, device: Any) -> dict[str, Any]:
        """What the report draws for this task: how many steps of an anomaly, and of none, have an alarm."""
        table = self.table(data, model, "test", data.rows("test"), 256, device)
        names, both = {False: "normal", True: "anomaly"}, ["normal", "anomaly"]
        counts = pd.crosstab(table["anomaly"].map(names), table["alarm"].map(names))
        square = counts.reindex(index=both, columns=both, fill_value=0)
        confusion = square.to_numpy().tolist()
        return {
            "kind": "classes", "title": "Alarms of test steps", "classes": both, "confusion": confusion
        }  # fmt: skip

    def _scored(
        self, data: ForecastData, model: nn.Module, split: str, rows: Any, size: int, device: Any
    ) -> pd.DataFrame:
        model.eval()
        frames = []
        for batch in batches(data, split, np.asarray(rows, dtype=np.int64), size):
            with torch.no_grad():
                point = model(batch.to(device)).prediction.point.double().cpu()
            found = {name: tensor.numpy() for name, tensor in _row_scores(point, batch).items()}
            known = found["known"]
            row = found["at"][known]
            frames.append(pd.DataFrame({
                "row": row,
                "time": np.datetime_as_string(data.table.times[row], unit="s"),
                "score": found["step"][known],
                "anomaly": data.labels[row],
            }))  # fmt: skip
        return pd.concat(frames).sort_values("row", ignore_index=True).drop(columns="row")


def _row_scores(point: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Error sums of rows, and of their hidden steps the mean square over known variates.

    Shape: `step`, `known`, `anomaly`, and `at`, the rows of the table, (b, t); the others (b,).
    """
    targets = {name: tensor.to(point.device) for name, tensor in batch.targets.items()}
    mask, length = targets["mask"], targets["mask"].shape[1]
    error = torch.where(mask, point - targets["y"], 0.0)
    square, count = (error**2).sum(dim=2), mask.sum(dim=2)
    back = torch.arange(1 - length, 1, device=point.device)
    return {
        "se": square.sum(dim=1), "ae": error.abs().sum(dim=(1, 2)), "n": count.sum(dim=1).double(),
        "step": square / count.clamp(min=1), "known": count > 0, "anomaly": targets["anomaly"],
        "at": batch.info["row"].to(point.device)[:, None] + back, "clean": targets["clean"],
    }  # fmt: skip


def _steps(scores: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The score, of random numbers each draw's, and the label of every known step, in the order of time."""
    known = scores["known"].astype(bool)
    order = np.argsort(scores["at"][known])
    return scores["step"][known][order], scores["anomaly"].astype(bool)[known][order]


def _detected(score: NDArray[np.float64], label: NDArray[np.bool_], threshold: float | None) -> dict[str, float]:
    """What scores find, without a threshold and at one. Shape: two of (steps,)."""
    found = {"auc_pr": float(average_precision(score, label)[0]) if label.any() else 0.0}
    if threshold is None:
        return found
    alarm = score > threshold
    precision, recall, f1 = precision_recall(alarm, label)
    flattered = precision_recall(adjusted(alarm, label), label)[2]
    return {**found, "f1": f1, "point_adjusted_f1": flattered, "precision": precision, "recall": recall}


def _with_threshold(scores: Scores, threshold: float) -> Scores:
    return {**scores, "threshold": np.full(len(scores["n"]), threshold)}


def _cheap(name: str, batch: Batch) -> Tensor:
    """A cheap reconstruction of the windows; of random numbers the mean of train. Shape: (b, t, v)."""
    series = batch.inputs["series"].double()
    if name == RANDOM:
        return torch.zeros_like(series)
    seen = torch.where(batch.inputs["series_mask"], series, torch.nan)
    return torch.from_numpy(IMPUTATIONS[name](seen.numpy(), 1))
