"""UniFrac distances between samples and Faith's phylogenetic diversity, from counts and a tree."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from scipy.spatial.distance import cdist, pdist, squareform

from plait.core.errors import ConfigError, DataError, suggest
from plait.features.composition import read_counts
from plait.features.tree import FloatArray, IntArray, Tree, shear

Metric = Literal["unweighted", "weighted", "weighted_normalized"]

_STEP = 2**20
"""Cells (branches x samples) that are worked on at a time."""


class _Branches(NamedTuple):
    """The branches that matter to some samples, as ranges of the j tips that occur in any of them.

    Shape: first, last, length (branches,); place (f,) each column's place among the j tips, where it is one.
    """

    first: IntArray
    last: IntArray
    length: FloatArray
    place: IntArray
    tips: int

    def steps(self, samples: int) -> Iterator[slice]:
        """Cut the branches so that a step has about `_STEP` cells."""
        size = max(_STEP // max(samples, 1), 64)
        yield from (slice(start, start + size) for start in range(0, len(self.length), size))

    def running(self, table: Any, dtype: type) -> Any:
        """Sum tips in postorder: row r has what stands on the first r tips, counts or (integer) how many occur.

        The sum over a branch is the difference of two rows, exact where counts are whole numbers below 2^53.

        Shape: table (n, f) -> (j + 1, n).
        """
        grid = np.zeros((self.tips + 1, table.shape[0]), dtype=dtype)
        rows = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
        grid[self.place[table.indices] + 1, rows] = table.data if dtype is np.float64 else 1
        return np.cumsum(grid, axis=0, dtype=dtype, out=grid)


class UniFrac:
    """Distances between samples by the branches of a tree that their features share.

    Branch b has length L_b. Sample i has some of its reads under b: all of them are p_ib = 1, none p_ib = 0; and
    o_ib is 1 where there are any, else 0. With sums over the branches

    - unweighted: ``sum L |o_i - o_j| / sum L max(o_i, o_j)``, in [0, 1];
    - weighted: ``sum L |p_i - p_j|``, in the unit of the lengths;
    - weighted_normalized: ``sum L |p_i - p_j| / sum L (p_i + p_j)``, in [0, 1]. The lower sum is that of each tip's
      distance to the root times its proportions.

    Branches from the features up to the tree's root count, its own included; so do they in scikit-bio, whose values
    these are. A sample without reads has p = o = 0: two of them have the distance 0, and it has 1 to any other
    (weighted: that one's sum of L p). Where no branch of two samples has a length, the distance is 0 (normalized:
    scikit-bio has NaN there). The tree's top node is the root, also where it has three children or more; a length that
    the tree's text does not give is 0 (scikit-bio refuses both).

    `tips` names the columns of every table that is given later, in their order; tips of the tree beyond them are
    dropped. `memory` bounds, in bytes and roughly, the working space of `matrix` and `faith_pd`.
    Errors: ConfigError for an unknown metric; DataError where ids are not in the tree (how many, the first five) or
    occur twice, or where all branches have length 0.
    Source: Lozupone & Knight (2005) unweighted; Lozupone et al. (2007) weighted; Faith (1992).
    """

    def __init__(self, tree: Tree, tips: Sequence[str], metric: Metric = "unweighted", memory: int = 2**28) -> None:
        if metric not in get_args(Metric):
            raise ConfigError(f"there is no UniFrac {metric!r}", where="metric", fix=suggest(metric, get_args(Metric)))
        kept = tree.keep(tips)
        if not kept.length.any():
            raise DataError("no branch above the features has a length", where="tree", fix="give a tree with lengths")
        self.metric, self.memory, self.length = metric, memory, kept.length
        self.first, self.last = kept.spans
        self.rank = self.first[list(kept.tips.values())]

    def pairs(self, a: Any, b: Any = None) -> FloatArray:
        """Compute the block of distances between the samples of two tables, or within one.

        Only the features that occur in these samples and the branches above them are looked at, so a batch of a
        large table is cheap and no distance is computed but those asked for. Within one table the block is exactly
        symmetric with a diagonal of 0.

        Shape: a (n, f), b (m, f) counts, sparse or dense -> (n, m).
        Units: none; weighted: those of the lengths.
        Memory: 8 bytes times (n + m) times the features that occur in them, and the block. Nothing of n x f is made
        from a sparse table beyond that.
        Errors: DataError where a table has not a column a feature or holds other than finite numbers of at least 0.
        """
        left = self._read(a)
        return self._block(left, left if b is None else self._read(b))

    def matrix(self, counts: Any) -> FloatArray:
        """Compute all distances between the samples of a table, block by block.

        Shape: (n, f) counts -> (n, n), exactly symmetric with a diagonal of 0.
        Memory: the result, 8 bytes times n^2, and about `memory`.
        Errors: as `pairs`.
        """
        table = self._read(counts)
        rows = table.shape[0]
        out = np.zeros((rows, rows))
        chunks = list(self._chunks(rows))
        for number, upper in enumerate(chunks):
            part = table[upper]
            out[upper, upper] = self._block(part, part)
            for side in chunks[number + 1 :]:
                out[upper, side] = self._block(part, table[side])
                out[side, upper] = out[upper, side].T
        return out

    def faith_pd(self, counts: Any) -> FloatArray:
        """Sum the lengths of the branches between the root and a sample's features: ``sum_b L_b o_ib``.

        Includes the root's own branch. A sample without reads has 0. The same for every metric.

        Shape: (n, f) counts -> (n,). Units: those of the lengths.
        Memory: about `memory`, whatever n is; a sparse table is never made dense.
        Errors: as `pairs`. Source: Faith (1992).
        """
        table = self._read(counts)
        out = np.zeros(table.shape[0])
        for chunk in self._chunks(table.shape[0]):
            part = table[chunk]
            branches = self._branches(part)
            grid = branches.running(part, np.int32)
            for step in branches.steps(part.shape[0]):
                out[chunk] += branches.length[step] @ (grid[branches.last[step]] > grid[branches.first[step]])
        return out

    def _read(self, counts: Any) -> Any:
        """Check a table of these features."""
        return read_counts(counts, features=len(self.rank))

    def _chunks(self, rows: int) -> Iterator[slice]:
        """Cut samples so that the running sums of two chunks take about `memory`, were every feature there."""
        size = max(self.memory // (16 * (len(self.rank) + 1)), 1)
        yield from (slice(start, start + size) for start in range(0, rows, size))

    def _branches(self, *tables: Any) -> _Branches:
        """Find the branches above the features that occur, single-child chains merged: at most 2 j - 1."""
        present = np.zeros(len(self.rank), dtype=np.bool_)
        for table in tables:
            present[self.rank[table.indices]] = True
        first, last, length, _, _ = shear(self.first, self.last, self.length, present)
        place = (np.cumsum(present) - 1)[self.rank]
        return _Branches(first, last, length, place, int(present.sum()))

    def _block(self, a: Any, b: Any) -> FloatArray:
        """Compute the distances between two checked tables; one and the same table gives a symmetric block."""
        if not (a.shape[0] and b.shape[0]):
            return np.zeros((a.shape[0], b.shape[0]))
        branches = self._branches(a) if a is b else self._branches(a, b)
        block = _unweighted(branches, a, b) if self.metric == "unweighted" else self._weighted(branches, a, b)
        if a is b:
            # A matrix product need not be symmetric to the last bit.
            block = np.minimum(block, block.T)
            np.fill_diagonal(block, 0.0)
        return block

    def _weighted(self, branches: _Branches, a: Any, b: Any) -> FloatArray:
        """Sum ``L |p_i - p_j|`` over the branches, and divide by ``sum L (p_i + p_j)`` where asked."""
        tables = (a,) if a is b else (a, b)
        grids = [branches.running(table, np.float64) for table in tables]
        reads = [np.where(grid[-1] > 0, grid[-1], 1.0) for grid in grids]
        weights = [np.zeros(table.shape[0]) for table in tables]
        total = np.zeros(a.shape[0] * (a.shape[0] - 1) // 2) if a is b else np.zeros((a.shape[0], b.shape[0]))
        for step in branches.steps(a.shape[0] + b.shape[0]):
            scaled = []
            for grid, read, weight in zip(grids, reads, weights, strict=True):
                part = grid[branches.last[step]] - grid[branches.first[step]]
                part *= branches.length[step, None]
                part /= read
                weight += part.sum(axis=0)
                scaled.append(np.ascontiguousarray(part.T))
            total += pdist(scaled[0], "cityblock") if a is b else cdist(scaled[0], scaled[1], "cityblock")
        block: FloatArray = squareform(total, checks=False) if a is b else total
        if self.metric == "weighted":
            return block
        both = weights[0][:, None] + weights[-1][None, :]
        np.divide(block, both, out=block, where=both > 0)
        return np.minimum(block, 1.0, out=block)


def _unweighted(branches: _Branches, a: Any, b: Any) -> FloatArray:
    """Compute ``1 - S / (t_i + t_j - S)``: S the length two samples share, a matrix product, t what each has.

    Presence is scaled by the root of the length, so that within one table NumPy takes the product that costs half.
    """
    tables = (a,) if a is b else (a, b)
    grids = [branches.running(table, np.int32) for table in tables]
    totals = [np.zeros(table.shape[0]) for table in tables]
    shared = np.zeros((a.shape[0], b.shape[0]))
    roots = np.sqrt(branches.length)
    for step in branches.steps(a.shape[0] + b.shape[0]):
        scaled = []
        for grid, total in zip(grids, totals, strict=True):
            there = grid[branches.last[step]] > grid[branches.first[step]]
            total += branches.length[step] @ there
            scaled.append(there * roots[step, None])
        shared += scaled[0].T @ scaled[-1]
    union = totals[0][:, None] + totals[-1][None, :] - shared
    ratio = np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
    block: FloatArray = np.clip(1.0 - ratio, 0.0, 1.0)
    return block
