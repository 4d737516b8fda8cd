"""Bootstrap of errors and of their paired relative change over blocks or groups of rows, crossed with seeds.

Acceptance after a training and the verdict of a comparison share it, so it stands below both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = dict[str, NDArray[np.float64]]
"""Per-row sums by name, `n` the known targets of each row among them. Shape: (n,) each."""
Rivals = dict[str, dict[str, Scores]]
"""Per-row scores of the cheap rivals: by name, then by split."""

Statistic = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""A number of rows by how often each is drawn. Shape: (draws, n) -> (draws,)."""

DRAWS = 2000
MIN_BLOCKS = 4
MIN_GROUPS = 20


@dataclass(frozen=True)
class Interval:
    """A point estimate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class RowScores:
    """Per-row error sums of one arm over its seeds, rows in the order of the split.

    Shape: `total` (seeds, n) summed error of each row, `count` (n,) known targets of each row.
    """

    total: NDArray[np.float64]
    count: NDArray[np.float64]

    def mean(self) -> float:
        """The error pooled over all known targets, averaged over seeds."""
        return float((self.total.sum(axis=1) / self.count.sum()).mean())


@dataclass(frozen=True, eq=False)
class Units:
    """Which rows of a split are drawn together: circular blocks of `block` neighbours, or rows of one group.

    Shape: `groups` (rows,), a code a row, the same for rows of one group; None where neighbours are drawn together.
    """

    rows: int
    block: int = 1
    groups: NDArray[np.int64] | None = None

    @property
    def needed(self) -> int:
        """How many blocks, or groups, an interval needs."""
        return MIN_BLOCKS if self.groups is None else MIN_GROUPS

    @property
    def enough(self) -> bool:
        """Whether there are as many as an interval needs."""
        have = self.rows // self.block if self.groups is None else len(np.unique(self.groups))
        return have >= self.needed

    @property
    def lacking(self) -> str:
        """Why there is no interval, in words."""
        if self.groups is None:
            return f"{self.rows} rows are fewer than {self.needed} blocks of {self.block}"
        return f"{len(np.unique(self.groups))} groups are fewer than {self.needed}"

    @property
    def drawn(self) -> str:
        """What is drawn, in words."""
        if self.groups is None:
            return f"blocks of {self.block} rows"
        return f"{len(np.unique(self.groups))} groups of rows"

    def of(self, index: NDArray[Any]) -> "Units":
        """Those of some of the rows, in their order. Shape: (n,) row numbers or bool."""
        rows = len(np.arange(self.rows)[index])
        return Units(rows, self.block, None if self.groups is None else self.groups[index])

    @classmethod
    def joined(cls, parts: "Sequence[Units]") -> "Units":
        """Those of several test sets, one after the other, as of the folds of a cross-validation."""
        first = parts[0]
        groups = [part.groups for part in parts if part.groups is not None]
        whole = np.concatenate(groups) if len(groups) == len(parts) else None
        return cls(sum(part.rows for part in parts), first.block, whole)

    def weights(self, rng: np.random.Generator, draws: int) -> NDArray[np.float32]:
        """How often each row is drawn. Shape: (draws, rows)."""
        if self.groups is not None:
            names, code = np.unique(self.groups, return_inverse=True)
            drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
            return drawn[:, code].astype(np.float32)
        starts = rng.integers(0, self.rows, size=(draws, -(-self.rows // self.block)))
        weight = np.zeros((draws, self.rows), dtype=np.float32)
        offsets = np.arange(self.block)
        for draw in range(draws):
            index = ((starts[draw][:, None] + offsets) % self.rows).ravel()[: self.rows]
            weight[draw] = np.bincount(index, minlength=self.rows)
        return weight


class Bootstrap:
    """The same 2,000 resamples of rows and seeds for every arm of a comparison, so that differences are paired.

    Rows are drawn as circular blocks of neighbours (2 x horizon for forecast origins), or as whole groups where rows
    are grouped; seeds with replacement.
    Source: Politis & Romano 1992, circular block bootstrap; Field & Welsh 2007, bootstrap of clusters.
    """

    def __init__(self, units: Units, seeds: int, seed: int = 0, draws: int = DRAWS) -> None:
        rng = np.random.default_rng(seed)
        self._weight = units.weights(rng, draws)
        self._seeds = rng.integers(0, seeds, size=(draws, seeds))

    def means(self, arm: RowScores) -> NDArray[np.float64]:
        """The pooled error of each resample and drawn seed. Shape: (draws, seeds)."""
        weight = self._weight.astype(np.float64)
        per_seed = (weight @ arm.total.T) / (weight @ arm.count)[:, None]
        picked = np.minimum(self._seeds, arm.total.shape[0] - 1)
        return np.take_along_axis(per_seed, picked, axis=1)

    def error(self, arm: RowScores) -> Interval:
        """An arm's error."""
        return _interval(arm.mean(), self.means(arm).mean(axis=1))

    def statistic(self, values: Sequence[float], of: Sequence[Statistic]) -> Interval:
        """A number of an arm that is no mean over rows, averaged over seeds: its value with each seed, and what it is
        by how often each row is drawn. Draws in which it is NaN are left out.
        """
        per_seed = np.stack([each(self._weight) for each in of], axis=1)
        picked = np.minimum(self._seeds, len(of) - 1)
        draws = np.take_along_axis(per_seed, picked, axis=1).mean(axis=1)
        return _interval(float(np.mean(values)), draws[np.isfinite(draws)])

    def change(self, arm: RowScores, rival: RowScores) -> Interval:
        """Mean over seeds of (error - rival's error) / rival's error; negative is better."""
        value = (arm.total.sum(axis=1) / rival.total.sum(axis=1) - 1).mean()
        draws = (self.means(arm) / self.means(rival) - 1).mean(axis=1)
        return _interval(float(value), draws)

    def difference(self, arm: RowScores, rival: RowScores) -> Interval:
        """Mean over seeds of error - rival's error, in the unit of the error; negative is better."""
        draws = (self.means(arm) - self.means(rival)).mean(axis=1)
        return _interval(arm.mean() - rival.mean(), draws)

    def recovery(self, arm: RowScores, rival: RowScores, oracle: RowScores) -> Interval:
        """(rival - arm) / (rival - oracle), the share of the oracle's gap; gain and gap are resampled together."""
        value = (rival.mean() - arm.mean()) / (rival.mean() - oracle.mean())
        base = self.means(rival).mean(axis=1)
        draws = (base - self.means(arm).mean(axis=1)) / (base - self.means(oracle).mean(axis=1))
        return _interval(value, draws)


def _interval(value: float, draws: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(value, float(low), float(high))
