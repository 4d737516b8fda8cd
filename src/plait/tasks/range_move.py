"""`range_move`: whether a market's range reaches a threshold soon, and how far it goes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from plait.baselines.moves import MEANINGS, RIVALS, MovePanel
from plait.core import signals
from plait.core.config import Config
from plait.core.tokens import Batch, Output
from plait.data.candles import CandleData
from plait.features.candle_numbers import NUMBERS, last_bar_range
from plait.objectives.bootstrap import Rivals, Scores, Statistic
from plait.objectives.focal import focal
from plait.objectives.pointwise import LossName, pointwise
from plait.tasks._moves import (
    RANKS,
    deciles,
    parameters_of,
    precision_at,
    reliability,
    temperature,
    threshold_table,
    thresholds,
    training_results,
)

CLOCK = tuple(place for place, name in enumerate(NUMBERS) if name.startswith(("day", "half_day", "week")))
TO_BEAT = {
    "last_bar_range": "the last bar's range does",
    "logistic_numbers": "a logistic regression on 27 numbers does",
}
"""The rivals that a model of moves has to rank bars better than, to be of any use."""


class RangeMoveTaskConfig(Config):
    """The chance of a move and its size, trained together."""

    rows_are: ClassVar[str] = "bars"
    kind: Literal["range_move"] = "range_move"
    loss: Literal["focal", "cross_entropy"] = "focal"
    """Of the chance: the focal loss, which counts easy rows less, or the cross-entropy."""
    gamma: float = Field(2.0, ge=0)
    """How much less the focal loss counts easy rows."""
    alpha: float | None = Field(None, gt=0, lt=1)
    """Weight of rows with a move in the focal loss, the others have 1 - alpha; unset: all count alike."""
    size_loss: LossName = "huber"
    """Of the size in percent, over rows with a move alone."""
    size_weight: float = Field(0.1, ge=0)
    """What that loss counts beside the one of the chance."""
    calibrate: bool = True
    """After the training, divide logits by the temperature that validation rows ask for."""
    choose: Literal["average_precision", "brier", "log_loss"] = "average_precision"
    """By what validation chooses an epoch."""

    def notices(self, source: Any) -> list[str]:
        """What to know before a training: that rare rows are weighed twice."""
        if self.loss == "focal" and self.gamma > 0 and getattr(source, "sampling", "none") == "balanced":
            return ["balanced sampling and the focal loss both weigh rare moves: one of the two is usual"]
        return []

    def build(self, data: CandleData) -> "RangeMoveTask":
        """The task on these data."""
        return RangeMoveTask(self, data)


class RangeMoveTask:
    """Loss and scores of the chance of a move, and of its size where one comes.

    The metric that is compared is the Brier score, which adds up over rows; ROC AUC and average precision say how well
    rows are ranked.
    """

    metric = "brier"
    score = "brier"
    unit = "squared error of the chance of a move"
    row_name = "bars"
    meanings = MEANINGS

    def __init__(self, config: RangeMoveTaskConfig, data: CandleData) -> None:
        self.config, self.data, self.chosen_by = config, data, config.choose

    def answer(self, output: Output) -> Tensor:
        """What an explanation is of: the chance of a move. Shape: (b, 1)."""
        return torch.sigmoid(output.prediction.point[:, :1])

    def losses(self, output: Output, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """The loss of the chance over known rows, of the size over rows with a move, and the model's own."""
        config, targets, point = self.config, batch.targets, output.prediction.point
        mask, moved = targets["mask"], self._moved(batch)
        gamma, alpha = (config.gamma, config.alpha) if config.loss == "focal" else (0.0, None)
        chance = focal(point[:, 0], targets["trigger"], mask, gamma, alpha)
        size = pointwise(point[:, 1], targets["max_pct"], moved, config.size_loss)
        made: dict[str, tuple[Tensor, Tensor]] = {config.loss: (chance.sum(), mask.sum())}
        if config.size_weight:
            made["size"] = (config.size_weight * size.sum(), moved.sum())
        return {**made, **output.losses}

    def weights(self, batch: Batch) -> dict[str, Tensor]:
        """Known rows of the batch, and those with a move."""
        return {self.config.loss: batch.targets["mask"].sum(), "size": self._moved(batch).sum()}

    @staticmethod
    def _moved(batch: Batch) -> Tensor:
        return batch.targets["mask"] & (batch.targets["trigger"] > 0)

    def scores(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Of each row the squared error and the log loss of the chance, the logit, the move, the error of the size."""
        targets = {name: tensor.double() for name, tensor in batch.targets.items()}
        point, known = output.prediction.point.double(), targets["mask"]
        logit, event = point[:, 0], targets["trigger"] * known
        return {
            "brier": (torch.sigmoid(logit) - event) ** 2 * known,
            "log_loss": focal(point[:, 0], event, batch.targets["mask"], gamma=0.0).double(),
            "n": known,
            "logit": logit,
            "event": event,
            "size_error": torch.where(self._moved(batch), (point[:, 1] - targets["max_pct"]).abs(), 0.0),
        }

    def selection(self, scores: Mapping[str, Any]) -> float:
        """What validation chooses by, smaller is better."""
        found = self.metrics(scores)[self.config.choose]
        return -found if self.config.choose == "average_precision" else found

    def metrics(self, scores: Mapping[str, Any]) -> dict[str, float]:
        """Brier score, log loss, ROC AUC, average precision, precision where half of the moves are called.

        `size_mae` is the mean absolute error of the size over rows with a move, in percent.
        """
        known = np.asarray(scores["n"]) > 0
        event, logit = np.asarray(scores["event"])[known] > 0, np.asarray(scores["logit"])[known]
        found = {name: float(np.sum(scores[name]) / known.sum()) for name in ("brier", "log_loss")}
        found |= {name: float(of(logit, event)[0]) for name, of in RANKS.items()}
        found["precision_at_half"] = precision_at(logit, event, 0.5)
        if "size_error" in scores:
            found["size_mae"] = float(np.sum(scores["size_error"]) / max(1, event.sum()))
        return found

    def statistics(self, scores: Scores) -> dict[str, Statistic]:
        """The metrics that are no sum over rows, as functions of how often each row counts: for their intervals."""
        known = scores["n"] > 0
        logit, event = scores["logit"][known], scores["event"][known] > 0
        return {name: lambda weight, of=of: of(logit, event, weight[:, known]) for name, of in RANKS.items()}  # type: ignore[misc]

    def calibrate(self, model: Any, scores: Scores) -> None:
        """Set the model's shift to what weighing rare moves added to its logits, and its temperature to the one with
        the lowest log loss on these (validation) rows.

        Source: King & Zeng 2001, section 4.1, for the shift; Guo et al. 2017, section 4.2, for the temperature.
        """
        if not self.config.calibrate:
            return
        known, shift = scores["n"] > 0, self._shift()
        raw = scores["logit"][known] * float(model.temperature) + float(model.shift)
        model.shift.fill_(shift)
        model.temperature.fill_(temperature(raw - shift, scores["event"][known] > 0))

    def _shift(self) -> float:
        """By how much balanced sampling and alpha raise the log odds of a move above those of the train rows."""
        share = float(self.data.labels.trigger[self.data.rows_of["train"]].mean())
        balanced = np.log((1 - share) / share) if self.data.config.sampling == "balanced" else 0.0
        alpha = self.config.alpha if self.config.loss == "focal" else None
        return float(balanced + (0.0 if alpha is None else np.log(alpha / (1 - alpha))))

    def rivals(self, data: CandleData) -> Rivals:
        """Per-row scores of the cheap rivals on validation and test."""
        panel = self._panel(data)
        asked = {n: rival for n, rival in RIVALS.items() if n != "logistic_topology" or panel.topology is not None}
        made: Rivals = {}
        for name, rival in asked.items():
            signals.check("nothing is lost; run the same command again")
            made[name] = {split: self._sums(data, split, chance) for split, chance in rival(panel).items()}
        return made

    def _panel(self, data: CandleData) -> MovePanel:
        columns = data.table.columns
        streams = data.schema.streams
        return MovePanel(
            moves=data.labels.trigger, spread=last_bar_range(columns["high"], columns["low"]), numbers=data.numbers,
            clock=data.numbers[:, CLOCK], indicators=data.indicators,
            topology=data.feature("topology") if "topology" in streams else None, rows=data.rows_of, seed=data.seed,
        )  # fmt: skip

    @staticmethod
    def _sums(data: CandleData, split: str, chance: NDArray[np.float64]) -> Scores:
        event = data.labels.trigger[data.rows_of[split]]
        chance = np.clip(chance, 1e-9, 1 - 1e-9)
        return {
            "brier": (chance - event) ** 2,
            "log_loss": -np.log(np.where(event, chance, 1 - chance)),
            "n": np.ones(len(event)),
            "logit": np.log(chance / (1 - chance)),
            "event": event.astype(np.float64),
        }

    def context_rivals(self, data: CandleData) -> Rivals:
        """None more: topology alone is among the rivals of every run that reads it."""
        return {}

    def candidates(self, names: Iterable[str]) -> list[str]:
        """The rivals that may be chosen as the best."""
        return list(names)

    def caveats(self, result: Mapping[str, Any]) -> list[str]:
        """That the model ranks bars no better than their own range or a linear model does, where that is so."""
        kept = result["metrics"] if "metrics" in result else result["raw"]
        own, found = kept["test"].get("auc"), []
        for name, what in TO_BEAT.items():
            other = result["baselines"].get(name, {}).get("auc")
            if own is not None and other is not None and own <= other:
                found.append(f"this model ranks bars no better than {what}: AUC {own:.3f} against {other:.3f}")
        return found

    def table(self, data: CandleData, model: nn.Module, split: str, rows: Any, size: int, device: Any) -> pd.DataFrame:
        """Predictions: open_time, trigger_prob, max_pct in percent, and where known trigger and actual_max_pct."""
        model.eval()
        rows, points = np.asarray(rows, dtype=np.int64), []
        with torch.no_grad():
            for start in range(0, len(rows), size):
                signals.check("nothing is lost; run the same command again")
                points.append(model(data.batch(split, rows[start : start + size]).to(device)).prediction.point.cpu())
        point = torch.cat(points).double().numpy()
        bars = data.rows_of[split][rows]
        known = data.labels.known[bars]
        frame = pd.DataFrame({
            "open_time": np.datetime_as_string(data.table.times[bars], unit="s"),
            "trigger_prob": 1 / (1 + np.exp(-point[:, 0])),
            "max_pct": point[:, 1],
        })  # fmt: skip
        if not known.any():
            return frame
        trigger = pd.Series(data.labels.trigger[bars]).astype(object).where(known, None)
        moved = known & data.labels.trigger[bars]
        return frame.assign(trigger=trigger, actual_max_pct=np.where(moved, data.labels.max_pct[bars], np.nan))

    def page(self, data: CandleData, model: nn.Module, device: Any) -> dict[str, Any]:
        """What the report draws for this task: reliability, lift and thresholds of the test bars."""
        table = self.table(data, model, "test", data.rows("test"), 1024, device)
        chance, event = table["trigger_prob"].to_numpy(), table["trigger"].to_numpy(dtype=bool)
        return {
            "kind": "moves", "title": "Chances of test bars", "share": float(event.mean()),
            "reliability": reliability(chance, event), "deciles": deciles(chance, event),
            "thresholds": thresholds(chance, event), "parameters": parameters_of(model),
        }  # fmt: skip

    def files(
        self, result: Mapping[str, Any], page: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
    ) -> dict[str, bytes]:
        """More files of a finished run, by name: the results in one place, and what each threshold calls.

        `history` holds the epochs of metrics.jsonl.
        """
        return {
            "training_results.json": training_results(result, page, history),
            "thresholds.csv": threshold_table(page),
        }
