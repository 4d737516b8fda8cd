"""Defects of a table are counted, named and decided by a field; nothing is mended in silence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plait.core.config import validate
from plait.core.errors import DataError, FileError, PlaitError
from plait.data.sources.csv import CsvConfig
from plait.data.sources.ett import EttConfig
from plait.data.table import SeriesTable, read_table, refuse
from plait.features.calendar import infer_step, next_times, season_codes, steps_between


def _read(tmp_path: Path, text: str, **fields: object) -> SeriesTable:
    path = tmp_path / "series.csv"
    path.write_text(text)
    table = validate(CsvConfig, {"kind": "csv", "path": str(path), **fields}).read()
    refuse(table.findings, str(path))
    return table


DAILY = "date,a,b\n2024-01-01,1,2\n2024-01-02,3,4\n2024-01-03,5,6\n2024-01-04,7,8\n2024-01-05,9,10\n"

NO_NUMBERS = "date,a,b\n2024-01-01,x,2\n2024-01-02,x,4\n2024-01-03,x,6\n"


def test_a_clean_table(tmp_path: Path) -> None:
    table = _read(tmp_path, DAILY)
    assert table.variates == ("a", "b")
    assert table.step.name == "day"
    np.testing.assert_array_equal(table.values[:, 1], [2, 4, 6, 8, 10])
    assert table.findings == ()


def test_rows_out_of_order_are_sorted_and_reported(tmp_path: Path) -> None:
    lines = DAILY.splitlines()
    table = _read(tmp_path, "\n".join([lines[0], *reversed(lines[1:])]))
    np.testing.assert_array_equal(table.values[:, 0], [1, 3, 5, 7, 9])
    assert "order of time" in str(table.findings[0])


def test_cells_that_are_no_numbers_become_missing_and_are_counted(tmp_path: Path) -> None:
    table = _read(tmp_path, DAILY.replace(",3,", ",Moderate,").replace(",5,", ",inf,").replace(",7,", ",,"))
    assert np.isnan(table.values[1:4, 0]).all()
    words = " | ".join(map(str, table.findings))
    assert "row 2 'Moderate'" in words
    assert "infinite" in words
    assert "empty" in words


@pytest.mark.parametrize(("choice", "rows", "second"), [("last", 5, 33), ("first", 5, 3), ("as_filed", 6, 3)])
def test_repeated_times_are_decided_by_a_field(tmp_path: Path, choice: str, rows: int, second: float) -> None:
    text = DAILY.replace("2024-01-03,5,6", "2024-01-02,33,4\n2024-01-03,5,6")
    with pytest.raises(DataError, match=r"2024-01-02.*data\.duplicates"):
        _read(tmp_path, text)
    table = _read(tmp_path, text, duplicates=choice)
    assert len(table.times) == rows
    assert table.values[1, 0] == second


def test_absent_steps_are_decided_by_a_field(tmp_path: Path) -> None:
    text = DAILY.replace("2024-01-03,5,6\n", "")
    with pytest.raises(DataError, match=r"after 2024-01-02.*data\.gaps"):
        _read(tmp_path, text)
    table = _read(tmp_path, text, gaps="insert")
    assert len(table.times) == 5
    assert np.isnan(table.values[2]).all()
    assert str(table.times[2]).startswith("2024-01-03")
    assert len(_read(tmp_path, text, gaps="as_filed").times) == 4


@pytest.mark.parametrize(
    ("text", "fields", "words"),
    [
        (DAILY.replace("2024-01-03", "yesterday"), {}, r"column date, row 3: 'yesterday' is no date"),
        (DAILY, {"time": "day"}, "no column 'day'.*did you mean date"),
        (DAILY, {"targets": ["c"]}, "no column 'c'"),
        (NO_NUMBERS, {}, "column a holds no number"),
        ("", {}, "no CSV table"),
        ("date,a\n2024-01-01,1\n", {}, "1 rows are no series"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, fields: dict[str, object], words: str) -> None:
    with pytest.raises(PlaitError, match=words):
        _read(tmp_path, text, **fields)


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(DAILY)
    with pytest.raises(FileError, match=r"did you mean sales\.csv"):
        validate(CsvConfig, {"kind": "csv", "path": str(tmp_path / "sale.csv")}).read()


def test_monthly_axes_keep_month_ends_and_count_months() -> None:
    times = pd.date_range("2023-10-31", periods=5, freq="ME").to_numpy().astype("datetime64[s]")
    step = infer_step(times)
    assert step.name == "month"
    np.testing.assert_array_equal(steps_between(times, step), 1.0)
    assert [str(t)[:10] for t in next_times(times[-1], step, 2)] == ["2024-03-31", "2024-04-30"]
    assert season_codes(times, step)[0].tolist() == [9, 10, 11, 0, 1]


def test_iso_weeks_equal_pandas_with_53_as_52() -> None:
    times = pd.date_range("2008-12-07", periods=700, freq="7D")
    codes, count = season_codes(
        times.to_numpy().astype("datetime64[s]"), infer_step(times.to_numpy().astype("datetime64[s]"))
    )
    expected = np.minimum(times.isocalendar().week.to_numpy(dtype=np.int64), 52) - 1
    assert count == 52
    np.testing.assert_array_equal(codes, expected)


def test_parquet_is_read_as_text_cells_where_pyarrow_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sales.parquet"
    frame = pd.DataFrame({"date": pd.to_datetime(["2024-01-01", "2024-01-02"]), "a": [1.5, np.nan]})
    monkeypatch.setattr(pd, "read_parquet", lambda place: frame if place == path else None)
    assert read_table(path).to_dict("list") == {
        "date": ["2024-01-01 00:00:00", "2024-01-02 00:00:00"],
        "a": ["1.5", ""],
    }

    def absent(place: Path) -> pd.DataFrame:
        raise ImportError("no pyarrow")

    monkeypatch.setattr(pd, "read_parquet", absent)
    with pytest.raises(FileError, match=r"Parquet needs pyarrow \(pip install plait\[parquet\]\)"):
        read_table(path)


def test_etth1_as_published(shared: Path) -> None:
    table = validate(EttConfig, {"kind": "ett", "root": str(shared / "data" / "ett")}).read()
    assert table.values.shape == (14_400, 7)
    assert table.borders == (8640, 2880, 2880)
    assert table.step.name == "hour"
    assert not np.isnan(table.values).any()
    with pytest.raises(FileError, match="did you mean ETTh1"):
        validate(EttConfig, {"kind": "ett", "root": str(shared / "data" / "ett"), "path": "ETTh"}).read()
