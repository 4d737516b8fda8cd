"""Features: what a window receives is the same when the data end at its origin."""

from dataclasses import replace

import torch

from plait.core.schema import SPLITS
from plait.data.table import SeriesTable
from plait.data.windows import ForecastData
from plait.evaluation.audit.finding import AuditFinding, Checked, evenly

MOST = 600
"""Origins at which the features are recomputed, spread evenly over each split."""


def check_recomputed(data: ForecastData) -> list[Checked]:
    """Every series input of a window (values, marks, season, prior, masks) equals, bit for bit, what is computed from
    a table that ends at the origin. Texts are traced window by window by `check_texts`.
    """
    changed: dict[str, list[str]] = {}
    done = total = 0
    for split in SPLITS:
        rows = data.rows(split)
        total += len(rows)
        share = max(1, round(MOST * len(rows) / sum(len(data.rows(s)) for s in SPLITS)))
        picked = evenly(len(rows), share)
        done += len(picked)
        for row in picked:
            origin = int(data.origins[split][row])
            inputs = data.batch(split, [row]).inputs
            own = {name: value for name, value in inputs.items() if name.startswith("series")}
            again = _cut(data, origin).batch(split, [row]).inputs
            for name, value in own.items():
                if not torch.equal(value, again[name]):
                    changed.setdefault(name, []).append(f"{split} window at {data.table.times[origin]}")
    findings = tuple(
        AuditFinding("leak", "recomputed features", f"{name} changes when the data end at the origin", tuple(rows))
        for name, rows in changed.items()
    )
    return [
        Checked("recomputed features", f"inputs recomputed at {done} of {total} origins from data cut there", findings)
    ]


def _cut(data: ForecastData, origin: int) -> ForecastData:
    """Data that end at the origin, with the windows of the whole, of which the same is asked and hidden."""
    end = origin + 1
    table: SeriesTable = replace(
        data.table, times=data.table.times[:end], values=data.table.values[:end], texts=None, announced=None,
        borders=None,
    )  # fmt: skip
    config = data.config.model_copy(update={"lookback": data.lookback, "horizon": data.horizon})
    cut = ForecastData(
        table, config, fitted=data.fitted, text=False, prior=data.has_prior, ahead=True, question=data.question
    )
    cut.origins = data.origins
    return cut
