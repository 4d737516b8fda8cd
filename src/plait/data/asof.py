"""The as-of join: which texts may be used at which forecast origin."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from plait.core.seeding import generator
from plait.data.table import Texts
from plait.features.calendar import Times, days_between


def usable_texts(
    available_at: Times, origins: Times, newest: int, lag_days: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The newest texts with available_at + lag <= origin, and their age.

    Cost: O((n + t) log t) for n origins and t texts; `available_at` must be sorted.
    Shape: -> rows of texts (n, newest) int64, newest first, -1 where there is none; age (n, newest) in days.
    """
    lag = np.timedelta64(round(lag_days * 86_400), "s")
    end = np.searchsorted(available_at + lag, origins, side="right")
    rows = end[:, None] - 1 - np.arange(newest)
    age = np.zeros(rows.shape)
    some = rows >= 0
    if some.any():
        age = np.where(some, days_between(origins[:, None], available_at[np.maximum(rows, 0)]), 0.0)
    return np.where(some, rows, -1), age


def permuted(texts: Texts, borders: Times, seed: int) -> Texts:
    """The placebo: contents permuted within the spans that `borders` part, dates as they are, no fixed point.

    A cyclic shift of a random order has no fixed point and gives each text to exactly one other row. A span with a
    single text keeps it: there is nothing to exchange it with.
    """
    contents = np.array(texts.contents, dtype=object)
    span = np.searchsorted(borders, texts.available_at, side="right")
    for number in np.unique(span):
        rows = np.flatnonzero(span == number)
        order = generator(seed, "placebo", int(number)).permutation(rows)
        contents[order] = contents[np.roll(order, 1)]
    return replace(texts, contents=tuple(contents))
