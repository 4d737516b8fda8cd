"""Categories as shrunk means of a target, of the train rows each without itself and of other rows by all train rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plait.features.seasonal_prior import FloatArray, IntArray

RIDGE = 1.0
"""The penalty of the ridge whose residual is encoded; its columns are standardised."""


@dataclass(frozen=True, eq=False)
class EncodedTarget:
    """A target of the train rows that knows what it is when one of them is taken away.

    Without row i the target of row j is ``values[j] + basis[j] @ change[i]``. The log price does not depend on other
    rows (q = 0). The residual of a ridge does: with ``A = X'X + penalty``, ``r = y - X A^-1 X'y`` and the leverage
    ``h_i = x_i' A^-1 x_i``, the residual without row i is ``r_j + x_j' A^-1 x_i r_i / (1 - h_i)``.

    Shape: values (n,), basis and change (n, q).
    Source: Cook & Weisberg (1982), section 2.2, for the removal of a row.
    """

    values: FloatArray
    basis: FloatArray
    change: FloatArray

    @classmethod
    def plain(cls, values: FloatArray) -> "EncodedTarget":
        """A target that no other row enters."""
        none = np.zeros((len(values), 0))
        return cls(values, none, none)

    @classmethod
    def residual(cls, numbers: FloatArray, values: FloatArray) -> "EncodedTarget":
        """What a ridge on standardised numbers leaves of a target; its intercept is free. Shape: numbers (n, m)."""
        x = np.column_stack([np.ones(len(numbers)), numbers])
        penalty = np.diag([0.0, *[RIDGE] * numbers.shape[1]])
        toward = np.linalg.solve(x.T @ x + penalty, x.T).T
        left = values - x @ (toward.T @ values)
        leverage = (x * toward).sum(axis=1)
        return cls(left, x, toward * (left / np.maximum(1 - leverage, 1e-9))[:, None])

    def scale(self) -> tuple[float, float]:
        """Mean and sd over the train rows; a sd of 0 is 1."""
        return float(self.values.mean()), float(self.values.std()) or 1.0

    def scale_without(self) -> tuple[FloatArray, FloatArray]:
        """Mean and sd over the train rows without each of them. Shape: (n,) both."""
        values, basis, change = self.values, self.basis, self.change
        total, rest = self.sums_without(np.zeros(len(values), dtype=np.int64))
        rest = np.maximum(rest, 1)
        own = (basis * change).sum(axis=1)
        cross = change @ (basis.T @ values) - values * own
        spread = ((change @ (basis.T @ basis)) * change).sum(axis=1) - own**2
        squares = (values**2).sum() - values**2 + 2 * cross + spread
        mean = total / rest
        sd = np.sqrt(np.maximum(squares / rest - mean**2, 0))
        return mean, np.where(sd > 1e-9, sd, 1.0)

    def sums_without(self, group: IntArray) -> tuple[FloatArray, FloatArray]:
        """The sum and the number of the rows of each row's group without the row; 0 and 0 for a row without group.

        Shape: group (n,), -1 without one -> (n,) both.
        """
        known = group >= 0
        sums, sizes = group_sums(self.values, group)
        basis = np.zeros((len(sums), self.basis.shape[1]))
        np.add.at(basis, group[known], self.basis[known])
        moved = ((basis[group] - self.basis) * self.change).sum(axis=1) if len(basis) else 0.0
        of_row = sums[group] - self.values + moved if len(sums) else np.zeros(len(group))
        return np.where(known, of_row, 0.0), np.where(known, sizes[group] - 1 if len(sizes) else 0, 0.0)


def group_sums(values: FloatArray, group: IntArray) -> tuple[FloatArray, FloatArray]:
    """The sum and the number of the rows of each group; rows without one (-1) are in none. Shape: (groups,) both."""
    known = group >= 0
    sums: FloatArray = np.bincount(group[known], values[known]).astype(np.float64)
    return sums, np.bincount(group[known]).astype(np.float64)


def shrunk(sums: FloatArray, sizes: FloatArray, parent: FloatArray | float, strength: float) -> FloatArray:
    """Means drawn to a parent by their numbers: ``(sum + k parent) / (n + k)``. Source: Micci-Barreca (2001)."""
    made: FloatArray = (sums + strength * parent) / np.maximum(sizes + strength, 1e-12)
    return np.where(sizes + strength > 0, made, parent)


def places(levels: Sequence[str], cells: Sequence[str]) -> IntArray:
    """The number of each cell among levels, -1 where it is none of them. Shape: (n,)."""
    place = {level: number for number, level in enumerate(levels)}
    return np.fromiter((place.get(cell, -1) for cell in cells), dtype=np.int64, count=len(cells))


@dataclass(frozen=True, eq=False)
class CategoryEncoding:
    """A column of categories as train rows know it: codes, and what each level says of the targets.

    A level's number is the shrunk mean of a target over its train rows, drawn to that of its prefix (the first
    `prefix` characters), which is drawn to the mean of all; a level that no train row has backs off to its prefix,
    then to the mean of all, and so does an empty cell. Numbers count from the mean of all train rows in sds of the
    target. The last number is log(1 + train rows of the level), standardised.

    Shape: of_level (l, e), of_prefix (p, e), of_none (e,); e numbers of targets and the count.
    """

    known: tuple[str, ...]
    levels: tuple[str, ...]
    prefixes: tuple[str, ...]
    of_level: FloatArray
    of_prefix: FloatArray
    of_none: FloatArray
    prefix: int | None
    strength: float

    @classmethod
    def fit(
        cls, cells: Sequence[str], targets: Sequence[EncodedTarget], fewest: int, strength: float, prefix: int | None
    ) -> "CategoryEncoding":
        """Learn a column from train rows; a level of fewer than `fewest` rows has no code of its own."""
        levels = tuple(sorted(set(cells) - {""}))
        prefixes = tuple(sorted({level[:prefix] for level in levels})) if prefix else ()
        level = places(levels, cells)
        sizes = np.bincount(level[level >= 0], minlength=len(levels))
        known = tuple(name for name, size in zip(levels, sizes, strict=True) if size >= fewest)
        made = cls(
            known, levels, prefixes, np.zeros((len(levels), 0)), np.zeros((len(prefixes), 0)), np.zeros(0), prefix,
            strength,
        )  # fmt: skip
        of_level, of_prefix = made._means(cells, targets)
        counts, (mean, sd) = np.log1p(sizes), made._counting(level)
        count = (np.append(counts, 0.0) - mean) / sd
        return cls(
            known, levels, prefixes,
            np.column_stack([of_level, count[:-1]]),
            np.column_stack([of_prefix, np.full(len(prefixes), count[-1])]),
            np.append(np.zeros(len(targets)), count[-1]),
            prefix, strength,
        )  # fmt: skip

    def _prefixes_of(self, cells: Sequence[str]) -> IntArray:
        """The number of each cell's prefix, -1 where it has none that is known."""
        if not self.prefix:
            return np.full(len(cells), -1, dtype=np.int64)
        return places(self.prefixes, [cell[: self.prefix] for cell in cells])

    def _means(self, cells: Sequence[str], targets: Sequence[EncodedTarget]) -> tuple[FloatArray, FloatArray]:
        """The shrunk means of levels and of prefixes. Shape: (l, targets), (p, targets)."""
        level, first = places(self.levels, cells), self._prefixes_of(cells)
        above = self._prefixes_of(self.levels)
        of_level, of_prefix = [], []
        for target in targets:
            mean, sd = target.scale()
            prefixed = shrunk(*group_sums(target.values, first), mean, self.strength)
            parent = np.append(prefixed, mean)[above]
            of_level.append((shrunk(*group_sums(target.values, level), parent, self.strength) - mean) / sd)
            of_prefix.append((prefixed - mean) / sd)
        return np.stack(of_level, axis=1), np.stack(of_prefix, axis=1)

    def _counting(self, level: IntArray) -> tuple[float, float]:
        """Mean and sd over the train rows of log(1 + the other train rows of the level)."""
        counts = np.log1p(self._others(level))
        return float(counts.mean()), float(counts.std()) or 1.0

    @staticmethod
    def _others(level: IntArray) -> FloatArray:
        sizes = np.append(np.bincount(level[level >= 0]), 1)
        return np.asarray(np.where(level >= 0, sizes[level] - 1, 0), dtype=np.float64)

    def codes(self, cells: Sequence[str]) -> IntArray:
        """1 .. n for the levels with a code of their own, 0 for all others. Shape: (n,)."""
        return places(self.known, cells) + 1

    def encode(self, cells: Sequence[str]) -> FloatArray:
        """Rows that are no train rows, by all train rows. Shape: (n, e)."""
        level, first = places(self.levels, cells), self._prefixes_of(cells)
        backed = np.concatenate([self.of_prefix, self.of_none[None]])[first]
        return np.where((level >= 0)[:, None], np.concatenate([self.of_level, self.of_none[None]])[level], backed)

    def encode_train(self, cells: Sequence[str], targets: Sequence[EncodedTarget]) -> FloatArray:
        """All train rows, each by the others: a row's own target changes none of its numbers. Shape: (n, e)."""
        level, first = places(self.levels, cells), self._prefixes_of(cells)
        columns = []
        for target in targets:
            mean, sd = target.scale_without()
            parent = shrunk(*target.sums_without(first), mean, self.strength)
            parent = np.where(first >= 0, parent, mean)
            columns.append((shrunk(*target.sums_without(level), parent, self.strength) - mean) / sd)
        mean_count, sd_count = self._counting(level)
        return np.column_stack([*columns, (np.log1p(self._others(level)) - mean_count) / sd_count])
