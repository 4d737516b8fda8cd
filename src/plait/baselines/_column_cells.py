"""Columns of metadata as cells: codes of their values, what the cells answer, and columns that copy the target."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from plait.features.seasonal_prior import FloatArray, IntArray

COPY = 0.99
"""A rank correlation this near to 1 or -1 is a copy."""


def codes_of(columns: pd.DataFrame) -> IntArray:
    """Whole numbers for the values of each column, missing ones together as one value. Shape: (n, k)."""
    each = [pd.factorize(columns[name], use_na_sentinel=False)[0] for name in columns.columns]
    return np.stack(each, axis=1).astype(np.int64) if each else np.zeros((len(columns), 0), dtype=np.int64)


def number_of(column: "pd.Series[Any]") -> FloatArray:
    """The column as numbers, NaN where it has none. Shape: (n,)."""
    number = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(number), number, np.nan)


def by_cell(codes: IntArray, train: IntArray, fewest: int, centre: Callable[[IntArray], Any]) -> FloatArray:
    """Answer every row with the centre of the train rows of its cell, backing off where a cell has few.

    A cell is the rows of equal codes in all columns. One of fewer than `fewest` train rows takes the answer of its
    cell of all columns but the last, and so on; without columns there is one cell, of all rows.

    Shape: codes (n, k), train (t,) row numbers; centre: (u,) positions in train -> (...); -> (n, ...).
    """
    whole = np.asarray(centre(np.arange(len(train))), dtype=np.float64)
    answers: FloatArray = np.repeat(whole[None], len(codes), axis=0)
    for columns in range(1, codes.shape[1] + 1):
        cell = np.unique(codes[:, :columns], axis=0, return_inverse=True)[1].ravel()
        held = np.bincount(cell[train], minlength=cell.max(initial=0) + 1)
        for number in np.flatnonzero(held >= fewest):
            answers[cell == number] = centre(np.flatnonzero(cell[train] == number))
    return answers


def copies(number: FloatArray, y: Any, classes: int) -> bool:
    """Whether numbers sort a target as it sorts itself: |Spearman's rho| >= 0.99, or classes that do not interleave.

    Rows whose number is missing are passed over.

    Shape: number and y (n,), y without unknown targets.
    """
    there = np.isfinite(number)
    number, y = number[there], y[there]
    kinds = len(np.unique(y))
    if kinds < 2 or len(np.unique(number)) < 2:
        return False
    if classes:
        along = y[np.argsort(number, kind="stable")]
        return int((along[1:] != along[:-1]).sum()) == kinds - 1
    ranks = np.stack([pd.Series(values).rank().to_numpy(dtype=np.float64) for values in (number, y)])
    return bool(abs(np.corrcoef(ranks[0], ranks[1])[0, 1]) >= COPY)


def nearest_seen(number: FloatArray, train: IntArray) -> IntArray:
    """Code each number by the nearest one of a train row, the smaller of equals; -1 where missing. Shape: (n,)."""
    seen = np.unique(number[train][np.isfinite(number[train])])
    if not len(seen):
        return np.full(len(number), -1)
    filled = np.where(np.isfinite(number), number, seen[0])
    place = np.searchsorted((seen[1:] + seen[:-1]) / 2, filled)
    return np.where(np.isfinite(number), place, -1).astype(np.int64)
