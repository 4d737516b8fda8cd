"""Attributes of a row as a model reads them: numbers standardised, categories as codes and as encoded targets."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plait.features.seasonal_prior import FloatArray, IntArray
from plait.features.target_encoding import CategoryEncoding, EncodedTarget

CLIP = 4.0
"""No attribute lies farther from the mean of the train rows, in sds."""

Cells = Mapping[str, Sequence[str]]
"""Columns of categories by name, "" where unknown."""


def entered_numbers(
    columns: Mapping[str, FloatArray], log: Collection[str] = (), ratios: Sequence[str] = ()
) -> dict[str, FloatArray]:
    """Numbers as they enter: some as their logarithm, and ratios "a/b" of the plain ones behind them.

    A logarithm of a number that is not positive, and a ratio to 0, are unknown.
    Shape: columns (n,) each, NaN where unknown.
    """
    made = {}
    for name, values in columns.items():
        if name in log:
            made[f"log {name}"] = np.log(np.where(values > 0, values, np.nan))
        else:
            made[name] = values
    for ratio in ratios:
        above, below = (columns[name.strip()] for name in ratio.split("/"))
        made[ratio] = above / np.where(below != 0, below, np.nan)
    return made


@dataclass(frozen=True, eq=False)
class NumberScaling:
    """Mean and sd of the numbers of train rows, and which of them some train row lacks.

    Shape: (m,) each.
    """

    names: tuple[str, ...]
    mean: FloatArray
    sd: FloatArray
    lacking: NDArray[np.bool_]

    @classmethod
    def of(cls, numbers: Mapping[str, FloatArray]) -> "NumberScaling":
        """The scaling of train rows; a column without any value, or with one value, keeps its unit."""
        known = {name: values[np.isfinite(values)] for name, values in numbers.items()}
        return cls(
            tuple(numbers),
            np.array([values.mean() if len(values) else 0.0 for values in known.values()]),
            np.array([(values.std() if len(values) else 0.0) or 1.0 for values in known.values()]),
            np.array([len(known[name]) < len(values) for name, values in numbers.items()], dtype=np.bool_),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `apply`."""
        lacking = [name for name, lacks in zip(self.names, self.lacking, strict=True) if lacks]
        return (*self.names, *(f"{name} missing" for name in lacking))

    def apply(self, numbers: Mapping[str, FloatArray]) -> FloatArray:
        """Standardised numbers, 0 where unknown, then 1 where a number that train rows lack too is unknown.

        Shape: (n,) each -> (n, m + lacking).
        """
        if not self.names:
            return np.zeros((len(next(iter(numbers.values()), ())), 0))
        values = (np.stack([numbers[name] for name in self.names], axis=1) - self.mean) / self.sd
        unknown = ~np.isfinite(values)
        return np.column_stack([np.clip(np.where(unknown, 0.0, values), -CLIP, CLIP), unknown[:, self.lacking]])


@dataclass(frozen=True, eq=False)
class AttributeFit:
    """What the attributes of train rows say, and of their log prices by category.

    The features of a row are its numbers (`NumberScaling.apply`), then for each category the encoded log price, the
    encoded residual of a ridge on the numbers (where there are numbers), and the log count of its level; all lie in
    [-4, 4]. Of train rows the encodings leave the row itself out, also in the ridge, the means and the scale they are
    in, so that no feature of a train row depends on its own price.
    """

    numbers: NumberScaling
    categories: dict[str, CategoryEncoding]

    @classmethod
    def fit(
        cls, numbers: Mapping[str, FloatArray], cells: Cells, log_price: FloatArray, fewest: int, strength: float,
        prefix: int | None,
    ) -> "AttributeFit":  # fmt: skip
        """Learn from train rows. Shape: numbers and cells (n,) each, log_price (n,)."""
        scaling = NumberScaling.of(numbers)
        targets = _targets(scaling, numbers, log_price)
        learned = {
            name: CategoryEncoding.fit(column, targets, fewest, strength, prefix) for name, column in cells.items()
        }
        return cls(scaling, learned)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the features."""
        said = ("price", "residual", "count") if self.numbers.names else ("price", "count")
        return (*self.numbers.columns, *(f"{name} {what}" for name in self.categories for what in said))

    def encode(self, numbers: Mapping[str, FloatArray], cells: Cells) -> NDArray[np.float32]:
        """The features of rows that are no train rows. Shape: (n, w) float32."""
        parts = [each.encode(cells[name]) for name, each in self.categories.items()]
        return self._features(numbers, parts)

    def encode_train(
        self, numbers: Mapping[str, FloatArray], cells: Cells, log_price: FloatArray
    ) -> NDArray[np.float32]:
        """The features of all train rows, none of which reads the row's own price. Shape: (n, w) float32."""
        targets = _targets(self.numbers, numbers, log_price)
        parts = [each.encode_train(cells[name], targets) for name, each in self.categories.items()]
        return self._features(numbers, parts)

    def codes(self, cells: Cells) -> IntArray:
        """The codes of rows, 0 for what is unknown or rare. Shape: (n, k) int64."""
        parts = [each.codes(cells[name]) for name, each in self.categories.items()]
        return np.stack(parts, axis=1) if parts else np.zeros((0, 0), dtype=np.int64)

    def _features(self, numbers: Mapping[str, FloatArray], parts: list[FloatArray]) -> NDArray[np.float32]:
        first = [self.numbers.apply(numbers)] if self.numbers.names else []
        return np.clip(np.column_stack([*first, *parts]), -CLIP, CLIP).astype(np.float32)


def _targets(scaling: NumberScaling, numbers: Mapping[str, FloatArray], log_price: FloatArray) -> list[EncodedTarget]:
    """What is encoded of each category: the log price, and what a ridge on the numbers leaves of it."""
    plain = [EncodedTarget.plain(log_price)]
    return [*plain, EncodedTarget.residual(scaling.apply(numbers), log_price)] if scaling.names else plain
