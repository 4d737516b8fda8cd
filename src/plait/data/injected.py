"""Anomalies put into a series on purpose, by a seed, so that what finds them can be judged."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from plait.core.seeding import generator

Floats = NDArray[np.float64]
Rng = np.random.Generator

SHARE = 0.1
"""About this share of the rows is of an anomaly; of few rows more, for there is one of each kind."""
LONGEST = 48
"""Steps of an anomaly at most."""


def spike(values: Floats, sd: Floats, rng: Rng) -> Floats:
    """Values moved by 3 to 6 sd, up or down."""
    moved: Floats = values + sd * rng.choice([-1.0, 1.0], sd.shape) * rng.uniform(3, 6, sd.shape)
    return moved


def level_shift(values: Floats, sd: Floats, rng: Rng) -> Floats:
    """Values moved by 1 to 3 sd, up or down, all by the same."""
    moved: Floats = values + sd * rng.choice([-1.0, 1.0], sd.shape) * rng.uniform(1, 3, sd.shape)
    return moved


def noise_burst(values: Floats, sd: Floats, rng: Rng) -> Floats:
    """Values with noise of 1.5 sd."""
    return values + 1.5 * sd * rng.standard_normal(values.shape)


def flat_line(values: Floats, sd: Floats, rng: Rng) -> Floats:
    """The first value that is there, repeated."""
    first = values[np.argmax(~np.isnan(values), axis=0), np.arange(values.shape[1])]
    return np.tile(first, (len(values), 1))


def other_season(values: Floats, sd: Floats, rng: Rng) -> Floats:
    """The values in reverse, or the first half of them at half the pace."""
    return values[::-1] if rng.random() < 0.5 else values[np.arange(len(values)) // 2]


ANOMALIES: dict[str, Callable[[Floats, Floats, Rng], Floats]] = {
    "spike": spike,
    "level_shift": level_shift,
    "noise_burst": noise_burst,
    "flat_line": flat_line,
    "other_season": other_season,
}


def inject(values: Floats, first: int, sd: Floats, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    """The values with anomalies of each kind in turn among the rows from `first` on, and which rows those are.

    The rows are parted into equal stretches, one an anomaly, somewhere before its last step, so that no two touch: a
    spike of 1 step, all others of 3 to 48, in some of the variates, at least one. Rows before `first` are as they were,
    and missing values stay missing.
    Shape: values (T, v), sd (v,) of the train rows -> (T, v), (T,) bool.
    """
    rng = generator(seed, "anomalies")
    rows, variates = len(values) - first, values.shape[1]
    longest = min(LONGEST, max(3, rows // (4 * len(ANOMALIES))))
    mean = (1 + 4 * (3 + longest) / 2) / len(ANOMALIES)
    count = max(len(ANOMALIES), round(SHARE * rows / mean))
    edges = np.linspace(first, len(values), count + 1).astype(np.int64)
    out, label = values.copy(), np.zeros(len(values), dtype=bool)
    for number, (start, stop) in enumerate(pairwise(edges.tolist())):
        name = list(ANOMALIES)[number % len(ANOMALIES)]
        length = 1 if name == "spike" else int(rng.integers(3, longest + 1))
        length = min(length, max(1, stop - start - 1))
        at = int(rng.integers(start, max(start + 1, stop - length)))
        hit = (rng.random(variates) < 0.5) | (np.arange(variates) == rng.integers(variates))
        own = values[at : at + length, hit]
        changed = ANOMALIES[name](own, sd[hit], rng)
        out[at : at + length, hit] = np.where(np.isnan(own) | np.isnan(changed), own, changed)
        label[at : at + length] = True
    return out, label
