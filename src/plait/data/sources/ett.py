"""`ett`: the Electricity Transformer data, with the split of their papers."""

from pathlib import Path
from typing import Literal

from plait.core.errors import DataError, FileError, suggest
from plait.data.sources._series import SeriesConfig, check_covariates, text_tables
from plait.data.table import SeriesTable, columns_named, parse_numbers, parse_times, read_table, regular_series

_MONTH_ROWS = {"ETTh": 30 * 24, "ETTm": 30 * 24 * 4}
VARIATES = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]


class EttConfig(SeriesConfig):
    """ETTh1, ETTh2, ETTm1 or ETTm2: 12, 4 and 4 months of 30 days for train, validation and test."""

    kind: Literal["ett"] = "ett"
    root: str = "."
    """Folder of the CSV files."""
    path: str = "ETTh1.csv"
    """File below the root; .csv may be left out."""
    targets: list[str] | None = None
    """Columns to forecast; unset: all seven, but for the covariates."""
    covariates: list[str] = []
    """Columns whose past the model reads beside the targets, and that are not forecast."""

    def read(self) -> SeriesTable:
        """The checked series and texts."""
        name = Path(self.path).name.removesuffix(".csv")
        path = Path(self.root) / Path(self.path).with_name(f"{name}.csv")
        if not path.is_file() and path.parent.is_dir():
            there = [p.stem for p in path.parent.glob("*.csv")]
            raise FileError(f"no {name}.csv", where=str(path.parent), fix=suggest(name, there))
        month = _MONTH_ROWS.get(name[:4])
        if month is None:
            raise DataError(f"{name!r} is no ETT file", where="data.path", fix="names begin with ETTh or ETTm")
        frame = read_table(path)
        wanted = self.targets or [name for name in VARIATES if name not in self.covariates]
        columns_named(frame, ["date"], str(path), "data.path")
        columns_named(frame, wanted, str(path), "data.targets")
        columns_named(frame, self.covariates, str(path), "data.covariates")
        check_covariates(self.covariates, wanted)
        columns = [*wanted, *self.covariates]
        values, findings = parse_numbers(frame[columns])
        times = parse_times(frame["date"], str(path))
        times, values, step, more = regular_series(times, values, columns, str(path), "error", "error")
        if len(times) < 20 * month:
            raise DataError(f"{len(times)} rows are fewer than the {20 * month} of 20 months", where=str(path))
        table = SeriesTable(
            times[: 20 * month], values[: 20 * month], tuple(wanted), step, None, (*findings, *more),
            borders=(12 * month, 4 * month, 4 * month), covariates=tuple(self.covariates),
        )  # fmt: skip
        return self.complete(table, text_tables(self.text, self.root))
