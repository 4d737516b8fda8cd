"""Splits of samples into train, validation and test: by shares or by folds, groups whole, classes in proportion."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.core.errors import ConfigError, DataError
from plait.core.schema import SPLITS
from plait.core.seeding import generator

IntArray = NDArray[np.int64]


def split_samples(
    rows: NDArray[np.integer],
    seed: int,
    *,
    shares: Sequence[float] = (0.7, 0.1, 0.2),
    folds: int | None = None,
    fold: int = 0,
    groups: Sequence[str] | None = None,
    strata: Sequence[str] | None = None,
) -> dict[str, IntArray]:
    """Deal samples to train, val and test; every one is in exactly one of them.

    Samples of one group stay together; one without a group (None, NaN or "") is a group of its own. Groups are dealt
    in a random order, each to the split that lacks most, so that no split exceeds its share by more than one group;
    those too large for the smallest split come first, and a split is left empty only where there are fewer groups
    than splits. With strata every class is dealt to its share within a sample or two; with groups too, as near as
    whole groups allow.

    With `folds` the groups are dealt to that many parts of equal size, the largest groups first. Part `fold` is test,
    so each sample is test in exactly one fold; the others are dealt to train and val as their shares are to each
    other. As many folds as groups is leave-one-group-out.

    What comes out depends on the order of `rows` and the seed alone, and all folds of a seed are parts of one deal.

    Shape: rows (n,) row numbers, rising; groups and strata (n,), one for each of them -> three rising arrays.
    Errors: ConfigError where shares are no three positive shares of 1, or folds or fold are out of range (how many
    groups there are); DataError where rows do not rise, there is not one group or stratum a row, or a split would be
    empty.
    """
    if len(shares) != len(SPLITS) or abs(sum(shares) - 1) > 1e-9 or min(shares) <= 0:
        raise ConfigError(f"{list(shares)} are no three positive shares of 1", where="shares", fix="e.g. 0.7, 0.1, 0.2")
    numbers = np.asarray(rows, dtype=np.int64)
    if numbers.ndim != 1 or (np.diff(numbers) <= 0).any():
        raise DataError("the row numbers do not rise", where="rows", fix="give each once, sorted")
    for name, given in (("groups", groups), ("strata", strata)):
        if given is not None and len(given) != len(numbers):
            raise DataError(f"{len(given)} {name} for {len(numbers)} rows", where=name, fix="give one a row")
    unit = _units(len(numbers), groups)
    classes = _classes(len(numbers), strata)
    if folds is None:
        part = _deal(unit, classes, shares, generator(seed, "samples"), largest_first=False)
        return _named(numbers, unit, part)
    _check_folds(folds, fold, len(np.unique(unit)))
    tested = _deal(unit, classes, [1 / folds] * folds, generator(seed, "folds"), largest_first=True) == fold
    part = np.full(len(numbers), SPLITS.index("test"))
    within = [share / (shares[0] + shares[1]) for share in shares[:2]]
    chance = generator(seed, "validation", fold)
    part[~tested] = _deal(unit[~tested], classes[~tested], within, chance, largest_first=False)
    return _named(numbers, unit, part)


def _units(count: int, groups: Sequence[str] | None) -> IntArray:
    """The number of each row's group, in the order of their first rows."""
    if groups is None:
        return np.arange(count, dtype=np.int64)
    numbers: dict[str | tuple[int], int] = {}
    names = [(row,) if pd.isna(group) or group == "" else str(group) for row, group in enumerate(groups)]
    return np.asarray([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _classes(count: int, strata: Sequence[str] | None) -> IntArray:
    """The number of each row's class; samples without one are a class."""
    if strata is None:
        return np.zeros(count, dtype=np.int64)
    return np.unique(["" if pd.isna(name) else str(name) for name in strata], return_inverse=True)[1].astype(np.int64)


def _check_folds(folds: int, fold: int, groups: int) -> None:
    if not 2 <= folds <= groups:
        raise ConfigError(
            f"{folds} folds of {groups} groups", where="folds", fix=f"give 2 to {groups}; {groups} leaves one group out"
        )
    if not 0 <= fold < folds:
        raise ConfigError(f"there is no fold {fold} of {folds}", where="fold", fix=f"give 0 to {folds - 1}")


def _named(numbers: IntArray, unit: IntArray, part: IntArray) -> dict[str, IntArray]:
    """The rows of each split, none of them empty."""
    made = {name: numbers[part == at] for at, name in enumerate(SPLITS)}
    empty = [name for name, there in made.items() if not len(there)]
    if empty:
        raise DataError(
            f"no sample is left for {' and '.join(empty)}: there are {len(numbers)} rows in"
            f" {len(np.unique(unit))} groups, and a group is never split",
            where="splits",
            fix="give more samples, group by a finer column, or ask for more folds",
        )
    return made


def _deal(
    unit: IntArray, classes: IntArray, shares: Sequence[float], chance: np.random.Generator, largest_first: bool
) -> IntArray:
    """Deal whole units to parts, each to the part that lacks most of what the unit brings.

    The lack counts a class by its share of all its samples, so that a rare class weighs as much as a common one.

    Shape: unit, classes (n,) -> the part of each row (n,).
    """
    _, unit = np.unique(unit, return_inverse=True)
    _, classes = np.unique(classes, return_inverse=True)
    if not len(unit):
        return np.zeros(0, dtype=np.int64)
    brings = np.zeros((unit.max() + 1, classes.max() + 1))
    np.add.at(brings, (unit, classes), 1)
    lack = _quotas(brings.sum(axis=0), np.asarray(shares), chance)
    sizes = brings.sum(axis=1)
    weight = brings / brings.sum(axis=0)
    order = chance.permutation(len(sizes))
    first = sizes if largest_first else np.where(sizes > lack.sum(axis=1).min(), sizes, 0)
    part, empty = np.zeros(len(sizes), dtype=np.int64), np.ones(len(shares), dtype=np.bool_)
    for done, one in enumerate(order[np.argsort(-first[order], kind="stable")]):
        need = lack @ weight[one]
        if len(sizes) - done <= empty.sum():
            need[~empty] = -np.inf
        best = int(need.argmax())
        part[one], empty[best] = best, False
        lack[best] -= brings[one]
    return part[unit]


def _quotas(
    totals: NDArray[np.float64], shares: NDArray[np.float64], chance: np.random.Generator
) -> NDArray[np.float64]:
    """Share every class out in whole samples; what rounding withholds from a part counts for its next class.

    So classes of one sample each fill all parts, and the parts' sizes keep to the shares.

    Shape: totals (c,), shares (p,) -> (p, c).
    """
    quotas, owed = np.zeros((len(shares), len(totals))), np.zeros(len(shares))
    for one in chance.permutation(len(totals)):
        owed += shares * totals[one]
        whole = np.maximum(np.floor(owed), 0)
        while whole.sum() < totals[one]:
            whole[(owed - whole).argmax()] += 1
        while whole.sum() > totals[one]:
            whole[np.where(whole > 0, owed - whole, np.inf).argmin()] -= 1
        quotas[:, one] = whole
        owed -= whole
    return quotas
