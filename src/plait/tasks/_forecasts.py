"""Forecasts in the unit of the files, as tables."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from plait.core import signals
from plait.data.windows import ForecastData


def forecasts(
    data: ForecastData,
    model: nn.Module,
    split: str,
    rows: NDArray[np.int64],
    batch_size: int,
    device: Any = "cpu",
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """The forecasts of windows in original units, in parts: (origins (n,), values (n, p, v))."""
    model.eval()
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            signals.check("nothing is lost; run the same command again")
            batch = data.batch(split, rows[start : start + batch_size]).to(device)
            point = model(batch).prediction.point.float().cpu().numpy()
            yield batch.info["row"].cpu().numpy(), data.original_unit(point)


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
    parts = list(forecasts(data, model, split, rows, batch_size, device))
    return forecast_frame(data, np.concatenate([o for o, _ in parts]), np.concatenate([v for _, v in parts]))


PAGE_SAMPLES = 6


def page_samples(data: ForecastData, model: nn.Module, device: Any) -> list[dict[str, Any]]:
    """A few test windows for the report, evenly spread, the first variate: history, truth, forecast, texts, in original
    units.
    """
    rows = np.unique(np.linspace(0, len(data.rows("test")) - 1, PAGE_SAMPLES).round().astype(np.int64))
    ((origins, values),) = forecasts(data, model, "test", rows, len(rows), device)
    samples = []
    for origin, value in zip(origins, values, strict=True):
        ahead = slice(origin + 1, origin + 1 + data.horizon)
        past = slice(origin + 1 - data.lookback, origin + 1)
        samples.append({
            "origin": str(data.table.times[origin]),
            "variate": data.table.variates[0],
            "past_times": [str(t) for t in data.table.times[past]],
            "past": _numbers(data.table.values[past, 0]),
            "future_times": [str(t) for t in data.table.times[ahead]],
            "actual": _numbers(data.table.values[ahead, 0]),
            "forecast": _numbers(value[:, 0]),
            "texts": [{"date": date, "text": text} for date, text in data.texts_at(int(origin))],
        })  # fmt: skip
    return samples


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]
