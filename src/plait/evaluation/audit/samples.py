"""Samples: nothing of a held-out sample or group is on the other side, in what was fitted, or in another's batch."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import torch

from plait.baselines.samples import column_rivals, constant
from plait.core.schema import SPLITS
from plait.core.tokens import Batch
from plait.data.sample_columns import categories_of, fit_columns
from plait.data.sample_fitted import SampleFitted, fit_features
from plait.data.samples import SampleData
from plait.evaluation.audit.finding import AuditFinding, Checked, evenly
from plait.evaluation.audit.refitted import refitted
from plait.objectives.regression import thresholds_of
from plait.objectives.transforms import TargetTransform

TOLERANCE = 1e-6
LEAK, SUSPECT = 0.01, 0.1
"""A given column whose error alone is below these shares of the constant's is a leak, or a suspect."""
MOST_ALONE = 100
"""Samples that are read again by themselves, evenly over validation and test."""


def check_samples(data: SampleData) -> list[Checked]:
    """All checks of samples."""
    return [_splits(data), _fitted(data), _alone(data), _columns(data)]


def _splits(data: SampleData) -> Checked:
    """No sample and no group stands in two splits, and no profile of counts of one comes again in another."""
    found = [*_shared(data), *_copies(data)]
    counts = ", ".join(f"{len(data.rows(split))} {split}" for split in SPLITS)
    grouped = f" in groups of {data.config.group_by}" if data.config.group_by else ", which are not grouped"
    return Checked("splits", f"ids, groups and count profiles of {counts} samples compared{grouped}", tuple(found))


def _shared(data: SampleData) -> Iterator[AuditFinding]:
    for one, two in combinations(SPLITS, 2):
        both = sorted(set(data.ids(one)) & set(data.ids(two)))
        if both:
            yield AuditFinding("leak", "splits", f"samples stand in both {one} and {two}", tuple(both))
        groups = np.intersect1d(data.groups_of(one), data.groups_of(two))
        if len(groups):
            named = dict(zip(data.groups_of(one), data.ids(one), strict=True))
            rows = tuple(f"the group of {named[group]}" for group in groups)
            yield AuditFinding("leak", "splits", f"groups have samples in both {one} and {two}", rows)


def _copies(data: SampleData) -> Iterator[AuditFinding]:
    seen: dict[bytes, tuple[str, str]] = {}
    rows = []
    for split in SPLITS:
        for name, row in zip(data.ids(split), _table_rows(data, split), strict=True):
            own = data.table.counts[[row]]
            key = own.indices.astype(np.int64).tobytes() + own.data.tobytes()
            before = seen.setdefault(key, (name, split))
            if before[1] != split:
                rows.append(f"{name} ({split}) has the counts of {before[0]} ({before[1]})")
    if rows:
        yield AuditFinding("leak", "splits", "samples of one split are copies of another's", tuple(rows))


def _table_rows(data: SampleData, split: str) -> Any:
    """The rows of the table that a split's samples are. Shape: (n,)."""
    place = {name: row for row, name in enumerate(data.table.samples)}
    return np.array([place[name] for name in data.ids(split)])


def _fitted(data: SampleData) -> Checked:
    """What a fit on the train samples alone gives is what the data hold."""
    return refitted(data.fitted, _fitted_anew(data), len(data.rows("train")), "train samples", TOLERANCE)


def _fitted_anew(data: SampleData) -> SampleFitted:
    """The fit on a table that holds the train samples and no other."""
    table, config, rows = data.table, data.config, _table_rows(data, "train")
    own = replace(table, samples=data.ids("train"), counts=table.counts[rows], metadata=table.metadata.iloc[rows])
    fitted = fit_features(own, np.arange(len(rows)), config)
    names, numbers, _ = fit_columns(own.metadata, config.categories, config.numbers, "metadata")
    fitted = replace(fitted, categories=names, numbers=numbers, target=config.target)
    if config.target is None:
        return fitted
    values = data.targets("train")
    if config.classifier:
        counts = tuple(int((values == name).sum()) for name in data.fitted.classes)
        return replace(fitted, classes=data.fitted.classes, class_counts=counts)
    keys = categories_of(own.metadata, config.normalize_by)
    transform = TargetTransform.fit(config.transform, values, keys)
    thresholds = thresholds_of(transform.forward(values, keys), config.bins).numpy()
    return replace(fitted, transform=transform, thresholds=thresholds)


def _alone(data: SampleData) -> Checked:
    """A held-out sample read by itself, from a table without any other, gives the inputs it has among all."""
    chosen = [(split, row) for split in ("val", "test") for row in data.rows(split)]
    places = evenly(len(chosen), MOST_ALONE)
    found = []
    for split, row in (chosen[place] for place in places):
        whole, alone = data.batch(split, [row]), _by_itself(data, split, int(row))
        if not all(torch.equal(whole.inputs[name], alone.inputs[name]) for name in whole.inputs):
            found.append(data.ids(split)[row])
    did = f"{len(places)} of {len(chosen)} held-out samples read again, each from a table of its own"
    what = "the inputs of samples depend on other samples"
    return Checked("recomputed", did, (AuditFinding("leak", "recomputed", what, tuple(found)),) if found else ())


def _by_itself(data: SampleData, split: str, row: int) -> Batch:
    place = int(_table_rows(data, split)[row])
    table = data.table
    own = replace(
        table, samples=(table.samples[place],), counts=table.counts[[place]], metadata=table.metadata.iloc[[place]],
        distances=None, findings=(),
    )  # fmt: skip
    config = data.config.model_copy(update={"unifrac": "none"})
    made = SampleData(own, config, data.seed, data.fitted, data.schema.streams.keys(), ahead=True)
    return made.batch("ahead", [0])


def _columns(data: SampleData) -> Checked:
    """No column that the model is given is the target in other words."""
    inputs = (*data.config.categories, *data.config.numbers)
    if not inputs:
        return Checked("columns", "the model is given no metadata")
    errors, usual = _column_errors(data, inputs)
    found = []
    for name, error in errors.items():
        severity = "leak" if error < LEAK * usual else "suspect" if error < SUSPECT * usual else None
        if severity is not None:
            what = f"{name} alone tells the target: error {error:.4g}, of a constant {usual:.4g}; do not give it"
            found.append(AuditFinding("leak" if severity == "leak" else "suspect", "columns", what, (name,)))
    did = f"each of {len(inputs)} given columns alone set against a constant on the held-out samples"
    return Checked("columns", did, tuple(found))


def _column_errors(data: SampleData, inputs: tuple[str, ...]) -> tuple[dict[str, float], float]:
    """The error of each column alone on the held-out samples, and that of a constant: absolute, or a share of wrong."""
    panel = replace(data.panel(), metadata=data.metadata[list(inputs)])

    def error(answers: Any) -> float:
        total, count = 0.0, 0
        for split in ("val", "test"):
            truth, answer = panel.y[panel.rows[split]], answers[split]
            known = panel.known[panel.rows[split]]
            miss = answer.argmax(axis=1) != truth if panel.classes else np.abs(answer - truth)
            total, count = total + float(miss[known].sum()), count + int(known.sum())
        return total / max(count, 1)

    found = {name.removeprefix("column:"): error(made) for name, made in column_rivals(panel).items()}
    return {name: found[name] for name in inputs if name in found}, error(constant(panel))
