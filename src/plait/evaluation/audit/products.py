"""Products: nothing of a held-out row is in what was fitted, and no row's own price is in what is told of it."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plait.core.schema import SPLITS
from plait.data.product_fitted import ProductFitted, SourceFit
from plait.data.products import DECILES, ProductData
from plait.evaluation.audit.finding import AuditFinding, Checked, evenly
from plait.evaluation.audit.refitted import near, refitted
from plait.features.attributes import AttributeFit, entered_numbers

TOLERANCE = 1e-5
MOST = 60
"""Rows of which the price is changed, or that are read again by themselves."""
FACTOR = 7.0
"""What the price of a train row is multiplied by to see whether its features know it."""
COPY, NEAR = 0.999, 0.98
"""A column of numbers whose rank correlation with the price is above these is a leak, or a suspect."""


def check_products(data: ProductData) -> list[Checked]:
    """All checks of products."""
    return [_splits(data), _fitted(data), _own_prices(data), _alone(data), _columns(data)]


def _splits(data: ProductData) -> Checked:
    """No row and no group stands in two splits, and no row of one has all the embeddings of another's."""
    found = [*_shared(data), *_copies(data)]
    counts = ", ".join(f"{len(data.rows(split))} {split}" for split in SPLITS)
    grouped = f" in groups of {data.config.group_by}" if data.config.group_by else ", which are not grouped"
    return Checked("splits", f"ids, groups and embeddings of {counts} rows compared{grouped}", tuple(found))


def _shared(data: ProductData) -> Iterator[AuditFinding]:
    for one, two in combinations(SPLITS, 2):
        both = np.intersect1d(data.ids(one), data.ids(two))
        if len(both):
            yield AuditFinding("leak", "splits", f"rows stand in both {one} and {two}", tuple(both.tolist()))
        groups = np.intersect1d(_groups(data, one), _groups(data, two))
        if len(groups):
            named = dict(zip(_groups(data, one), data.ids(one), strict=True))
            rows = tuple(f"the group of {named[group]}" for group in groups)
            yield AuditFinding("leak", "splits", f"groups have rows in both {one} and {two}", rows)


def _groups(data: ProductData, split: str) -> NDArray[np.int64]:
    return np.asarray(data.units(split).groups)


def _copies(data: ProductData) -> Iterator[AuditFinding]:
    """Rows that have every embedding of a row of another split: one product listed twice, it may be."""
    seen: dict[bytes, tuple[str, str]] = {}
    rows = []
    for split in SPLITS if data.sources else ():
        for name, row in zip(data.ids(split), data.rows_of[split], strict=True):
            read = [source.read(np.array([row])) for source in data.sources.values()]
            if not any(present.any() for _, present in read):
                continue
            key = b"".join(values.tobytes() + present.tobytes() for values, present in read)
            before = seen.setdefault(key, (name, split))
            if before[1] != split:
                rows.append(f"{name} ({split}) has the embeddings of {before[0]} ({before[1]})")
    if rows:
        yield AuditFinding("suspect", "splits", "rows of one split have the embeddings of another's", tuple(rows))


def _fitted(data: ProductData) -> Checked:
    """What a fit on the train rows alone gives is what the data hold."""
    return refitted(data.fitted, _fitted_anew(data), len(data.rows("train")), "train rows", TOLERANCE)


def _fitted_anew(data: ProductData) -> ProductFitted:
    """The fit on the train rows, from arrays that hold no other."""
    config, train = data.config, data.rows_of["train"]
    prices = data.prices("train")
    numbers, cells = _told(data, train)
    fit = _attributes(data, numbers, cells, np.log(prices)) if numbers or cells else None
    sources = {}
    for name, source in data.sources.items():
        own = replace(source, place=source.place[train])
        sources[name] = SourceFit.of(own, np.arange(len(train)), config.components(name, source.width))
    return ProductFitted(float(np.median(np.log(prices))), np.quantile(prices, DECILES), sources, fit)


def _told(data: ProductData, rows: NDArray[np.int64]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The attributes of some rows, as they are entered."""
    table, config = data.table, data.config
    own = {name: values[rows] for name, values in table.numbers.items()}
    cells = {name: [column[row] for row in rows] for name, column in table.categories.items()}
    return entered_numbers(own, config.log, config.ratios), cells


def _attributes(data: ProductData, numbers: Any, cells: Any, logs: NDArray[np.float64]) -> AttributeFit:
    config = data.config
    return AttributeFit.fit(numbers, cells, logs, config.min_category, config.shrinkage, config.prefix)


def _own_prices(data: ProductData) -> Checked:
    """The attributes of a train row stay as they are when its own price changes."""
    train = data.rows_of["train"]
    numbers, cells = _told(data, train)
    if not cells:
        return Checked("own prices", "no attribute is encoded by prices")
    logs = np.log(data.prices("train"))
    given = data.batch("train", data.rows("train")).inputs["attributes"][:, 0].numpy()
    picked, found = evenly(len(train), MOST), []
    for row in picked:
        changed = logs.copy()
        changed[row] += np.log(FACTOR)
        features = _attributes(data, numbers, cells, changed).encode_train(numbers, cells, changed)
        if not np.allclose(features[row], given[row], rtol=TOLERANCE, atol=TOLERANCE):
            found.append(data.ids("train")[row])
    did = f"the prices of {len(picked)} of {len(train)} train rows changed, one at a time"
    what = "the attributes of train rows tell their own price"
    return Checked("own prices", did, (AuditFinding("leak", "own prices", what, tuple(found)),) if found else ())


def _alone(data: ProductData) -> Checked:
    """A held-out row read by itself, without its price, gives the inputs it has among all."""
    chosen = [(split, int(row)) for split in ("val", "test") for row in data.rows(split)]
    picked, found = evenly(len(chosen), MOST), []
    for split, row in (chosen[place] for place in picked):
        whole, alone = data.batch(split, [row]).inputs, _by_itself(data, int(data.rows_of[split][row]))
        if not all(near(whole[name], alone[name], TOLERANCE) for name in whole):
            found.append(data.ids(split)[row])
    did = f"{len(picked)} of {len(chosen)} held-out rows read again, each from a table of its own without its price"
    what = "the inputs of rows depend on other rows or on their price"
    return Checked("recomputed", did, (AuditFinding("leak", "recomputed", what, tuple(found)),) if found else ())


def _by_itself(data: ProductData, row: int) -> dict[str, torch.Tensor]:
    table = data.table
    own = replace(
        table, ids=(table.ids[row],), price=np.array([np.nan]), findings=(),
        numbers={name: values[[row]] for name, values in table.numbers.items()},
        categories={name: (cells[row],) for name, cells in table.categories.items()},
        sources={name: replace(source, place=source.place[[row]]) for name, source in table.sources.items()},
        groups=None,
    )  # fmt: skip
    return ProductData(own, data.config, data.seed, data.fitted, ahead=True).batch("ahead", [0]).inputs


def _columns(data: ProductData) -> Checked:
    """No column of numbers is the price in other words."""
    from scipy.stats import spearmanr

    found = []
    for name, values in data.table.numbers.items():
        known = np.isfinite(values) & np.isfinite(data.table.price)
        if len(np.unique(values[known])) < 3:
            continue
        rho = abs(float(spearmanr(values[known], data.table.price[known]).statistic))
        if rho > NEAR:
            what = f"{name} orders rows as the price does: rank correlation {rho:.4f}; do not give it"
            found.append(AuditFinding("leak" if rho > COPY else "suspect", "columns", what, (name,)))
    did = f"each of {len(data.table.numbers)} columns of numbers set against the price"
    return Checked("columns", did, tuple(found))
