"""What a run's scores say: metrics with intervals, the cheap rivals beside them, a file for comparisons."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from plait.baselines import FORECASTS, MEANINGS
from plait.baselines.panel import Panel
from plait.core.files import write_file
from plait.data.windows import ForecastData
from plait.objectives.bootstrap import Bootstrap, RowScores, enough
from plait.training.evaluate import Scores

SCORED = ("val", "test")
Rivals = dict[str, dict[str, Scores]]
"""Per-row scores of the cheap rivals: by name, then by split."""


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


def baseline_scores(task: Any, data: ForecastData) -> Rivals:
    """Per-row scores of the task's cheap rivals on validation and test."""
    panel = data.panel()
    forecasts = {name: FORECASTS[name](panel) for name in task.baselines}
    return {name: {s: forecast_errors(panel, s, made[s]) for s in SCORED} for name, made in forecasts.items()}


def against_rivals(
    task: Any, rivals: Rivals, test: Scores, horizon: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The cheap rivals beside a run's scores on test: their metrics with intervals, and the run against the best.

    The best is chosen on validation. Its paired relative change has an interval where there are 4 blocks of origins.
    """
    validation = {name: task.metrics(scores["val"])[task.metric] for name, scores in rivals.items()}
    table = {
        name: {
            **summarise(task, scores["test"], horizon), f"val_{task.metric}": validation[name],
            "meaning": MEANINGS.get(name, ""),
        }
        for name, scores in rivals.items()
    }  # fmt: skip
    best = min(validation, key=lambda name: validation[name])
    own, rival = (RowScores(scores[task.score][None], scores["n"]) for scores in (test, rivals[best]["test"]))
    against: dict[str, Any] = {"name": best, "change": own.mean() / rival.mean() - 1, "low": None, "high": None}
    rows, block = len(test["n"]), 2 * horizon
    if enough(rows, block):
        change = Bootstrap(rows, block, 1).change(own, rival)
        against |= {"low": change.low, "high": change.high}
    return table, against


def write_scores(path: Path, final: dict[str, Scores], raw: dict[str, Scores]) -> None:
    """Per-row scores as a file, for comparisons."""
    tensors = {
        f"{kind}.{split}.{name}": torch.from_numpy(values.copy())
        for kind, scores in (("final", final), ("raw", raw))
        for split, named in scores.items()
        for name, values in named.items()
    }
    write_file(path, save(tensors))
