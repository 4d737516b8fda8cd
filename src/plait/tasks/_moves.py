"""What is told of chances of a move: how they rank, whether they are true, and the files that a run gets of them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import nn

from plait.objectives.ranking import average_precision, roc_auc

RANKS = {"auc": roc_auc, "average_precision": average_precision}
HOTTEST, COLDEST = 100.0, 0.01

Chances = NDArray[np.float64]
Events = NDArray[np.bool_]
Called = dict[str, float | None]


def precision_at(score: Chances, event: Events, recall: float) -> float:
    """The precision at the highest threshold that calls at least this share of the events; ties are called together."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(event[order])
    last = np.r_[score[order][1:] != score[order][:-1], True]
    place = np.flatnonzero(last & (hits >= recall * event.sum()))[0]
    return float(hits[place] / (place + 1))


def temperature(logit: Chances, event: Events) -> float:
    """The T > 0 with the lowest log loss of logit / T.

    Source: Guo et al. 2017, section 4.2.
    """

    def loss(log_t: float) -> float:
        scaled = logit / np.exp(log_t)
        return float((np.logaddexp(0.0, scaled) - scaled * event).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded").x))


def reliability(chance: Chances, event: Events, bins: int = 10) -> list[Called]:
    """The share of events beside the mean chance, in groups of as many rows each, by rising chance."""
    groups = np.array_split(np.argsort(chance, kind="stable"), min(bins, len(chance)))
    return [
        {"chance": float(chance[rows].mean()), "share": float(event[rows].mean()), "rows": len(rows)} for rows in groups
    ]


def deciles(chance: Chances, event: Events) -> list[Called]:
    """Precision, recall, F1 and lift of the top tenth of the rows, the top two tenths, and so on."""
    order = np.argsort(-chance, kind="stable")
    return [_called(event, order[: round(len(order) * tenth / 10)], top=tenth / 10) for tenth in range(1, 11)]


def thresholds(chance: Chances, event: Events) -> list[Called]:
    """Precision, recall, F1 and lift of the rows whose chance reaches 0.05, 0.1, .. 0.95."""
    steps = [step / 20 for step in range(1, 20)]
    return [_called(event, np.flatnonzero(chance >= step), threshold=step) for step in steps]


def _called(event: Events, rows: NDArray[np.int64], **at: float) -> Called:
    """The scores of calling some rows; None for the precision of no row, and the recall of no event."""
    hits, called, events = int(event[rows].sum()), len(rows), int(event.sum())
    precision, recall = hits / called if called else None, hits / events if events else None
    f1 = 2 * hits / (called + events) if called + events else None
    lift = precision / float(event.mean()) if precision is not None and events else None
    return {**at, "rows": called, "precision": precision, "recall": recall, "f1": f1, "lift": lift}


def parameters_of(model: nn.Module) -> dict[str, dict[str, int]]:
    """How many parameters each part of a model has, and how many of them were not frozen at the training's end.

    A part is a child of the model, of a ModuleDict each member by its own name; the last entry, `total`, is the whole.
    """
    parts: dict[str, nn.Module] = {}
    for name, child in model.named_children():
        parts |= dict(child.items()) if isinstance(child, nn.ModuleDict) else {name: child}
    return {name: _counted(part) for name, part in {**parts, "total": model}.items()}


def _counted(part: nn.Module) -> dict[str, int]:
    held = list(part.parameters())
    return {"trainable": sum(p.numel() for p in held if p.requires_grad), "total": sum(p.numel() for p in held)}


def threshold_table(page: Mapping[str, Any]) -> bytes:
    """The scores of calling test bars as CSV: a line a threshold of the chance, then a line a share of the bars.

    Columns: by, at, rows, precision, recall, f1, lift; a cell without a value is empty.
    """
    lines = [
        {"by": by, "at": each[at], **{name: value for name, value in each.items() if name != at}}
        for by, rows, at in (("threshold", "thresholds", "threshold"), ("top_share", "deciles", "top"))
        for each in page[rows]
    ]
    return pd.DataFrame(lines).to_csv(index=False, float_format="%.7g").encode()


RESULTS = (
    "recipe", "seed", "metric", "unit", "metrics", "accepted", "acceptance", "baselines", "best_baseline", "windows",
    "caveats",
)  # fmt: skip
"""What training_results.json takes over from metrics.json."""


def training_results(result: Mapping[str, Any], page: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> bytes:
    """Metrics, parameters of each part, thresholds, deciles and the history of the training, as JSON."""
    told = {name: result[name] for name in RESULTS if name in result}
    made = {name: page[name] for name in ("share", "parameters", "thresholds", "deciles", "reliability")}
    return (json.dumps({**told, **made, "history": list(history)}, indent=2) + "\n").encode()
