"""The checked table every series source ends in, and what was found on the way."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.core.errors import DataError, FileError, suggest, suggest_file
from plait.features.calendar import Step, Times, infer_step, next_times, steps_between

Duplicates = Literal["error", "last", "first", "as_filed"]
MISSING = ["", "nan", "NaN", "NA", "N/A", "None", "null"]
"""What stands for nothing in a cell, of a number or of a text."""

Gaps = Literal["error", "insert", "as_filed"]


@dataclass(frozen=True)
class Finding:
    """Something a check saw: what, how often, a few examples, and the field that decides it, if one must."""

    what: str
    count: int
    examples: tuple[str, ...] = ()
    decide: str = ""

    def __str__(self) -> str:
        shown = f": {', '.join(self.examples)}" if self.examples else ""
        return f"{self.count} {self.what}{shown}"


@dataclass(frozen=True, eq=False)
class Texts:
    """Dated texts, one a row, in the order of `available_at`, the moment from which each may be used.

    `dated` is the latest date its table gives a text, whatever `available_at` was made from, and `whole_day` whether
    that date was written without a time of day; `sources` names the table each is from and `places` the row.
    """

    contents: tuple[str, ...]
    available_at: Times
    dated: Times
    whole_day: NDArray[np.bool_]
    sources: tuple[str, ...]
    places: tuple[str, ...]

    @classmethod
    def of(cls, contents: tuple[str, ...], times: Times, source: str) -> "Texts":
        """Texts that may be used from their own date on."""
        places = tuple(f"{source} {str(t)[:10]}" for t in times)
        return cls(contents, times, times, np.zeros(len(times), dtype=bool), (source,) * len(contents), places)

    def rows(self, index: NDArray[np.int64]) -> "Texts":
        """Some of the texts."""
        picked = [tuple(values[i] for i in index) for values in (self.contents, self.sources, self.places)]
        at, dated, whole_day = self.available_at[index], self.dated[index], self.whole_day[index]
        return Texts(picked[0], at, dated, whole_day, picked[1], picked[2])


@dataclass(frozen=True, eq=False)
class SeriesTable:
    """A regular multivariate series with its texts.

    Columns of `values` are the `variates`, which are forecast, then the `covariates`, which are read alone.
    Shape: `times` (T,) datetime64[s] increasing, `values` (T, v) float64, NaN = missing.
    `announced` (T, p, v), where a generator knows it, holds the oracle's inputs (see features/planted.py).
    """

    times: Times
    values: NDArray[np.float64]
    variates: tuple[str, ...]
    step: Step
    texts: Texts | None = None
    findings: tuple[Finding, ...] = ()
    borders: tuple[int, int, int] | None = None
    announced: NDArray[np.float64] | None = field(default=None, repr=False)
    covariates: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of `values`."""
        return self.variates + self.covariates

    def completed(self, rows: int | None, texts: Texts | None, findings: Sequence[Finding]) -> "SeriesTable":
        """The last `rows` rows (all, if None), with texts and with more findings."""
        found = [*self.findings, *findings]
        cut = slice(0, None)
        if rows is not None and rows < len(self.times):
            found.append(Finding("rows before the last data.rows are left out", len(self.times) - rows))
            cut = slice(-rows, None)
        announced = None if self.announced is None else self.announced[cut]
        borders = self.borders if cut.start == 0 else None
        return replace(
            self, times=self.times[cut], values=self.values[cut], announced=announced, borders=borders, texts=texts,
            findings=tuple(found),
        )  # fmt: skip

    def fingerprint(self) -> str:
        """A digest of the times, values and texts: whether data are still those a run began with."""
        digest = hashlib.sha256("\0".join(self.variates).encode())
        digest.update("".join(f"\0\0{name}" for name in self.covariates).encode())
        digest.update(self.times.astype(np.int64).tobytes() + self.values.tobytes())
        if self.texts is not None:
            digest.update(self.texts.available_at.astype(np.int64).tobytes())
            digest.update("\0".join(self.texts.contents).encode())
        return digest.hexdigest()[:16]


def read_table(path: Path) -> pd.DataFrame:
    """A CSV file, its first line the names, or a Parquet file (`.parquet`), as text cells."""
    try:
        if path.suffix == ".parquet":
            return as_frame(pd.read_parquet(path))
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise FileError("no such file", where=str(path), fix=suggest_file(path)) from None
    except IsADirectoryError:
        raise FileError("is a folder, a CSV file was expected", where=str(path)) from None
    except ImportError:
        raise FileError("Parquet needs pyarrow", where=str(path), fix="pip install plait[parquet]") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"can't be read: {error}", where=str(path)) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"is no CSV table: {str(error).strip()}", where=str(path)) from None
    except ValueError as error:
        raise DataError(f"is no Parquet table: {str(error).strip()}", where=str(path)) from None


def parse_times(cells: pd.Series, where: str) -> Times:
    """Cells as datetime64[s], UTC where a zone is given; the first that is no date is named."""
    parsed = pd.to_datetime(cells, errors="coerce", utc=True, format="ISO8601")
    bad = np.flatnonzero(parsed.isna())
    if len(bad):
        raise DataError(
            f"{cells.iloc[bad[0]]!r} is no date, nor are {len(bad) - 1} more",
            where=f"{where}, column {cells.name}, row {cells.index[bad[0]] + 1}",
            fix="write dates as 2024-01-31 or 2024-01-31 13:00",
        )  # fmt: skip
    return parsed.dt.tz_localize(None).to_numpy(dtype="datetime64[s]")


def parse_numbers(cells: pd.DataFrame) -> tuple[NDArray[np.float64], list[Finding]]:
    """Cells as numbers, with everything else missing and counted. Shape: (T, v)."""
    findings = []
    columns = []
    for name in cells.columns:
        text = cells[name].astype(str).str.strip()
        empty = text.isin(MISSING)
        number = pd.to_numeric(text.where(~empty, None), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        odd = np.flatnonzero(np.isnan(number) & ~empty.to_numpy())
        if len(odd):
            shown = tuple(f"row {r + 1} {text.iloc[r]!r}" for r in odd[:3])
            findings.append(Finding(f"cells of {name} are no numbers and count as missing", len(odd), shown))
        infinite = np.flatnonzero(np.isinf(number))
        if len(infinite):
            shown = tuple(f"row {r + 1}" for r in infinite[:3])
            findings.append(Finding(f"cells of {name} are infinite and count as missing", len(infinite), shown))
        missing = int(empty.sum())
        if missing:
            shown = tuple(f"row {r + 1}" for r in np.flatnonzero(empty)[:3])
            findings.append(Finding(f"cells of {name} are empty", missing, shown))
        columns.append(np.where(np.isinf(number), np.nan, number))
    return np.stack(columns, axis=1), findings


def columns_named(frame: pd.DataFrame, names: list[str], where: str, field: str) -> None:
    """Refuse names that are no columns of the table; `field` names those it wants."""
    for name in names:
        if name not in frame.columns:
            near = suggest(name, frame.columns)
            raise DataError(
                f"no column {name!r}", where=where, fix=f"{near}{'' if near[-1] == '?' else ';'} set {field}"
            )


def regular_series(
    times: Times,
    values: NDArray[np.float64],
    variates: list[str],
    where: str,
    duplicates: Duplicates,
    gaps: Gaps,
) -> tuple[Times, NDArray[np.float64], Step, list[Finding]]:
    """Sort by time, then settle repeated and absent steps as the two fields say.

    What a field leaves undecided (`error`) comes back as a Finding that names the field; `refuse` raises on it.
    """
    findings: list[Finding] = []
    order = np.argsort(times, kind="stable")
    if not np.array_equal(order, np.arange(len(times))):
        findings.append(
            Finding("rows did not stand in the order of time and were sorted", int((np.diff(order) < 0).sum()))
        )
    times, values = times[order], values[order]
    if len(times) < 3:
        raise DataError(f"{len(times)} rows are no series", where=where)
    repeated = np.flatnonzero(np.diff(times) == np.timedelta64(0, "s"))
    if len(repeated):
        shown = tuple(str(times[r]) for r in repeated[:3])
        findings.append(
            Finding(
                "rows repeat a time stamp",
                len(repeated),
                shown,
                "data.duplicates" if duplicates == "error" else "",
            )
        )
        if duplicates in ("last", "first"):
            keep = np.ones(len(times), dtype=bool)
            keep[repeated if duplicates == "last" else repeated + 1] = False
            times, values = times[keep], values[keep]
    step = infer_step(times)
    distance = steps_between(times, step)
    holes = np.flatnonzero(distance > 1.5)
    if len(holes):
        shown = tuple(f"after {times[h]}" for h in holes[:3])
        count = int(np.round(distance[holes]).sum() - len(holes))
        findings.append(
            Finding(f"steps of a {step.name} are absent", count, shown, "data.gaps" if gaps == "error" else "")
        )
        if gaps == "insert":
            times, values = _insert(times, values, step, distance, where)
    for column, name in enumerate(variates):
        if np.isnan(values[:, column]).all():
            raise DataError(
                f"column {name} holds no number", where=where, fix="name other columns (data.targets, data.covariates)"
            )
    return times, values, step, findings


def _insert(
    times: Times, values: NDArray[np.float64], step: Step, distance: NDArray[np.float64], where: str
) -> tuple[Times, NDArray[np.float64]]:
    whole = np.round(distance).astype(np.int64)
    if step.name != "month" and not np.allclose(distance, whole):
        row = int(np.flatnonzero(~np.isclose(distance, whole))[0])
        raise DataError(
            f"{times[row + 1]} lies between two steps",
            where=where,
            fix="data.gaps: as_filed keeps the rows as they are",
        )
    place = np.concatenate([[0], np.cumsum(whole)])
    grid = np.full((place[-1] + 1, values.shape[1]), np.nan)
    grid[place] = values
    filled = np.concatenate([times[:1], next_times(times[0], step, int(place[-1]))])
    filled[place] = times
    return filled, grid


def refuse(findings: tuple[Finding, ...] | list[Finding], where: str) -> None:
    """Raise on findings that a field of the config must decide."""
    open_ones = [f for f in findings if f.decide]
    if open_ones:
        fields = " and ".join(sorted({f.decide for f in open_ones}))
        raise DataError("; ".join(map(str, open_ones)), where=where, fix=f"decide by {fields}")


def as_frame(table: Any) -> pd.DataFrame:
    """A user's frame with text cells, as `read_table` gives them; an index of dates becomes a column."""
    frame = pd.DataFrame(table)
    if isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.rename_axis(str(frame.index.name or "date"))
    frame = frame.reset_index(drop=not isinstance(frame.index, pd.DatetimeIndex))
    return frame.astype(object).where(frame.notna(), "").astype(str)
