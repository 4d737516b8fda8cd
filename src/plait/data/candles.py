"""Checked candles as a data set: features, labels, splits, and batches."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core.errors import ConfigError, DataError
from plait.core.schema import SPLITS, Schema
from plait.core.seeding import generator
from plait.core.tokens import Batch
from plait.data.candle_fitted import CandleFitted, Scaling
from plait.data.candle_table import CandleTable
from plait.data.table import Finding
from plait.data.walk_forward import walk_forward
from plait.features import candle_channels, candle_numbers, complexity
from plait.features.range_labels import future_bars, range_labels
from plait.features.topology import Grid, WindowDiagrams, vectorise, window_diagrams, window_spread
from plait.objectives.bootstrap import Units

if TYPE_CHECKING:
    from plait.data.sources.candles import CandlesConfig

ANCHOR, TOPOLOGY, COMPLEXITY = "candles", "topology", "complexity"
TARGETS = ("trigger", "max_pct")


@dataclass(frozen=True, eq=False)
class Labels:
    """Whether a move comes, how far it goes in percent, and whether that is known. Shape: (T,) each."""

    trigger: NDArray[np.bool_]
    max_pct: NDArray[np.float64]
    known: NDArray[np.bool_]


class CandleData:
    """Bars with a full past and a known label: `rows(split)`, `batch(split, index)`, and what the baselines read.

    A row is a bar t. Its inputs are of bars up to t, its label of those after it. Which bars are rows does not depend
    on what is read, so that all arms of a comparison are tested on the same ones. What is fitted (scalings, the grid of
    the topology) is fitted on train rows; with `fitted` given (of a trained run) nothing is. With `ahead` there is one
    split of that name, the last bar, whose label is masked.

    Errors: DataError for too few bars (how many a window needs), bars of another length than the run's, a split without
    a move (its dates), labels that the file lacks.
    """

    def __init__(
        self,
        table: CandleTable,
        config: "CandlesConfig",
        seed: int = 0,
        fitted: CandleFitted | None = None,
        reads: frozenset[str] = frozenset({ANCHOR, TOPOLOGY, COMPLEXITY}),
        ahead: bool = False,
    ) -> None:
        self.table, self.config, self.seed = table, config, seed
        if fitted is not None and fitted.seconds != table.seconds:
            raise DataError(
                f"the run learned bars of {fitted.seconds} s, these are of {table.seconds} s", where="data",
                fix="give bars of the run's length",
            )  # fmt: skip
        self.preset = config.channels or candle_channels.widest_preset(table.columns)
        self.names = candle_channels.CHANNELS[self.preset]
        self._found: list[Finding] = []
        self.labels = self._labels(ahead)
        self.rows_of = self._split(ahead)
        diagrams = self._diagrams(ahead) if TOPOLOGY in reads else None
        self._raw = self._features(reads)
        grid = None if diagrams is None else self._grid(diagrams) if fitted is None else fitted.grid
        if diagrams is not None and grid is not None:
            self._raw[TOPOLOGY] = self._topology(diagrams, grid, ahead)
        self.fitted = self._fit(grid) if fitted is None else fitted
        self._inputs = self._tensors(ahead)
        self.schema = self._schema()
        self.findings = [*table.findings, *self._found]

    @property
    def first(self) -> int:
        """The first bar with a full past."""
        config, warm_up = self.config, candle_channels.WARM_UP[self.preset]
        return max(
            config.topology.window - 1, config.lookback - 1 + warm_up, complexity.WARM_UP, candle_numbers.WARM_UP
        )

    @property
    def gap(self) -> int:
        """Bars between two splits."""
        return self.config.gap(candle_channels.WARM_UP[self.preset])

    def _labels(self, ahead: bool) -> Labels:
        """The labels of every bar; new bars bring none."""
        config, columns, table = self.config, self.table.columns, self.table
        made = range_labels(
            columns["high"], columns["low"], columns["close"],
            config.horizon, config.lead, config.threshold, config.direction,
        )  # fmt: skip
        if ahead or table.trigger is None or table.max_pct is None:
            if config.labels == "columns" and not ahead:
                raise DataError(
                    "the file has no columns Trigger and Max_Pct", where="data.labels", fix="give labels: computed"
                )
            return Labels(*made)
        other = (table.trigger != made.trigger) | (table.trigger & (table.max_pct != made.max_pct))
        if (other & made.known).any():
            dates = tuple(str(each) for each in table.times[other & made.known][:3])
            what = "labels of the file are not those computed from its bars"
            self._found.append(Finding(what, int((other & made.known).sum()), dates))
        if config.labels == "columns":
            return Labels(table.trigger, np.where(table.trigger, table.max_pct, 0.0), made.known)
        return Labels(*made)

    def _split(self, ahead: bool) -> dict[str, NDArray[np.int64]]:
        config, bars = self.config, len(self.table.times)
        if bars <= self.first:
            raise DataError(
                f"{bars} bars, a row needs {self.first + 1}: the longest window and what its features need before it",
                where="data", fix="give a longer series",
            )  # fmt: skip
        if ahead:
            return {"ahead": np.array([bars - 1], dtype=np.int64)}
        full = np.arange(self.first, bars, dtype=np.int64)
        known = full[self.labels.known[full]]
        if config.folds is None and config.fold:
            raise ConfigError(
                f"fold {config.fold} is asked for, and no folds", where="data.fold", fix="give data.folds too"
            )
        made = walk_forward(known, config.splits, self.gap, config.folds, config.fold, config.tested)
        for split, rows in made.items():
            moves, times = self.labels.trigger[rows], self.table.times[rows]
            if moves.all() or not moves.any():
                which, other = ("every", "higher") if moves.all() else ("no", "lower")
                raise DataError(
                    f"{which} bar of {split} is followed by a move of {config.threshold:.1%}"
                    f" ({times[0]} .. {times[-1]})", where=f"data.threshold, fold {config.fold}",
                    fix=f"a {other} threshold, or other splits",
                )  # fmt: skip
        return made

    def _features(self, reads: frozenset[str]) -> dict[str, NDArray[np.float64]]:
        """The features of every bar that need no fit; NaN before they are defined."""
        found = {ANCHOR: candle_channels.candle_channels(self.preset, self.table.columns)}
        return found | ({COMPLEXITY: self.indicators} if COMPLEXITY in reads else {})

    def _grid(self, diagrams: WindowDiagrams) -> Grid:
        """Where the features of the topology are read, by the windows of the train rows."""
        config = self.config.topology
        return Grid.fit(diagrams.select(self.rows_of["train"] - (config.window - 1)), config.bins, config.layers)

    def _ends(self, ahead: bool) -> NDArray[np.int64]:
        """The bars whose windows are described: all that are full, of new bars the last."""
        bars = len(self.table.times)
        return np.arange(bars - 1 if ahead else self.config.topology.window - 1, bars)

    def _diagrams(self, ahead: bool) -> WindowDiagrams:
        config = self.config.topology
        if not ahead:
            return self.config.features(self.table).read(self.config.processes)
        closes, where = self.table.columns["close"], self._ends(ahead)
        return window_diagrams(closes, where, config.window, config.embedding, config.delay, config.filtration)

    def _topology(self, diagrams: WindowDiagrams, grid: Grid, ahead: bool) -> NDArray[np.float64]:
        """The features of windows on a grid. Shape: (T, e), NaN where a window is not described."""
        config, closes, ends = self.config.topology, self.table.columns["close"], self._ends(ahead)
        parts = [vectorise(diagrams, grid)]
        if config.spread:
            parts.append(window_spread(closes, ends, config.window))
        made = np.full((len(closes), sum(part.shape[1] for part in parts)), np.nan)
        made[ends] = np.concatenate(parts, axis=1)
        return made

    def _fit(self, grid: Grid | None) -> CandleFitted:
        train, channels = self.rows_of["train"], self._raw[ANCHOR]
        # Every bar that a train window sees, and no other.
        seen = channels[train[0] - self.config.lookback + 1 : train[-1] + 1]
        scalings = {name: Scaling.of(values[train]) for name, values in self._raw.items() if name != ANCHOR}
        return CandleFitted(self.table.seconds, Scaling.of(seen), grid=grid, **scalings)

    def _tensors(self, ahead: bool) -> dict[str, Tensor]:
        """The standardised features of every bar, 0 where they are not defined."""
        made = {}
        for name, values in self._raw.items():
            scaled = np.nan_to_num(getattr(self.fitted, name).apply(values))
            if self.config.placebo and name != ANCHOR and not ahead:
                scaled = self._permuted(scaled)
            made[name] = torch.from_numpy(scaled)
        return made

    def _permuted(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The rows of each split in another order, without a fixed point; the same for all modalities."""
        made = values.copy()
        for split, rows in self.rows_of.items():
            order = generator(self.seed, "placebo", split).permutation(len(rows))
            made[rows[order]] = values[rows[np.roll(order, 1)]]
        return made

    def _schema(self) -> Schema:
        streams = {name: values.shape[1] for name, values in self._inputs.items()}
        order = [name for name in (ANCHOR, TOPOLOGY, COMPLEXITY) if name in streams]
        return Schema(
            ANCHOR, {name: streams[name] for name in order}, self.names, self.config.lookback,
            stream_tokens={name: 1 for name in order if name != ANCHOR}, outputs=len(TARGETS),
        )  # fmt: skip

    def rows(self, split: str) -> NDArray[np.int64]:
        """The numbers of all rows of a split."""
        return np.arange(len(self.rows_of[split]))

    def asked(self) -> NDArray[np.int64]:
        """The row that a prediction from new bars is asked for: the last bar."""
        return self.rows("ahead")

    def batch(self, split: str, index: Any) -> Batch:
        """The rows `index` of a split as tensors; nothing is done per row in Python.

        Shape: candles and candles_mask (b, t, c); topology and complexity (b, 1, e), their masks (b, 1); targets
        trigger (b,) 0 or 1, max_pct (b,) in percent, mask (b,); info row (b,), the bar.
        """
        return self._gathered(self.rows_of[split][np.asarray(index)])

    def training_batch(self, index: Any, *key: object) -> Batch:
        """The train rows `index`; with `sampling: balanced` rows drawn in their stead, half of them with a move.

        What is drawn is a function of the seed, `key` and the index.
        """
        train = self.rows_of["train"]
        place = np.asarray(index)
        if self.config.sampling == "balanced":
            place = self._balanced(key)[place]
        return self._gathered(train[place])

    def _balanced(self, key: tuple[object, ...]) -> NDArray[np.int64]:
        """A draw of as many train rows as there are, by turns with a move and without one."""
        moves = self.labels.trigger[self.rows_of["train"]]
        rng, drawn = generator(self.seed, "balanced", *key), np.empty(len(moves), dtype=np.int64)
        for turn, of in enumerate((np.flatnonzero(moves), np.flatnonzero(~moves))):
            drawn[turn::2] = rng.choice(of, len(drawn[turn::2]))
        return drawn

    def _gathered(self, bars: NDArray[np.int64]) -> Batch:
        row = torch.from_numpy(bars)
        window = self._inputs[ANCHOR][row[:, None] + torch.arange(1 - self.config.lookback, 1)]
        inputs = {ANCHOR: window, f"{ANCHOR}_mask": torch.ones_like(window, dtype=torch.bool)}
        for name in (TOPOLOGY, COMPLEXITY):
            if name in self._inputs:
                inputs[name] = self._inputs[name][row][:, None]
                inputs[f"{name}_mask"] = torch.ones(len(row), 1, dtype=torch.bool)
        labels = self.labels
        targets = {
            "trigger": torch.from_numpy(labels.trigger[bars].astype(np.float32)),
            "max_pct": torch.from_numpy(labels.max_pct[bars].astype(np.float32)),
            "mask": torch.from_numpy(labels.known[bars]),
        }
        return Batch(inputs, targets, {"row": row})

    def units(self, split: str) -> Units:
        """Which rows are drawn together: neighbours, as many as a window has bars, and twice what a label reads."""
        reach = future_bars(self.config.horizon, self.config.lead)
        return Units(len(self.rows_of[split]), max(self.config.lookback, 2 * reach))

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """The 27 numbers of the linear baseline, of every bar. Shape: (T, 27)."""
        columns = self.table.columns
        return candle_numbers.candle_numbers(
            self.table.times, columns["high"], columns["low"], columns["close"], self.table.volume
        )

    @cached_property
    def indicators(self) -> NDArray[np.float64]:
        """The six indicators of complexity, of every bar. Shape: (T, 6)."""
        columns = self.table.columns
        return complexity.complexity_indicators(columns["high"], columns["low"], columns["close"], self.table.volume)

    def feature(self, name: str) -> NDArray[np.float64]:
        """The features of a modality as they are before scaling and before a placebo permutes them. Shape: (T, e)."""
        return self._raw[name]

    def fingerprint(self) -> str:
        """A digest of the bars: whether data are still those a run began with."""
        return self.table.fingerprint()

    def notices(self) -> list[str]:
        """What to know before a training."""
        return [str(finding) for finding in (*self.table.findings, *self._found)]

    def split_summary(self) -> dict[str, Any]:
        """Rows, moves and dates of each split."""
        out = {}
        for split in SPLITS:
            rows = self.rows_of[split]
            moves = int(self.labels.trigger[rows].sum())
            times = self.table.times[rows]
            out[split] = {
                "rows": len(rows), "moves": moves, "share": moves / len(rows),
                "first": str(times[0]), "last": str(times[-1]),
            }  # fmt: skip
        return out

    def describe(self) -> tuple[list[str], dict[str, Any]]:
        """The splits and the bars in words, and as plain data."""
        lines = [
            f"{split:<6} {facts['rows']} rows, {facts['moves']} with a move ({facts['share']:.1%}),"
            f" {facts['first']} .. {facts['last']}"
            for split, facts in self.split_summary().items()
        ]
        bars, gap = len(self.table.times), self.gap
        lines.append(f"{bars} bars of {self.table.seconds} s, {self.preset} channels; {gap} bars between splits")
        return lines, {"bars": bars, "seconds": self.table.seconds, "channels": list(self.names), "gap": gap}
