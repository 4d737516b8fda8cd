"""The attributes of products as the cheap rivals read them: numbers, and categories as columns or as mean prices."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plait.features.seasonal_prior import FloatArray, IntArray

MOST = 500
"""So many categories of a column have one of their own, those with the most train rows."""
SKEWED = 1.0
"""Positive numbers of a larger skewness enter as logarithms."""
FOLDS = 10


@dataclass(frozen=True, eq=False)
class Attributes:
    """Numbers and categories of all rows. Shape: numbers (N, k), NaN where missing; categories (N, c), text."""

    numbers: FloatArray
    categories: pd.DataFrame

    def as_columns(self, train: IntArray) -> Any:
        """Numbers standardised by the train rows, whether each is missing, and a column for each category.

        A missing number is the train mean. Positive numbers of skewness above 1 enter as logarithms. A missing category
        is one by itself; one without a train row, or beyond the 500 most frequent, has no column.
        Shape: a CSR array (N, f).
        """
        gone = ~np.isfinite(self.numbers)
        lacking = np.flatnonzero(gone[train].any(axis=0))
        numbers = [_standardised(column, train) for column in self.numbers.T]
        dense = np.hstack([np.zeros((len(gone), 0)), *numbers, gone[:, lacking].astype(np.float64)])
        named = [_one_hot(words, train) for words in self._texts]
        return sparse.hstack([sparse.csr_array(dense), *named], format="csr")

    def as_prices(self, train: IntArray, log_price: FloatArray, seed: int) -> FloatArray:
        """Numbers as they are, and for each column of categories the mean log price and the log count of its rows.

        Means are shrunk towards the mean of all; a train row's is of the other folds' rows, so that it never sees its
        own price. `log_price` is read at train rows alone. Shape: (N, k + 2 c).
        Source: Micci-Barreca (2001), equations 3 and 5.
        """
        parts = [self.numbers]
        for words in self._texts:
            parts += [_mean_prices(words, train, log_price[train], seed), _log_counts(words, train)]
        return np.hstack(parts)

    @property
    def _texts(self) -> list[NDArray[np.str_]]:
        return [self.categories[name].to_numpy(dtype=object).astype(str) for name in self.categories]


def _standardised(column: FloatArray, train: IntArray) -> FloatArray:
    """One column of numbers, 0 on average over train rows where it is known. Shape: (N,) -> (N, 1)."""
    known = column[train][np.isfinite(column[train])]
    if not len(known):
        return np.zeros((len(column), 1))
    spread = known.std() or 1.0
    if known.min() > 0 and float((((known - known.mean()) / spread) ** 3).mean()) > SKEWED:
        # A row beyond the train rows may hold what has no logarithm.
        column, known = np.log(np.maximum(column, known.min() / 2)), np.log(known)
    centred = (column - known.mean()) / (known.std() or 1.0)
    return np.where(np.isfinite(centred), centred, 0.0)[:, None]


def _one_hot(words: NDArray[np.str_], train: IntArray) -> Any:
    """A column for each of the most frequent words of the train rows. Shape: (N,) -> a CSR array (N, m)."""
    values, counts = np.unique(words[train], return_counts=True)
    kept = np.sort(values[np.argsort(-counts, kind="stable")[:MOST]])
    place = np.minimum(np.searchsorted(kept, words), len(kept) - 1)
    rows = np.flatnonzero(kept[place] == words)
    return sparse.csr_array((np.ones(len(rows)), (rows, place[rows])), shape=(len(words), len(kept)))


def _mean_prices(words: NDArray[np.str_], train: IntArray, y: FloatArray, seed: int) -> FloatArray:
    """The mean log price of each row's word: of a train row by the other folds, else by all train rows."""
    found = _shrunk_means(words[train], y, words)
    fold = np.random.default_rng(seed).permutation(len(train)) % FOLDS
    for number in np.unique(fold):
        own = train[fold == number]
        found[own] = _shrunk_means(words[train[fold != number]], y[fold != number], words[own])
    return found[:, None]


def _shrunk_means(seen: NDArray[np.str_], y: FloatArray, words: NDArray[np.str_]) -> FloatArray:
    """(sum of a word's y + m mean) / (count + m), m the variance within words over that of all; the mean if unseen."""
    if not len(y):
        return np.zeros(len(words))
    middle, groups = y.mean(), pd.Series(y - y.mean()).groupby(seen)
    sums, counts = groups.sum(), groups.size()
    within = float(((y - middle) ** 2).sum() - (sums**2 / counts).sum()) / max(1, len(y) - len(counts))
    shrunk = sums / (counts + within / (float(y.var()) or 1.0))
    return np.asarray(middle + pd.Series(words).map(shrunk).fillna(0.0).to_numpy(dtype=np.float64))


def _log_counts(words: NDArray[np.str_], train: IntArray) -> FloatArray:
    counts = pd.Series(words[train]).value_counts()
    return np.log1p(pd.Series(words).map(counts).fillna(0).to_numpy(dtype=np.float64))[:, None]
