"""Labelled series as a data set: cut or padded to one length, standardised, split, and gathered into batches."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from plait.baselines.series_classes import ClassPanel
from plait.core.errors import DataError
from plait.core.schema import SPLITS, Schema
from plait.core.seeding import generator
from plait.core.tokens import Batch
from plait.data.labelled_fitted import LabelledFitted
from plait.data.labelled_table import LabelledTable
from plait.nn.window_norm import carry
from plait.objectives.bootstrap import Units

if TYPE_CHECKING:
    from plait.data.sources.labelled_series import LabelledSeriesConfig

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class WholeSeries:
    """What a task asks of a whole series: its class."""

    ahead: ClassVar[bool] = False
    """The answer is of the series itself."""
    outputs: ClassVar[int] = 2
    """So many classes or more; how many, the data say."""


class LabelledSeriesData:
    """Whole series with a class each: `rows(split)`, `batch(split, index)`, and what the baselines read.

    The published test file is the test split; of each class a share of the train file is held out for validation. A
    series that is shorter than the window is padded at its front, of a longer one the last steps are seen. Each
    variate is standardised by the train rows. With `fitted` given (of a trained run) nothing is fitted; with `ahead`
    there is one split of that name with all series of the table, whose classes may be unknown.

    Errors: DataError where validation would be empty, for a variate without a value in train, and with `ahead` for a
    table that is not of new series.
    """

    def __init__(
        self,
        table: LabelledTable,
        config: "LabelledSeriesConfig",
        fitted: LabelledFitted | None = None,
        ahead: bool = False,
    ) -> None:
        self.table, self.config = table, config
        if ahead and table.trained:
            raise DataError("there is nothing to predict", where="predict", fix="give --path FILE.ts, or --split test")
        longest = int(table.lengths[: table.trained or None].max())
        self.lookback = config.lookback or longest
        self.rows_of = {"ahead": np.arange(len(table.label))} if ahead else self._split()
        self.values = _windows(table.values, self.lookback)
        if fitted is None:
            train = self.rows_of["train"]
            fitted = LabelledFitted.of(self.values[train], table.label[train], table.classes)
        self.fitted = fitted
        z = np.nan_to_num((self.values - fitted.mean) / fitted.sd)
        self._series = torch.from_numpy(z.astype(np.float32))
        self._mask = torch.from_numpy(~np.isnan(self.values))
        self._label = torch.from_numpy(table.label)
        self.schema = self._schema()
        self.findings = list(table.findings)

    def _split(self) -> dict[str, IntArray]:
        """The rows of each split: the test file, and of the train file what is held out and what is not."""
        table = self.table
        label = table.label[: table.trained]
        held = np.sort(np.concatenate([self._held_out(label, code) for code in range(len(table.classes))]))
        if not len(held):
            raise DataError(
                "no class has two train series, so that one can be held out for validation",
                where="data.train", fix="give more train series",
            )  # fmt: skip
        train = np.setdiff1d(np.arange(table.trained), held)
        return {"train": train, "val": held, "test": np.arange(table.trained, len(table.label))}

    def _held_out(self, label: IntArray, code: int) -> IntArray:
        """The rows of a class that are held out: its share, one at least, but never its last."""
        rows = np.flatnonzero(label == code)
        wanted = max(1, int(self.config.validation * len(rows) + 0.5))
        order = generator(self.config.split_seed, "validation", code).permutation(len(rows))
        return rows[order[: max(0, min(wanted, len(rows) - 1))]]

    def _schema(self) -> Schema:
        variates = tuple(f"dimension_{number}" for number in range(1, self.values.shape[2] + 1))
        return Schema("series", {"series": len(variates)}, variates, self.lookback, outputs=len(self.fitted.classes))

    def rows(self, split: str) -> IntArray:
        """The numbers of all rows of a split."""
        return np.arange(len(self.rows_of[split]))

    def asked(self) -> IntArray:
        """The rows that a prediction of new series is for: all."""
        return self.rows("ahead")

    def batch(self, split: str, index: Any) -> Batch:
        """The rows `index` of a split as tensors; nothing is done per row in Python.

        Shape: series and series_mask (b, t, v), series_marks (b, t, 0), for there is no calendar; targets y, the code
        of a class, and mask (b, 1); info row (b,).
        Mask: False = missing, or before the beginning of a series.
        """
        row = torch.from_numpy(self.rows_of[split][np.asarray(index)])
        label = self._label[row][:, None]
        series = self._series[row]
        inputs = {"series": series, "series_mask": self._mask[row], "series_marks": series[..., :0]}
        return Batch(inputs, {"y": label.clamp(min=0), "mask": label >= 0}, {"row": row})

    def training_batch(self, index: Any, *key: object) -> Batch:
        """The train rows `index`, as they are."""
        return self.batch("train", index)

    def units(self, split: str) -> Units:
        """Which rows are drawn together: each series by itself."""
        return Units(len(self.rows_of[split]), groups=self.rows(split))

    def panel(self) -> ClassPanel:
        """The same series and splits for the cheap answers, in the unit of the files, carried over what is missing."""
        values = torch.from_numpy(np.nan_to_num(self.values))
        filled = carry(values, self._mask).numpy()
        return ClassPanel(
            {split: filled[rows] for split, rows in self.rows_of.items()},
            {split: self.table.label[rows] for split, rows in self.rows_of.items()},
            len(self.fitted.classes),
        )

    def numbers(self, rows: Any) -> IntArray:
        """The places of rows of the data set in their files, from 1. Shape: (b,) -> (b,)."""
        found: IntArray = self.table.number[np.asarray(rows)]
        return found

    def fingerprint(self) -> str:
        """A digest of the series: whether data are still those a run began with."""
        return self.table.fingerprint()

    def notices(self) -> list[str]:
        """What to know before a training: series that are cut, padded or have gaps."""
        return [*map(str, self.findings), *self.table.longer_than(self.lookback)]

    def split_summary(self) -> dict[str, Any]:
        """Series of each split, and of each class in it."""
        out = {}
        for split in SPLITS:
            label = self.table.label[self.rows_of[split]]
            counts = np.bincount(label, minlength=len(self.fitted.classes))
            classes = dict(zip(self.fitted.classes, map(int, counts), strict=True))
            out[split] = {"series": len(label), "classes": classes}
        return out

    def describe(self) -> tuple[list[str], dict[str, Any]]:
        """The splits and the series in words, and as plain data."""
        lines = []
        for split, facts in self.split_summary().items():
            told = ", ".join(f"{count} {name}" for name, count in facts["classes"].items())
            lines.append(f"{split:<6} {facts['series']} series: {told}")
        lengths, variates = self.table.lengths, len(self.schema.variates)
        low, high = int(lengths.min()), int(lengths.max())
        lines.append(f"{variates} variates, {low} to {high} steps, of which the model sees {self.lookback}")
        facts = {"variates": variates, "shortest": low, "longest": high, "lookback": self.lookback}
        return lines, {**facts, "classes": list(self.fitted.classes)}


def _windows(values: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """The last steps of each series, with NaN before the beginning of those that are shorter. Shape: (n, steps, v)."""
    lacking = max(0, steps - values.shape[1])
    padded = np.pad(values, ((0, 0), (lacking, 0), (0, 0)), constant_values=np.nan)
    return padded[:, padded.shape[1] - steps :]
