"""Embeddings joined to the rows of a table: which row of a file is of which product, reading them, the placebo."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from plait.core.errors import DataError
from plait.core.seeding import generator
from plait.data.embedding_files import Embeddings, pieces
from plait.data.sample_files import EXAMPLES, listed
from plait.data.table import Finding

IntArray = NDArray[np.int64]
Read = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""Values, and which of them are present."""


@dataclass(frozen=True, eq=False)
class ProductSource:
    """Embeddings by product: `place` says which row of the file is a product's, -1 where none is.

    With `mean` a row is one token, the mean of those that are present. `pad` is the least number of tokens of a row;
    those that the file lacks are absent.
    Shape: place (N,).
    """

    embeddings: Embeddings
    place: IntArray
    mean: bool = False
    pad: int = 1

    @classmethod
    def absent(cls, name: str, products: int, tokens: int, width: int) -> "ProductSource":
        """A source that no product has."""
        values, none = np.zeros((0, tokens, width), dtype=np.float32), np.zeros((0, tokens), dtype=np.bool_)
        return cls(Embeddings(name, (), values, none, ""), np.full(products, -1, dtype=np.int64), pad=tokens)

    @property
    def tokens(self) -> int:
        """The tokens of a product."""
        return max(1 if self.mean else self.embeddings.tokens, self.pad)

    @property
    def width(self) -> int:
        """The numbers of a token."""
        return self.embeddings.width

    @property
    def there(self) -> NDArray[np.bool_]:
        """Which products have a token. Shape: (N,)."""
        found = np.zeros(len(self.place), dtype=np.bool_)
        found[self.place >= 0] = self.embeddings.present[self.place[self.place >= 0]].any(axis=1)
        return found

    def read(self, rows: IntArray) -> Read:
        """Products in any order, as they are filed; an absent token is 0.

        Shape: (r,) -> (r, t, w) float32, (r, t).
        """
        place = self.place[rows]
        known = place >= 0
        values = np.zeros((len(rows), self.tokens, self.width), dtype=np.float32)
        present = np.zeros(values.shape[:2], dtype=np.bool_)
        found, there = self.embeddings.gather(place[known])
        if self.mean:
            found, there = _means(found, there)
        values[known, : found.shape[1]], present[known, : found.shape[1]] = found, there
        return values, present

    def chunks(self, rows: IntArray) -> Iterator[Read]:
        """Products in pieces, each as `read` gives them."""
        width = max(self.tokens, self.embeddings.tokens) * self.width
        return (self.read(rows[place]) for place in pieces(len(rows), width))

    def averaged(self, rows: IntArray) -> Read:
        """The mean of the present tokens of each product, 0 for a product without. Shape: (r,) -> (r, w), (r,)."""
        values, present = _means(*self.read(rows))
        return values[:, 0], present[:, 0]


def _means(values: NDArray[np.float32], present: NDArray[np.bool_]) -> Read:
    """One token a row: the mean of those that are present. Absent tokens are 0 as they are filed."""
    count = present.sum(axis=1, keepdims=True)
    return values.sum(axis=1, keepdims=True) / np.maximum(count, 1)[:, :, None].astype(np.float32), count > 0


def join_source(embeddings: Embeddings, ids: Sequence[str], where: str) -> tuple[ProductSource, list[Finding]]:
    """Find the row of each product, and tell who has none on either side.

    Errors: DataError where no id is on both sides (examples of each).
    """
    number = {name: row for row, name in enumerate(embeddings.ids)}
    place = np.fromiter((number.get(name, -1) for name in ids), dtype=np.int64, count=len(ids))
    name, products = embeddings.name, set(ids)
    if not (place >= 0).any():
        raise DataError(
            f"no id of source {name} is an id of the table: 0 of {len(embeddings.ids)} rows of the source"
            f" ({listed(embeddings.ids)}) and 0 of {len(ids)} of the table ({listed(ids)}) join",
            where=where, fix="write the ids of both in the same way, as text",
        )  # fmt: skip
    lacking = [ids[row] for row in np.flatnonzero(place < 0).tolist()]
    beyond = [each for each in embeddings.ids if each not in products]
    found = [
        Finding(what, len(names), tuple(names[:EXAMPLES]))
        for names, what in (
            (lacking, f"rows of the table have no row of source {name}: it is absent there"),
            (beyond, f"rows of source {name} are of no row of the table and are left out"),
        )
        if names
    ]
    return ProductSource(embeddings, place), found


def permuted(
    sources: Mapping[str, ProductSource], splits: Mapping[str, IntArray], seed: int
) -> dict[str, ProductSource]:
    """The placebo: sources permuted among the products of each split that have them, without a fixed point.

    Each source takes the next product of one random order of the split that has it too, so that products with all
    sources move whole. A product that alone has a source keeps it: there is nothing to exchange it with.
    """
    places = {name: source.place.copy() for name, source in sources.items()}
    for split, rows in splits.items():
        order = generator(seed, "placebo", split).permutation(rows)
        for name, source in sources.items():
            having = order[source.there[order]]
            places[name][having] = source.place[np.roll(having, 1)]
    return {name: replace(source, place=places[name]) for name, source in sources.items()}


def refuse_fine_tuned(sources: Mapping[str, ProductSource], ids: Sequence[str], scored: IntArray) -> None:
    """Refuse a source whose encoder was fine-tuned on rows that scores are of. Errors: DataError with the ids."""
    names = {ids[row] for row in scored.tolist()}
    for name, source in sources.items():
        seen = sorted(names & source.embeddings.fine_tuned_on)
        if seen:
            raise DataError(
                f"the encoder of source {name} was fine-tuned on {len(seen)} of {len(names)} rows of validation and"
                f" test: {listed(seen)}", where=f"data.sources.{name}",
                fix="encode with a model that saw none of them, or split so that they are train rows",
            )  # fmt: skip
