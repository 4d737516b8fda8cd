"""Walk-forward splits of bars: train before validation before test, with a gap that no label or window spans."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plait.core.errors import ConfigError, DataError
from plait.core.schema import SPLITS

IntArray = NDArray[np.int64]


def walk_forward(
    rows: IntArray, shares: Sequence[float], gap: int, folds: int | None = None, fold: int = 0, tested: float = 0.5
) -> dict[str, IntArray]:
    """Part rows of one series in the order of time; between two splits at least `gap` bars are in none of them.

    Without folds the three shares lie one after the other. With folds the last `tested` share of the rows is cut into
    that many consecutive tests of equal size: fold k is tested on the k-th, and trained and validated on all before it,
    in the proportion of the first two shares. So a fold never learns from what comes after its test, and every row of
    the tested share is tested once.

    Row t is left out before a split that begins at row s where ``t > s - gap - 1``: its label, or the window of s,
    would reach over.

    Shape: rows (n,), rising bar numbers -> three rising arrays.
    Errors: ConfigError for shares, folds or a fold that can't be; DataError where a split would be empty.
    Source: Lopez de Prado 2018, chapter 7 (purging and embargo).
    """
    if len(shares) != len(SPLITS) or abs(sum(shares) - 1) > 1e-9 or min(shares) <= 0:
        raise ConfigError(f"{list(shares)} are no three positive shares of 1", where="data.splits")
    if folds is None:
        end, first = len(rows), len(rows) - int(shares[2] * len(rows))
    else:
        _check_folds(folds, fold, tested)
        borders = np.linspace(len(rows) - int(tested * len(rows)), len(rows), folds + 1).astype(np.int64)
        first, end = borders[fold], borders[fold + 1]
    test = rows[first:end]
    past = _before(rows[:first], test, gap)
    middle = len(past) - int(len(past) * shares[1] / (shares[0] + shares[1]))
    val = past[middle:]
    made = {"train": _before(past[:middle], val, gap), "val": val, "test": test}
    for split, there in made.items():
        if not len(there):
            raise DataError(
                f"no bar is left for {split}: {len(rows)} bars, {gap} bars between splits", where="data.splits",
                fix="give a longer series, fewer folds, or a shorter data.embargo",
            )  # fmt: skip
    return made


def _before(rows: IntArray, later: IntArray, gap: int) -> IntArray:
    return rows[rows + gap < later[0]] if len(later) else rows


def _check_folds(folds: int, fold: int, tested: float) -> None:
    if folds < 1 or not 0 <= fold < folds:
        raise ConfigError(f"there is no fold {fold} of {folds}", where="data.fold", fix=f"give 0 to {folds - 1}")
    if not 0 < tested < 1:
        raise ConfigError(f"{tested:g} of the bars can't be tested", where="data.tested", fix="give a share below 1")
