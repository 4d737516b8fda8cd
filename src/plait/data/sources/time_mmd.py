"""`time_mmd`: the domains of Time-MMD as published, their defects settled and reported."""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from plait.core.errors import DataError, FileError, suggest
from plait.data.dated_texts import Repeats, TextTable, Void
from plait.data.sources._series import SeriesConfig, TextConfig, check_covariates, text_tables
from plait.data.table import (
    Duplicates,
    Finding,
    Gaps,
    SeriesTable,
    columns_named,
    parse_numbers,
    parse_times,
    read_table,
    regular_series,
)
from plait.features.calendar import Times

DATES = ("end_date", "ValidEnd", "date", "start_date", "ValidStart", "Date", "Month", "MapDate")
"""Columns that hold dates; the first that is there names the end of a row's step."""

Table = Literal["report", "search"]


class TimeMmdTextConfig(TextConfig):
    """The facts of a domain's reports and searches; what they predict is not read."""

    content: str = "fact"
    """Column of the text; `preds` holds what a language model made of it."""
    void: Void = "nothing_found"
    """What is no text: empty cells, or also cells that say that nothing was found."""
    repeats: Repeats = "merge"
    """Equal texts under several dates: each counts, or they are one text at the latest date."""
    tables: list[Table] = Field(["report", "search"], min_length=1)
    """Which of the domain's two text tables are read."""


class TimeMmdConfig(SeriesConfig):
    """One domain of Time-MMD: numerical/<domain>/<domain>.csv and textual/<domain>/<domain>_{report,search}.csv."""

    new_table: ClassVar[dict[str, str]] = {"time": "end_date", "duplicates": "last", "gaps": "insert"}

    kind: Literal["time_mmd"] = "time_mmd"
    root: str
    """Folder that holds numerical/ and textual/."""
    domain: str
    """Name of the domain, as its folders have it."""
    targets: list[str] | None = Field(["OT"], min_length=1)
    """Columns to forecast; null: every column that holds numbers, but for the covariates."""
    covariates: list[str] = []
    """Columns whose past the model reads beside the targets, and that are not forecast."""
    duplicates: Duplicates | None = None
    """Rows that repeat an end date; unset: as_filed where YEAR and WEEK run on without a hole, else last."""
    gaps: Gaps | None = None
    """Absent steps; unset: as_filed where YEAR and WEEK run on without a hole, else insert."""
    text: TimeMmdTextConfig = TimeMmdTextConfig()
    """Dated texts."""

    def read(self) -> SeriesTable:
        """The checked series and texts."""
        path = self._numerical()
        frame = read_table(path)
        end = next((name for name in DATES if name in frame.columns), None)
        if end is None:
            raise DataError("no column of dates", where=str(path), fix=f"one of {', '.join(DATES)}")
        columns_named(frame, self.covariates, str(path), "data.covariates")
        names = self.targets or [name for name in _numeric(frame) if name not in self.covariates]
        columns_named(frame, names, str(path), "data.targets")
        check_covariates(self.covariates, names)
        columns = [*names, *self.covariates]
        values, findings = parse_numbers(frame[columns])
        times = parse_times(frame[end], str(path))
        complete = _runs_on(frame, times)
        usual: tuple[Duplicates, Gaps] = ("as_filed", "as_filed") if complete else ("last", "insert")
        duplicates, gaps = self.duplicates or usual[0], self.gaps or usual[1]
        times, values, step, more = regular_series(times, values, columns, str(path), duplicates, gaps)
        if complete and any("repeat" in found.what or "absent" in found.what for found in more):
            words = "rows have YEAR and WEEK that run on without a hole: their dates are wrong, the rows complete"
            more.append(Finding(words, len(times)))
        beside = tuple(self.covariates)
        table = SeriesTable(times, values, tuple(names), step, None, (*findings, *more), covariates=beside)
        return self.complete(table, self._texts())

    def _numerical(self) -> Path:
        folder = Path(self.root) / "numerical"
        if not folder.is_dir():
            raise FileError(
                "no folder numerical, so this is not the root of Time-MMD", where=self.root,
                fix="set data.root to the folder that holds numerical/ and textual/; plait data fetch time-mmd gets it",
            )  # fmt: skip
        domains = sorted(p.name for p in folder.iterdir() if (p / f"{p.name}.csv").is_file())
        if self.domain not in domains:
            raise DataError(f"no domain {self.domain!r}", where="data.domain", fix=suggest(self.domain, domains))
        return folder / self.domain / f"{self.domain}.csv"

    def _texts(self) -> list[TextTable]:
        if self.text.path is not None:
            return text_tables(self.text, self.root) or []
        folder = Path(self.root) / "textual" / self.domain
        paths = [folder / f"{self.domain}_{name}.csv" for name in self.text.tables]
        return [TextTable(read_table(path), path.stem, path.name) for path in paths]


def _numeric(frame: pd.DataFrame) -> list[str]:
    """The columns of which at least half of the cells are numbers, but for dates and what numbers the rows."""
    others = {*DATES, "YEAR", "WEEK", "StatisticFormatID"}
    names = [str(name) for name in frame.columns if name not in others]
    shares = {name: pd.to_numeric(frame[name], errors="coerce").notna().mean() for name in names}
    return [name for name in names if shares[name] >= 0.5]


def _runs_on(frame: pd.DataFrame, times: Times) -> bool:
    """Whether YEAR and WEEK columns number the rows, in the order of time, without a hole.

    The next row is the next week of its year, or week 1 of the next year after week 52 or 53, and there are as many
    rows as weeks from the first to the last.
    """
    if not {"YEAR", "WEEK"} <= set(frame.columns):
        return False
    order = np.argsort(times, kind="stable")
    year, week = (pd.to_numeric(frame[name], errors="coerce").to_numpy()[order] for name in ("YEAR", "WEEK"))
    same = (np.diff(year) == 0) & (np.diff(week) == 1)
    turn = (np.diff(year) == 1) & (week[1:] == 1) & (week[:-1] >= 52)
    weeks = (times[order[-1]] - times[order[0]]) / np.timedelta64(7, "D") + 1
    return bool((same | turn).all()) and len(times) == weeks
