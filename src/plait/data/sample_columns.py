"""Metadata as a model reads them: categories as codes, numbers standardised, and a mask; the placebo; groups."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.core.seeding import generator
from plait.data.sample_files import EXAMPLES
from plait.data.sample_table import number_column
from plait.data.table import Finding
from plait.objectives.transforms import Category

UNKNOWN = frozenset(("unknown", "not provided", "not applicable", "missing"))
"""Cells of a category, in any case, that say that nothing is known."""


class Columns(NamedTuple):
    """Columns of metadata, categories first. What stands under a False mask is 0.

    Shape: codes int64, numbers float32, mask bool, all (n, k).  Mask: True = known.
    """

    codes: NDArray[np.int64]
    numbers: NDArray[np.float32]
    mask: NDArray[np.bool_]


Statistics = Mapping[str, tuple[float, float]]
"""Mean and sd of each column of numbers."""


def known_cells(metadata: pd.DataFrame, name: str) -> pd.Series:
    """A column with NA where a cell is missing or says so (`UNKNOWN`)."""
    cells = metadata[name]
    return cells.mask(cells.fillna("").str.casefold().isin(UNKNOWN))


def unknown_words(metadata: pd.DataFrame, name: str) -> list[Finding]:
    """The cells of a column that say that nothing is known."""
    says = known_cells(metadata, name).isna() & metadata[name].notna()
    words = tuple(sorted(set(metadata[name][says])))
    return [Finding(f"cells of {name} count as missing", int(says.sum()), words[:EXAMPLES])] if words else []


def numbers_of(metadata: pd.DataFrame, name: str, where: str) -> NDArray[np.float64]:
    """A column of numbers, NaN where unknown. Errors: as `number_column`."""
    fix = "mend or empty them, or give the column among data.categories"
    return number_column(known_cells(metadata, name).to_frame(), name, where, fix)


def fit_columns(
    train: pd.DataFrame, categories: Sequence[str], numbers: Sequence[str], where: str
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[float, float]], list[Finding]]:
    """The sorted categories, and the mean and sd of the numbers, of the columns that a train sample has a value of."""
    found: list[Finding] = []
    names: dict[str, tuple[str, ...]] = {}
    statistics: dict[str, tuple[float, float]] = {}
    for name in categories:
        seen = sorted(map(str, set(known_cells(train, name).dropna())))
        if seen:
            names[name] = tuple(seen)
    for name in numbers:
        values = numbers_of(train, name, where)
        values = values[np.isfinite(values)]
        if len(values):
            statistics[name] = float(values.mean()), float(values.std()) or 1.0
    for name in (*categories, *numbers):
        if name not in names and name not in statistics:
            found.append(Finding(f"train samples have a value of {name}: the column is left out", 0))
    return names, statistics, found


def encode_columns(
    metadata: pd.DataFrame, categories: Mapping[str, Sequence[str]], numbers: Statistics, where: str
) -> tuple[Columns, list[Finding]]:
    """Metadata in the codes and units of the train samples; a category that none of them has is masked.

    A column that the metadata lack is masked in every sample.
    """
    n, k = len(metadata), len(categories) + len(numbers)
    codes, values = np.zeros((n, k), dtype=np.int64), np.zeros((n, k), dtype=np.float32)
    mask = np.zeros((n, k), dtype=np.bool_)
    found: list[Finding] = []
    for place, name in enumerate((*categories, *numbers)):
        if name not in metadata.columns:
            found.append(Finding(f"samples have no column {name} in their metadata: it is masked", n))
            continue
        found += unknown_words(metadata, name)
        if name in numbers:
            column = numbers_of(metadata, name, where)
            mean, sd = numbers[name]
            mask[:, place] = np.isfinite(column)
            values[:, place] = np.where(mask[:, place], (column - mean) / sd, 0.0)
            continue
        cells = known_cells(metadata, name)
        code = pd.Index(categories[name]).get_indexer(pd.Index(cells))
        mask[:, place] = code >= 0
        codes[:, place] = np.maximum(code, 0)
        unseen = cells[(code < 0) & cells.notna().to_numpy()]
        if len(unseen):
            shown = tuple(sorted(map(str, set(unseen)))[:EXAMPLES])
            found.append(
                Finding(f"cells of {name} are categories of no train sample and are masked", len(unseen), shown)
            )
    return Columns(codes, values, mask), found


def permuted(columns: Columns, splits: Mapping[str, NDArray[np.int64]], seed: int) -> Columns:
    """The placebo: whole rows permuted within each split, among those that know anything, without a fixed point.

    A cyclic shift of a random order has no fixed point. A row that is alone keeps its own: there is nothing to
    exchange it with.
    """
    moved = Columns(columns.codes.copy(), columns.numbers.copy(), columns.mask.copy())
    for split, rows in splits.items():
        known = rows[columns.mask[rows].any(axis=1)]
        order = generator(seed, "placebo", split).permutation(known)
        source = np.roll(order, 1)
        moved.codes[order] = columns.codes[source]
        moved.numbers[order] = columns.numbers[source]
        moved.mask[order] = columns.mask[source]
    return moved


def categories_of(metadata: pd.DataFrame, names: Sequence[str]) -> list[Category] | None:
    """What each sample has in some columns, None in place of what is unknown; None without a column."""
    if not names:
        return None
    nothing = pd.Series([None] * len(metadata), index=metadata.index, dtype=object)
    columns = [known_cells(metadata, name) if name in metadata.columns else nothing for name in names]
    return [tuple(None if pd.isna(cell) else str(cell) for cell in row) for row in zip(*columns, strict=True)]


def group_codes(metadata: pd.DataFrame, name: str | None) -> tuple[NDArray[np.int64], list[Finding]]:
    """A number for each sample that those of one group share; a sample without a group is its own.

    Shape: (n,).
    """
    if name is None:
        return np.arange(len(metadata), dtype=np.int64), []
    cells = known_cells(metadata, name)
    missing = cells.isna().to_numpy()
    names = ["1" + str(sample) if gone else "0" + str(cell)
             for sample, cell, gone in zip(metadata.index, cells, missing, strict=True)]  # fmt: skip
    codes = np.unique(names, return_inverse=True)[1].astype(np.int64)
    shown = tuple(map(str, metadata.index[missing][:EXAMPLES]))
    what = f"samples have no {name} and are groups of their own"
    return codes, [Finding(what, int(missing.sum()), shown)] if shown else []
