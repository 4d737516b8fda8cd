"""The cheap rivals of a forecast on the same windows, scored as a model is."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plait.baselines import FORECASTS
from plait.baselines.bag_of_words import bag_of_words_ridge
from plait.baselines.panel import Panel
from plait.baselines.ridge import fit_ridge
from plait.core.schema import SCORED
from plait.data.windows import ForecastData
from plait.objectives.bootstrap import Rivals, Scores


def forecast_errors(panel: Panel, split: str, forecast: NDArray[np.float64]) -> Scores:
    """Per-row error sums of a forecast (n, p, v), over known targets, as `row_errors` gives them for a model."""
    error = (panel.targets(split) - forecast).reshape(len(forecast), -1)
    known = ~np.isnan(error)
    error = np.where(known, error, 0.0)
    return {"se": (error**2).sum(1), "ae": np.abs(error).sum(1), "n": known.sum(1).astype(np.float64)}


def series_rivals(names: tuple[str, ...], data: ForecastData) -> Rivals:
    """The forecasts of the series alone that are named."""
    panel = data.panel()
    return _scored(panel, {name: FORECASTS[name](panel) for name in names})


def text_rivals(data: ForecastData) -> Rivals:
    """The rivals that read texts: a ridge on their words, and where the data announce their steps, the oracle."""
    panel, made = data.panel(), {}
    if data.text is not None:
        made["bag_of_words_ridge"] = bag_of_words_ridge(panel, data.text.texts.contents, data.text.rows)
    if data.table.announced is not None:
        made["oracle"] = oracle(data)
    return _scored(panel, made)


def _scored(panel: Panel, made: dict[str, Any]) -> Rivals:
    return {name: {s: forecast_errors(panel, s, forecast[s]) for s in SCORED} for name, forecast in made.items()}


def oracle(data: ForecastData) -> dict[str, Any]:
    """The series ridge with marks of the origin, told the announced steps that have not begun: the ceiling for text.

    Shape: per split (n, p, v), standardised.
    """
    assert data.table.announced is not None
    x, y, last = {}, {}, {}
    for split in ("train", *SCORED):
        batch = data.batch(split, data.rows(split))
        series = batch.inputs["series"].double()
        last[split] = series[:, -1:]
        window = (series - last[split]).transpose(1, 2)
        marks = batch.inputs["series_marks"][:, -1:].double().expand(-1, window.shape[1], -1)
        steps = data.table.announced[data.origins[split]] / data.fitted.sd
        parts = [window, marks, torch.from_numpy(steps).transpose(1, 2)]
        x[split] = torch.cat(parts, dim=-1).flatten(0, 1).numpy()
        target = torch.where(batch.targets["mask"], batch.targets["y"].double() - last[split], torch.nan)
        y[split] = target.transpose(1, 2).flatten(0, 1).numpy()
    fit_of_steps = fit_ridge(x["train"], y["train"], x["val"], y["val"], shared_strength=True)
    variates = len(data.table.variates)
    return {
        split: fit_of_steps.predict(x[split]).reshape(-1, variates, data.horizon).transpose(0, 2, 1)
        + last[split].numpy()
        for split in SCORED
    }
