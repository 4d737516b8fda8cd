"""Steps of a window that are hidden whole, in turns, so that each is judged by its surroundings and not by itself."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from plait.core.errors import ConfigError
from plait.core.schema import SPLITS
from plait.core.seeding import seed_for
from plait.data.hidden import scattered, unseen
from plait.data.injected import inject
from plait.data.questions import Fields, Flags, Question, Rows, inner_origins, tiles, window_rows
from plait.data.splits import Borders
from plait.data.table import SeriesTable

if TYPE_CHECKING:
    from plait.data.windows import ForecastData


@dataclass(frozen=True)
class HiddenSteps(Question):
    """Every `turns`-th stretch of `stretch` steps is hidden, all variates of it; targets are the values there.

    A train window has one set of hidden stretches, moved by a function of the seed, the epoch and its row. Validation,
    test and new data are covered by windows side by side, the last one aligned to the end, and each window comes
    `turns` times, each time with other stretches hidden: so every step is hidden, and a target, exactly once. Injected
    anomalies stand in test rows alone.
    Shape: inputs `series` and `series_mask` (b, t, v); targets `y` and `mask` (b, t, v), `anomaly` (b, t) bool, and
    `clean` (b,) bool, whether the row is of validation.
    Mask: of inputs, observed and not hidden; of targets, observed, hidden and not of the window before.
    Errors: ConfigError for a window that has no step left to see.
    """

    stretch: int = 8
    turns: int = 4
    seed: int = 0
    ahead = False

    def steps(self, lookback: int, horizon: int) -> int:
        """Those of the window."""
        if lookback <= self.stretch:
            raise ConfigError(
                f"a window of {lookback} steps is hidden whole by a stretch of {self.stretch}", where="task.block",
                fix=f"--task.block {max(1, lookback // self.turns)}, or a longer data.lookback",
            )  # fmt: skip
        return lookback

    def origins(self, borders: Borders, lookback: int, horizon: int) -> dict[str, Rows]:
        """Of train every window that lies wholly in it; of the others windows side by side, each in turns."""
        found, start = inner_origins(borders, lookback), borders.train
        for split, rows in zip(SPLITS[1:], (borders.val, borders.test), strict=True):
            found[split] = np.repeat(start + tiles(rows, lookback), self.turns)
            start += rows
        return found

    def new(self, rows: int, lookback: int) -> Rows:
        """Windows side by side, each in turns."""
        return np.repeat(tiles(rows, lookback), self.turns)

    def block(self, steps: int) -> int:
        """The turns of two windows."""
        return 2 * self.turns

    def prepare(self, table: SeriesTable, borders: Borders) -> tuple[SeriesTable, Flags]:
        """The table with anomalies in its test rows, and which rows those are."""
        with np.errstate(invalid="ignore"):
            sd = np.nan_to_num(np.nanstd(table.values[: borders.train], axis=0))
        values, label = inject(table.values, borders.train + borders.val, sd, self.seed)
        return replace(table, values=values), label

    def put(self, data: "ForecastData", split: str, index: Rows, inputs: Fields, key: Any) -> tuple[Fields, Fields]:
        """The inputs less the hidden steps, and the values of the window."""
        origin = data.origins[split][index]
        rows = window_rows(torch.from_numpy(origin), data.lookback)
        y, observed = data.at(rows)
        if split == "train":
            place = scattered(seed_for(self.seed, "shift", *key), origin)
            shift, fresh = (place % np.uint64(self.stretch * self.turns)).astype(np.int64), origin[:, None] >= 0
        else:
            shift = index % self.turns * self.stretch
            before = data.origins[split][np.maximum(index - self.turns, 0)]
            fresh = (rows.numpy() > before[:, None]) | (index < self.turns)[:, None]
        hidden = torch.from_numpy(self.hidden(data.lookback, shift))[..., None]
        mask = observed & hidden & torch.from_numpy(fresh)[..., None]
        targets = {"y": y, "mask": mask, "anomaly": torch.from_numpy(data.labels)[rows]}
        clean = torch.full((len(origin),), split == "val")
        return unseen(inputs, y, observed & ~hidden), {**targets, "clean": clean}

    def hidden(self, length: int, shift: Rows) -> Flags:
        """Which steps are hidden. Shape: shift (b,) -> (b, t)."""
        hidden: Flags = (np.arange(length) + shift[:, None]) // self.stretch % self.turns == 0
        return hidden
