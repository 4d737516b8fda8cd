"""Candles: no later bar reaches a row, no later row what was fitted, and no label the bars of a later split."""

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core import signals
from plait.core.schema import SPLITS
from plait.core.tokens import Batch
from plait.data.candle_fitted import CandleFitted, Scaling
from plait.data.candles import ANCHOR, COMPLEXITY, TOPOLOGY, CandleData
from plait.evaluation.audit.finding import CHUNK, AuditFinding, Checked, evenly
from plait.features.candle_channels import WARM_UP, candle_channels
from plait.features.complexity import complexity_indicators
from plait.features.range_labels import RangeLabels, future_bars, range_labels
from plait.features.topology import Grid, vectorise, window_diagrams, window_spread

MOST = 200
"""Rows of a split at which the features are computed again, spread evenly."""
TOLERANCE = 1e-9
"""Relative: sums may be taken in another order on another machine."""
AGAIN = "nothing is lost; run the same command again"

Bars = NDArray[np.int64]
Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]


def check_candles(data: CandleData) -> list[Checked]:
    """All checks of candles."""
    return [_splits(data), _recomputed(data), _fitted(data), _labels(data)]


def _batches(data: CandleData, split: str) -> Iterator[Batch]:
    rows = data.rows(split)
    for start in range(0, len(rows), CHUNK):
        signals.check(AGAIN)
        yield data.batch(split, rows[start : start + CHUNK])


def _bars(data: CandleData, split: str) -> Bars:
    """The bar of every row of a split, as its batch names it. Shape: (n,)."""
    return torch.cat([batch.info["row"] for batch in _batches(data, split)]).numpy()


def _times(data: CandleData, bars: Bars) -> tuple[str, ...]:
    return tuple(str(data.table.times[bar]) for bar in bars)


def _splits(data: CandleData) -> Checked:
    """No bar is a row of two splits, and no label reads a bar that lies in a window of a later split."""
    bars = {split: _bars(data, split) for split in SPLITS}
    found = [each for one, two in combinations(SPLITS, 2) for each in _between(data, bars, one, two)]
    counts = ", ".join(f"{len(bars[split])} {split}" for split in SPLITS)
    ahead = future_bars(data.config.horizon, data.config.lead)
    did = f"bars of {counts} rows compared: labels read {ahead} bars ahead, windows are {_window(data)} bars long"
    return Checked("splits", did, tuple(found))


def _between(data: CandleData, bars: Mapping[str, Bars], one: str, two: str) -> Iterator[AuditFinding]:
    """What two splits share, `one` being the earlier by name."""
    both = np.intersect1d(bars[one], bars[two])
    if len(both):
        yield AuditFinding("leak", "splits", f"bars are rows of both {one} and {two}", _times(data, both))
    begins = int(bars[two].min())
    after = np.setdiff1d(bars[one][bars[one] > begins], both)
    if len(after):
        yield AuditFinding("leak", "splits", f"rows of {one} come after {two} begins", _times(data, after))
    ends = bars[one] + future_bars(data.config.horizon, data.config.lead)
    reached = bars[one][(bars[one] < begins) & (ends >= begins)]
    if len(reached):
        words = f"labels of {one} read bars from which {two} is asked: data.purge does not hold"
        yield AuditFinding("leak", "splits", words, _times(data, reached))
    # Such a label is known before the later split begins, but it is made of bars that rows there read.
    near = bars[one][(ends < begins) & (ends > begins - _window(data))]
    if len(near):
        words = f"labels of {one} read bars that the windows of {two} contain: data.embargo does not hold"
        yield AuditFinding("suspect", "splits", words, _times(data, near))


def _window(data: CandleData) -> int:
    """The most bars that an input of a row reads, its own among them."""
    return max(data.config.lookback + WARM_UP[data.preset], data.config.topology.window)


def _recomputed(data: CandleData) -> Checked:
    """Every input of a row equals, bit for bit, what is computed from the bars that it may read and no other."""
    changed: dict[str, list[str]] = {}
    done = total = 0
    for split in SPLITS:
        picked = evenly(len(data.rows(split)), MOST)
        done, total = done + len(picked), total + len(data.rows(split))
        for place in picked:
            signals.check(AGAIN)
            batch = data.batch(split, [place])
            bar = int(batch.info["row"][0])
            again = inputs_at(data, bar)
            for name, values in batch.inputs.items():
                if not name.endswith("_mask") and not torch.equal(values[0], again[name]):
                    changed.setdefault(name, []).append(f"{split} row at {data.table.times[bar]}")
    words = "is not what the bars up to the row's give"
    findings = tuple(
        AuditFinding("leak", "recomputed features", f"{name} {words}", tuple(rows)) for name, rows in changed.items()
    )
    did = f"inputs computed again at {done} of {total} rows, each from its own last {data.first + 1} bars alone"
    return Checked("recomputed features", did, findings)


def inputs_at(data: CandleData, bar: int) -> dict[str, Tensor]:
    """What a row at a bar receives, computed from its last `data.first` + 1 bars alone by what the data fitted.

    Shape: candles (t, c), topology and complexity (1, e), those that the data hold.
    """
    fitted, config = data.fitted, data.config
    own = {name: column[bar - data.first : bar + 1] for name, column in data.table.columns.items()}
    channels = candle_channels(data.preset, own)[-config.lookback :]
    made = {ANCHOR: fitted.candles.apply(channels)}
    if fitted.complexity is not None:
        made[COMPLEXITY] = fitted.complexity.apply(_indicators(own)[-1:])
    if fitted.topology is not None and fitted.grid is not None:
        made[TOPOLOGY] = fitted.topology.apply(_topology_at(data, own["close"], fitted.grid))
    return {name: torch.from_numpy(values) for name, values in made.items()}


def _indicators(columns: Columns) -> Floats:
    volume = columns.get("volume", np.zeros(len(columns["close"])))
    return complexity_indicators(columns["high"], columns["low"], columns["close"], volume)


def _topology_at(data: CandleData, closes: Floats, grid: Grid) -> Floats:
    """The features of the last window of some closes. Shape: (1, e)."""
    config, last = data.config.topology, [len(closes) - 1]
    found = window_diagrams(closes, last, config.window, config.embedding, config.delay, config.filtration)
    spread = [window_spread(closes, last, config.window)] if config.spread else []
    return np.concatenate([vectorise(found, grid), *spread], axis=1)


def _fitted(data: CandleData) -> Checked:
    """Scalings and grid are those of the bars that train rows read, computed from a series that ends there."""
    kept, again = data.fitted, _fitted_anew(data)
    one, two = kept.tensors(), again.tensors()
    differ = [
        name for name in sorted(one.keys() | two.keys())
        if name not in one or name not in two or not _near(one[name].numpy(), two[name].numpy())
    ]  # fmt: skip
    if kept.grid is not None and again.grid is not None:
        same = (kept.grid.bins, kept.grid.layers) == (again.grid.bins, again.grid.layers)
        if not same or not _near(np.array(kept.grid.tops), np.array(again.grid.tops)):
            differ.append("grid")
    what = "what the run fitted is not what its train rows give"
    found = (AuditFinding("leak", "fitted", what, tuple(differ)),) if differ else ()
    with_grid = " and the grid of the topology" if kept.grid is not None else ""
    did = f"{len(one)} means and sds{with_grid} fitted again on the {len(data.rows('train'))} train rows"
    return Checked("fitted", did, found)


def _fitted_anew(data: CandleData) -> CandleFitted:
    """The fit on a series that ends at the last train row."""
    config, kept, train = data.config, data.fitted, _bars(data, "train")
    own = {name: column[: train.max() + 1] for name, column in data.table.columns.items()}
    channels = candle_channels(data.preset, own)[train.min() + 1 - config.lookback :]
    scalings, grid = {}, None
    if kept.complexity is not None:
        scalings[COMPLEXITY] = Scaling.of(_indicators(own)[train])
    if kept.topology is not None:
        # Diagrams are of one window each, and were held against its bars.
        first = config.topology.window - 1
        diagrams = config.features(data.table).read(config.processes).select(train - first)
        grid = Grid.fit(diagrams, config.topology.bins, config.topology.layers)
        spread = [window_spread(own["close"], train, config.topology.window)] if config.topology.spread else []
        scalings[TOPOLOGY] = Scaling.of(np.concatenate([vectorise(diagrams, grid), *spread], axis=1))
    return CandleFitted(data.table.seconds, Scaling.of(channels), grid=grid, **scalings)


def _near(one: Floats, two: Floats) -> bool:
    return one.shape == two.shape and bool(np.allclose(one, two, rtol=TOLERANCE, atol=TOLERANCE))


def _labels(data: CandleData) -> Checked:
    """The label of every row is that of the bars it may read, all of which exist."""
    wrong, unknown, rows = [], [], 0
    ahead, last = future_bars(data.config.horizon, data.config.lead), len(data.table.times) - 1
    for split in SPLITS:
        for batch in _batches(data, split):
            bars, targets = batch.info["row"].numpy(), batch.targets
            rows += len(bars)
            right = [_label_at(data, int(bar)) for bar in bars]
            for bar, (move, size), *own in zip(
                bars, right, targets["trigger"].tolist(), targets["max_pct"].tolist(), targets["mask"].tolist(),
                strict=True,
            ):  # fmt: skip
                if bar + ahead > last or not own[2]:
                    unknown.append(f"{split} row at {data.table.times[bar]}")
                elif own[:2] != [float(move), float(np.float32(size))]:
                    wrong.append(f"{split} row at {data.table.times[bar]}")
    found = []
    if wrong:
        words = "labels are not those of the file" if _of_file(data) else "labels are not those of the bars they read"
        found.append(AuditFinding("leak", "labels", words, tuple(wrong)))
    if unknown:
        words = "rows have a label that is not known yet"
        found.append(AuditFinding("leak", "labels", words, tuple(unknown)))
    did = "held against the columns of the file" if _of_file(data) else f"computed again from the {ahead} bars after it"
    return Checked("labels", f"the label of each of {rows} rows {did}", tuple(found))


def _of_file(data: CandleData) -> bool:
    return data.config.labels == "columns"


def _label_at(data: CandleData, bar: int) -> tuple[bool, float]:
    """Whether a move follows a bar and its size, by the bars that the label may read, or by the file's columns."""
    table, config = data.table, data.config
    if _of_file(data) and table.trigger is not None and table.max_pct is not None:
        return bool(table.trigger[bar]), float(table.max_pct[bar]) if table.trigger[bar] else 0.0
    read = slice(bar, bar + future_bars(config.horizon, config.lead) + 1)
    high, low, close = (table.columns[name][read] for name in ("high", "low", "close"))
    made: RangeLabels = range_labels(
        high, low, close, config.horizon, config.lead, config.threshold, config.direction
    )  # fmt: skip
    return bool(made.trigger[0]), float(made.max_pct[0])
