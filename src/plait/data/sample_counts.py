"""Counts of new samples in the columns of a run, the most abundant of a row, and rows as padded tensors."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from plait.core.errors import DataError
from plait.data.sample_files import EXAMPLES, listed
from plait.data.sample_table import SampleTable
from plait.data.table import Finding


def columns_of(
    table: SampleTable, features: Sequence[str], sequences: Sequence[str] | None, left_out: Collection[str] = ()
) -> tuple[NDArray[np.int64], list[Finding]]:
    """The number that each ASV of a table has in a run, -1 where the run does not have it.

    The id decides; where ids differ, or one id has two sequences, an equal sequence does (the first of the run's that
    have it). An id among `left_out`, of an ASV that was there when the run began, is never another's.

    Shape: (f of the table,).
    Errors: DataError where the run has none of them (the first five of each side).
    """
    by_id = {name: number for number, name in enumerate(features)}
    by_letters: dict[str, int] = {}
    rest = set(left_out)
    if sequences is not None:
        for number, text in enumerate(sequences):
            by_letters.setdefault(text, number)
    columns = np.full(len(table.features), -1, dtype=np.int64)
    renamed, changed = [], []
    for place, name in enumerate(table.features):
        number = by_id.get(name, -1)
        if table.sequences is not None and sequences is not None:
            text = table.sequences[place]
            if number >= 0 and sequences[number] != text:
                changed.append(name)
                number = -1
            if number < 0 and name not in rest:
                number = by_letters.get(text, -1)
                renamed += [name] * (number >= 0)
        columns[place] = number
    if (columns < 0).all():
        raise DataError(
            f"none of the {len(columns)} ASVs ({listed(table.features)}) is among the {len(features)} of the run"
            f" ({listed(features)})",
            where="table",
            fix="give ASVs of the same primers and length, with ids of the run or with sequences",
        )
    found = [
        Finding(what, len(names), tuple(names[:EXAMPLES]))
        for what, names in (
            ("ASVs have an id of the run and another sequence: the sequence counts", changed),
            ("ASVs are the run's by their sequence, under another id", renamed),
        )
        if names
    ]
    return columns, found


def aligned(table: SampleTable, rows: NDArray[np.int64], columns: NDArray[np.int64], width: int) -> Any:
    """Counts of some samples in the columns of the run; an ASV of the run that they lack is a column of 0.

    Shape: -> (n, width) CSR in canonical form.
    """
    known = np.flatnonzero(columns >= 0)
    part = table.counts[rows][:, known]
    taken = sparse.csr_array((part.data, columns[known][part.indices], part.indptr), shape=(len(rows), width))
    taken.sum_duplicates()
    return taken


def not_read(
    table: SampleTable, rows: NDArray[np.int64], columns: NDArray[np.int64], width: int, ids: Sequence[str], counts: Any
) -> list[Finding]:
    """The ASVs of some samples that are not among the run's, with their share of the reads, and who has no other."""
    found = []
    part = table.counts[rows]
    there = np.bincount(part.indices, minlength=len(columns)) > 0
    lost = there & (columns < 0)
    if lost.any():
        share = 100 * part.data[columns[part.indices] < 0].sum() / part.data.sum()
        shown = tuple(table.features[place] for place in np.flatnonzero(lost)[:EXAMPLES])
        what = f"of {int(there.sum())} ASVs are not among the {width} that the run reads ({share:.2g} % of all reads)"
        found.append(Finding(what, int(lost.sum()), shown))
    empty = np.flatnonzero(np.diff(counts.indptr) == 0)
    if len(empty):
        shown = tuple(ids[row] for row in empty[:EXAMPLES])
        found.append(Finding("samples have none of the ASVs that the run reads", len(empty), shown))
    return found


def most_abundant(counts: Any, most: int | None) -> Any:
    """The `most` greatest counts of each row; of equal ones, those of the lower columns.

    Shape: (n, f) -> (n, f) CSR.
    """
    lengths = np.diff(counts.indptr)
    if most is None or not len(lengths) or lengths.max() <= most:
        return counts
    row = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((counts.indices, -counts.data, row))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - counts.indptr[:-1][row]
    kept = rank < most
    ends = np.concatenate([[0], np.cumsum(np.minimum(lengths, most))])
    return sparse.csr_array((counts.data[kept], counts.indices[kept], ends), shape=counts.shape)


def padded(counts: Any, rows: NDArray[np.int64]) -> dict[str, Tensor]:
    """Rows of a table side by side, padded to the longest: column numbers, whether there is one, and counts.

    Shape: (n, f) CSR, rows (b,) -> asv (b, s) int64, asv_mask (b, s) bool, asv_counts (b, s) float32, s at least 1.
    Mask: True = present; what is not is 0.
    """
    start = counts.indptr[rows]
    lengths = counts.indptr[rows + 1] - start
    width = max(int(lengths.max(initial=0)), 1)
    mask = np.arange(width) < lengths[:, None]
    place = (start[:, None] + np.arange(width))[mask]
    asv, values = np.zeros(mask.shape, dtype=np.int64), np.zeros(mask.shape, dtype=np.float32)
    asv[mask], values[mask] = counts.indices[place], counts.data[place]
    return {
        "asv": torch.from_numpy(asv),
        "asv_mask": torch.from_numpy(mask),
        "asv_counts": torch.from_numpy(values),
    }
