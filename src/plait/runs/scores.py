"""What a run's scores say: metrics with intervals, the cheap rivals beside them, a file for comparisons."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from plait.baselines import FORECASTS
from plait.baselines.panel import Panel
from plait.data.windows import ForecastData
from plait.objectives.bootstrap import Bootstrap, RowScores, enough
from plait.training.checkpoint import write_file
from plait.training.evaluate import Scores

SPLITS = ("val", "test")


def summarise(task: Any, scores: Scores, horizon: int) -> dict[str, Any]:
    """The metrics of a split with the 95 % interval of the task's own metric over blocks of origins."""
    out: dict[str, Any] = dict(task.metrics(scores))
    block = 2 * horizon
    if enough(len(scores["n"]), block):
        interval = Bootstrap(len(scores["n"]), block, 1).error(RowScores(scores[task.score][None], scores["n"]))
        out |= {f"{task.metric}_low": interval.low, f"{task.metric}_high": interval.high}
    return out


def forecast_errors(panel: Panel, split: str, forecast: NDArray[np.float64]) -> Scores:
    """Per-row error sums of a forecast (n, p, v), over known targets, as `row_errors` gives them for a model."""
    error = (panel.targets(split) - forecast).reshape(len(forecast), -1)
    known = ~np.isnan(error)
    error = np.where(known, error, 0.0)
    return {"se": (error**2).sum(1), "ae": np.abs(error).sum(1), "n": known.sum(1).astype(np.float64)}


def baseline_scores(task: Any, data: ForecastData) -> dict[str, dict[str, Scores]]:
    """Per-row scores of the task's cheap rivals on validation and test."""
    panel = data.panel()
    forecasts = {name: FORECASTS[name](panel) for name in task.baselines}
    return {name: {s: forecast_errors(panel, s, made[s]) for s in SPLITS} for name, made in forecasts.items()}


def baselines(task: Any, data: ForecastData) -> dict[str, dict[str, float]]:
    """The cheap rivals' test metrics, with their validation metric by which the best is chosen."""
    return {
        name: {**task.metrics(scores["test"]), f"val_{task.metric}": task.metrics(scores["val"])[task.metric]}
        for name, scores in baseline_scores(task, data).items()
    }


def write_scores(path: Path, final: dict[str, Scores], raw: dict[str, Scores]) -> None:
    """Per-row scores as a file, for comparisons."""
    tensors = {
        f"{kind}.{split}.{name}": torch.from_numpy(values.copy())
        for kind, scores in (("final", final), ("raw", raw))
        for split, named in scores.items()
        for name, values in named.items()
    }
    write_file(path, save(tensors))
