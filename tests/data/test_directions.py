"""Labels come from the steps after a window alone, thresholds from train windows alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from plait.core.config import validate
from plait.core.errors import DataError
from plait.data.directions import DIRECTIONS, NextDirection
from plait.data.fitted import Fitted
from plait.data.sources.csv import CsvConfig
from plait.data.table import SeriesTable
from plait.data.windows import ForecastData
from plait.features.calendar import infer_step

LOOKBACK, HORIZON, ROWS = 7, 5, 211
CONFIG = validate(CsvConfig, {"kind": "csv", "path": "", "lookback": LOOKBACK, "horizon": HORIZON})
TIMES = np.datetime64("2020-01-01", "s") + np.arange(ROWS) * np.timedelta64(86_400, "s")


def table(missing: float = 0.3) -> SeriesTable:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(ROWS, 2)).cumsum(axis=0)
    values[rng.random(values.shape) < missing] = np.nan
    return SeriesTable(TIMES, values, ("a", "b"), infer_step(TIMES))


def data(series: SeriesTable | None = None, variate: str | None = None, **fields: Any) -> ForecastData:
    return ForecastData(series or table(), CONFIG, question=NextDirection(variate), **fields)


def slow_change(values: Any, origin: int) -> float | None:
    """Mean of what is observed of the next steps less the last value observed in the window."""
    past = [x for x in values[origin + 1 - LOOKBACK : origin + 1] if not np.isnan(x)]
    following = [x for x in values[origin + 1 : origin + 1 + HORIZON] if not np.isnan(x)]
    if not past or 2 * len(following) < HORIZON or origin + HORIZON >= len(values):
        return None
    return float(np.mean(following) - past[-1])


@pytest.mark.parametrize(("variate", "column"), [(None, 0), ("b", 1)])
def test_labels_are_what_they_say(variate: str | None, column: int) -> None:
    series, windows = table(), data(variate=variate)
    values = series.values[:, column]
    train = [slow_change(values, int(o)) for o in windows.origins["train"]]
    low, high = np.quantile([x for x in train if x is not None], [1 / 3, 2 / 3])
    np.testing.assert_allclose(windows.fitted.thresholds * windows.fitted.sd[column], [low, high], rtol=1e-5)
    unknown = 0
    for split in ("train", "val", "test"):
        batch = windows.batch(split, windows.rows(split))
        for n, origin in enumerate(batch.info["row"].tolist()):
            change = slow_change(values, origin)
            assert bool(batch.targets["mask"][n, 0]) is (change is not None)
            unknown += change is None
            if change is not None and min(abs(change - low), abs(change - high)) > 1e-5:
                assert int(batch.targets["y"][n, 0]) == (0 if change < low else 2 if change > high else 1)
    assert unknown > 5


def test_the_classes_of_train_are_thirds() -> None:
    windows = data(table(0.0))
    counts = np.bincount(windows.batch("train", windows.rows("train")).targets["y"][:, 0].numpy(), minlength=3)
    assert counts.max() - counts.min() <= 1
    assert windows.schema.outputs == len(DIRECTIONS) == 3
    assert windows.schema.horizon == HORIZON


def test_thresholds_come_from_train_windows_alone() -> None:
    series, windows = table(), data()
    values = series.values.copy()
    values[windows.borders.train :] *= 11
    other = data(replace(series, values=values))
    np.testing.assert_array_equal(other.fitted.thresholds, windows.fitted.thresholds)


def test_the_future_is_in_the_label_and_not_in_the_inputs() -> None:
    series = table(0.0)
    windows = data(series)
    origin = int(windows.origins["test"][11])
    values = series.values.copy()
    values[origin + 1 :] += 100
    after = data(replace(series, values=values), fitted=windows.fitted).batch("test", [11])
    assert int(after.targets["y"][0, 0]) == 2
    for name, tensor in windows.batch("test", [11]).inputs.items():
        assert torch.equal(tensor, after.inputs[name]), name
    values = series.values.copy()
    values[origin + 1 + HORIZON :] += 100
    values[: origin + 1 - LOOKBACK] += 100
    after = data(replace(series, values=values), fitted=windows.fitted).batch("test", [11])
    assert torch.equal(after.targets["y"], windows.batch("test", [11]).targets["y"])


def test_thresholds_are_kept_and_new_data_are_parted_by_them() -> None:
    kept = data().fitted
    again = Fitted.read(kept.tensors(), kept.record())
    assert again.thresholds is not None
    np.testing.assert_array_equal(again.thresholds, kept.thresholds)
    new = data(fitted=again, ahead=True)
    batch = new.batch("ahead", new.asked())
    assert batch.info["row"].tolist() == [ROWS - 1]
    assert not batch.targets["mask"].any()
    old = Fitted.read({name: t for name, t in kept.tensors().items() if name != "thresholds"}, kept.record())
    assert old.thresholds is None


def test_what_has_no_direction_is_refused() -> None:
    with pytest.raises(DataError, match="no variate 'c'"):
        data(variate="c")
    still = replace(table(), values=np.ones((ROWS, 2)))
    with pytest.raises(DataError, match="terciles part nothing"):
        data(still)
