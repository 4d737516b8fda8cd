"""How well numbers rank rows with an event before rows without: ROC AUC and average precision, also of resamples."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Counts = NDArray[np.floating]

CHUNK = 64
"""Draws that are computed at once."""


def roc_auc(score: FloatArray, event: NDArray[np.bool_], weight: Counts | None = None) -> FloatArray:
    """The chance that a row with an event has a higher score than one without; ties count one half.

    Shape: score, event (n,), weight (draws, n), how often a row counts in each draw (unset: once, in one draw) ->
    (draws,). NaN in a draw without both kinds of rows.
    Source: Hanley & McNeil 1982.
    """

    def of(events: FloatArray, others: FloatArray) -> FloatArray:
        below = others.cumsum(axis=1) - others / 2
        return _share((events * below).sum(axis=1), events.sum(axis=1) * others.sum(axis=1))

    return _over(score, event, weight, of)


def average_precision(score: FloatArray, event: NDArray[np.bool_], weight: Counts | None = None) -> FloatArray:
    """The precision at every threshold, weighted by the recall it adds.

    Shape: as `roc_auc`. NaN in a draw without an event.
    Source: Manning et al. 2008, section 8.4; rows with equal scores are called together.
    """

    def of(events: FloatArray, others: FloatArray) -> FloatArray:
        hits = events.cumsum(axis=1)
        called = hits + others.cumsum(axis=1)
        precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
        return _share((events * precision).sum(axis=1), events.sum(axis=1))

    return _over(-score, event, weight, of)


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _over(
    rank: FloatArray,
    event: NDArray[np.bool_],
    weight: Counts | None,
    of: Callable[[FloatArray, FloatArray], FloatArray],
) -> FloatArray:
    """What `of` makes of the weight of events and of others at each distinct rank, in rising order, draw by draw."""
    order = np.argsort(rank, kind="stable")
    ranks = rank[order]
    begins = np.flatnonzero(np.r_[True, ranks[1:] != ranks[:-1]])
    draws = np.ones((1, len(rank))) if weight is None else weight
    made = []
    for start in range(0, len(draws), CHUNK):
        part = draws[start : start + CHUNK, order].astype(np.float64)
        events, others = (np.add.reduceat(part * which, begins, axis=1) for which in (event[order], ~event[order]))
        made.append(of(events, others))
    return np.concatenate(made)
