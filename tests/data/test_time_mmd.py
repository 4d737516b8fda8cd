"""Time-MMD as published: each domain reads, its defects are settled and told, and its windows are the reference's."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait.baselines import FORECASTS
from plait.core.config import validate
from plait.core.errors import DataError, FileError
from plait.data.sources.time_mmd import TimeMmdConfig
from plait.data.table import SeriesTable
from plait.data.windows import ForecastData
from plait.tasks.forecast import ForecastTask

DOMAINS = ["Agriculture", "Climate", "Economy", "Energy", "Health_US", "Traffic"]


def _config(shared: Path, domain: str, **fields: Any) -> TimeMmdConfig:
    root = str(shared / "data" / "time_mmd")
    return validate(TimeMmdConfig, {"kind": "time_mmd", "root": root, "domain": domain, **fields})


def _found(table: SeriesTable) -> dict[str, int]:
    return {finding.what: finding.count for finding in table.findings}


@pytest.mark.parametrize("domain", DOMAINS)
def test_rows_and_cheap_baselines_equal_the_reference(shared: Path, domain: str) -> None:
    config = _config(shared, domain)
    name = "Health_US_rows_as_filed" if domain == "Health_US" else domain
    reference = pd.read_csv(shared / "reference" / "time_mmd_baselines.csv")
    reference = reference[(reference.domain == name) & (reference.horizon != "mean")]
    table = config.read()
    for horizon, lines in reference.groupby("horizon"):
        data = ForecastData(table, config.model_copy(update={"horizon": int(str(horizon))}), text=False)
        task = ForecastTask()
        scores = task.rivals(data)
        for _, line in lines.iterrows():
            got = task.metrics(scores[line.baseline]["test"])
            tolerance = 1e-4 if line.baseline in ("last_value", "seasonal_naive", "seasonal_prior") else 0.02
            assert got["mse"] == pytest.approx(line.mse, rel=tolerance)
            assert got["mae"] == pytest.approx(line.mae, rel=tolerance)
            counts = {split: len(data.rows(split)) for split in ("train", "val", "test")}
            assert counts == {s: int(line[f"{s}_windows"]) for s in counts}
            assert len(table.times) == line.rows
    assert set(reference.baseline) == set(FORECASTS)


def test_a_series_stored_newest_first_is_sorted_and_said_so(shared: Path) -> None:
    table = _config(shared, "Climate").read()
    assert (np.diff(table.times) > np.timedelta64(0)).all()
    assert "rows did not stand in the order of time and were sorted" in _found(table)


def test_health_us_stays_as_filed_because_its_weeks_run_on(shared: Path) -> None:
    table = _config(shared, "Health_US").read()
    found = _found(table)
    assert len(table.times) == 1389
    assert found["rows repeat a time stamp"] == 5
    assert found["steps of a week are absent"] == 5
    assert any("YEAR and WEEK" in what for what in found)
    settled = _config(shared, "Health_US", duplicates="last", gaps="insert").read()
    assert len(settled.times) == 1389
    assert int(np.isnan(settled.values).sum()) == 5


def test_texts_of_both_tables_are_read_and_void_cells_are_counted(shared: Path) -> None:
    table = _config(shared, "Energy").read()
    assert table.texts is not None
    assert {"Energy_report", "Energy_search"} == set(table.texts.sources)
    assert _found(table)["texts state a full date after their own and wait for it"] >= 351
    place = table.texts.places.index("Energy_report.csv row 1 (2011-12-19..2011-12-23)")
    assert str(table.texts.available_at[place])[:10] == "2011-12-26"
    assert not any(text.startswith("NA") and len(text) < 5 for text in table.texts.contents)
    only = _config(shared, "Energy", text={"tables": ["search"]}).read()
    assert only.texts is not None
    assert set(only.texts.sources) == {"Energy_search"}


def test_a_source_that_train_windows_hardly_see_is_left_out(shared: Path) -> None:
    config = _config(shared, "Agriculture")
    data = ForecastData(config.read(), config)
    assert data.fitted.left_out == ("Agriculture_report",)
    assert data.text is not None
    assert set(data.text.texts.sources) == {"Agriculture_search"}
    assert any("Agriculture_report" in str(finding) for finding in data.findings)


def test_the_last_rows_alone_can_be_used(shared: Path) -> None:
    table = _config(shared, "Energy", rows=400).read()
    whole = _config(shared, "Energy").read()
    np.testing.assert_array_equal(table.values, whole.values[-400:])
    np.testing.assert_array_equal(table.times, whole.times[-400:])


def test_more_columns_can_be_asked_for_and_cells_that_are_no_numbers_are_told(shared: Path) -> None:
    table = _config(shared, "Health_US", targets=["OT", "AGE 25-49"]).read()
    assert table.variates == ("OT", "AGE 25-49")
    assert any("AGE 25-49 are no numbers" in what for what in _found(table))
    every = _config(shared, "Climate", targets=None).read()
    assert set(every.variates) == {"OT", "D0", "D1", "D2", "D3", "D4"}


def test_what_is_not_there_is_named(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no domain 'Enery' \(did you mean Energy\?\)"):
        _config(shared, "Enery").read()
    with pytest.raises(DataError, match="no column 'OTT'"):
        _config(shared, "Energy", targets=["OTT"]).read()
    with pytest.raises(FileError, match="no folder numerical"):
        validate(TimeMmdConfig, {"kind": "time_mmd", "root": str(tmp_path), "domain": "Energy"}).read()
