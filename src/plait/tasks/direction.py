"""`direction`: whether a variate goes down, stays or goes up over the next steps."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plait.baselines.directions import DIRECTION_RIVALS, MEANINGS, DirectionPanel
from plait.core.config import Config
from plait.core.schema import SCORED, SPLITS
from plait.data.directions import DIRECTIONS, NextDirection
from plait.data.windows import ForecastData
from plait.objectives.bootstrap import Rivals
from plait.tasks._classes import ClassTask, Metric, Named, class_page, scores_of_shares
from plait.tasks._windows import batches

CHUNK = 4096


class DirectionTaskConfig(Config):
    """A class a window, trained by cross-entropy, scored by log loss and share of errors."""

    rows_are: ClassVar[str] = "windows"
    kind: Literal["direction"] = "direction"
    variate: str | None = None
    """The variate whose direction is asked for; unset: the first."""
    metric: Metric = "log_loss"
    """By what validation chooses, and what is compared; smaller is better."""

    @property
    def question(self) -> NextDirection:
        """What is asked of the windows."""
        return NextDirection(self.variate)

    def build(self, data: ForecastData) -> "DirectionTask":
        """The task on these data."""
        return DirectionTask(self)


class DirectionTask(ClassTask):
    """The class of each window, and the cheap answers beside it."""

    row_name = "windows"
    meanings = MEANINGS

    def __init__(self, config: DirectionTaskConfig) -> None:
        super().__init__(config.metric, "window")
        self.question = config.question

    def rivals(self, data: ForecastData) -> Rivals:
        """Per-row scores of the cheap answers on validation and test."""
        panel = self._panel(data)
        made: Rivals = {}
        for name, rival in DIRECTION_RIVALS.items():
            shares = rival(panel)
            made[name] = {split: scores_of_shares(shares[split], panel.label[split]) for split in SCORED}
        return made

    def context_rivals(self, data: ForecastData) -> Rivals:
        """None more."""
        return {}

    def caveats(self, result: Mapping[str, Any]) -> list[str]:
        """What a reader of a run's result must know first."""
        return []

    def table(self, data: ForecastData, model: nn.Module, split: str, rows: Any, size: int, device: Any) -> Any:
        """A line a window: origin, variate, class, a probability of each class, and actual where it is known."""
        found = Named.of(data, model, split, rows, size, device)
        origin = np.datetime_as_string(data.table.times[found.row], unit="s")
        return found.table({"origin": origin, "variate": self.question.name(data)}, DIRECTIONS)

    def page(self, data: ForecastData, model: nn.Module, device: Any) -> dict[str, Any]:
        """What the report draws for this task: how often each class is named as which."""
        table = self.table(data, model, "test", data.rows("test"), 256, device)
        return class_page(table, DIRECTIONS, f"Directions of {self.question.name(data)} after test windows")

    def _panel(self, data: ForecastData) -> DirectionPanel:
        windows, label, previous = {}, {}, {}
        for split in SPLITS:
            seen = [batch.inputs["series"] for batch in batches(data, split, data.rows(split), CHUNK)]
            series = torch.cat(seen).double()[..., : len(data.table.variates)]
            windows[split] = (series - series[:, -1:]).flatten(1).numpy()
            origin = torch.from_numpy(data.origins[split])
            label[split] = self._codes(data, origin)
            # The steps of the direction before end at the origin; its own window has to lie in the table.
            before = origin - data.horizon
            there = before >= data.lookback - 1
            earlier = self._codes(data, torch.where(there, before, data.lookback - 1))
            previous[split] = np.where(there.numpy(), earlier, -1)
        return DirectionPanel(windows, label, previous, len(DIRECTIONS))

    def _codes(self, data: ForecastData, origin: Tensor) -> NDArray[np.int64]:
        found, known = self.question.classes(data, origin)
        return torch.where(known, found, -1).numpy()
