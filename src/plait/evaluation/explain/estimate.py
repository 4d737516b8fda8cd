"""Means and relative changes over rows with the interval of the bootstrap, or without where data are few."""

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.evaluation.verdict import percent
from plait.objectives.bootstrap import Bootstrap, Interval, RowScores, Units

Numbers = NDArray[np.float64]
Rows = NDArray[np.bool_]
Estimated = dict[str, float | None]
"""`value`, `low` and `high`; None where a number can't be told."""


class Estimate:
    """Estimates over the rows of a split, which are drawn as `units` says.

    Too few of these have no interval: `low` and `high` are None. Neither has a change against what is 0. Where only
    some rows enter, `where` says which. Shape: (rows,) bool.
    """

    def __init__(self, units: Units) -> None:
        self.units = units
        self._drawn: dict[bytes, Bootstrap] = {}

    def change(
        self, arm: Numbers, rival: Numbers, count: Numbers | None = None, where: Rows | None = None
    ) -> Estimated:
        """The relative change of the sum of `arm` against that of `rival`.

        Shape: (n,) each; `count` is what each window weighs in a mean.
        """
        weight = np.ones(len(arm)) if count is None else count
        one, two = RowScores(arm[None], weight), RowScores(rival[None], weight)
        if not rival.sum() > 0:
            return _plain(None)
        bootstrap = self._bootstrap(where)
        if bootstrap is None:
            return _plain(Interval(float(arm.sum() / rival.sum() - 1), np.nan, np.nan))
        # A resample may hold nothing but windows in which the rival is 0: then there is no interval.
        with np.errstate(divide="ignore", invalid="ignore"):
            return _plain(bootstrap.change(one, two))

    def mean(self, values: Numbers, where: Rows | None = None) -> Estimated:
        """The mean over windows. Shape: (n,)."""
        if not len(values):
            return _plain(None)
        bootstrap = self._bootstrap(where)
        if bootstrap is None:
            return _plain(Interval(float(values.mean()), np.nan, np.nan))
        return _plain(bootstrap.error(RowScores(values[None], np.ones(len(values)))))

    def _bootstrap(self, where: Rows | None) -> Bootstrap | None:
        units = self.units if where is None else self.units.of(where)
        if not units.enough:
            return None
        key = b"" if where is None else where.tobytes()
        if key not in self._drawn:
            self._drawn[key] = Bootstrap(units, 1)
        return self._drawn[key]


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
