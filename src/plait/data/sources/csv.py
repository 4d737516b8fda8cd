"""`csv`: any table of a series, and any table of dated texts."""

from typing import Any, Literal

from plait.core.errors import DataError
from plait.data.dated_texts import TextTable
from plait.data.sources._series import SeriesConfig, check_covariates, find_file, text_tables
from plait.data.table import (
    Duplicates,
    Gaps,
    SeriesTable,
    as_frame,
    columns_named,
    parse_numbers,
    parse_times,
    read_table,
    regular_series,
)


class CsvConfig(SeriesConfig):
    """A series in a CSV file, with texts in another."""

    kind: Literal["csv"] = "csv"
    root: str = "."
    """Folder of the files, for paths that do not stand by themselves."""
    path: str
    """CSV file with a time column and one column a variate."""
    time: str = "date"
    """Column of the time stamps; each names the end of its step."""
    targets: list[str] | None = None
    """Columns to forecast; unset: all but the time column and the covariates."""
    covariates: list[str] = []
    """Columns whose past the model reads beside the targets, and that are not forecast."""
    duplicates: Duplicates = "error"
    """Rows that repeat a time stamp: refuse, keep the last or first, or take the rows as they stand."""
    gaps: Gaps = "error"
    """Absent steps: refuse, insert as missing, or take the rows as they stand."""

    def read(self) -> SeriesTable:
        """The checked series and texts."""
        path = find_file(self.path, self.root)
        return self.complete(self.series_of(read_table(path), str(path)), text_tables(self.text, self.root))

    def series_of(self, frame: Any, where: str) -> SeriesTable:
        """The checked series of a frame of text cells."""
        columns_named(frame, [self.time], where, "data.time")
        columns_named(frame, self.targets or [], where, "data.targets")
        columns_named(frame, self.covariates, where, "data.covariates")
        names = self.targets or [str(c) for c in frame.columns if c not in (self.time, *self.covariates)]
        check_covariates(self.covariates, names)
        if not names:
            raise DataError("there is no column beside the time column", where=where)
        columns = [*names, *self.covariates]
        values, findings = parse_numbers(frame[columns])
        times = parse_times(frame[self.time], where)
        times, values, step, more = regular_series(times, values, columns, where, self.duplicates, self.gaps)
        beside = tuple(self.covariates)
        return SeriesTable(times, values, tuple(names), step, None, (*findings, *more), covariates=beside)

    def of_frames(self, frame: Any, texts: Any | None) -> SeriesTable:
        """The checked series and texts of two pandas frames."""
        tables = None if texts is None else [TextTable(as_frame(texts), "texts", "texts")]
        return self.complete(self.series_of(as_frame(frame), "frame"), tables)
