"""`products`: a table of ids, prices and attributes, with any number of embedding sources that are joined by id."""

import re
from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pandas as pd
from pydantic import Field
from torch import Tensor

from plait.core.config import Config
from plait.core.errors import ConfigError, FileError, suggest
from plait.core.schema import Schema
from plait.data.embedding_files import Embeddings, read_embeddings
from plait.data.product_fitted import ProductFitted
from plait.data.product_table import ProductTable, product_table
from plait.data.sources._names import Names
from plait.data.sources._series import find_file
from plait.data.table import as_frame, read_table

if TYPE_CHECKING:
    from plait.data.products import ProductData

ATTRIBUTES = "attributes"


class EmbeddingConfig(Config):
    """Embeddings of the products, of one encoder."""

    path: str
    """File of the embeddings: .npy, .npz, .safetensors or .parquet."""
    ids: str | None = None
    """File of the ids of the rows, one a line; unset: in the file, or in <stem>.ids.txt beside it."""
    pca: int | None = Field(None, ge=1)
    """Components that enter in place of the numbers; unset: as `data.pca` says."""
    mean: bool = False
    """Enter the mean of a row's tokens in place of the tokens."""


class ProductsSourceConfig(Config):
    """Products: a table with an id, a price and attributes, and embeddings of pictures and texts."""

    kind: Literal["products"] = "products"
    root: str = "."
    """Folder of the files."""
    path: str
    """CSV or Parquet table, one line a product."""
    id: str | None = None
    """Column of ids; unset: id, house_id, sample_id, product_id, or the name of the table with _id."""
    price: str | None = None
    """Column of prices, above 0; unset: price or price_usd."""
    numbers: Names = []
    """Columns of numbers that the model reads, in a list or with commas."""
    categories: Names = []
    """Columns of categories that the model reads, in a list or with commas."""
    sources: dict[str, EmbeddingConfig] = {}
    """Embeddings by a name of your own."""
    log: Names = []
    """Columns of numbers that enter as their logarithm."""
    ratios: Names = []
    """Ratios of columns of numbers that enter beside them: area/bedrooms."""
    splits: list[float] = Field([0.8, 0.1, 0.1], min_length=3, max_length=3)
    """Shares of the rows for train, validation and test."""
    folds: int | None = Field(None, ge=2)
    """Split into this many folds in place of shares; `fold` is the test split."""
    fold: int = Field(0, ge=0)
    """Which of the folds is the test split, from 0."""
    split_seed: int = 0
    """Draws the splits; the seed of a run does not move them."""
    strata: int = Field(10, ge=1)
    """Quantiles of the price that each split has its share of; 1: none."""
    group_by: str | None = None
    """Column whose rows of one value stay in one split."""
    pca: int | None = Field(None, ge=1)
    """Components of every source that is wider, where the source says nothing else; unset: all numbers enter."""
    min_category: int = Field(3, ge=1)
    """Train rows that a category needs for a code of its own."""
    shrinkage: float = Field(3.0, ge=0)
    """How many rows of its prefix, or of all, a category's mean price is drawn by."""
    prefix: int | None = Field(None, ge=1)
    """A category backs off to those of the same first characters, this many; unset: to all."""
    placebo: bool = False
    """Permute the sources among the rows of each split, without a fixed point, before anything reads them."""

    rows_are: ClassVar[str] = "products"
    new_names: ClassVar[tuple[str, ...]] = ("table", "sources")
    """What new rows are given by."""

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of all modalities, the anchor first: the attributes where there are any, then the sources."""
        return (*([ATTRIBUTES] if self.numbers or self.categories else []), *self.sources)

    @property
    def embedded(self) -> tuple[str, ...]:
        """The names of the embedding sources."""
        return tuple(name for name in self.streams if name != ATTRIBUTES)

    @property
    def contexts(self) -> tuple[str, ...]:
        """The modalities beside the anchor."""
        return self.streams[1:]

    def entering(self, source: str) -> EmbeddingConfig:
        """How a source enters; one that is not named here (of a table handed in ready) enters as it is."""
        return self.sources.get(source) or EmbeddingConfig(path="")

    def components(self, source: str, width: int) -> int | None:
        """The components of a source of a width, None where its numbers enter."""
        own = self.entering(source).pca
        return own if own is not None or self.pca is None or self.pca >= width else self.pca

    def read(self) -> ProductTable:
        """The checked table with its sources.

        Errors: ConfigError for fields that exclude each other; those of `product_table` and `read_embeddings`.
        """
        self.check()
        path = find_file(self.path, self.root)
        sources = [
            read_embeddings(name, find_file(each.path, self.root), each.ids and find_file(each.ids, self.root))
            for name, each in self.sources.items()
        ]
        return self._table(read_table(path), str(path), sources)

    def _table(self, frame: pd.DataFrame, where: str, sources: list[Embeddings], new: bool = False) -> ProductTable:
        return product_table(
            frame, where, id=self.id, price=self.price, numbers=self.numbers, categories=self.categories,
            group_by=self.group_by, sources=sources, new=new,
        )  # fmt: skip

    def of_new(
        self,
        schema: Schema | None = None,
        fitted: ProductFitted | None = None,
        reads: Container[str] = (),
        *,
        table: Any = None,
        sources: Mapping[str, Any] | str | Path | None = None,
    ) -> ProductTable:
        """The checked table of new rows, for a trained run: `table` a path or a frame, `sources` paths by name, or the
        folder of files that are named as the run's own.

        Prices need not be there, nor a column of the run. A source that is not given is not taken from the run's own
        files; it is absent in every row.
        Errors: as `read`; ConfigError without a table, and for a source that the run does not have.
        """
        if table is None:
            raise ConfigError("new rows need a table", where="predict", fix="give --table FILE")
        given = self._in_folder(Path(sources)) if isinstance(sources, str | Path) else dict(sources or {})
        for name in given:
            if name not in self.embedded:
                raise ConfigError(f"the run has no source {name!r}", where="predict", fix=suggest(name, self.embedded))
        read = [
            replace(path, name=name) if isinstance(path, Embeddings)
            else read_embeddings(name, find_file(str(path), self.root))
            for name, path in given.items()
        ]  # fmt: skip
        if isinstance(table, pd.DataFrame):
            return self._table(as_frame(table), "table", read, new=True)
        place = find_file(str(table), self.root)
        return self._table(read_table(place), str(place), read, new=True)

    def _in_folder(self, folder: Path) -> dict[str, Embeddings]:
        """The arrays of a folder by source, in files with the paths or names of the run's own, or the source's name.

        Errors: FileError for no such folder or none of its files, and where one file would be read for two sources.
        """
        if not folder.is_dir():
            raise FileError("no such folder", where=str(folder), fix="give the folder of the new rows' arrays")
        own = {name: Path(self.entering(name).path or f"{name}.npy") for name in self.embedded}
        found: dict[str, Path] = {}
        for name, path in own.items():
            place = _first(folder, path, Path(f"{name}{path.suffix}"), Path(path.name))
            if place is not None:
                found[name] = place
        if own and not found:
            names = ", ".join(path.name for path in own.values())
            raise FileError("holds no array of the run's sources", where=str(folder), fix=names)
        for name, place in found.items():
            other = next(twin for twin, file in found.items() if file == place)
            if own[other] != own[name]:
                raise FileError(
                    f"would be read for {other} and for {name}", where=str(place),
                    fix=f"name the files {other}{place.suffix} and {name}{place.suffix}",
                )  # fmt: skip
        ids = {name: _first(folder, Path(self.entering(name).ids or "")) for name in found}
        return {name: read_embeddings(name, place, ids[name]) for name, place in found.items()}

    def build(
        self,
        table: ProductTable,
        seed: int = 0,
        fitted: ProductFitted | None = None,
        reads: Container[str] | None = None,
        ahead: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> "ProductData":
        """The data of a run; see `ProductData`."""
        from plait.data.products import ProductData

        return ProductData(table, self, seed, fitted, reads, ahead)

    @staticmethod
    def read_fitted(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> ProductFitted:
        """What a run fitted, from its files."""
        return ProductFitted.read(tensors, record)

    def as_learned(self, schema: Schema) -> "ProductsSourceConfig":
        """The same data: nothing of them is usual for a table."""
        return self

    def check(self) -> None:
        """Refuse fields that exclude each other. Errors: ConfigError."""
        inputs = [*self.numbers, *self.categories]
        twice = [name for name, count in Counter(inputs).items() if count > 1]
        odd = [name for name in self.sources if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name)]
        strange = [name for name in self.log if name not in self.numbers]
        unmade = [ratio for ratio in self.ratios if not self._is_ratio(ratio)]
        faults = (
            (ATTRIBUTES in self.sources, "sources", f"{ATTRIBUTES} are the table's own columns", "take another name"),
            (bool(odd), "sources", f"{odd[:1]} is no name of a source", "use letters, digits, _ and -"),
            (bool(twice), "categories", f"columns are named more than once: {', '.join(twice)}", "name each once"),
            (bool(strange), "log", f"{', '.join(strange)} is not among the numbers", "name it in data.numbers too"),
            (bool(unmade), "ratios", f"{', '.join(unmade)} is no ratio of two columns of data.numbers",
             "write them as a/b"),
            (self.group_by is not None and self.price == self.group_by, "group_by", "prices are no groups",
             "name another column"),
        )  # fmt: skip
        for wrong, field, what, fix in faults:
            if wrong:
                raise ConfigError(what, where=f"data.{field}", fix=fix)

    def _is_ratio(self, text: str) -> bool:
        parts = [part.strip() for part in text.split("/")]
        return len(parts) == 2 and all(part in self.numbers for part in parts)


def _first(folder: Path, *paths: Path) -> Path | None:
    """The first of some paths that is a file of the folder; a path that leads out of it is none."""
    inside = (folder / path for path in paths if not path.is_absolute() and ".." not in path.parts)
    return next((place for place in inside if place.is_file()), None)
