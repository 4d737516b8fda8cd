"""Splits: no row is asked for in two of them, and no window of one stands again in another."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from plait.core.schema import SPLITS
from plait.data.windows import ForecastData
from plait.evaluation.audit.finding import AuditFinding, Checked, origin_rows

Floats = NDArray[np.float64]


def check_splits(data: ForecastData) -> list[Checked]:
    """No target row belongs to two splits, and no whole window (what is seen and what is asked) occurs in two."""
    findings = [*_shared_rows(data), *_repeated_rows(data), *_repeated_windows(data)]
    counts = ", ".join(f"{len(data.rows(split))} {split}" for split in SPLITS)
    return [Checked("splits", f"target rows and contents of {counts} windows compared", tuple(findings))]


def _shared_rows(data: ForecastData) -> Iterator[AuditFinding]:
    asked = {}
    for split in SPLITS:
        origins = origin_rows(data, split)
        asked[split] = np.unique(origins[:, None] + np.arange(1, data.horizon + 1))
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


def _repeated_windows(data: ForecastData) -> Iterator[AuditFinding]:
    """Windows whose seen and asked values all occur in a window of an earlier split; constant ones do not count."""
    length = data.lookback + data.horizon
    first: dict[bytes, tuple[str, int]] = {}
    rows = []
    for split in SPLITS:
        for origin in data.origins[split]:
            window = data.table.values[origin + 1 - data.lookback : origin + 1 + data.horizon]
            known = ~np.isnan(window)
            if len(window) < length or not known.any() or np.ptp(window[known]) == 0:
                continue
            key = window.tobytes()
            where, before = first.setdefault(key, (split, int(origin)))
            if where != split:
                times = data.table.times
                rows.append(f"the {split} window at {times[origin]} is the {where} window at {times[before]}")
    if rows:
        yield AuditFinding("leak", "splits", "windows stand in two splits with the same values", tuple(rows))
