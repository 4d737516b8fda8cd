"""Forecasts in the unit of the files, as tables."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plait.core.tokens import Prediction
from plait.data.windows import ForecastData
from plait.heads._answers import QUANTILES
from plait.tasks._intervals import Intervals
from plait.tasks._windows import batches


def forecasts(
    data: ForecastData,
    model: nn.Module,
    split: str,
    rows: NDArray[np.int64],
    batch_size: int,
    device: Any = "cpu",
) -> Iterator[tuple[NDArray[np.int64], Prediction]]:
    """The forecasts of windows, standardised, in parts: (origins (n,), prediction)."""
    model.eval()
    with torch.no_grad():
        for batch in batches(data, split, rows, batch_size):
            yield batch.info["row"].numpy(), model(batch.to(device)).prediction


def forecast_frame(data: ForecastData, origins: NDArray[np.int64], values: NDArray[np.float64]) -> pd.DataFrame:
    """One line an origin and variate: origin, variate, h1 .. hp in original units."""
    n, p, v = values.shape
    wide = values.transpose(0, 2, 1).reshape(n * v, p)
    frame = pd.DataFrame(wide, columns=[f"h{step}" for step in range(1, p + 1)])
    stamps = np.datetime_as_string(data.table.times[origins], unit="s")
    frame.insert(0, "variate", np.tile(np.array(data.table.variates, dtype=object), n))
    frame.insert(0, "origin", np.repeat(stamps, v))
    return frame


def forecast_table(
    data: ForecastData, model: nn.Module, split: str, rows: NDArray[np.int64], batch_size: int, device: Any
) -> pd.DataFrame:
    """The forecasts of windows as one frame."""
    found = forecasts(data, model, split, rows, batch_size, device)
    parts = [(origins, _in_unit(data, each.point)) for origins, each in found]
    return forecast_frame(data, np.concatenate([o for o, _ in parts]), np.concatenate([v for _, v in parts]))


def ahead_table(
    data: ForecastData, model: nn.Module, intervals: Intervals | None, levels: tuple[float, ...], device: Any
) -> pd.DataFrame:
    """The forecast of the newest window, a line a step and variate: time, variate, forecast, low, high, quantiles.

    Units: of the files.  An interval without bounds is NaN.
    """
    ((origins, found),) = forecasts(data, model, "ahead", data.asked(), 1, device)
    times = np.datetime_as_string(data.target_times(int(origins[0])), unit="s")
    columns = {"forecast": found.point}
    if intervals is not None:
        columns |= dict(zip(("low", "high"), intervals.bounds(found), strict=True))
    columns |= {f"q{level:g}": found.parts[QUANTILES][..., place] for place, level in enumerate(levels)}
    names = np.array(data.table.variates, dtype=object)
    return pd.DataFrame({
        "time": np.repeat(times, len(names)),
        "variate": np.tile(names, len(times)),
        **{name: _in_unit(data, values)[0].ravel() for name, values in columns.items()},
    })  # fmt: skip


def _in_unit(data: ForecastData, values: Tensor) -> NDArray[np.float64]:
    kept = values if values.dtype == torch.float64 else values.float()
    return data.original_unit(kept.cpu().numpy())


PAGE_SAMPLES = 6


def page_samples(
    data: ForecastData, model: nn.Module, intervals: Intervals | None, device: Any
) -> list[dict[str, Any]]:
    """A few test windows for the report, evenly spread, the first variate: history, truth, forecast, interval, texts,
    in original units.
    """
    rows = np.unique(np.linspace(0, len(data.rows("test")) - 1, PAGE_SAMPLES).round().astype(np.int64))
    ((origins, found),) = forecasts(data, model, "test", rows, len(rows), device)
    drawn = {"forecast": found.point}
    if intervals is not None:
        drawn |= dict(zip(("low", "high"), intervals.bounds(found), strict=True))
    lines = {name: _in_unit(data, values)[..., 0] for name, values in drawn.items()}
    samples = []
    for number, origin in enumerate(origins):
        ahead = slice(origin + 1, origin + 1 + data.horizon)
        past = slice(origin + 1 - data.lookback, origin + 1)
        samples.append({
            "origin": str(data.table.times[origin]),
            "variate": data.table.variates[0],
            "past_times": [str(t) for t in data.table.times[past]],
            "past": _numbers(data.table.values[past, 0]),
            "future_times": [str(t) for t in data.table.times[ahead]],
            "actual": _numbers(data.table.values[ahead, 0]),
            **{name: _numbers(values[number]) for name, values in lines.items()},
            "texts": [{"date": date, "text": text} for date, text in data.texts_at(int(origin))],
        })  # fmt: skip
    return samples


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]
