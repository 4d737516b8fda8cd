"""What was fitted on the train rows of products, as a run keeps it: sources, attributes, and how prices lie."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor

from plait.core.errors import DataError
from plait.data.product_sources import IntArray, ProductSource
from plait.features.attributes import AttributeFit, NumberScaling
from plait.features.target_encoding import CategoryEncoding

FloatArray = NDArray[np.float64]

FLOOR = 0.05
"""What is added to the sd of a number, in mean sds of the source, so that a number that hardly varies stays small."""

EXACT = 2048
"""Components are those of all train tokens up to this width, or up to so many tokens; else of so many of them."""


@dataclass(frozen=True, eq=False)
class SourceFit:
    """Mean and sd of a source over the tokens of train rows, and its principal components where asked.

    A token enters as ``(x - mean) / sd``, with components as ``components @ (x - mean) / sd``; the components are
    scaled together so that what enters has a mean square of 1 over the train tokens.
    Shape: mean and sd (w,), components (p, w) or None. `tokens` and `width` are those of a row as it is read.
    """

    tokens: int
    mean: NDArray[np.float32]
    sd: NDArray[np.float32]
    components: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, source: ProductSource, rows: IntArray, pca: int | None = None) -> "SourceFit":
        """Learn from the present tokens of train rows, read in pieces.

        Errors: DataError where no train row has a token, and for fewer tokens than components need.
        """
        name, rows = source.embeddings.name, rows[source.there[rows]]
        count, mean, variance = _moments(source, rows)
        if not count:
            raise DataError(f"no train row has source {name}", where=f"data.sources.{name}", fix="leave it out")
        sd = np.sqrt(variance)
        sd = sd + FLOOR * sd.mean() if sd.any() else np.ones_like(sd)
        made = cls(source.tokens, mean.astype(np.float32), sd.astype(np.float32))
        if pca is None:
            return made
        most = min(count - 1, source.width, EXACT // 2)
        if pca > most:
            raise DataError(
                f"{pca} components of {name} can't be had of {count} train tokens of width {source.width}",
                where=f"data.sources.{name}.pca", fix=f"give {most} or fewer",
            )  # fmt: skip
        components = _components(source, rows, count, mean, sd, pca)
        return cls(made.tokens, made.mean, made.sd, components.astype(np.float32))

    @property
    def width(self) -> int:
        """The numbers of a token as it is read."""
        return len(self.mean)

    @property
    def entering(self) -> int:
        """The numbers of a token as it enters a model."""
        return self.width if self.components is None else len(self.components)

    def apply(self, values: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Tokens as they enter, 0 where absent. Shape: (b, t, w), (b, t) -> (b, t, p)."""
        made = np.subtract(values, self.mean)
        made /= self.sd
        if self.components is not None:
            made = (made.reshape(-1, self.width) @ self.components.T).reshape(*made.shape[:2], -1)
        made[~present] = 0
        return made


def _moments(source: ProductSource, rows: IntArray) -> tuple[int, FloatArray, FloatArray]:
    """Number, mean and variance of the present tokens, merged piece by piece.

    Source: Chan, Golub & LeVeque (1983), equation 2.1.
    """
    count, mean, squares = 0, np.zeros(source.width), np.zeros(source.width)
    for values, present in source.chunks(rows):
        part = values[present].astype(np.float64)
        if len(part):
            middle = part.mean(axis=0)
            part -= middle
            total = count + len(part)
            squares += np.einsum("nw,nw->w", part, part) + (middle - mean) ** 2 * (count * len(part) / total)
            mean += (middle - mean) * (len(part) / total)
            count = total
    return count, mean, squares / max(count, 1)


def _components(
    source: ProductSource, rows: IntArray, count: int, mean: FloatArray, sd: FloatArray, pca: int
) -> FloatArray:
    """The first principal axes of standardised tokens, scaled together; each with its largest entry positive.

    They are those of the covariance where there are more tokens than numbers, else of the tokens' inner products,
    which have the same axes. A source wider than `EXACT` is read at `EXACT` evenly spaced tokens at most.
    """
    width = source.width
    if count > width and width <= EXACT:
        scatter = np.zeros((width, width))
        for values, present in source.chunks(rows):
            part = (values[present] - mean) / sd
            scatter += part.T @ part
        strength, axes = linalg.eigh(scatter / count, subset_by_index=[width - pca, width - 1])
        axes = axes.T
    else:
        if count > EXACT:
            rows = rows[np.linspace(0, len(rows) - 1, max(1, EXACT // source.tokens)).astype(np.int64)]
        part = np.concatenate([(values[present] - mean) / sd for values, present in source.chunks(rows)])
        strength, sides = linalg.eigh(part @ part.T / len(part), subset_by_index=[len(part) - pca, len(part) - 1])
        axes = sides.T @ part
        axes /= np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-12)
    axes = axes[::-1]
    largest = np.abs(axes).argmax(axis=1)[:, None]
    made: FloatArray = axes * np.sign(np.take_along_axis(axes, largest, axis=1))
    return made / (np.sqrt(max(float(strength.mean()), 0.0)) or 1.0)


@dataclass(frozen=True, eq=False)
class ProductFitted:
    """The median of the train rows' log prices, the nine deciles of their prices, and what sources and attributes say.

    Shape: quantiles (9,). Units: `median` natural logarithm, `quantiles` of the file.
    """

    median: float
    quantiles: FloatArray
    sources: dict[str, SourceFit] = field(default_factory=dict)
    attributes: AttributeFit | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The numbers, for a file."""
        arrays: dict[str, NDArray[Any]] = {"quantiles": self.quantiles}
        for name, fit in self.sources.items():
            arrays |= {f"sources.{name}.mean": fit.mean, f"sources.{name}.sd": fit.sd}
            if fit.components is not None:
                arrays[f"sources.{name}.components"] = fit.components
        if self.attributes is not None:
            arrays |= {f"numbers.{name}": getattr(self.attributes.numbers, name) for name in _NUMBERS}
            for place, column in enumerate(self.attributes.categories.values()):
                arrays |= {f"categories.{place}.{name}": getattr(column, name) for name in _ARRAYS}
        return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}

    def record(self) -> dict[str, Any]:
        """The words, and the numbers that have a name, for a file; floats keep every bit in JSON."""
        said: dict[str, Any] = {"median": self.median, "sources": [[n, fit.tokens] for n, fit in self.sources.items()]}
        if self.attributes is not None:
            said["numbers"] = list(self.attributes.numbers.names)
            said["categories"] = [
                {"name": name, **{word: getattr(column, word) for word in _WORDS}}
                for name, column in self.attributes.categories.items()
            ]
        return said

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> "ProductFitted":
        """What `tensors` and `record` wrote."""
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        sources = {}
        for name, tokens in record["sources"]:
            mean, sd = (arrays[f"sources.{name}.{part}"] for part in ("mean", "sd"))
            sources[name] = SourceFit(tokens, mean, sd, arrays.get(f"sources.{name}.components"))
        attributes = None
        if "numbers" in record:
            scaling = NumberScaling(tuple(record["numbers"]), *(arrays[f"numbers.{part}"] for part in _NUMBERS))
            columns = {
                words["name"]: _encoding(words, {each: arrays[f"categories.{place}.{each}"] for each in _ARRAYS})
                for place, words in enumerate(record["categories"])
            }
            attributes = AttributeFit(scaling, columns)
        return cls(float(record["median"]), arrays["quantiles"], sources, attributes)


_NUMBERS = ("mean", "sd", "lacking")
_ARRAYS = ("of_level", "of_prefix", "of_none")
_WORDS = ("known", "levels", "prefixes", "prefix", "strength")


def _encoding(words: Mapping[str, Any], arrays: Mapping[str, Any]) -> CategoryEncoding:
    """A column of categories from its words and its arrays."""
    known, levels, prefixes = (tuple(words[name]) for name in _WORDS[:3])
    return CategoryEncoding(known, levels, prefixes, **arrays, prefix=words["prefix"], strength=words["strength"])
