"""Labelled series: none stands in two splits, and nothing of a held-out one is in what was fitted or in another."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import torch

from plait.core.schema import SCORED, SPLITS
from plait.data.labelled_fitted import LabelledFitted
from plait.data.labelled_series import LabelledSeriesData
from plait.evaluation.audit.finding import AuditFinding, Checked, evenly
from plait.evaluation.audit.refitted import refitted

TOLERANCE = 1e-6
MOST_ALONE = 100
"""Series that are read again by themselves, evenly over validation and test."""


def check_labelled_series(data: LabelledSeriesData) -> list[Checked]:
    """All checks of labelled series."""
    return [_splits(data), _fitted(data), _alone(data)]


def _splits(data: LabelledSeriesData) -> Checked:
    """No row is in two splits, and no series of one comes again, value for value, in another."""
    found = []
    for one, two in combinations(SPLITS, 2):
        both = np.intersect1d(data.rows_of[one], data.rows_of[two])
        if len(both):
            rows = tuple(f"case {number}" for number in data.numbers(both))
            found.append(AuditFinding("leak", "splits", f"series stand in both {one} and {two}", rows))
    seen: dict[bytes, tuple[str, int]] = {}
    copies = []
    for split in SPLITS:
        for row, number in zip(data.rows_of[split], data.numbers(data.rows_of[split]), strict=True):
            before = seen.setdefault(data.table.values[row].tobytes(), (split, int(number)))
            if before[0] != split:
                copies.append(f"case {number} ({split}) is case {before[1]} ({before[0]})")
    if copies:
        found.append(AuditFinding("leak", "splits", "series of one split are copies of another's", tuple(copies)))
    counts = ", ".join(f"{len(data.rows(split))} {split}" for split in SPLITS)
    return Checked("splits", f"rows and values of {counts} series compared", tuple(found))


def _fitted(data: LabelledSeriesData) -> Checked:
    """What a fit on the train rows alone gives is what the data hold."""
    train = data.rows_of["train"]
    again = LabelledFitted.of(data.values[train], data.table.label[train], data.table.classes)
    return refitted(data.fitted, again, len(train), "train series", TOLERANCE)


def _alone(data: LabelledSeriesData) -> Checked:
    """A held-out series read by itself gives the inputs it has among all."""
    rows = np.concatenate([data.rows_of[split] for split in SCORED])
    splits = np.repeat(SCORED, [len(data.rows_of[split]) for split in SCORED])
    places = evenly(len(rows), MOST_ALONE)
    config, table, found = data.config.as_learned(data.schema), data.table, []
    for row, split in zip(rows[places], splits[places], strict=True):
        own = replace(
            table, values=table.values[[row]], lengths=table.lengths[[row]], label=table.label[[row]],
            number=table.number[[row]], trained=0,
        )  # fmt: skip
        alone = LabelledSeriesData(own, config, data.fitted, ahead=True).batch("ahead", [0])
        whole = data.batch(split, np.flatnonzero(data.rows_of[split] == row))
        if not all(torch.equal(whole.inputs[name], alone.inputs[name]) for name in whole.inputs):
            found.append(f"case {data.numbers(row)} ({split})")
    did = f"{len(places)} of {len(rows)} held-out series read again, each from a table of its own"
    what = "the inputs of series depend on other series"
    return Checked("recomputed", did, (AuditFinding("leak", "recomputed", what, tuple(found)),) if found else ())
