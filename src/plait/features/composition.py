"""Tables of counts, samples by features: checked, and rarefied, as proportions or as centred log ratios."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from plait.core.errors import DataError

FloatArray = npt.NDArray[np.float64]

EXAMPLES = 5
"""How many samples an error gives as examples."""

MOST_READS = 10**9
"""NumPy draws without replacement from fewer reads a sample than this."""


class Rarefied(NamedTuple):
    """Hold the samples that reach a depth, and who they are.

    `counts` (kept, f) is a CSR array of whole numbers whose rows each sum to the depth; `ids` names its rows in the
    order of the table; `dropped` names the samples below the depth.
    """

    counts: Any
    ids: tuple[str, ...]
    dropped: tuple[str, ...]


def read_counts(counts: Any, features: int | None = None, where: str = "table") -> Any:
    """Bring a table to one form: a CSR array of float64 without explicit zeros or duplicate entries.

    Takes any scipy.sparse matrix or array, or a dense one. The caller's table is not changed; where it already has
    the form, its arrays are shared. Memory: nothing dense is made from a sparse table.

    Shape: (n, f) -> (n, f).
    Errors: DataError where the table has not two axes, has not `features` columns, or holds something other than
    finite numbers of at least 0 (the row and the column of the first).
    """
    table = counts if sparse.issparse(counts) else np.asarray(counts)
    if table.ndim != 2:
        raise DataError(f"the table has {table.ndim} axes", where=where, fix="give samples by features")
    if features is not None and table.shape[1] != features:
        raise DataError(
            f"the table has {table.shape[1]} columns for {features} features", where=where, fix="give one id a column"
        )
    if table.dtype.kind not in "buif":
        raise DataError(f"counts of type {table.dtype} are not numbers", where=where, fix="give numbers")
    table = sparse.csr_array(table)
    bad = np.flatnonzero(~(np.isfinite(table.data) & (table.data >= 0)))
    if len(bad):
        row = int(np.searchsorted(table.indptr, bad[0], side="right")) - 1
        raise DataError(
            f"{len(bad)} counts are negative or not finite, first {table.data[bad[0]]}",
            where=f"{where}, row {row}, column {table.indices[bad[0]]}",
            fix="give finite counts of at least 0",
        )
    table = table.astype(np.float64, copy=False)
    if not table.has_canonical_format or not table.data.all():
        table = table.copy()
        table.sum_duplicates()
        table.eliminate_zeros()
    return table


def rarefy(
    counts: Any, depth: int, generator: np.random.Generator, ids: Sequence[str] | None = None, where: str = "table"
) -> Rarefied:
    """Draw `depth` reads of every sample without replacement; drop the samples that have fewer.

    The counts of a sample are one draw from the multivariate hypergeometric distribution of its reads. The samples
    draw from the generator one after another, so a draw depends on the order of rows and columns: bring both to a
    canonical order first. `ids` names the rows; without it they have the numbers of the rows as names.

    Shape: (n, f) -> (kept, f), CSR; memory grows with the entries that are not 0.
    Errors: DataError where a count is not a whole number, a sample has 1e9 reads or more, the depth is less than 1,
    `ids` has not a name a row, or no sample reaches the depth (the depths there are).
    Source: Hurlbert (1971); Weiss et al. (2017) for its use on sequence counts.
    """
    table = read_counts(counts, where=where)
    names = tuple(map(str, range(table.shape[0]) if ids is None else ids))
    reads = np.asarray(table.sum(axis=1)).ravel()
    kept = np.flatnonzero(reads >= depth)
    _check_depth(table, reads, depth, names, where)
    drawn = []
    for row in kept:
        there = table.data[table.indptr[row] : table.indptr[row + 1]].astype(np.int64)
        drawn.append(generator.multivariate_hypergeometric(there, depth, method="marginals"))
    rows = table[kept]
    out = sparse.csr_array((np.concatenate(drawn), rows.indices, rows.indptr), shape=rows.shape)
    out.eliminate_zeros()
    keeps = set(kept.tolist())
    return Rarefied(
        out,
        tuple(names[row] for row in kept),
        tuple(name for row, name in enumerate(names) if row not in keeps),
    )


def _check_depth(table: Any, reads: FloatArray, depth: int, names: Sequence[str], where: str) -> None:
    """Refuse what cannot be rarefied."""
    if len(names) != table.shape[0]:
        raise DataError(f"{len(names)} ids for {table.shape[0]} rows", where=where, fix="give one id a row")
    if depth < 1:
        raise DataError(f"a depth of {depth}", where=where, fix="rarefy to 1 read or more")
    if (table.data != np.floor(table.data)).any():
        raise DataError("counts are not whole numbers", where=where, fix="rarefy counts of reads, not proportions")
    if not (reads >= depth).any():
        most = ", ".join(f"{names[row]} {reads[row]:.0f}" for row in np.argsort(-reads, kind="stable")[:EXAMPLES])
        raise DataError(
            f"no sample of {len(reads)} has {depth} reads; most have {most or 'none'}",
            where=where,
            fix="rarefy to a smaller depth",
        )
    if reads.max() >= MOST_READS:
        row = int(reads.argmax())
        raise DataError(
            f"sample {names[row]} has {reads[row]:.0f} reads", where=where, fix="rarefy takes less than 1e9"
        )


def relative(counts: Any, where: str = "table") -> Any:
    """Divide every sample by its sum: ``p_ij = x_ij / sum_j x_ij``. A sample without reads stays all 0.

    Shape: (n, f) -> (n, f), CSR. Units: proportions, each row that has reads sums to 1.
    Errors: DataError as `read_counts`.
    """
    table = read_counts(counts, where=where)
    sums = np.asarray(table.sum(axis=1)).ravel()
    share = table.data / np.repeat(sums, np.diff(table.indptr))
    return sparse.csr_array((share, table.indices.copy(), table.indptr.copy()), shape=table.shape)


def clr(counts: Any, pseudocount: float = 1.0, where: str = "table") -> FloatArray:
    """Take centred log ratios: ``y_ij = log(x_ij + c) - mean_j log(x_ij + c)`` with c the pseudocount.

    The pseudocount is added to every cell, so that absence (0) stays a value of its own: the lowest of its row.
    Every row sums to 0; a sample without reads is all 0.

    Shape: (n, f) -> (n, f), dense. Units: natural logarithms. Memory: 16 bytes a cell.
    Errors: DataError as `read_counts`, where the pseudocount is not a positive number, or without columns.
    Source: Aitchison (1986), The Statistical Analysis of Compositional Data, section 4.6.
    """
    if not (np.isfinite(pseudocount) and pseudocount > 0):
        raise DataError(f"a pseudocount of {pseudocount}", where=where, fix="give a number above 0")
    table = read_counts(counts, where=where)
    if not table.shape[1]:
        raise DataError("the table has no feature", where=where, fix="give at least one column")
    logs: FloatArray = table.toarray()
    logs += pseudocount
    np.log(logs, out=logs)
    logs -= logs.mean(axis=1, keepdims=True)
    return logs
