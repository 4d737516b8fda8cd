"""What a run's scores say: metrics with intervals, the cheap rivals beside them, a file for comparisons."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from plait.core.files import write_file
from plait.core.schema import SCORED
from plait.objectives.bootstrap import Bootstrap, Rivals, RowScores, Scores, Units
from plait.training.evaluate import evaluate


def scored(model: nn.Module, task: Any, data: Any, size: int, accelerator: Any) -> dict[str, Scores]:
    """The scores of every row of validation and of test."""
    return {split: evaluate(model, task, data, split, size, accelerator) for split in SCORED}


def summarise(task: Any, scores: Scores, units: Units) -> dict[str, Any]:
    """The metrics of a split, with 95 % intervals over blocks or groups of rows: of the task's own metric, and of those
    that it gives as `statistics`.
    """
    out: dict[str, Any] = dict(task.metrics(scores))
    if not units.enough:
        return out
    bootstrap = Bootstrap(units, 1)
    found = {task.metric: bootstrap.error(RowScores(scores[task.score][None], scores["n"]))}
    if hasattr(task, "statistics"):
        found |= {name: bootstrap.statistic([out[name]], [of]) for name, of in task.statistics(scores).items()}
    return out | {f"{name}_{end}": getattr(each, end) for name, each in found.items() for end in ("low", "high")}


def coverage_words(metrics: dict[str, Any], asked: float, split: str) -> str:
    """How much of the truth intervals hold, beside what was asked of them; empty where there are none."""
    if "coverage" not in metrics:
        return ""
    held, width = metrics["coverage"], metrics["interval_width"]
    return f"intervals that are to hold {100 * asked:g} % hold {100 * held:.1f} % of {split}, mean width {width:.4f}"


def against_rivals(
    task: Any, rivals: Rivals, test: Scores, units: Units
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The cheap rivals beside a run's scores on test: their metrics with intervals, and the run against the best.

    The best is chosen on validation. Its paired relative change has an interval where there are units enough.
    """
    validation = {name: task.metrics(scores["val"])[task.metric] for name, scores in rivals.items()}
    table = {
        name: {
            **summarise(task, scores["test"], units), f"val_{task.metric}": validation[name],
            "meaning": task.meanings.get(name, ""),
        }
        for name, scores in rivals.items()
    }  # fmt: skip
    best = min(task.candidates(validation), key=lambda name: validation[name])
    own, rival = (RowScores(scores[task.score][None], scores["n"]) for scores in (test, rivals[best]["test"]))
    against: dict[str, Any] = {"name": best, "change": own.mean() / rival.mean() - 1, "low": None, "high": None}
    if units.enough:
        change = Bootstrap(units, 1).change(own, rival)
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
