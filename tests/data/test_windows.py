"""Windows hold what they say: nothing fitted beyond train, nothing after the origin, missing values marked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plait.core.config import validate
from plait.core.errors import DataError
from plait.data.sources.csv import CsvConfig
from plait.data.sources.planted import PlantedConfig
from plait.data.table import SeriesTable, Texts, as_frame
from plait.data.windows import ForecastData
from plait.models.chimera import Chimera, ChimeraConfig

CONFIG = validate(PlantedConfig, {"kind": "planted", "weeks": 330, "draw": 1})
TABLE = CONFIG.read()


def _data(table: SeriesTable = TABLE, config: Any = CONFIG, **fields: Any) -> ForecastData:
    return ForecastData(table, config, prior=True, **fields)


def _open_model(data: ForecastData, **fields: Any) -> Chimera:
    """A model whose fusion is open, so that texts reach the forecast."""
    torch.manual_seed(3)
    config = {
        "kind": "chimera",
        "series": {"kind": "itransformer", "dim": 16, "heads": 4, "prior": True, "calendar": True},
    }
    model = validate(ChimeraConfig, {**config, **fields}).build(data.schema)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("fusion") and not parameter.any():
                parameter.normal_(std=0.3)
    return model.eval()


@pytest.mark.parametrize(
    "fields", [{}, {"residual": True}, {"fusion": {"kind": "concat"}}, {"fusion": {"kind": "add"}}]
)
def test_nothing_after_the_origin_reaches_a_prediction(fields: dict[str, Any]) -> None:
    data = _data()
    model = _open_model(data, **fields)
    rng = np.random.default_rng(0)
    for window in (0, 17, len(data.rows("test")) - 1):
        origin = int(data.origins["test"][window])
        values = TABLE.values.copy()
        values[origin + 1 :] += rng.normal(0, 100, values[origin + 1 :].shape)
        assert TABLE.texts is not None
        contents = list(TABLE.texts.contents)
        contents[origin + 1 :] = [f"Changed {i}." for i in range(len(contents) - origin - 1)]
        later = replace(TABLE.texts, contents=tuple(contents))
        changed = _data(replace(TABLE, values=values, texts=later))
        with torch.no_grad():
            before = model(data.batch("test", [window])).prediction.point
            after = model(changed.batch("test", [window])).prediction.point
        assert float((before - after).abs().max()) == 0.0


def test_the_texts_of_the_origin_do_reach_the_prediction() -> None:
    data = _data()
    model = _open_model(data)
    batch = data.batch("test", [3, 4, 5])
    with torch.no_grad():
        change = (model(batch).prediction.point - model(batch.without(["text"])).prediction.point).abs()
    assert float(change.flatten(1).max(1).values.min()) > 1e-4


def test_statistics_come_from_train_rows_only() -> None:
    data = _data()
    train = data.borders.train
    values = TABLE.values.copy()
    values[train:] = values[train:] * 7 - 50
    assert TABLE.texts is not None
    contents = tuple(t if i < train else f"Unseen words {i}." for i, t in enumerate(TABLE.texts.contents))
    other = _data(replace(TABLE, values=values, texts=replace(TABLE.texts, contents=contents)))
    np.testing.assert_array_equal(other.fitted.mean, data.fitted.mean)
    np.testing.assert_array_equal(other.fitted.sd, data.fitted.sd)
    assert data.fitted.text_centre is not None
    assert other.fitted.text_centre is not None
    np.testing.assert_array_equal(other.fitted.text_centre, data.fitted.text_centre)
    assert other.fitted.text_sd == data.fitted.text_sd


def test_batches_are_the_rows_of_the_table() -> None:
    data = _data()
    batch = data.batch("val", [0, 5])
    z = (TABLE.values - TABLE.values[: data.borders.train].mean(0)) / TABLE.values[: data.borders.train].std(0)
    for i, origin in enumerate(data.origins["val"][[0, 5]]):
        np.testing.assert_allclose(batch.inputs["series"][i], z[origin - 35 : origin + 1], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(batch.targets["y"][i], z[origin + 1 : origin + 13], rtol=1e-5, atol=1e-6)
        assert int(batch.info["row"][i]) == origin
    first = data.origins["val"][0] + 1
    back = data.original_unit(batch.targets["y"].numpy())
    np.testing.assert_allclose(back[0, 0], TABLE.values[first], rtol=1e-5)


def test_missing_values_are_carried_marked_and_masked() -> None:
    values = TABLE.values.copy()
    values[40:44] = np.nan
    data = _data(replace(TABLE, values=values))
    batch = data.batch("train", [6])  # origin 41
    assert batch.inputs["series_mask"][0, -3:, 0].tolist() == [True, False, False]
    assert batch.inputs["series"][0, -1] == batch.inputs["series"][0, -3]
    assert batch.targets["mask"][0, :4, 0].tolist() == [False, False, True, True]


def test_a_text_source_that_train_hardly_sees_is_left_out_with_a_warning() -> None:
    assert TABLE.texts is not None
    late = TABLE.times[-60:]
    table = replace(TABLE, texts=Texts.of(TABLE.texts.contents[-60:], late, "bulletin"))
    data = _data(table)
    assert data.schema.contexts == ()
    assert any("see a text of bulletin (fewer than 5%): left out" in str(f) for f in data.findings)


def test_the_placebo_keeps_dates_counts_and_presence() -> None:
    text = CONFIG.text.model_copy(update={"placebo": True})
    placebo = _data(config=CONFIG.model_copy(update={"text": text}))
    plain = _data()
    assert placebo.text is not None
    assert plain.text is not None
    np.testing.assert_array_equal(placebo.text.rows, plain.text.rows)
    ends = [plain.borders.train, plain.borders.train + plain.borders.val, len(TABLE.times)]
    for start, end in zip([0, *ends], ends, strict=False):
        assert sorted(placebo.text.texts.contents[start:end]) == sorted(plain.text.texts.contents[start:end])
    assert all(a != b for a, b in zip(placebo.text.texts.contents, plain.text.texts.contents, strict=True))


def test_a_constant_series_is_not_divided_by_zero() -> None:
    data = _data(replace(TABLE, values=np.full_like(TABLE.values, 5.0)))
    assert torch.equal(data.batch("train", [0]).inputs["series"], torch.zeros(1, 36, 1))


def test_new_data_for_a_trained_run_start_from_its_last_row() -> None:
    frame = as_frame({"date": [f"2024-01-{d:02d}" for d in range(1, 12)], "a": [str(d) for d in range(11)]})
    config = validate(CsvConfig, {"kind": "csv", "path": "", "lookback": 5, "horizon": 3, "splits": [0.8, 0.1, 0.1]})
    table = config.of_frames(frame, None)
    fitted = replace(_data().fitted, mean=np.array([2.0]), sd=np.array([4.0]), step="a day")
    data = ForecastData(table, config, fitted=fitted, ahead=True)
    assert data.origins["ahead"][-1] == 10
    batch = data.batch("ahead", [-1])
    np.testing.assert_allclose(batch.inputs["series"][0, :, 0], (np.arange(6, 11) - 2) / 4)
    assert not batch.targets["mask"].any()
    assert [str(t)[:10] for t in data.target_times(10)] == ["2024-01-12", "2024-01-13", "2024-01-14"]
    weekly = replace(fitted, step="a week")
    with pytest.raises(DataError, match="learned steps of a week, these data have steps of a day"):
        ForecastData(table, config, fitted=weekly, ahead=True)
    with pytest.raises(DataError, match="3 rows, a window needs 5"):
        ForecastData(config.of_frames(frame.iloc[:3], None), config, fitted=fitted, ahead=True)


def test_a_variate_without_train_values_is_refused(tmp_path: Path) -> None:
    values = TABLE.values.copy()
    values[: int(0.7 * len(values))] = np.nan
    with pytest.raises(DataError, match="demand has no observed value"):
        _data(replace(TABLE, values=values))
