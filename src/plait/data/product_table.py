"""The checked table of products: ids, prices, attributes, and the embeddings that are joined to them by id."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.core.errors import ConfigError, DataError, suggest
from plait.data.embedding_files import Embeddings
from plait.data.product_sources import ProductSource, join_source
from plait.data.sample_files import EXAMPLES, listed
from plait.data.table import MISSING, Finding, columns_named, parse_numbers

FloatArray = NDArray[np.float64]

ID_NAMES = ("id", "house_id", "sample_id", "product_id")
PRICE_NAMES = ("price", "price_usd")


@dataclass(frozen=True, eq=False)
class ProductTable:
    """Products in the order of their sorted ids, with prices, attributes and sources.

    Shape: price (N,), NaN where unknown; numbers (N,) a column, NaN where missing; categories and groups (N,) texts,
    "" where missing; `place` of each source (N,).
    Units: price in the unit of the file.
    """

    ids: tuple[str, ...]
    price: FloatArray
    numbers: dict[str, FloatArray] = field(default_factory=dict)
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sources: dict[str, ProductSource] = field(default_factory=dict)
    groups: tuple[str, ...] | None = None
    findings: tuple[Finding, ...] = ()

    def fingerprint(self) -> str:
        """A digest of all that the table holds: whether data are still those a run began with."""
        digest = hashlib.sha256("\0".join(self.ids).encode())
        digest.update(self.price.tobytes())
        for name, numbers in self.numbers.items():
            digest.update(name.encode() + numbers.tobytes())
        for name, cells in (*self.categories.items(), ("", self.groups or ())):
            digest.update("\0".join((name, *cells)).encode())
        for name, source in self.sources.items():
            digest.update(f"{name} {source.embeddings.digest}".encode() + source.place.tobytes())
        return digest.hexdigest()[:16]


def product_table(
    frame: pd.DataFrame,
    where: str,
    *,
    id: str | None = None,
    price: str | None = None,
    numbers: Sequence[str] = (),
    categories: Sequence[str] = (),
    group_by: str | None = None,
    sources: Sequence[Embeddings] = (),
    new: bool = False,
) -> ProductTable:
    """Check a table of text cells and join the sources to it by id; its rows come in the order of their sorted ids.

    `id` and `price` are found by their usual names where they are not given. Rows that are `new` need no price, nor
    every column: what is absent is missing in all of them.

    Errors: ConfigError where no column has a usual name (the columns there are), and where id or price are among the
    attributes; DataError for columns that are absent, ids that are empty or stand twice, prices that are missing or
    not above 0 (rows and ids), and a source that joins to no row.
    """
    if frame.empty:
        raise DataError("the table has no rows", where=where)
    stem = where.replace("\\", "/").rpartition("/")[2].partition(".")[0]
    id = _column(frame, id, (*ID_NAMES, f"{stem}_id"), where, "id")
    price = None if new and not _has_price(frame, price) else _column(frame, price, PRICE_NAMES, where, "price")
    for name, told in ((id, "id"), (price, "price")):
        if name in (*numbers, *categories):
            raise ConfigError(
                f"the {told} {name!r} is among what the model is told", where="data.numbers and data.categories",
                fix="take it out",
            )  # fmt: skip
    asked = {"numbers": numbers, "categories": categories, "group_by": [group_by] if group_by else []}
    found: list[Finding] = []
    for told, names in asked.items():
        absent = [name for name in names if name not in frame.columns]
        if not new:
            columns_named(frame, list(names), where, f"data.{told}")
        elif absent and told != "group_by":
            found += [Finding(f"rows have no column {name}: it is missing in all", len(frame)) for name in absent]
            frame = frame.assign(**dict.fromkeys(absent, ""))
    ids = _ids(frame[id], where)
    prices = _prices(frame, price, ids, where, new, found)
    values = _numbers(frame, numbers, found)
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    named = tuple(ids[row] for row in order)
    joined = {}
    for each in sources:
        joined[each.name], told_of = join_source(each, named, where)
        found += [*each.findings, *told_of]
    return ProductTable(
        named,
        prices[order],
        {name: values[order, column] for column, name in enumerate(numbers)},
        {name: _cells(frame[name], order) for name in categories},
        joined,
        _cells(frame[group_by], order) if group_by and group_by in frame.columns else None,
        tuple(found),
    )


def _has_price(frame: pd.DataFrame, given: str | None) -> bool:
    return any(name in frame.columns for name in ([given] if given else PRICE_NAMES))


def _column(frame: pd.DataFrame, given: str | None, usual: Sequence[str], where: str, field: str) -> str:
    """The column of a field: the one that is given, else the first usual name that there is."""
    if given is not None:
        columns_named(frame, [given], where, f"data.{field}")
        return given
    found = next((name for name in usual if name in frame.columns), None)
    if found is None:
        raise ConfigError(
            f"no column is called {' or '.join(dict.fromkeys(usual))}: {suggest('', frame.columns)}", where=where,
            fix=f"name it by data.{field}",
        )  # fmt: skip
    return found


def _ids(cells: pd.Series, where: str) -> list[str]:
    """The ids of rows. Errors: DataError for ids that are empty or stand twice."""
    ids = [str(cell).strip() for cell in cells]
    empty = [f"row {row + 1}" for row, name in enumerate(ids) if name in MISSING]
    if empty:
        raise DataError(
            f"{len(empty)} rows have no id: {listed(empty)}", where=f"{where}, column {cells.name}", fix="give each one"
        )
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise DataError(
            f"{len(twice)} ids stand more than once: {listed(twice)}", where=f"{where}, column {cells.name}",
            fix="give each row an id of its own",
        )  # fmt: skip
    return ids


def _prices(
    frame: pd.DataFrame, name: str | None, ids: Sequence[str], where: str, new: bool, found: list[Finding]
) -> FloatArray:
    """Prices above 0; of new rows NaN where there is none."""
    if name is None:
        return np.full(len(frame), np.nan)
    prices = parse_numbers(frame[[name]])[0][:, 0]
    wrong = np.flatnonzero(~(prices > 0))
    shown = [f"row {row + 1} (id {ids[row]}) {frame[name].iloc[row]!r}" for row in wrong[: EXAMPLES + 1]]
    if len(wrong) and not new:
        raise DataError(
            f"{len(wrong)} of {len(frame)} rows have no price above 0: {listed(shown)}",
            where=f"{where}, column {name}", fix="mend these rows or leave them out",
        )  # fmt: skip
    if len(wrong):
        found.append(Finding("rows have no price above 0: it counts as unknown", len(wrong), tuple(shown[:EXAMPLES])))
    return np.where(prices > 0, prices, np.nan)


def _numbers(frame: pd.DataFrame, names: Sequence[str], found: list[Finding]) -> FloatArray:
    if not names:
        return np.zeros((len(frame), 0))
    values, told = parse_numbers(frame[list(names)])
    found += told
    return values


def _cells(cells: pd.Series, order: NDArray[np.int64]) -> tuple[str, ...]:
    """Texts in an order, "" where a cell says that it is missing."""
    texts = [str(cell).strip() for cell in cells]
    return tuple("" if texts[row] in MISSING else texts[row] for row in order)


def group_numbers(groups: Sequence[str] | None, ids: Sequence[str]) -> NDArray[np.int64]:
    """A number for each row that rows of one group share; a row without a group is its own. Shape: (N,)."""
    if groups is None:
        return np.arange(len(ids), dtype=np.int64)
    names = [f"0{group}" if group else f"1{name}" for group, name in zip(groups, ids, strict=True)]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
