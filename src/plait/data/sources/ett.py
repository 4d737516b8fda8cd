"""`ett`: the Electricity Transformer data, with the split of their papers."""

from pathlib import Path
from typing import Literal

from plait.core.errors import DataError, FileError, suggest
from plait.data.sources._series import SeriesConfig
from plait.data.table import SeriesTable, parse_numbers, parse_times, read_csv, regular_series

_MONTH_ROWS = {"ETTh": 30 * 24, "ETTm": 30 * 24 * 4}
VARIATES = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]


class EttConfig(SeriesConfig):
    """ETTh1, ETTh2, ETTm1 or ETTm2: 12, 4 and 4 months of 30 days for train, validation and test."""

    kind: Literal["ett"] = "ett"
    root: str = "."
    """Folder of the CSV files."""
    name: str = "ETTh1"
    """Name of the file, without .csv."""
    targets: list[str] | None = None
    """Columns to forecast; unset: all seven."""

    def read(self) -> SeriesTable:
        """The checked series and texts."""
        name = self.name.removesuffix(".csv")
        path = Path(self.root) / f"{name}.csv"
        if not path.is_file() and Path(self.root).is_dir():
            there = [p.stem for p in Path(self.root).glob("*.csv")]
            raise FileError(f"no {name}.csv", where=self.root, fix=suggest(name, there))
        month = _MONTH_ROWS.get(name[:4])
        if month is None:
            raise DataError(f"{name!r} is no ETT file", where="data.name", fix="names begin with ETTh or ETTm")
        frame = read_csv(path)
        wanted = self.targets or VARIATES
        for column in ["date", *wanted]:
            if column not in frame.columns:
                raise DataError(f"no column {column!r}", where=str(path), fix=suggest(column, frame.columns))
        values, findings = parse_numbers(frame[wanted])
        times = parse_times(frame["date"], str(path))
        times, values, step, more = regular_series(times, values, wanted, str(path), "error", "error")
        if len(times) < 20 * month:
            raise DataError(f"{len(times)} rows are fewer than the {20 * month} of 20 months", where=str(path))
        texts, text_findings = self.text.read()
        findings += [*more, *text_findings]
        return SeriesTable(
            times[: 20 * month], values[: 20 * month], tuple(wanted), step, texts, tuple(findings),
            borders=(12 * month, 4 * month, 4 * month),
        )  # fmt: skip
