"""Tests of tables of counts: rarefaction, proportions, centred log ratios and what is refused."""

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from plait.core.errors import DataError
from plait.features.composition import clr, rarefy, read_counts, relative

COUNTS = np.array([[5, 0, 3, 0, 2], [0, 0, 0, 0, 0], [1, 1, 1, 1, 0], [0, 40, 0, 7, 0]])


def test_rarefied_rows_have_the_depth_and_stay_within_the_counts() -> None:
    out = rarefy(COUNTS, 4, np.random.default_rng(7), ids=["p", "q", "r", "s"])
    assert (out.ids, out.dropped) == (("p", "r", "s"), ("q",))
    drawn = out.counts.toarray()
    assert drawn.sum(axis=1).tolist() == [4, 4, 4]
    assert (drawn <= COUNTS[[0, 2, 3]]).all()
    assert drawn[1].tolist() == [1, 1, 1, 1, 0]
    assert np.issubdtype(out.counts.dtype, np.integer)
    assert rarefy(COUNTS, 11, np.random.default_rng(0))[1:] == (("3",), ("0", "1", "2"))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.csc_matrix])
def test_a_seed_gives_one_draw_whatever_the_form_of_the_table(form: Any) -> None:
    here = rarefy(form(COUNTS), 5, np.random.default_rng(3)).counts.toarray()
    again = rarefy(COUNTS, 5, np.random.default_rng(3)).counts.toarray()
    other = rarefy(COUNTS, 5, np.random.default_rng(4)).counts.toarray()
    assert (here == again).all()
    assert (here != other).any()


def test_rarefaction_has_the_hypergeometric_moments() -> None:
    row = np.array([[30, 50, 0, 20]])
    generator = np.random.default_rng(11)
    drawn = np.concatenate([rarefy(row, 10, generator).counts.toarray() for _ in range(3000)])
    share = row[0] / 100
    variance = 10 * share * (1 - share) * (100 - 10) / (100 - 1)
    error = np.sqrt(np.maximum(variance, 1e-12) / 3000)
    assert (np.abs(drawn.mean(axis=0) - 10 * share) <= 5 * error).all()
    assert drawn.var(axis=0)[[0, 1, 3]] == pytest.approx(variance[[0, 1, 3]], rel=0.15)


@pytest.mark.parametrize(
    "counts, depth, what",
    [
        (COUNTS, 48, r"no sample of 4 has 48 reads; most have 3 47, 0 10, 2 4, 1 0"),
        (COUNTS, 0, "depth of 0"),
        (COUNTS / 3, 1, "not whole numbers"),
        (np.array([[10**9, 1]]), 5, "1000000001 reads"),
    ],
)
def test_what_cannot_be_rarefied_is_refused(counts: Any, depth: int, what: str) -> None:
    with pytest.raises(DataError, match=what):
        rarefy(counts, depth, np.random.default_rng(0))
    with pytest.raises(DataError, match="3 ids for 4 rows"):
        rarefy(COUNTS, 1, np.random.default_rng(0), ids=["a", "b", "c"])


def test_proportions_sum_to_1_and_an_empty_sample_stays_0() -> None:
    share = relative(sparse.csr_array(COUNTS))
    assert sparse.issparse(share)
    assert share.nnz == 9
    assert share.toarray()[0].tolist() == [0.5, 0, 0.3, 0, 0.2]
    assert share.sum(axis=1).tolist() == pytest.approx([1, 0, 1, 1], abs=1e-15)


def test_centred_log_ratios_by_hand() -> None:
    # log([1, 2, 4]) less its mean log 2.
    assert clr(np.array([[0, 1, 3]]))[0] == pytest.approx(np.log(2) * np.array([-1, 0, 1]), abs=1e-15)
    assert clr(np.array([[0.0, 1.5]]), pseudocount=0.5)[0] == pytest.approx(np.log(2) * np.array([-1, 1]), abs=1e-15)
    out = clr(sparse.csc_array(COUNTS))
    assert out.sum(axis=1) == pytest.approx(np.zeros(4), abs=1e-14)
    assert (out[1] == 0).all()
    assert out[0, 1] == out[0, 3] == out[0].min()


@pytest.mark.parametrize("pseudocount", [0.0, -1.0, np.nan, np.inf])
def test_a_pseudocount_is_above_0(pseudocount: float) -> None:
    with pytest.raises(DataError, match="pseudocount"):
        clr(COUNTS, pseudocount=pseudocount)


def test_a_table_is_brought_to_one_form_and_left_as_it_was() -> None:
    twice = sparse.csr_array((np.array([2, 3, 0]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 3))
    table = read_counts(twice)
    assert (table.nnz, table.toarray().tolist()) == (1, [[0, 5, 0], [0, 0, 0]])
    assert (twice.nnz, twice.data.tolist()) == (3, [2, 3, 0])


@pytest.mark.parametrize(
    "counts, what",
    [
        (np.zeros(3), "1 axes"),
        (np.array([[1, -2], [-3, 0]]), r"row 0, column 1: 2 counts are negative or not finite, first -2"),
        (np.array([[1.0, 2.0], [0.0, np.nan]]), r"row 1, column 1: 1 counts"),
        (sparse.csc_array(np.array([[1.0, 0.0], [0.0, np.inf]])), r"row 1, column 1: 1 counts"),
        (np.array([["1", "2"]]), "not numbers"),
    ],
)
def test_what_is_no_table_of_counts_is_refused(counts: Any, what: str) -> None:
    for take in (read_counts, relative, clr):
        with pytest.raises(DataError, match=what):
            take(counts)
