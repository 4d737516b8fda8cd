"""Cells of a window that are hidden from the inputs and asked for, chosen by a function of names and row numbers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core.seeding import seed_for
from plait.data.questions import Fields, Question, Rows, window_rows
from plait.nn.window_norm import carry

if TYPE_CHECKING:
    from plait.data.windows import ForecastData

_STEP, _ONE, _TWO = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_LAST = np.uint64(2**64 - 1)


def scattered(seed: int, *places: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A random number for each place, a function of the seed and the place alone, whatever else is asked for.

    Shape: whole numbers that broadcast -> their common shape.
    Source: SplitMix64 (Steele, Lea & Flood 2014, figure 17), once a number of the place.
    """
    state = np.array([seed], dtype=np.uint64)
    for place in places:
        state = (state ^ place.astype(np.uint64)) + _STEP
        state = (state ^ (state >> np.uint64(30))) * _ONE
        state = (state ^ (state >> np.uint64(27))) * _TWO
        state = state ^ (state >> np.uint64(31))
    return state


@dataclass(frozen=True)
class HiddenCells(Question):
    """The cells that are hidden in a window: targets are its own values there.

    A share of the observed cells of each window is hidden, never all: whole stretches of `stretch` steps of a variate,
    the last one in part. Which ones is a function of the seed, the split and the row; in a training, of the epoch in
    place of the split. What new data lack is hidden as it is, and nothing else.
    Shape: inputs `series` and `series_mask` (b, t, v); targets `y` and `mask` (b, t, v).
    Mask: of inputs, observed and not hidden; of targets, observed and hidden. A hidden value stands nowhere in the
    inputs: its place holds what is carried over from the cells of the window that are seen.
    """

    share: float
    stretch: int = 1
    seed: int = 0
    ahead = False

    def put(self, data: "ForecastData", split: str, index: Rows, inputs: Fields, key: Any) -> tuple[Fields, Fields]:
        """The inputs less the hidden cells, and the values of the window."""
        origin = torch.from_numpy(data.origins[split][index])
        y, observed = data.at(window_rows(origin, data.lookback))
        hidden = torch.zeros_like(observed)
        if split != "ahead":
            hidden = torch.from_numpy(self.hidden(observed.numpy(), origin.numpy(), *(key or (split,))))
        return unseen(inputs, y, observed & ~hidden), {"y": y, "mask": hidden}

    def hidden(self, observed: NDArray[np.bool_], origin: Rows, *key: object) -> NDArray[np.bool_]:
        """Which cells are hidden. Shape: observed (b, t, v), origin (b,) -> (b, t, v)."""
        b, t, v = observed.shape
        row, step, variate = origin[:, None, None], np.arange(t)[:, None], np.arange(v)
        shift = scattered(seed_for(self.seed, "shift", *key), row, variate) % np.uint64(self.stretch)
        slot = (step + shift.astype(np.int64)) // self.stretch
        rank = scattered(seed_for(self.seed, "hidden", *key), row, variate, slot)
        order = np.argsort(np.where(observed, rank, _LAST).reshape(b, t * v), axis=1, kind="stable")
        seen = observed.reshape(b, t * v).sum(axis=1)
        wanted = np.minimum(np.floor(self.share * seen + 0.5), seen - 1)
        hidden = np.zeros((b, t * v), dtype=bool)
        np.put_along_axis(hidden, order, np.arange(t * v) < wanted[:, None], axis=1)
        return hidden.reshape(b, t, v)


def unseen(inputs: Fields, values: Tensor, visible: Tensor) -> Fields:
    """The inputs of a window of which only some cells are seen. Shape: values and visible (b, t, v)."""
    return {**inputs, "series": carry(torch.where(visible, values, 0.0), visible), "series_mask": visible}
