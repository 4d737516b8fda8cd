"""A checked table of products as a data set: split, fitted on train rows, and gathered into batches."""

from collections.abc import Container
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core.errors import ConfigError, DataError
from plait.core.schema import SPLITS, Schema
from plait.core.tokens import Batch
from plait.data.product_fitted import ProductFitted, SourceFit
from plait.data.product_sources import ProductSource, permuted, refuse_fine_tuned
from plait.data.product_table import ProductTable, group_numbers
from plait.data.sample_files import EXAMPLES
from plait.data.sample_splits import split_samples
from plait.data.table import Finding
from plait.features.attributes import AttributeFit, entered_numbers
from plait.objectives.bootstrap import Units
from plait.objectives.smape import z_of

if TYPE_CHECKING:
    from plait.baselines.prices import PricePanel
    from plait.data.sources.products import ProductsSourceConfig

ATTRIBUTES = "attributes"
DECILES = np.linspace(0.1, 0.9, 9)


class ProductData:
    """Products with a price: `rows(split)`, `batch(split, index)`, and everything the baselines read.

    The rows of the data set are those of the table, in the order of their sorted ids. What is fitted (the standards of
    sources and attributes, categories, encoded prices, components) is fitted on train rows, and a train row's own price
    enters none of its features. With `fitted` given (of a trained run) nothing is fitted; with `ahead` there is one
    split of that name with all rows, whose prices are masked where unknown, and a source that is not given is absent
    in every row. Every source is brought, whichever the model `reads`, so that all arms of a comparison see one schema.

    Errors: ConfigError as `ProductsSourceConfig.check`; DataError for a source whose width is not the run's (both), or
    that has more tokens, for one whose encoder was fine-tuned on validation or test rows (which), and those of
    `split_samples` and `SourceFit.of`.
    """

    def __init__(
        self,
        table: ProductTable,
        config: "ProductsSourceConfig",
        seed: int = 0,
        fitted: ProductFitted | None = None,
        reads: Container[str] | None = None,
        ahead: bool = False,
    ) -> None:
        config.check()
        if ahead and fitted is None:
            raise ConfigError("new rows need what a run fitted", where="ahead", fix="give the run's")
        self.table, self.config, self.seed = table, config, seed
        self._found: list[Finding] = []
        self._log_price = np.log(table.price)
        self._groups = group_numbers(table.groups, table.ids)
        every = np.arange(len(table.ids), dtype=np.int64)
        self.rows_of = {"ahead": every} if ahead else self._split(every)
        self.sources = self._sources(fitted, ahead)
        self._numbers = entered_numbers(table.numbers, config.log, config.ratios)
        self._found += _not_positive(table, config.log)
        self.fitted = self._fit() if fitted is None else fitted
        self._z = z_of(table.price)
        self._features, self._codes = self._attributes(ahead)
        self.schema = self._schema()
        self.findings = [*table.findings, *self._found]

    def _split(self, every: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Rows by split, in the shares of the price's quantiles."""
        config = self.config
        edges = np.quantile(self._log_price, np.linspace(0, 1, config.strata + 1)[1:-1])
        strata = [str(number) for number in np.searchsorted(edges, self._log_price, side="right")]
        parts = split_samples(
            every,
            config.split_seed,
            shares=config.splits,
            folds=config.folds,
            fold=config.fold,
            groups=None if self.table.groups is None else list(map(str, self._groups)),
            strata=strata,
        )
        return {split: parts[split] for split in SPLITS}

    def _sources(self, fitted: ProductFitted | None, ahead: bool) -> dict[str, ProductSource]:
        """The sources as they are read: averaged where asked, of the run's shape, permuted for a placebo."""
        table, config = self.table, self.config
        sources = {name: replace(each, mean=config.entering(name).mean) for name, each in table.sources.items()}
        if fitted is not None:
            sources = {name: self._like(sources.get(name), name, fit) for name, fit in fitted.sources.items()}
        if not ahead:
            scored = np.concatenate([self.rows_of[split] for split in ("val", "test")])
            refuse_fine_tuned(sources, table.ids, scored)
            if config.placebo:
                return permuted(sources, self.rows_of, self.seed)
        return sources

    def _like(self, source: ProductSource | None, name: str, fit: SourceFit) -> ProductSource:
        """A source in the shape that a run learned."""
        products = len(self.table.ids)
        if source is None:
            self._found.append(Finding(f"rows have no source {name}: it is not given", products))
            return ProductSource.absent(name, products, fit.tokens, fit.width)
        if source.width != fit.width or source.tokens > fit.tokens:
            what = "width" if source.width != fit.width else "tokens"
            own, learned = (source.width, fit.width) if what == "width" else (source.tokens, fit.tokens)
            raise DataError(
                f"source {name} has {what} {own}, the run learned {what} {learned}", where=f"sources.{name}",
                fix="encode it with the run's encoder",
            )  # fmt: skip
        return replace(source, pad=fit.tokens)

    def _fit(self) -> ProductFitted:
        """All that a run learns before training, from its train rows."""
        config, train = self.config, self.rows_of["train"]
        price, logs = self.table.price[train], self._log_price[train]
        attributes = None
        if self._numbers or self.table.categories:
            numbers, cells = self._told(train)
            attributes = AttributeFit.fit(
                numbers, cells, logs, config.min_category, config.shrinkage, config.prefix
            )  # fmt: skip
        sources = {
            name: SourceFit.of(source, train, config.components(name, source.width))
            for name, source in self.sources.items()
        }
        return ProductFitted(float(np.median(logs)), np.quantile(price, DECILES), sources, attributes)

    def _told(self, rows: NDArray[np.int64]) -> tuple[dict[str, Any], dict[str, list[str]]]:
        """The numbers as they enter, and the cells of categories, of some rows."""
        numbers = {name: values[rows] for name, values in self._numbers.items()}
        return numbers, {name: [cells[row] for row in rows] for name, cells in self.table.categories.items()}

    def _attributes(self, ahead: bool) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The features and the codes of every row; train rows leave themselves out. Shape: (N, w), (N, k)."""
        fit, every = self.fitted.attributes, np.arange(len(self.table.ids), dtype=np.int64)
        if fit is None:
            return np.zeros((len(every), 0), dtype=np.float32), np.zeros((len(every), 0), dtype=np.int64)
        numbers, cells = self._told(every)
        features = fit.encode(numbers, cells)
        if not ahead:
            train = self.rows_of["train"]
            features[train] = fit.encode_train(*self._told(train), self._log_price[train])
        return features, fit.codes(cells)

    def _schema(self) -> Schema:
        fitted = self.fitted
        streams = {ATTRIBUTES: self._features.shape[1]} if fitted.attributes is not None else {}
        streams |= {name: fit.entering for name, fit in fitted.sources.items()}
        if not streams:
            fix = "name columns by data.numbers or data.categories, or embeddings by data.sources"
            raise ConfigError("there is nothing to read but the price", where="data", fix=fix)
        known = {} if fitted.attributes is None else fitted.attributes.categories
        return Schema(
            next(iter(streams)),
            streams,
            stream_tokens={name: fitted.sources[name].tokens if name != ATTRIBUTES else 1 for name in streams},
            columns={name: len(column.known) for name, column in known.items()},
            outputs=1,
        )

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """What each number of `attributes` is."""
        return () if self.fitted.attributes is None else self.fitted.attributes.columns

    def rows(self, split: str) -> NDArray[np.int64]:
        """The numbers of all rows of a split."""
        return np.arange(len(self.rows_of[split]))

    def asked(self) -> NDArray[np.int64]:
        """The rows that a prediction of new rows is for: all."""
        return self.rows("ahead")

    def batch(self, split: str, index: Any) -> Batch:
        """The rows `index` of a split as tensors; nothing is done per row in Python.

        Shape: of each source <name> (b, t, w) and <name>_mask (b, t); attributes (b, 1, w), attributes_mask (b, 1),
        attributes_codes (b, k); targets y and mask (b, 1); info row (b,), the row numbers of the data set.
        Units: y is z (`objectives.smape`).
        """
        row = self.rows_of[split][np.asarray(index)]
        inputs = self._attributes_at(row)
        for name, source in self.sources.items():
            values, present = source.read(row)
            inputs[name] = torch.from_numpy(self.fitted.sources[name].apply(values, present))
            inputs[f"{name}_mask"] = torch.from_numpy(present)
        z = self._z[row, None]
        known = np.isfinite(z)
        targets = {"y": torch.from_numpy(np.where(known, z, 0.0).astype(np.float32)), "mask": torch.from_numpy(known)}
        return Batch(inputs, targets, {"row": torch.from_numpy(row)})

    def _attributes_at(self, row: NDArray[np.int64]) -> dict[str, Tensor]:
        if self.fitted.attributes is None:
            return {}
        inputs = {
            ATTRIBUTES: torch.from_numpy(self._features[row, None]),
            f"{ATTRIBUTES}_mask": torch.ones(len(row), 1, dtype=torch.bool),
        }
        if self._codes.shape[1]:
            inputs[f"{ATTRIBUTES}_codes"] = torch.from_numpy(self._codes[row])
        return inputs

    def training_batch(self, index: Any, *key: object) -> Batch:
        """The train rows `index`; products are not augmented."""
        return self.batch("train", index)

    def ids(self, split: str) -> tuple[str, ...]:
        """The ids of a split."""
        return tuple(self.table.ids[row] for row in self.rows_of[split])

    def prices(self, split: str) -> NDArray[np.float64]:
        """The prices of a split in the unit of the file, NaN where unknown. Shape: (n,)."""
        found: NDArray[np.float64] = self.table.price[self.rows_of[split]]
        return found

    def log_prices(self) -> NDArray[np.float64]:
        """The natural logarithm of the price of every row of the data set, NaN where unknown. Shape: (N,)."""
        return self._log_price

    def truth(self, rows: Tensor) -> Tensor:
        """The prices of rows of the data set as they were read, NaN where unknown.

        Shape: (b,) -> (b, 1), float64 on the CPU. Units: of the file.
        """
        return torch.from_numpy(self.table.price[rows.cpu().numpy(), None])

    def units(self, split: str) -> Units:
        """Which rows of a split are drawn together: those of one group, else each by itself."""
        return Units(len(self.rows_of[split]), groups=self._groups[self.rows_of[split]])

    def panel(self) -> "PricePanel":
        """The same rows and splits for the cheap predictions, with attributes and sources as they are filed."""
        from plait.baselines.prices import PricePanel

        numbers, prefix = list(self.table.numbers.values()), self.config.prefix
        categories = {name: list(cells) for name, cells in self.table.categories.items()}
        if prefix is not None:
            # The attributes' encodings fall back on it: the rivals are told as much.
            short = {f"{name}, first {prefix}": [cell[:prefix] for cell in cells] for name, cells in categories.items()}
            categories |= short
        return PricePanel(
            log_price=self._log_price,
            rows=dict(self.rows_of),
            numbers=np.stack(numbers, axis=1) if numbers else np.zeros((len(self.table.ids), 0)),
            number_names=tuple(self.table.numbers),
            categories=pd.DataFrame(categories, index=range(len(self.table.ids))),
            sources={name: source.averaged for name, source in self.sources.items()},
            seed=self.seed,
        )

    def fingerprint(self) -> str:
        """A digest of table and sources: whether data are still those a run began with."""
        return self.table.fingerprint()

    def notices(self) -> list[str]:
        """What one wants to know before training: what does not join, what is missing, what is not given."""
        return [str(finding) for finding in self.findings]

    def split_summary(self) -> dict[str, Any]:
        """Rows and groups of each split, with what prices are like and how many rows have each source."""
        out: dict[str, Any] = {}
        having = {name: source.there for name, source in self.sources.items()}
        for split, rows in self.rows_of.items():
            prices = self.table.price[rows]
            prices = prices[np.isfinite(prices)]
            facts: dict[str, Any] = {"rows": len(rows), "groups": len(np.unique(self._groups[rows]))}
            if len(prices):
                facts |= {"median": float(np.median(prices)), "min": float(prices.min()), "max": float(prices.max())}
            out[split] = facts | {"sources": {name: int(there[rows].sum()) for name, there in having.items()}}
        return out

    def describe(self) -> tuple[list[str], dict[str, Any]]:
        """The splits and the sources in words, and as plain data."""
        lines = []
        for split, facts in self.split_summary().items():
            told = f"{facts['rows']} rows in {facts['groups']} groups"
            if "median" in facts:
                told += f", price {facts['min']:g} .. {facts['max']:g}, median {facts['median']:g}"
            having = ", ".join(f"{count} with {name}" for name, count in facts["sources"].items())
            lines.append(f"{split:<6} {told}{'; ' * bool(having)}{having}")
        schema = self.schema
        lines += [f"{name}: {schema.stream_tokens[name]} x {width}" for name, width in schema.streams.items()]
        return lines, {"rows": len(self.table.ids), "sources": dict(schema.streams), "columns": dict(schema.columns)}


def _not_positive(table: ProductTable, log: list[str]) -> list[Finding]:
    """Numbers that have no logarithm."""
    found = []
    for name in log:
        wrong = np.flatnonzero(table.numbers[name] <= 0)
        if len(wrong):
            shown = tuple(f"{table.ids[row]} {table.numbers[name][row]:g}" for row in wrong[:EXAMPLES])
            found.append(Finding(f"cells of {name} have no logarithm and count as missing", len(wrong), shown))
    return found
