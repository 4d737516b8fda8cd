"""Circular moving-block bootstrap of errors and of their paired relative change, crossed with seeds.

Acceptance after a training and the verdict of a comparison share it, so it stands below both.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """Per-row error sums of one arm over its seeds, rows in the order of time.

    Shape: `total` (seeds, n) summed error of each row, `count` (n,) known targets of each row.
    """

    total: NDArray[np.float64]
    count: NDArray[np.float64]

    def mean(self) -> float:
        """The error pooled over all known targets, averaged over seeds."""
        return float((self.total.sum(axis=1) / self.count.sum()).mean())


def enough(rows: int, block: int) -> bool:
    """Whether there are the >= 4 blocks an interval needs."""
    return rows >= MIN_BLOCKS * block


class Bootstrap:
    """The same 2,000 resamples of rows and seeds for every arm of a comparison, so that differences are paired.

    Rows are drawn as circular blocks of `block` neighbours (2 x horizon for forecast origins), seeds with replacement.
    Source: Politis & Romano 1992, circular block bootstrap.
    """

    def __init__(self, rows: int, block: int, seeds: int, seed: int = 0, draws: int = DRAWS) -> None:
        rng = np.random.default_rng(seed)
        blocks = -(-rows // block)
        starts = rng.integers(0, rows, size=(draws, blocks))
        self._weight = np.zeros((draws, rows), dtype=np.float32)
        offsets = np.arange(block)
        for draw in range(draws):
            index = ((starts[draw][:, None] + offsets) % rows).ravel()[:rows]
            self._weight[draw] = np.bincount(index, minlength=rows)
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

    def change(self, arm: RowScores, rival: RowScores) -> Interval:
        """Mean over seeds of (error - rival's error) / rival's error; negative is better."""
        value = (arm.total.sum(axis=1) / rival.total.sum(axis=1) - 1).mean()
        draws = (self.means(arm) / self.means(rival) - 1).mean(axis=1)
        return _interval(float(value), draws)

    def recovery(self, arm: RowScores, rival: RowScores, oracle: RowScores) -> Interval:
        """(rival - arm) / (rival - oracle), the share of the oracle's gap; gain and gap are resampled together."""
        value = (rival.mean() - arm.mean()) / (rival.mean() - oracle.mean())
        base = self.means(rival).mean(axis=1)
        draws = (base - self.means(arm).mean(axis=1)) / (base - self.means(oracle).mean(axis=1))
        return _interval(value, draws)


def _interval(value: float, draws: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(value, float(low), float(high))
