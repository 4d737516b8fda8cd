"""Vectors of sequence variants from their letters, from a tree, and from where they occur together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse

from plait.core.errors import ConfigError, DataError
from plait.core.seeding import generator
from plait.features.tree import Tree

FloatArray = npt.NDArray[np.float64]
Block = npt.NDArray[np.float32]

OTHER = 5
"""The code of a letter that is none of A, C, G and T (1 to 4); 0 is padding."""

LONGEST_K = 6
"""There are 4^k different k-mers: a vector of 4,096 for 6."""

_AT_ONCE = 4096
"""Sequences that are counted or turned into floats of 8 bytes at a time."""

_SPARE = 16
_STEPS = 8
_RESTARTS = 40
_SETTLED = 1e-10
_NEW = 1e-12
_TIED = 1e-7
_CENTRED = 1e-12
"""What centring leaves of equal numbers, as a share of them, at most."""

_CODES = np.full(256, OTHER, dtype=np.uint8)
for _code, _signs in enumerate(("Aa", "Cc", "Gg", "TtUu"), start=1):
    _CODES[list(_signs.encode())] = _code


def letters(sequences: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Turn each sequence into a row of codes: 1 A, 2 C, 3 G, 4 T or U, 5 any other letter, 0 padding; case is folded.

    Shape: f sequences -> (f, L) with L the longest; (f, 0) where all are empty.
    """
    lengths = _lengths(sequences)
    codes = np.zeros((len(sequences), int(lengths.max(initial=0))), dtype=np.uint8)
    codes[np.arange(codes.shape[1]) < lengths[:, None]] = _coded("".join(sequences))
    return codes


def kmer_counts(sequences: Sequence[str], k: int = 5) -> Block:
    """Count the k-mers over A, C, G and T in each sequence; case is folded and U is T.

    A k-mer that holds another letter is not counted. Columns are in the order of the alphabet: AA, AC, AG, AT, CA, ...

    Shape: f sequences -> (f, 4^k), whole numbers. Memory: 4 bytes a cell (0.4 GB for 100,000 sequences and k = 5).
    Errors: ConfigError for a k below 1 or above `LONGEST_K`.
    """
    if not 1 <= k <= LONGEST_K:
        raise ConfigError(f"k-mers of {k} letters", where="k", fix=f"give 1 to {LONGEST_K}")
    counts = np.empty((len(sequences), 4**k), dtype=np.float32)
    for part in _parts(len(sequences)):
        counts[part] = _counted(sequences[part], k)
    return counts


@dataclass(frozen=True, eq=False)
class KmerMap:
    """The map from a sequence to its scores on the principal components of the square roots of k-mer counts.

    ``scores = (sqrt(counts) - mean) components^T / scale``. Components are in falling order of variance; the largest
    loading of each by size is positive. Components beyond the rank of the fitted sequences are 0, and so are their
    scores. `scale` is one number for all components, the sd over all scores of the fitted sequences (those beyond the
    rank left out), so that the first components stay the longer ones. It serves sequences that it was not fitted on.

    Shape: mean (4^k,), components (width, 4^k).
    """

    k: int
    mean: FloatArray
    components: FloatArray
    scale: float

    @classmethod
    def fit(cls, sequences: Sequence[str], width: int = 48, k: int = 5) -> "KmerMap":
        """Find the first `width` components of these sequences.

        The counts are made part by part, so memory does not grow with the number of sequences.
        Errors: ConfigError for a width below 1 or a k that `kmer_counts` refuses; DataError without sequences.
        """
        _check_width(width)
        if not len(sequences):
            raise DataError("there is no sequence to fit k-mers on", where="sequences", fix="give at least one")
        rows, mean, scatter = len(sequences), np.zeros(4**k), np.zeros((4**k, 4**k))
        for part in _parts(rows):
            mean += _roots(sequences[part], k).sum(axis=0)
        mean /= rows
        for part in _parts(rows):
            centred = _roots(sequences[part], k) - mean
            scatter += centred.T @ centred
        values, vectors = _leading(lambda x: scatter @ x, 4**k, width, _CENTRED**2 * rows * float(mean @ mean))
        components = np.zeros((width, 4**k))
        components[: len(values)] = (vectors * _signs_of(vectors)).T
        return cls(k, mean, components, float(np.sqrt(values.sum() / (rows * len(values)))) if len(values) else 1.0)

    def transform(self, sequences: Sequence[str]) -> Block:
        """Give the scores of sequences, seen or not. A sequence without any k-mer lies where all counts are 0.

        Shape: f sequences -> (f, width).
        """
        out = np.empty((len(sequences), len(self.components)), dtype=np.float32)
        for part in _parts(len(sequences)):
            out[part] = (_roots(sequences[part], self.k) - self.mean) @ self.components.T / self.scale
        return out

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The numbers, for a file."""
        return {
            "k": np.asarray([self.k], dtype=np.int64),
            "mean": self.mean,
            "components": self.components,
            "scale": np.asarray([self.scale]),
        }

    @classmethod
    def read(cls, tensors: Mapping[str, npt.NDArray[Any]]) -> "KmerMap":
        """What `tensors` wrote, exactly."""
        return cls(int(tensors["k"][0]), tensors["mean"], tensors["components"], float(tensors["scale"][0]))


def tree_block(tree: Tree, features: Sequence[str], width: int = 48) -> Block:
    """Place features by the branches that they lie under, so that near relatives have like vectors.

    With ``A[f, b] = sqrt(length of b)`` where feature f lies under branch b, else 0, and columns centred, the rows are
    the left singular vectors of A times the singular values, divided by the sd over all of them; zeros fill up to
    `width` beyond the rank. The largest score of each column by size is positive. Tips that are not asked for, and
    the branches that lead to them alone, have no part in it. No matrix of features by branches is made: a sum over a
    branch is a difference of two running sums over tips.

    Shape: f features -> (f, width).
    Errors: ConfigError for a width below 1; DataError as `Tree.keep`.
    """
    _check_width(width)
    kept = tree.keep(features)
    first, last = kept.spans
    tips, branches = len(kept.tips), np.arange(len(kept.length))
    ends = np.concatenate([np.ones(len(branches)), -np.ones(len(branches))])
    place = (np.concatenate([branches, branches]), np.concatenate([last, first]))
    bounds = sparse.csr_array((ends, place), shape=(len(branches), tips + 1))
    back, length = bounds.T.tocsr(), kept.length[:, None]

    def gram(x: FloatArray) -> FloatArray:
        running = np.zeros((tips + 1, x.shape[1]))
        np.cumsum(x - x.mean(axis=0), axis=0, out=running[1:])
        out: FloatArray = -np.cumsum(back @ (length * (bounds @ running)), axis=0)[:-1]
        out -= out.mean(axis=0)
        return out

    trace = float(kept.length @ (last - first))
    values, vectors = _leading(gram, tips, width, _CENTRED * trace)
    scores = vectors * _signs_of(vectors) * np.sqrt(values)
    return _filled(scores[first[list(kept.tips.values())]], width)


def cooccurrence_block(clr: npt.NDArray[np.floating[Any]], width: int = 48) -> Block:
    """Place features by the samples that they occur in, so that features which come and go together have like vectors.

    With the columns of the centred log ratios centred, the rows are the right singular vectors times the singular
    values, divided by the sd over all of them; zeros fill up to `width` beyond the rank. The largest loading of each
    column by size is positive. Give training samples only: nothing else may shape it.

    Shape: clr (n, f) -> (f, width).
    Errors: ConfigError for a width below 1; DataError where `clr` is empty, has not two axes, or holds values that are
    not finite.
    """
    _check_width(width)
    if clr.ndim != 2 or not clr.size or not np.isfinite(clr).all():
        raise DataError(
            f"log ratios of shape {clr.shape} are empty, not samples by features, or not finite",
            where="clr",
            fix="give the centred log ratios of the training samples",
        )
    mean = clr.mean(axis=0, dtype=np.float64)
    centred, floor = clr - mean, _CENTRED**2 * len(clr) * float(mean @ mean)
    _, vectors = _leading(lambda x: centred @ (centred.T @ x), len(centred), width, floor)
    scores = centred.T @ vectors
    return _filled(scores * _signs_of(scores), width)


def _check_width(width: int) -> None:
    if width < 1:
        raise ConfigError(f"a block {width} wide", where="width", fix="give 1 or more")


def _lengths(sequences: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))


def _coded(text: str) -> npt.NDArray[np.uint8]:
    """One code a letter, also for letters that take several bytes."""
    return _CODES[np.frombuffer(text.encode("ascii", "replace"), dtype=np.uint8)]


def _parts(count: int) -> Iterator[slice]:
    yield from (slice(start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE))


def _counted(sequences: Sequence[str], k: int) -> npt.NDArray[np.int64]:
    """Count k-mers of few sequences; a sign between them keeps k-mers from reaching over an end."""
    codes = _coded("-".join(sequences) + "-")
    starts = max(len(codes) - k + 1, 0)
    word, whole = np.zeros(starts, dtype=np.int64), np.ones(starts, dtype=np.bool_)
    for at in range(k):
        code = codes[at : at + starts]
        word = 4 * word + code - 1
        whole &= code != OTHER
    row = np.repeat(np.arange(len(sequences)), _lengths(sequences) + 1)[:starts]
    cell = (row * 4**k + word)[whole]
    return np.bincount(cell, minlength=len(sequences) * 4**k).reshape(len(sequences), 4**k)


def _roots(sequences: Sequence[str], k: int) -> FloatArray:
    return np.sqrt(kmer_counts(sequences, k), dtype=np.float64)


def _signs_of(vectors: FloatArray) -> FloatArray:
    """The sign by column that makes its largest entry positive; of entries that are as large, the first counts."""
    size = np.abs(vectors)
    largest = (size >= (1 - _TIED) * size.max(axis=0, initial=0)).argmax(axis=0)
    return np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)


def _filled(scores: FloatArray, width: int) -> Block:
    """Divide by the sd over all entries and fill up with zeros."""
    block = np.zeros((len(scores), width), dtype=np.float32)
    sd = scores.std() if scores.size else 0.0
    block[:, : scores.shape[1]] = scores / sd if sd > 0 else 0.0
    return block


def _leading(
    apply: Callable[[FloatArray], FloatArray], size: int, width: int, floor: float
) -> tuple[FloatArray, FloatArray]:
    """Find the largest eigenvalues above `floor`, and their vectors, of a symmetric map without negative ones.

    A small map is written out. A large one is searched by blocks: the space of a block and its images under the map
    is kept orthogonal, and the best vectors of that space start the next search until they are eigenvectors. The
    start is the same in every process, and a block finds eigenvalues that occur more than once.

    Shape: apply (size, any) -> the same; values (r,) falling, vectors (size, r), with r at most `width`.
    Source: Musco & Musco (2015), algorithm 2; restarts as in Saad (2011), section 6.
    """
    held = width + _SPARE
    if size <= held * _STEPS:
        whole = apply(np.eye(size))
        values, vectors = linalg.eigh((whole + whole.T) / 2)
        return _above_rounding(values[::-1][:width], vectors[:, ::-1][:, :width], size, floor)
    block = linalg.qr(generator(0, "leading directions").standard_normal((size, held)), mode="economic")[0]
    for _ in range(_RESTARTS):
        basis, images = block, apply(block)
        image = images
        for _ in range(_STEPS - 1):
            image = _beyond(basis, image)
            if not image.shape[1]:
                break
            basis = np.hstack([basis, image])
            image = apply(image)
            images = np.hstack([images, image])
        within = basis.T @ images
        values, turn = linalg.eigh((within + within.T) / 2)
        values, turn = values[::-1][:held], turn[:, ::-1][:, :held]
        block = basis @ turn
        astray = np.linalg.norm((images @ turn - block * values)[:, :width], axis=0)
        if astray.max() <= max(_SETTLED * values[0], floor):
            break
    return _above_rounding(values[:width], block[:, :width], size, floor)


def _beyond(basis: FloatArray, image: FloatArray) -> FloatArray:
    """Find orthonormal directions of an image that a basis lacks; none are made up of what rounding leaves of it."""
    size = np.linalg.norm(image)
    rest, share, _ = linalg.qr(image - basis @ (basis.T @ image), mode="economic", pivoting=True)
    rest = rest[:, np.abs(np.diag(share)) > _NEW * size]
    new: FloatArray = linalg.qr(rest - basis @ (basis.T @ rest), mode="economic")[0]
    return new


def _above_rounding(values: FloatArray, vectors: FloatArray, size: int, floor: float) -> tuple[FloatArray, FloatArray]:
    """Leave out the eigenvalues that rounding may have made."""
    kept = values > max(float(values[0]) * size * np.finfo(np.float64).eps, floor)
    return values[kept], vectors[:, kept]
