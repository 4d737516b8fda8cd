"""What is asked of the windows of a series: which windows, what of them is hidden, and what the targets are."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core.errors import DataError
from plait.core.schema import SPLITS
from plait.data.fitted import Fitted
from plait.data.splits import Borders
from plait.data.table import SeriesTable

if TYPE_CHECKING:
    from plait.data.windows import ForecastData

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]
Fields = dict[str, Tensor]


class Question(ABC):
    """What a task asks of windows. Rows are numbers of the table; a window is named by its last row."""

    ahead: ClassVar[bool] = True
    """Whether the answer is of the steps after a window, and not of those within it."""
    outputs: ClassVar[int] = 0
    """Classes of an answer of one a window; 0 where the answer is a series."""
    quantiles: tuple[float, ...] = ()
    """Levels that every step is asked for; none where the answer is a point."""

    def steps(self, lookback: int, horizon: int) -> int:
        """How many steps an answer is of."""
        return horizon if self.ahead else lookback

    def origins(self, borders: Borders, lookback: int, horizon: int) -> dict[str, Rows]:
        """The last row of every window of every split."""
        return borders.origins(lookback, horizon) if self.ahead else inner_origins(borders, lookback)

    def new(self, rows: int, lookback: int) -> Rows:
        """The last row of every window of new data of so many rows: from each row on, or side by side."""
        return np.arange(lookback - 1, rows, dtype=np.int64) if self.ahead else tiles(rows, lookback)

    def about(self, data: "ForecastData") -> str:
        """The one variate that an answer is of; empty where it is of all."""
        return ""

    def block(self, steps: int) -> int:
        """How many neighbouring windows a bootstrap draws together, of the steps of an answer."""
        return 2 * steps

    def prepare(self, table: SeriesTable, borders: Borders) -> tuple[SeriesTable, Flags]:
        """The table with what is put into it, and in which rows that is. Shape: (T,) bool."""
        return table, np.zeros(len(table.times), dtype=bool)

    def fit(self, data: "ForecastData") -> Fitted:
        """What the data fitted on train rows, with what the question fits on them."""
        return data.fitted

    @abstractmethod
    def put(self, data: "ForecastData", split: str, index: Rows, inputs: Fields, key: Any) -> tuple[Fields, Fields]:
        """Inputs and targets of the windows `index` of a split, made of the inputs in which nothing is hidden.

        `key` names the epoch of a training; it is empty where every call has to ask the same.
        """


class NextSteps(Question):
    """What comes next: targets are the steps after a window.

    Shape: targets `y` and `mask` (b, p, v).  Mask: missing values, and steps after the last row of the table.
    """

    def __init__(self, quantiles: tuple[float, ...] = ()) -> None:
        self.quantiles = quantiles

    def put(self, data: "ForecastData", split: str, index: Rows, inputs: Fields, key: Any) -> tuple[Fields, Fields]:
        """The inputs as they are, and the steps after each window."""
        origin = torch.from_numpy(data.origins[split][index])
        y, mask = data.at(origin[:, None] + torch.arange(1, data.horizon + 1))
        return inputs, {"y": y, "mask": mask}


def inner_origins(borders: Borders, lookback: int) -> dict[str, Rows]:
    """The last row of every window that lies wholly in its split, so that no row stands in two splits.

    Errors: DataError for a split that is shorter than a window.
    """
    found, start = {}, 0
    for split, rows in zip(SPLITS, (borders.train, borders.val, borders.test), strict=True):
        if rows < lookback:
            raise DataError(
                f"the {split} split has {rows} rows, a window needs {lookback}", where=f"lookback {lookback}",
                fix="shorten data.lookback",
            )  # fmt: skip
        found[split] = np.arange(start + lookback - 1, start + rows, dtype=np.int64)
        start += rows
    return found


def tiles(rows: int, lookback: int) -> Rows:
    """The last rows of windows that lie side by side over rows 0 .. rows - 1; the last one is aligned to the end."""
    return np.unique(np.append(np.arange(lookback - 1, rows, lookback), rows - 1))


def window_rows(origin: Tensor, lookback: int) -> Tensor:
    """The rows of windows. Shape: (b,) -> (b, t)."""
    return origin[:, None] + torch.arange(1 - lookback, 1)
