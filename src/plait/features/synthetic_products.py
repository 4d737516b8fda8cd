"""A seeded generator of products whose price depends on picture and text together, and on neither by itself."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SOURCES = ("image_a", "image_b", "text_a", "text_b")
WIDTHS = (23, 31, 19, 29)
CLASSES = 4
"""Of pictures, and of texts."""
NUISANCES = 5
"""Directions of a source that vary the most and tell nothing of the price."""
LEAST = CLASSES + NUISANCES
"""The least width of a source."""

_BASE = np.log(25.0)
_SPREAD = 0.6
_APART = 2.0
_LOUD = 1.5
_BLUR = 0.25


@dataclass(frozen=True, eq=False)
class SyntheticProducts:
    """Products with four sources of embeddings, what they were made from, and the table behind their prices.

    Shape: price, image and text (n,), `sources` (n, w) by name, `present` (n,) by name; table (classes, classes), the
    mean log price of each pair of a picture and a text less that of all.
    Mask: `present` is False where a row lacks the source; its vector is 0 there.
    """

    price: FloatArray
    image: IntArray
    text: IntArray
    sources: dict[str, NDArray[np.float32]]
    present: dict[str, NDArray[np.bool_]]
    table: FloatArray


def generate(
    rows: int = 4000, noise: float = 0.3, widths: tuple[int, ...] = WIDTHS, missing: float = 0.0, seed: int = 0
) -> SyntheticProducts:
    """Draw products whose log price is ``log 25 + table[image, text] + noise N(0, 1)``.

    Image and text classes are independent and equally likely. The table has rows and columns of mean 0 and sd 0.6:
    what a picture or a text says of the price by itself, and so all that adds up, is nothing. A vector of a source is
    2 along the direction of its picture's or its text's class, plus 1.5 N(0, 1) along each of 5 nuisance directions,
    plus 0.25 N(0, I); the directions are orthonormal and random. So any one source tells the class, mistaken in at
    most 3 Phi(-2 / (0.25 sqrt 2)) = 2.3e-8 of the rows. Each source is lacking in a share `missing` of the rows, never
    both of a picture or of a text. Table and directions depend on the seed and the widths alone, not on the number of
    rows.

    Shape: see `SyntheticProducts`. The same arguments give the same result.
    Errors: ValueError for no row, other than four widths of 9 or more, a negative noise, missing outside 0 to 0.5.
    """
    if rows < 1 or len(widths) != len(SOURCES) or min(widths) < LEAST or noise < 0 or not 0 <= missing <= 0.5:
        raise ValueError(f"no such products: rows {rows}, noise {noise}, widths {widths}, missing {missing}")
    world, draws, gaps = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    table = _interaction(world)
    image, text = draws.integers(0, CLASSES, rows), draws.integers(0, CLASSES, rows)
    price = np.exp(_BASE + table[image, text] + noise * draws.standard_normal(rows))
    sources, present = {}, {}
    for classes, names in ((image, SOURCES[:2]), (text, SOURCES[2:])):
        lacks = np.where(gaps.random(rows) < 2 * missing, gaps.integers(0, 2, rows), -1)
        for number, name in enumerate(names):
            width = widths[SOURCES.index(name)]
            directions = np.linalg.qr(world.standard_normal((width, LEAST)))[0].T
            vectors = _APART * directions[classes]
            vectors += _LOUD * draws.standard_normal((rows, NUISANCES)) @ directions[CLASSES:]
            vectors += _BLUR * draws.standard_normal((rows, width))
            present[name] = lacks != number
            sources[name] = np.where(present[name][:, None], vectors, 0.0).astype(np.float32)
    return SyntheticProducts(price, image, text, sources, present, table)


def _interaction(rng: np.random.Generator) -> FloatArray:
    """A table of sd 0.6 without row and column means. Shape: (classes, classes)."""
    drawn = rng.standard_normal((CLASSES, CLASSES))
    table = drawn - drawn.mean(axis=0) - drawn.mean(axis=1, keepdims=True) + drawn.mean()
    return np.asarray(_SPREAD * table / table.std())


def bayes_smape(noise: float = 0.3, draws: int = 1_000_000, seed: int = 0) -> float:
    """The least SMAPE that any predictor of these prices can have, by Monte Carlo: the mean of 200 tanh(noise |e| / 2).

    Both classes are known from the embeddings, so the noise alone is left. It is normal in the logarithm, and the error
    grows with the distance on either side alike: the centre is the best prediction.
    Units: SMAPE, 0 to 200. Source: Anderson (1955), theorem 1, for the centre.
    """
    errors = np.random.default_rng(seed).standard_normal(draws)
    return float((200.0 * np.tanh(noise * np.abs(errors) / 2.0)).mean())
