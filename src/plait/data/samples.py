"""A checked table of samples as a data set: split, fitted on train rows, and gathered into batches."""

import re
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.baselines.samples import SamplePanel
from plait.core.errors import ConfigError
from plait.core.schema import SPLITS, Schema
from plait.core.tokens import Batch
from plait.data.mixup import Partners, draw_partners, mixed_counts
from plait.data.sample_columns import (
    Columns,
    categories_of,
    encode_columns,
    fit_columns,
    group_codes,
    permuted,
)
from plait.data.sample_counts import aligned, columns_of, most_abundant, not_read, padded
from plait.data.sample_distances import SampleDistances
from plait.data.sample_fitted import SampleFitted, fit_features
from plait.data.sample_splits import split_samples
from plait.data.sample_table import SampleTable
from plait.data.sample_targets import Target, read_target, usable
from plait.data.table import Finding
from plait.features.composition import clr
from plait.objectives.bootstrap import Units
from plait.objectives.regression import thresholds_of
from plait.objectives.transforms import TargetTransform, check_targets

if TYPE_CHECKING:
    from plait.data.sources.asv import AsvSourceConfig


class SampleData:
    """Samples of one study: `rows(split)`, `batch(split, index)`, and everything the baselines read.

    The rows of the data set are the samples with a known target in range, in the order of the sorted ids; without a
    target, all. What is fitted (ASVs, blocks, categories, transform, thresholds) is fitted on train rows. With
    `fitted` given (of a trained run) nothing is fitted; with `ahead` there is one split of that name with all
    samples, and targets are masked where unknown. `reads` names the streams that the model reads, if not all.

    Errors: ConfigError as `AsvSourceConfig.check`; DataError for no sample with a target, no ASV in enough samples or
    of the run, columns that the metadata lack, a target that the transform can't take.
    """

    def __init__(
        self,
        table: SampleTable,
        config: "AsvSourceConfig",
        seed: int = 0,
        fitted: SampleFitted | None = None,
        reads: Collection[str] | None = None,
        ahead: bool = False,
    ) -> None:
        config.check()
        if ahead and fitted is None:
            raise ConfigError("new samples need what a run fitted", where="ahead", fix="give the run's")
        if not ahead:
            config.check_columns(table.metadata)
        self.table, self.config, self.seed = table, config, seed
        self.where = config.metadata or "metadata"
        self._found: list[Finding] = []
        target = self._target_of(table, fitted, ahead)
        self.metadata = table.metadata.iloc[self.kept]
        self._distances = SampleDistances(table, self.kept, config.unifrac)
        self._ids = tuple(table.samples[row] for row in self.kept)
        self._groups = self._told(group_codes(self.metadata, None if ahead else config.group_by))
        self._rows = {"ahead": np.arange(len(self.kept))} if ahead else self._split(target)
        self._keys = categories_of(self.metadata, config.normalize_by)
        self.fitted = self._fit(target) if fitted is None else fitted
        self._target = target.values
        self._z = self._transformed(target.values)
        self._counts = self._aligned()
        self._logs = self._counts.copy()
        self._logs.data = np.log1p(self._logs.data)
        self.columns = self._encoded()
        self._given = permuted(self.columns, self._rows, seed) if config.placebo else self.columns
        self._reads_metadata = self.columns.mask.shape[1] > 0 and (reads is None or "metadata" in reads)
        self._mix: tuple[tuple[object, ...], Partners] | None = None
        self.tables = self.fitted.tables()
        self.schema = self._schema()
        self.findings = [*table.findings, *self._found]

    def _told(self, result: tuple[Any, list[Finding]]) -> Any:
        """A result without what was found on the way, which is kept."""
        self._found += result[1]
        return result[0]

    def _target_of(self, table: SampleTable, fitted: SampleFitted | None, ahead: bool) -> Target:
        """The target of the rows of the data set, and which samples these are."""
        config = self.config
        classes = () if fitted is None else fitted.classes
        target: Target = self._told(read_target(table.metadata, config.target, config.classifier, classes, self.where))
        self.kept = np.arange(len(table.samples))
        if not ahead and config.target is not None:
            low, high = config.target_min, config.target_max
            self.kept = self._told(usable(target, table.samples, low, high, config.target))
        return target._replace(values=target.values[self.kept])

    def _split(self, target: Target) -> dict[str, NDArray[np.int64]]:
        config = self.config
        parts = split_samples(
            np.arange(len(self.kept)),
            config.split_seed,
            shares=config.splits,
            folds=config.folds,
            fold=config.fold,
            groups=None if config.group_by is None else list(map(str, self._groups)),
            strata=[target.classes[int(label)] for label in target.values] if config.stratify else None,
        )
        return {split: np.asarray(parts[split], dtype=np.int64) for split in SPLITS}

    def _fit(self, target: Target) -> SampleFitted:
        """All that a run learns before training, from its train rows."""
        config, train = self.config, self._rows["train"]
        fitted = fit_features(self.table, self.kept[train], config)
        names, statistics, found = fit_columns(self.metadata.iloc[train], config.categories, config.numbers, self.where)
        self._found += found
        fitted = replace(fitted, categories=names, numbers=statistics, target=config.target)
        if config.target is None:
            return fitted
        values = target.values[train]
        if config.classifier:
            sizes = np.bincount(values.astype(np.int64), minlength=len(target.classes))
            return replace(fitted, classes=target.classes, class_counts=tuple(map(int, sizes)))
        check_targets(config.transform, values, names=[self._ids[row] for row in train])
        keys = None if self._keys is None else [self._keys[row] for row in train]
        transform = TargetTransform.fit(config.transform, values, keys)
        thresholds = thresholds_of(transform.forward(values, keys), config.bins).numpy()
        return replace(fitted, transform=transform, thresholds=thresholds)

    def _transformed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Targets in the unit that the model learns, NaN where unknown; labels as they are."""
        transform = self.fitted.transform
        if transform is None:
            return values
        check_targets(transform.kind, values, np.isfinite(values), self._ids)
        return transform.forward(values, self._keys)

    def _aligned(self) -> Any:
        """The counts of the run's ASVs, as they enter."""
        fitted, width = self.fitted, len(self.fitted.features)
        columns = self._told(columns_of(self.table, fitted.features, fitted.sequences, fitted.left_out))
        counts = aligned(self.table, self.kept, columns, width)
        self._found += not_read(self.table, self.kept, columns, width, self._ids, counts)
        return most_abundant(counts, self.config.most_features)

    def _encoded(self) -> Columns:
        fitted = self.fitted
        columns: Columns = self._told(encode_columns(self.metadata, fitted.categories, fitted.numbers, self.where))
        for name in self.config.normalize_by:
            if name not in self.metadata.columns:
                what = f"samples have no column {name} in their metadata: the target goes by the statistics of all"
                self._found.append(Finding(what, len(self.metadata)))
        return columns

    def _schema(self) -> Schema:
        fitted = self.fitted
        columns = {name: len(values) for name, values in fitted.categories.items()} | dict.fromkeys(fitted.numbers, 0)
        streams = {"asv": sum(fitted.blocks.values())}
        if self._reads_metadata:
            streams["metadata"] = len(columns)
        return Schema(
            "asv",
            streams,
            features=len(fitted.features),
            blocks=dict(fitted.blocks),
            letters=self.tables["letters"].shape[1] if "letters" in self.tables else 0,
            columns=columns if self._reads_metadata else {},
            outputs=len(fitted.classes) if self.config.classifier else int(fitted.target is not None),
            bins=0 if fitted.thresholds is None else len(fitted.thresholds),
        )

    @property
    def features(self) -> tuple[str, ...]:
        """The ids of the run's ASVs, by number."""
        return self.fitted.features

    @property
    def taxa(self) -> tuple[str, ...]:
        """The taxon of each of the run's ASVs, its id where it has none."""
        return self.fitted.taxa

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The names of the codes of each column of categories."""
        return self.fitted.categories

    def rows(self, split: str) -> NDArray[np.int64]:
        """The numbers of all rows of a split."""
        return np.arange(len(self._rows[split]))

    def batch(self, split: str, index: Any) -> Batch:
        """The rows `index` of a split as tensors; nothing is done per row in Python.

        Shape: asv, asv_mask, asv_counts (b, s); metadata, metadata_numbers, metadata_mask (b, k); targets y and mask
        (b, 1); info row (b,), the row numbers of the data set.
        """
        row = self._rows[split][np.asarray(index)]
        return Batch(
            padded(self._counts, row) | self._metadata(row), self._answers(row), {"row": torch.from_numpy(row)}
        )

    def training_batch(self, index: Any, *key: object) -> Batch:
        """The rows `index` of the train split, each mixed with another; without `mixup` they are the plain batch.

        Whom a row is mixed with and how much is a function of the seed, `key` and the row. Metadata and `y` are of the
        sample with the greater share, `y_other` and `mask_other` of the other, `share` (b,) is that of the first.
        """
        if not self.config.mixup:
            return self.batch("train", index)
        train, place = self._rows["train"], np.asarray(index)
        partners = self._partners(key)
        row, other, share = train[place], train[partners.other[place]], partners.share[place]
        counts = mixed_counts(self._logs, row, other, share)
        counts = most_abundant(counts, self.config.most_features)
        targets = self._answers(row) | {f"{name}_other": part for name, part in self._answers(other).items()}
        targets["share"] = torch.from_numpy(share)
        inputs = padded(counts, np.arange(len(row))) | self._metadata(row)
        return Batch(inputs, targets, {"row": torch.from_numpy(row)})

    def _partners(self, key: tuple[object, ...]) -> Partners:
        # All batches of one key share a draw over all train rows; the last is kept.
        if self._mix is None or self._mix[0] != key:
            self._mix = key, draw_partners(len(self._rows["train"]), self.config.mixup, self.seed, *key)
        return self._mix[1]

    def _metadata(self, row: NDArray[np.int64]) -> dict[str, Tensor]:
        if not self._reads_metadata:
            return {}
        codes, numbers, mask = (torch.from_numpy(part[row]) for part in self._given)
        return {"metadata": codes, "metadata_numbers": numbers, "metadata_mask": mask}

    def _answers(self, row: NDArray[np.int64]) -> dict[str, Tensor]:
        values = self._z[row, None]
        known = np.isfinite(values)
        kind = np.int64 if self.config.classifier else np.float32
        return {"y": torch.from_numpy(np.where(known, values, 0.0).astype(kind)), "mask": torch.from_numpy(known)}

    def fingerprint(self) -> str:
        """A digest of the table: whether data are still those a run began with."""
        return self.table.fingerprint()

    def notices(self) -> list[str]:
        """What one wants to know before training: who is left out, what is masked, what is not read."""
        left_out = [finding for finding in self.table.findings if "left out" in finding.what]
        return [str(finding) for finding in (*left_out, *self._found)]

    def panel(self) -> SamplePanel:
        """The same samples and splits for the cheap predictions, with the metadata as they are."""
        given = [name for name in self.metadata.columns if name != self.config.target]
        labels = self.config.classifier
        return SamplePanel(
            clr=clr(self._counts),
            log_counts=self._logs,
            y=np.where(np.isnan(self._target), -1, self._target).astype(np.int64) if labels else self._target,
            classes=len(self.fitted.classes),
            metadata=self.metadata[given],
            inputs=(*self.config.categories, *self.config.numbers),
            numbers=tuple(self.config.numbers),
            prefix=tuple(_prefix(name) for name in self._ids),
            rows=dict(self._rows),
            seed=self.seed,
        )

    def split_summary(self) -> dict[str, Any]:
        """Samples, groups and known targets of each split, with what the targets are like."""
        out: dict[str, Any] = {}
        for split, rows in self._rows.items():
            values = self._target[rows]
            values = values[np.isfinite(values)]
            facts: dict[str, Any] = {
                "samples": len(rows), "groups": len(np.unique(self._groups[rows])), "known": len(values),
            }  # fmt: skip
            if self.config.classifier:
                sizes = np.bincount(values.astype(np.int64), minlength=len(self.fitted.classes))
                facts["classes"] = dict(zip(self.fitted.classes, map(int, sizes), strict=True))
            elif len(values):
                facts |= {"median": float(np.median(values)), "min": float(values.min()), "max": float(values.max())}
            out[split] = facts
        return out

    def describe(self) -> tuple[list[str], dict[str, Any]]:
        """The splits and the table in words, and as plain data."""
        fitted, lines = self.fitted, []
        for split, facts in self.split_summary().items():
            told = f"{facts['samples']} samples in {facts['groups']} groups, {facts['known']} with a target"
            if "classes" in facts:
                told += f": {', '.join(f'{count} {name}' for name, count in facts['classes'].items())}"
            elif "median" in facts:
                told += f", {facts['min']:g} .. {facts['max']:g}, median {facts['median']:g}"
            lines.append(f"{split:<6} {told}")
        counts = {"features": len(self.table.features), "read": len(fitted.features)}
        lines.append(f"ASVs: {counts['features']}, {counts['read']} of them read; target: {fitted.target or 'none'}")
        return lines, {**counts, "target": fitted.target, "classes": list(fitted.classes)}

    def asked(self) -> NDArray[np.int64]:
        """The rows that a prediction of new samples is for: all."""
        return self.rows("ahead")

    def units(self, split: str) -> Units:
        """Which rows of a split are drawn together: those of one group."""
        return Units(len(self._rows[split]), groups=self.groups_of(split))

    def groups_of(self, split: str) -> NDArray[np.int64]:
        """A code for each row of a split that the rows of one group share, the same in every split and fold.

        Shape: (n,). Without `group_by`, and where a sample has no group, each is its own.
        """
        codes: NDArray[np.int64] = self._groups[self._rows[split]]
        return codes

    def ids(self, split: str) -> tuple[str, ...]:
        """The sample ids of a split."""
        return tuple(self._ids[row] for row in self._rows[split])

    def targets(self, split: str) -> NDArray[Any]:
        """The targets of a split in the unit of the files, NaN where unknown; names of classes, None where unknown.

        Shape: (n,).
        """
        values = self._target[self._rows[split]]
        if not self.config.classifier:
            return values
        return np.array([None if np.isnan(v) else self.fitted.classes[int(v)] for v in values], dtype=object)

    def original_unit(self, z: NDArray[Any], split: str, index: Any) -> NDArray[np.float64]:
        """Predictions of the rows `index` of a split in the unit of the files; classes have none and stay.

        Shape: (n,), (n, outputs) or, as quantiles, (n, any).
        """
        if self.fitted.transform is None:
            return np.asarray(z, dtype=np.float64)
        return self.fitted.transform.inverse(np.asarray(z, dtype=np.float64), self._keys_at(split, index))

    def spread_unit(self, z: NDArray[Any], sd: NDArray[Any], split: str, index: Any) -> NDArray[np.float64]:
        """The sd of predictions z in the unit of the files. Shape: z and sd as in `original_unit`."""
        spread = np.asarray(sd, dtype=np.float64)
        if self.fitted.transform is None:
            return spread
        keys = self._keys_at(split, index)
        return self.fitted.transform.inverse_spread(np.asarray(z, dtype=np.float64), spread, keys)

    def in_unit(self, z: Tensor, rows: Tensor) -> Tensor:
        """Predictions or targets of rows of the data set in the unit of the files, as float64 on the CPU.

        Shape: z (b, outputs), rows (b,).
        """
        if self.fitted.transform is None:
            return z.double().cpu()
        keys = None if self._keys is None else [self._keys[row] for row in rows.tolist()]
        return self.fitted.transform.inverse(z.double().cpu(), keys)

    def truth(self, rows: Tensor) -> Tensor:
        """The targets of rows of the data set as they were read, not rounded; NaN where unknown.

        Shape: (b,) -> (b, 1), float64 on the CPU. Units: of the files; numbers of classes.
        """
        return torch.from_numpy(self._target[rows.cpu().numpy(), None])

    def _keys_at(self, split: str, index: Any) -> Any:
        if self._keys is None:
            return None
        return [self._keys[row] for row in self._rows[split][np.asarray(index)]]

    def pairs(self, a: Any, b: Any) -> Tensor:
        """Distances between rows of the data set; see `SampleDistances.pairs`. Shape: (n,) and (m,) -> (n, m)."""
        return self._distances.pairs(a, b)

    def faith(self, rows: Any) -> Tensor:
        """Faith's phylogenetic diversity of rows of the data set; see `SampleDistances.faith`. Shape: (n,) -> (n,)."""
        return self._distances.faith(rows)


def _prefix(name: str) -> str:
    """The letters before the first digit or separator of a sample id, which often name its study."""
    found = re.match(r"[^\W\d_]*", name)
    return found[0] if found else ""
