"""The target of samples: numbers or labels of classes, and which samples a run may use."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.core.errors import DataError
from plait.data.sample_columns import known_cells, unknown_words
from plait.data.sample_files import EXAMPLES
from plait.data.sample_table import number_column
from plait.data.table import Finding


class Target(NamedTuple):
    """What each sample has of the target: a number in the unit of the files, or the label of its class.

    Shape: values (n,) float64, NaN where unknown. `classes` names the labels; empty for a target of numbers.
    """

    values: NDArray[np.float64]
    classes: tuple[str, ...] = ()


def read_target(
    metadata: pd.DataFrame, name: str | None, classifier: bool, classes: Sequence[str], where: str
) -> tuple[Target, list[Finding]]:
    """The target of every sample, unknown where the metadata lack it.

    A class is a cell that does not say unknown. Without `classes` they are those of all samples, sorted; with them (of
    a trained run) a class that is not among them counts as unknown.
    Errors: DataError for a target that is not of numbers (the samples).
    """
    if name is None or name not in metadata.columns:
        return Target(np.full(len(metadata), np.nan), tuple(classes)), []
    if not classifier:
        fix = "mend or empty them, or ask for a classifier if these are classes"
        return Target(number_column(metadata, name, where, fix)), []
    cells, found = known_cells(metadata, name), unknown_words(metadata, name)
    names = tuple(classes) or tuple(sorted(map(str, set(cells.dropna()))))
    label = pd.Index(names).get_indexer(pd.Index(cells))
    unseen = cells[(label < 0) & cells.notna().to_numpy()]
    if len(unseen):
        shown = tuple(sorted(map(str, set(unseen)))[:EXAMPLES])
        found.append(Finding(f"samples have a class of {name} that the run does not know", len(unseen), shown))
    return Target(np.where(label < 0, np.nan, label), names), found


def usable(
    target: Target, ids: Sequence[str], low: float | None, high: float | None, name: str
) -> tuple[NDArray[np.int64], list[Finding]]:
    """The samples with a known target from `low` to `high`.

    Errors: DataError where there is none.
    """
    known = np.isfinite(target.values)
    inside = known.copy()
    inside[known] &= target.values[known] >= (-np.inf if low is None else low)
    inside[known] &= target.values[known] <= (np.inf if high is None else high)
    beyond = np.flatnonzero(known & ~inside)
    found = []
    if len(beyond):
        shown = tuple(f"{ids[row]} {target.values[row]:g}" for row in beyond[:EXAMPLES])
        ends = " or ".join(
            ([f"below {low:g}"] if low is not None else []) + ([f"above {high:g}"] if high is not None else [])
        )
        found.append(Finding(f"samples have {name} {ends} and are left out of every split", len(beyond), shown))
    if not inside.any():
        none, out = int((~known).sum()), len(beyond)
        raise DataError(
            f"no sample is left of {len(ids)}: {none} have no {name}, of {out} it is out of range",
            where="data.target",
            fix="give another range, or metadata with the target",
        )
    return np.flatnonzero(inside), found
