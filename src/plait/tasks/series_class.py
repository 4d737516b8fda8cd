"""`series_class`: which class a whole series is of."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor, nn

from plait.baselines.series_classes import MEANINGS, SERIES_CLASS_RIVALS
from plait.core.config import Config
from plait.core.schema import SCORED
from plait.core.tokens import Batch, Output
from plait.data.labelled_series import LabelledSeriesData, WholeSeries
from plait.objectives.bootstrap import Rivals, Scores, Statistic
from plait.tasks._classes import ClassTask, Metric, Named, class_page, scores_of_shares

FEW = 20
"""With fewer validation series than these, a run says how little they can choose."""


class SeriesClassTaskConfig(Config):
    """A class a series, trained by cross-entropy, scored by log loss and share of errors."""

    rows_are: ClassVar[str] = "whole series"
    kind: Literal["series_class"] = "series_class"
    metric: Metric = "log_loss"
    """By what validation chooses, and what is compared; smaller is better."""

    @property
    def question(self) -> WholeSeries:
        """What is asked of a series."""
        return WholeSeries()

    def build(self, data: LabelledSeriesData) -> "SeriesClassTask":
        """The task on these data."""
        return SeriesClassTask(self, data.fitted.classes)


class SeriesClassTask(ClassTask):
    """The class of each series, with the mean over classes of the share of errors."""

    row_name = "series"
    meanings = MEANINGS

    def __init__(self, config: SeriesClassTaskConfig, classes: tuple[str, ...]) -> None:
        super().__init__(config.metric, "series")
        self.classes = classes

    def scores(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Log loss and errors of each row, whether its class is known, and its code."""
        return {**super().scores(output, batch), "label": batch.targets["y"][:, 0]}

    def metrics(self, scores: Mapping[str, Any]) -> dict[str, float]:
        """Log loss and share of errors over all series, and the mean over classes of the share of errors in each
        (1 - balanced accuracy).
        """
        once = np.ones((1, len(scores["n"])), dtype=np.float32)
        return {**super().metrics(scores), "balanced_error": float(_balanced(scores, once)[0])}

    def statistics(self, scores: Scores) -> dict[str, Statistic]:
        """The balanced error by how often each row counts: for its interval."""
        return {"balanced_error": lambda weight: _balanced(scores, weight)}

    def rivals(self, data: LabelledSeriesData) -> Rivals:
        """Per-row scores of the cheap answers on validation and test."""
        panel = data.panel()
        made: Rivals = {}
        for name, rival in SERIES_CLASS_RIVALS.items():
            shares = rival(panel)
            made[name] = {
                split: {**scores_of_shares(shares[split], label), "label": label.astype(np.float64)}
                for split, label in panel.label.items()
                if split in SCORED
            }
        return made

    def caveats(self, result: Mapping[str, Any]) -> list[str]:
        """Whether validation is too small to choose well."""
        held = result["windows"]["val"]
        return [f"validation holds {held} series: too few to choose an epoch or a best baseline well"] * (held < FEW)

    def table(
        self, data: LabelledSeriesData, model: nn.Module, split: str, rows: Any, size: int, device: Any
    ) -> pd.DataFrame:
        """A line a series: case (its place in the file, from 1), class, a probability of each class, and actual where
        it is known.
        """
        found = Named.of(data, model, split, rows, size, device)
        return found.table({"case": data.numbers(found.row)}, self.classes)

    def page(self, data: LabelledSeriesData, model: nn.Module, device: Any) -> dict[str, Any]:
        """What the report draws for this task: how often each class is named as which."""
        table = self.table(data, model, "test", data.rows("test"), 256, device)
        return class_page(table, self.classes, "Classes of test series")


def _balanced(scores: Mapping[str, Any], weight: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean over the classes that are drawn of the share of errors in each.

    Shape: weight (draws, n) -> (draws,).
    """
    known, label = scores["n"] > 0, scores["label"]
    shares = []
    for code in np.unique(label[known]):
        drawn = weight[:, known & (label == code)].astype(np.float64)
        with np.errstate(invalid="ignore"):
            shares.append(drawn @ scores["errors"][known & (label == code)] / drawn.sum(axis=1))
    found: NDArray[np.float64] = np.nanmean(shares, axis=0)
    return found
