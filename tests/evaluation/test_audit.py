"""The audit names each planted leak, and finds none where there is none."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait.core.config import validate
from plait.core.errors import ConfigError
from plait.data.sources.csv import CsvConfig
from plait.data.sources.planted import PlantedConfig
from plait.data.sources.time_mmd import TimeMmdConfig
from plait.data.windows import ForecastData
from plait.evaluation.audit.run import audit

CONFIG = validate(PlantedConfig, {"kind": "planted", "weeks": 330, "draw": 1, "text": {"unit": "text"}})
TABLE = CONFIG.read()
DOMAINS = ["Agriculture", "Climate", "Economy", "Energy", "Health_US", "Traffic"]


def _leaks(result: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in result["findings"]:
        if finding["severity"] == "leak":
            found.setdefault(finding["check"], []).extend(finding["rows"])
    return found


@pytest.mark.parametrize("text", [{}, {"unit": "sentence"}, {"pool": "none"}, {"embedder": {"kind": "tfidf"}}])
def test_sound_data_have_no_leak_and_every_check_says_what_it_did(text: dict[str, Any]) -> None:
    config = CONFIG.model_copy(update={"text": type(CONFIG.text).model_validate({"newest": 2, **text})})
    result = audit(ForecastData(TABLE, config, prior=True))
    assert result["leaks"] == 0, result["findings"]
    names = {check["check"] for check in result["checks"]}
    assert names == {"text availability", "scaler", "text statistics", "recomputed features", "splits", "columns"}
    assert all(any(c.isdigit() for c in check["did"]) or "one column" in check["did"] for check in result["checks"])


def test_a_join_that_is_one_step_off_is_seen_in_the_tensors() -> None:
    data = ForecastData(TABLE, CONFIG)
    assert data.text is not None
    shifted = replace(data.text, unit=data.text.unit.roll(-1, dims=0))
    data.text = shifted
    rows = _leaks(audit(data))["text availability"]
    windows = sum(len(data.rows(split)) for split in ("train", "val", "test"))
    assert len(rows) >= windows - 5  # the last text may be one that repeats another
    assert "is used from the origin" in rows[0]


def test_texts_that_a_user_dates_one_step_early_are_seen(tmp_path: Path) -> None:
    assert TABLE.texts is not None
    pd.DataFrame({"date": TABLE.times, "y": TABLE.values[:, 0]}).to_csv(tmp_path / "y.csv", index=False)
    ends = pd.to_datetime(TABLE.texts.available_at)
    frame = pd.DataFrame({"text": TABLE.texts.contents, "early": ends - pd.Timedelta(days=7), "end_date": ends})
    frame.to_csv(tmp_path / "texts.csv", index=False)
    fields = {"kind": "csv", "path": str(tmp_path / "y.csv"), "text": {"path": str(tmp_path / "texts.csv")}}
    honest = validate(CsvConfig, fields)
    assert audit(ForecastData(honest.read(), honest))["leaks"] == 0
    early = validate(CsvConfig, {**fields, "text": {**fields["text"], "dates": ["early"]}})  # type: ignore[dict-item]
    assert len(_leaks(audit(ForecastData(early.read(), early)))["text availability"]) > 200


def test_days_and_hours_in_one_column_are_told_apart_by_join_and_audit_alike() -> None:
    hours = pd.date_range("2020-01-01", periods=600, freq="h")
    frame = pd.DataFrame({"date": hours, "y": np.random.default_rng(3).normal(size=600).cumsum()})
    days = [f"2020-01-{d:02d}{clock}" for d in range(1, 25) for clock in ("", " 00:00", " 06:00")]
    texts = pd.DataFrame({"date": days, "text": [f"Note {i} of {d[:10]}." for i, d in enumerate(days)]})
    config = validate(CsvConfig, {"kind": "csv", "path": "", "lookback": 12, "horizon": 6})
    table = config.of_frames(frame, texts)
    assert audit(ForecastData(table, config))["leaks"] == 0
    assert table.texts is not None
    by_date = table.texts.rows(np.argsort(table.texts.dated, kind="stable"))
    too_soon = replace(by_date, available_at=by_date.dated)
    rows = _leaks(audit(ForecastData(replace(table, texts=too_soon), config)))["text availability"]
    assert len(rows) == 24
    assert all("(2020-01-" in row for row in rows)


def test_a_state_of_no_known_text_is_a_leak() -> None:
    data = ForecastData(TABLE, CONFIG)
    assert data.text is not None
    data.text.states[100] += 0.5
    assert any("of no text" in f["what"] for f in audit(data)["findings"])


def test_a_scaler_fitted_on_all_rows_is_named() -> None:
    data = ForecastData(TABLE, CONFIG)
    whole = replace(data.fitted, mean=np.nanmean(TABLE.values, axis=0), sd=np.nanstd(TABLE.values, axis=0))
    result = audit(ForecastData(TABLE, CONFIG, fitted=whole))
    assert _leaks(result)["scaler"] == ["demand"]
    assert "those of all 330 rows" in next(f["what"] for f in result["findings"] if f["check"] == "scaler")


def test_a_column_that_stands_still_in_every_window_shows_no_scale() -> None:
    frame = pd.DataFrame({"date": pd.date_range("2020-01-05", periods=300, freq="7D")})
    frame["y"] = np.random.default_rng(4).normal(size=300).cumsum()
    frame["flag"] = (np.arange(300) < 5).astype(float)
    frame["late"] = np.where(np.arange(300) < 3, 1.0, np.nan)
    assert audit(_of(frame))["leaks"] == 0


def test_text_statistics_and_a_vocabulary_of_all_texts_are_named() -> None:
    data = ForecastData(TABLE, CONFIG)
    assert data.fitted.text_centre is not None
    moved = replace(data.fitted, text_centre=data.fitted.text_centre + 0.01)
    assert "text statistics" in _leaks(audit(ForecastData(TABLE, CONFIG, fitted=moved)))
    text = CONFIG.text.model_copy(update={"embedder": validate_embedder({"kind": "tfidf"})})
    config = CONFIG.model_copy(update={"text": text})
    sound = ForecastData(TABLE, config)
    assert TABLE.texts is not None
    everything = validate_embedder({"kind": "tfidf"}).build()
    everything.fit(list(TABLE.texts.contents))
    vocabulary, idf = everything.fitted()
    leaked = replace(sound.fitted, vocabulary=tuple(vocabulary), idf=idf, text_centre=None)
    assert "vocabulary" in _leaks(audit(ForecastData(TABLE, config, fitted=leaked)))


def validate_embedder(fields: dict[str, Any]) -> Any:
    return type(CONFIG.text).model_validate({"embedder": fields}).embedder


@pytest.mark.parametrize(("rows", "change"), [(60, 0.0), (12, 0.0), (60, 1e-7)])
def test_rows_copied_from_train_to_test_are_named(rows: int, change: float) -> None:
    values = TABLE.values.copy()
    values[-rows:] = values[60 : 60 + rows] + change
    leaks = _leaks(audit(ForecastData(replace(TABLE, values=values), CONFIG)))["splits"]
    assert len(leaks) == rows
    assert leaks[0] == f"demand at {TABLE.times[-rows]} (test) is that at {TABLE.times[60]}"


def test_one_copied_column_of_two_is_enough() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"date": pd.date_range("2020-01-05", periods=400, freq="7D")})
    frame["y"], frame["x"] = rng.normal(size=400), rng.normal(size=400)
    frame.loc[380:, "y"] = frame.loc[20:39, "y"].to_numpy()
    assert len(_leaks(audit(_of(frame)))["splits"]) == 20


def test_a_schedule_repeats_itself_and_is_no_copy() -> None:
    week = np.array([1.0, 2.5, 3.0, 7.25, 4.0, 0.0, 9.0])
    frame = pd.DataFrame({"date": pd.date_range("2020-01-01", periods=400, freq="D"), "y": np.resize(week, 400)})
    assert audit(_of(frame))["leaks"] == 0


def test_a_row_filed_twice_across_the_border_is_named() -> None:
    times, values = TABLE.times.copy(), TABLE.values.copy()
    times[230], values[230] = times[229], values[229]
    assert any("stands in train and in val" in row for row in _leaks(audit(_filed(times, values)))["splits"])


def _filed(times: Any, values: Any) -> ForecastData:
    data = ForecastData(replace(TABLE, times=times, values=values), CONFIG)
    assert data.borders.train == 230
    return data


def test_windows_that_overlap_across_splits_are_named() -> None:
    data = ForecastData(TABLE, CONFIG)
    data.origins["train"] = np.append(data.origins["train"], data.origins["val"][0])
    assert any("targets of both train and val" in f["what"] for f in audit(data)["findings"])


def test_a_constant_stretch_is_no_repetition() -> None:
    values = TABLE.values.copy()
    values[:90] = values[-60:] = 3.0
    assert "splits" not in _leaks(audit(ForecastData(replace(TABLE, values=values), CONFIG)))


@pytest.mark.parametrize(("width", "severity"), [(5, "leak"), (9, "leak")])
def test_a_centred_moving_average_is_named(width: int, severity: str) -> None:
    rng = np.random.default_rng(0)
    y = pd.Series(rng.normal(size=500).cumsum())
    frame = pd.DataFrame({"date": pd.date_range("2020-01-05", periods=500, freq="7D"), "y": y})
    frame["centred"] = y.rolling(width, center=True, min_periods=1).mean()
    frame["trailing"] = y.rolling(width, min_periods=1).mean()
    frame["other"] = rng.normal(size=500).cumsum()
    result = audit(_of(frame))
    found = {row: f["severity"] for f in result["findings"] if f["check"] == "columns" for row in f["rows"]}
    assert found["centred"] == severity
    assert set(found) == {"centred"}


def test_a_column_that_is_the_next_value_is_a_leak() -> None:
    y = pd.Series(np.random.default_rng(1).normal(size=400).cumsum())
    frame = pd.DataFrame({"date": pd.date_range("2020-01-05", periods=400, freq="7D"), "y": y, "next": y.shift(-1)})
    assert "columns" in _leaks(audit(_of(frame.iloc[:-1])))


def test_a_column_that_looks_ahead_after_train_only_is_named() -> None:
    rng = np.random.default_rng(2)
    y = pd.Series(rng.normal(size=600).cumsum())
    frame = pd.DataFrame(
        {"date": pd.date_range("2020-01-05", periods=600, freq="7D"), "y": y, "x": rng.normal(size=600)}
    )
    frame.loc[420:, "x"] = y.shift(-1).loc[420:]
    found = [f["what"] for f in audit(_of(frame.iloc[:-1]))["findings"] if f["severity"] == "leak"]
    assert any("leads of y" in what and "over the rows after train" in what for what in found)


def _of(frame: pd.DataFrame) -> ForecastData:
    config = validate(CsvConfig, {"kind": "csv", "path": "", "lookback": 12, "horizon": 8})
    return ForecastData(config.of_frames(frame, None), config)


def test_features_that_read_beyond_the_origin_are_named() -> None:
    data = ForecastData(TABLE, CONFIG, prior=True)
    assert data._prior is not None
    data._prior = data._prior.roll(-1, dims=0)
    assert any("series_prior changes" in f["what"] for f in audit(data)["findings"])


def test_a_text_that_states_a_later_month_is_a_suspect() -> None:
    assert TABLE.texts is not None
    contents = list(TABLE.texts.contents)
    contents[100] = "Orders for March 2031 rose."
    result = audit(ForecastData(replace(TABLE, texts=replace(TABLE.texts, contents=tuple(contents))), CONFIG))
    assert result["leaks"] == 0
    assert [f["rows"] for f in result["findings"]] == [[f"{TABLE.texts.places[100]} states March 2031"]]
    assert result["suspects"] == 1


def test_shuffled_texts_are_not_audited() -> None:
    config = CONFIG.model_copy(update={"text": CONFIG.text.model_copy(update={"placebo": True})})
    with pytest.raises(ConfigError, match=r"data\.text\.placebo"):
        audit(ForecastData(TABLE, config))


@pytest.mark.parametrize("domain", DOMAINS)
def test_time_mmd_has_no_leak_by_default(shared: Path, domain: str) -> None:
    fields = {"kind": "time_mmd", "root": str(shared / "data" / "time_mmd"), "domain": domain}
    config = validate(TimeMmdConfig, fields)
    result = audit(ForecastData(config.read(), config, prior=True))
    assert result["leaks"] == 0, result["findings"]


def test_energy_kept_as_dated_exits_3_and_names_its_reports(shared: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "plait.cli.main", "audit", "chimera", "--data.kind", "time-mmd", "--data.root"]
    command += [str(shared / "data" / "time_mmd"), "--data.domain", "Energy", "--data.future-dates", "keep"]
    command += ["--json", "--output", str(tmp_path / "rows.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    result = json.loads(done.stdout)
    rows = [row for f in result["findings"] if f["severity"] == "leak" for row in f["rows"]]
    assert len(rows) >= 300
    assert any("Energy_report.csv row 1 (2011-12-19..2011-12-23) states 2011-12-26" in row for row in rows)
    assert len(pd.read_csv(tmp_path / "rows.csv")) >= len(rows)
