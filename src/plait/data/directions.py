"""Where a variate goes next: down, flat or up, parted by terciles of its change over the train windows."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from plait.core.errors import DataError, suggest
from plait.data.fitted import Fitted
from plait.data.questions import Fields, Question, Rows, window_rows
from plait.nn.window_norm import carry

if TYPE_CHECKING:
    from plait.data.windows import ForecastData

DIRECTIONS = ("down", "flat", "up")


@dataclass(frozen=True)
class NextDirection(Question):
    """The direction of one variate: the mean of its next `horizon` steps against its last observed value.

    change = mean(z[o + 1 .. o + p]) - z[last observed of the window]; down at or below the first tercile of the change
    over the train windows, up above the second, else flat.
    Shape: targets `y` and `mask` (b, 1), y the code of a class.
    Mask: False where a window has no observed value of the variate, fewer than half of the steps after it are observed,
    or one of them is after the last row of the table.
    """

    variate: str | None = None
    """Its name; None: the first."""
    outputs = len(DIRECTIONS)

    def fit(self, data: "ForecastData") -> Fitted:
        """Also the terciles of the change over the train windows. Errors: DataError where they are one number."""
        change, known = self.change(data, torch.from_numpy(data.origins["train"]))
        if not known.any():
            raise DataError(f"no train window has a known direction of {self.name(data)}", where="task.variate")
        thresholds = np.quantile(change[known].double().numpy(), [1 / 3, 2 / 3])
        if thresholds[0] == thresholds[1]:
            raise DataError(
                f"{self.name(data)} changes by {thresholds[0]:g} sd in a third of the train windows or more: its"
                " terciles part nothing",
                where="task.variate", fix="name another variate, or a longer data.horizon",
            )  # fmt: skip
        return replace(data.fitted, thresholds=thresholds)

    def put(self, data: "ForecastData", split: str, index: Rows, inputs: Fields, key: Any) -> tuple[Fields, Fields]:
        """The inputs as they are, and the class of each window."""
        label, known = self.classes(data, torch.from_numpy(data.origins[split][index]))
        return inputs, {"y": label[:, None], "mask": known[:, None]}

    def classes(self, data: "ForecastData", origin: Tensor) -> tuple[Tensor, Tensor]:
        """The class of each window, and whether it is known. Shape: (b,) -> two of (b,)."""
        assert data.fitted.thresholds is not None
        change, known = self.change(data, origin)
        return torch.bucketize(change.double(), torch.from_numpy(data.fitted.thresholds)), known

    def change(self, data: "ForecastData", origin: Tensor) -> tuple[Tensor, Tensor]:
        """The change after each window, in sds of train rows, and whether it is known. Shape: (b,) -> two of (b,)."""
        column = [data.table.variates.index(self.name(data))]
        past, seen = (each[..., column] for each in data.at(window_rows(origin, data.lookback)))
        ahead = origin[:, None] + torch.arange(1, data.horizon + 1)
        following, observed = (each[..., column] for each in data.at(ahead))
        count = observed.sum(dim=(1, 2))
        mean = torch.where(observed, following, 0.0).sum(dim=(1, 2)) / count.clamp(min=1)
        known = seen.any(dim=(1, 2)) & (2 * count >= data.horizon) & (ahead[:, -1] < len(data.table.times))
        return mean - carry(past, seen)[:, -1, 0], known

    def about(self, data: "ForecastData") -> str:
        """The variate that is asked for: its token alone is answered from, after it has read the others."""
        return self.name(data)

    def name(self, data: "ForecastData") -> str:
        """The variate. Errors: DataError where the data have none of that name."""
        variates = data.table.variates
        if self.variate is not None and self.variate not in variates:
            raise DataError(f"no variate {self.variate!r}", where="task.variate", fix=suggest(self.variate, variates))
        return self.variate or variates[0]
