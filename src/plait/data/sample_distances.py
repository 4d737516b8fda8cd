"""Distances between samples, and their diversity, computed for the rows that are asked for."""

from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core.errors import ConfigError, DataError
from plait.data.sample_table import SampleTable
from plait.features.unifrac import Metric, UniFrac


class SampleDistances:
    """Distances between some samples of a table: those of its matrix, else UniFrac over all its ASVs.

    `rows` are the samples' row numbers in the table; what is asked for goes by their place among these.
    """

    def __init__(self, table: SampleTable, rows: NDArray[np.int64], metric: Metric | Literal["none"]) -> None:
        self.table, self.rows, self.metric = table, rows, metric

    @cached_property
    def _unifrac(self) -> UniFrac:
        if self.table.tree is None:
            raise DataError("there is no tree", where="data.tree", fix="give --tree FILE")
        return UniFrac(self.table.tree, self.table.features, "unweighted" if self.metric == "none" else self.metric)

    def pairs(self, a: Any, b: Any) -> Tensor:
        """Compute a block of distances.

        Shape: numbers (n,) and (m,) -> (n, m) float32. Units: of the matrix or the metric.
        Errors: DataError where there is neither a matrix nor a tree; ConfigError where the metric is none.
        """
        one, other = self._at(a), self._at(b)
        if self.table.distances is not None:
            return torch.from_numpy(self.table.distances[np.ix_(one, other)].astype(np.float32))
        if self.metric == "none":
            raise ConfigError("no distance is chosen", where="data.unifrac", fix="give unweighted, or a matrix")
        counts = self.table.counts
        block = self._unifrac.pairs(counts[one], None if np.array_equal(one, other) else counts[other])
        return torch.from_numpy(block.astype(np.float32))

    def faith(self, rows: Any) -> Tensor:
        """Sum the lengths of the branches that lead to the ASVs of each sample.

        Shape: numbers (n,) -> (n,) float32. Units: those of the tree.  Errors: DataError without a tree.
        """
        return torch.from_numpy(self._unifrac.faith_pd(self.table.counts[self._at(rows)]).astype(np.float32))

    def _at(self, numbers: Any) -> NDArray[np.int64]:
        """Row numbers of the table."""
        return self.rows[np.asarray(numbers.cpu() if isinstance(numbers, Tensor) else numbers, dtype=np.int64)]
