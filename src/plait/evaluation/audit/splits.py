"""Splits: no row is asked for in two of them, and no stretch of one stands again in another."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from plait.core.schema import SPLITS
from plait.data.windows import ForecastData
from plait.evaluation.audit.finding import AuditFinding, Checked, origin_rows

Floats = NDArray[np.float64]

STRETCH, DISTINCT = 8, 5
"""Values of a stretch that is compared, and how many of them must differ for it to be no plateau or simple count."""

FINE = 1e-5
"""Values that differ by less than this share of a column's sd are the same."""


def check_splits(data: ForecastData) -> list[Checked]:
    """No target row belongs to two splits, no row stands in two, and no stretch of one is a copy of another's."""
    findings = [*_shared_rows(data), *_repeated_rows(data), *_copied_stretches(data)]
    counts = ", ".join(f"{len(data.rows(split))} {split}" for split in SPLITS)
    did = f"target rows of {counts} windows, and stretches of {STRETCH} values of {len(data.table.columns)} columns"
    return [Checked("splits", f"{did} compared", tuple(findings))]


def _shared_rows(data: ForecastData) -> Iterator[AuditFinding]:
    asked = {}
    for split in SPLITS:
        first = 1 if data.question.ahead else 1 - data.horizon
        asked[split] = np.unique(origin_rows(data, split)[:, None] + np.arange(first, first + data.horizon))
    for one, two in combinations(SPLITS, 2):
        both = np.intersect1d(asked[one], asked[two])
        if len(both):
            rows = tuple(str(data.table.times[r]) for r in both)
            yield AuditFinding("leak", "splits", f"rows are targets of both {one} and {two}", rows)


def _split_of(data: ForecastData) -> NDArray[np.int64]:
    """The split each row is a target of. Shape: (T,)."""
    sizes = (data.borders.train, data.borders.val, data.borders.test)
    return np.repeat(np.arange(3), sizes)


def _repeated_rows(data: ForecastData) -> Iterator[AuditFinding]:
    """The same time stamp with the same values in two splits: rows that `as_filed` has let stand."""
    times, values = data.table.times, data.table.values
    split = _split_of(data)
    first: dict[bytes, int] = {}
    rows = []
    for row in range(len(split)):
        key = times[row].tobytes() + values[row].tobytes()
        before = first.setdefault(key, row)
        if split[before] != split[row]:
            rows.append(f"{times[row]} stands in {SPLITS[split[before]]} and in {SPLITS[split[row]]}")
    if rows:
        yield AuditFinding("leak", "splits", "rows stand in two splits", tuple(rows))


def _copied_stretches(data: ForecastData) -> Iterator[AuditFinding]:
    """Stretches of a column that a later split repeats from an earlier one.

    A stretch that comes again within its own split is how the series goes (a schedule, a coarse count) and no copy.
    """
    split, times = _split_of(data), data.table.times
    for column, name in enumerate(data.table.columns):
        whole = np.round(data.z[: len(split), column] / FINE)
        starts = _telling(whole)
        first: dict[bytes, int] = {}
        again: set[bytes] = set()
        for start in starts:
            key = whole[start : start + STRETCH].tobytes()
            before = first.setdefault(key, int(start))
            if before != start and split[before] == split[start]:
                again.add(key)
        copied: dict[int, int] = {}
        for start in starts:
            key = whole[start : start + STRETCH].tobytes()
            if key not in again and split[first[key]] < split[start]:
                copied |= {int(start) + step: first[key] + step for step in range(STRETCH)}
        rows = tuple(
            f"{name} at {times[row]} ({SPLITS[split[row]]}) is that at {times[of]}" for row, of in copied.items()
        )
        if rows:
            words = f"values of {name} stand in a later split as they stood in an earlier one"
            yield AuditFinding("leak", "splits", words, rows)


def _telling(whole: Floats) -> NDArray[np.int64]:
    """Where stretches begin that are observed throughout and have enough distinct values to tell them apart."""
    if len(whole) < STRETCH:
        return np.empty(0, dtype=np.int64)
    stretches = np.lib.stride_tricks.sliding_window_view(whole, STRETCH)
    ordered = np.sort(stretches, axis=1)
    distinct = (np.diff(ordered, axis=1) > 0).sum(axis=1) + 1
    return np.flatnonzero((distinct >= DISTINCT) & ~np.isnan(stretches).any(axis=1))
