"""Means and relative changes over windows with the interval of the block bootstrap, or without where data are few."""

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.evaluation.verdict import percent
from plait.objectives.bootstrap import Bootstrap, Interval, RowScores, enough

Numbers = NDArray[np.float64]
Estimated = dict[str, float | None]
"""`value`, `low` and `high`; None where a number can't be told."""


class Estimate:
    """Estimates over windows in the order of time; `block` windows are drawn together, 2 x horizon for origins.

    Fewer than 4 blocks have no interval: `low` and `high` are None. Neither has a change against what is 0.
    """

    def __init__(self, block: int) -> None:
        self.block = block
        self._drawn: dict[int, Bootstrap] = {}

    def change(self, arm: Numbers, rival: Numbers, count: Numbers | None = None) -> Estimated:
        """The relative change of the sum of `arm` against that of `rival`.

        Shape: (n,) each; `count` is what each window weighs in a mean.
        """
        weight = np.ones(len(arm)) if count is None else count
        one, two = RowScores(arm[None], weight), RowScores(rival[None], weight)
        if not rival.sum() > 0:
            return _plain(None)
        bootstrap = self._bootstrap(len(arm))
        if bootstrap is None:
            return _plain(Interval(float(arm.sum() / rival.sum() - 1), np.nan, np.nan))
        # A resample may hold nothing but windows in which the rival is 0: then there is no interval.
        with np.errstate(divide="ignore", invalid="ignore"):
            return _plain(bootstrap.change(one, two))

    def mean(self, values: Numbers) -> Estimated:
        """The mean over windows. Shape: (n,)."""
        if not len(values):
            return _plain(None)
        bootstrap = self._bootstrap(len(values))
        if bootstrap is None:
            return _plain(Interval(float(values.mean()), np.nan, np.nan))
        return _plain(bootstrap.error(RowScores(values[None], np.ones(len(values)))))

    def _bootstrap(self, rows: int) -> Bootstrap | None:
        if not enough(rows, self.block):
            return None
        if rows not in self._drawn:
            self._drawn[rows] = Bootstrap(rows, self.block, 1)
        return self._drawn[rows]


def _plain(interval: Interval | None) -> Estimated:
    numbers = (interval.value, interval.low, interval.high) if interval else (None, None, None)
    return {name: finite(number) for name, number in zip(("value", "low", "high"), numbers, strict=True)}


def finite(number: float | None) -> float | None:
    """The number, None where it is none: JSON has no word for it."""
    return float(number) if number is not None and isfinite(number) else None


def written(estimated: dict[str, Any]) -> str:
    """A relative change in words: with its interval, without one, or that it can't be told."""
    value, low, high = (estimated[name] for name in ("value", "low", "high"))
    if value is None:
        return "not known"
    return f"{value:+.1%}" if low is None or high is None else percent(Interval(value, low, high))
