"""The cheap rivals of a forecast on the same windows, scored as a model is."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from plait.baselines import FORECASTS
from plait.baselines.bag_of_words import bag_of_words_ridge
from plait.baselines.panel import Panel
from plait.baselines.ridge import fit_ridge
from plait.core.schema import SCORED
from plait.core.tokens import Prediction
from plait.data.windows import ForecastData
from plait.objectives.bootstrap import Rivals, Scores
from plait.objectives.quantile import pinball
from plait.tasks._intervals import Intervals, misses


class Asked(NamedTuple):
    """What is asked of rivals beside a point: the coverage of their intervals, and the levels of their quantiles."""

    coverage: float
    quantiles: tuple[float, ...] = ()


def forecast_errors(panel: Panel, split: str, forecast: NDArray[np.float64]) -> Scores:
    """Per-row error sums of a forecast (n, p, v), over known targets, as `row_errors` gives them for a model."""
    error = (panel.targets(split) - forecast).reshape(len(forecast), -1)
    known = ~np.isnan(error)
    error = np.where(known, error, 0.0)
    return {"se": (error**2).sum(1), "ae": np.abs(error).sum(1), "n": known.sum(1).astype(np.float64)}


def series_rivals(names: tuple[str, ...], data: ForecastData, asked: Asked) -> Rivals:
    """The forecasts of the series alone that are named."""
    panel = data.panel()
    return _scored(panel, {name: FORECASTS[name](panel) for name in names}, asked)


def text_rivals(data: ForecastData, asked: Asked) -> Rivals:
    """The rivals that read texts: a ridge on their words, and where the data announce their steps, the oracle."""
    panel, made = data.panel(), {}
    if data.text is not None:
        made["bag_of_words_ridge"] = bag_of_words_ridge(panel, data.text.texts.contents, data.text.rows)
    if data.table.announced is not None:
        made["oracle"] = oracle(data)
    return _scored(panel, made, asked)


def _scored(panel: Panel, made: dict[str, Any], asked: Asked) -> Rivals:
    return {
        name: {
            s: forecast_errors(panel, s, forecast[s]) | spreads
            for s, spreads in zip(SCORED, forecast_spreads(panel, forecast, asked), strict=True)
        }
        for name, forecast in made.items()
    }  # fmt: skip


def forecast_spreads(panel: Panel, forecast: Any, asked: Asked) -> list[Scores]:
    """Per-row sums of a point forecast's intervals, and of its quantiles, of validation and of test.

    Both are made of its errors in validation windows, a step and variate each: intervals as a model's are, quantiles
    as the point and the quantiles of those errors.
    """
    truth = {split: torch.from_numpy(panel.targets(split)) for split in SCORED}
    point = {split: torch.from_numpy(np.asarray(forecast[split], dtype=np.float64)) for split in SCORED}
    errors = truth["val"] - point["val"]
    known = ~errors.isnan()
    intervals = Intervals.of(misses(Prediction(point["val"]), truth["val"], known, None).numpy(), asked.coverage)
    shift = _error_quantiles(errors.numpy(), asked.quantiles) if asked.quantiles else None
    found = []
    for split in SCORED:
        y, mask = truth[split].nan_to_num(), ~truth[split].isnan()
        sums = intervals.row_sums(Prediction(point[split]), y, mask)
        if shift is not None:
            sums["pinball"] = pinball(point[split][..., None] + shift, y, mask, asked.quantiles).flatten(1).sum(1)
        found.append({name: values.numpy() for name, values in sums.items()})
    return found


def _error_quantiles(errors: NDArray[np.float64], levels: tuple[float, ...]) -> torch.Tensor:
    """The quantiles of known errors at each step and variate, 0 where none is known. Shape: (n, p, v) -> (p, v, q)."""
    flat = [column[~np.isnan(column)] for column in errors.reshape(len(errors), -1).T]
    found = [np.quantile(one, levels) if len(one) else np.zeros(len(levels)) for one in flat]
    return torch.from_numpy(np.array(found)).reshape(*errors.shape[1:], len(levels))


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
