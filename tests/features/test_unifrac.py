"""Tests of UniFrac and Faith PD: closed forms, scikit-bio, blocks against the matrix, order, bounds and errors."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from plait.core.errors import ConfigError, DataError
from plait.features.tree import read_newick
from plait.features.unifrac import Metric, UniFrac

METRICS: tuple[Metric, ...] = ("unweighted", "weighted", "weighted_normalized")
FORMS = [np.asarray, sparse.csr_array, sparse.csc_array, sparse.csr_matrix, sparse.coo_array]

# Lengths are powers of two, so that every sum of branches is another number.
SMALL = "((A:1,B:2):4,(C:8,D:16):32,E:64):128;"
ONLY_A, A_AND_B, B_AND_C, EMPTY, SAME_AS_0, A_THRICE = 0, 1, 2, 3, 4, 5
ROWS = np.array([[2, 0, 0], [1, 3, 0], [0, 1, 1], [0, 0, 0], [2, 0, 0], [6, 0, 0]])


@pytest.fixture
def skbio() -> Any:
    """Import scikit-bio, the oracle."""
    return pytest.importorskip("skbio")


def distances(metric: Metric) -> Any:
    return UniFrac(read_newick(SMALL), ["A", "B", "C"], metric).pairs(ROWS)


def test_unweighted_by_hand() -> None:
    found = distances("unweighted")
    # {A, root's} is 1 + 4 + 128; B adds 2, C adds 8 + 32.
    assert found[ONLY_A, A_AND_B] == pytest.approx(2 / 135, abs=1e-15)
    assert found[ONLY_A, B_AND_C] == pytest.approx((1 + 2 + 40) / (1 + 2 + 4 + 40 + 128), abs=1e-15)
    assert found[A_AND_B, B_AND_C] == pytest.approx((1 + 40) / 175, abs=1e-15)


def test_weighted_by_hand() -> None:
    found = distances("weighted")
    # A 1 to 1/4, B 0 to 3/4.
    assert found[ONLY_A, A_AND_B] == 0.75 * 1 + 0.75 * 2
    # A and B in halves above 4, C 1/2.
    assert found[ONLY_A, B_AND_C] == 1 + 0.5 * 2 + 0.5 * 4 + 0.5 * 40
    normalized = distances("weighted_normalized")
    # Distances to the root: A 133, B 134, C 168.
    assert normalized[ONLY_A, B_AND_C] == pytest.approx(24 / (133 + (134 + 168) / 2), abs=1e-15)


def test_faith_pd_by_hand() -> None:
    found = UniFrac(read_newick(SMALL), ["A", "B", "C"]).faith_pd(ROWS)
    assert found.tolist() == [133, 135, 174, 0, 133, 133]


@pytest.mark.parametrize("metric", METRICS)
def test_equal_samples_are_at_0_and_empty_ones_at_1(metric: Metric) -> None:
    found = distances(metric)
    assert found[ONLY_A, [SAME_AS_0, A_THRICE]] == pytest.approx([0, 0], abs=1e-15)
    assert found[EMPTY, EMPTY] == 0
    assert found[EMPTY, ONLY_A] == pytest.approx(133 if metric == "weighted" else 1, abs=1e-15)
    two_empty = UniFrac(read_newick(SMALL), ["A", "B", "C"], metric).pairs(np.zeros((2, 3)))
    assert (two_empty == 0).all()


@pytest.mark.parametrize("metric", ["unweighted", "weighted_normalized"])
def test_samples_that_share_nothing_are_at_1(metric: Metric) -> None:
    tree = read_newick("((A:1,B:2):4,(C:8,D:16):32);")
    found = UniFrac(tree, list("ABCD"), metric).pairs(np.array([[1, 5, 0, 0], [0, 0, 2, 1]]))
    assert found[0, 1] == pytest.approx(1, abs=1e-15)


def random_tree(generator: np.random.Generator, tips: int) -> str:
    """Join two to four parts at a time at random, two at the root; one branch in seven but the root's has length 0."""

    def branch() -> str:
        return f"{generator.random() * (generator.random() > 1 / 7):.5g}"

    parts = [f"t{n}:{branch()}" for n in range(tips)]
    while len(parts) > 2:
        taken = min(int(generator.integers(2, 5)), len(parts) - 1)
        generator.shuffle(parts)
        parts = [f"({','.join(parts[:taken])}):{branch()}", *parts[taken:]]
    return f"({','.join(parts)}):0.3;"


def random_counts(generator: np.random.Generator, samples: int, features: int) -> Any:
    """Draw sparse counts with an empty sample, one of a single feature and two equal ones."""
    counts = generator.negative_binomial(1, 0.05, (samples, features))
    counts *= generator.random((samples, features)) < generator.uniform(0.05, 0.6, (samples, 1))
    counts[0], counts[2] = 0, counts[1]
    counts[3] = 0
    counts[3, features // 2] = 11
    return counts


def oracle(skbio: Any, text: str, tips: list[str], counts: Any, metric: Metric) -> Any:
    tree = skbio.TreeNode.read(io.StringIO(text), convert_underscores=False)
    name = "unweighted_unifrac" if metric == "unweighted" else "weighted_unifrac"
    options = {} if metric == "unweighted" else {"normalized": metric == "weighted_normalized"}
    found = skbio.diversity.beta_diversity(name, counts, taxa=tips, tree=tree, **options)
    return found.data


@pytest.mark.parametrize("seed, tips, samples", [(0, 3, 5), (1, 11, 7), (2, 53, 13), (3, 149, 17)])
@pytest.mark.parametrize("form", FORMS)
def test_equals_scikit_bio_on_random_trees(seed: int, tips: int, samples: int, form: Any, skbio: Any) -> None:
    generator = np.random.default_rng(seed)
    text = random_tree(generator, tips)
    # Some tips are not in the table, and its columns are not in the order of the tree.
    names = [f"t{n}" for n in generator.permutation(tips)[: max(2, tips - tips // 5)]]
    counts = random_counts(generator, samples, len(names))
    for metric in METRICS:
        expected = oracle(skbio, text, names, counts, metric)
        found = UniFrac(read_newick(text), names, metric).pairs(form(counts))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    expected = skbio.diversity.alpha_diversity(
        "faith_pd", counts, taxa=names, tree=skbio.TreeNode.read(io.StringIO(text))
    )
    np.testing.assert_allclose(
        UniFrac(read_newick(text), names).faith_pd(form(counts)), np.asarray(expected), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("metric", METRICS)
def test_a_root_of_three_is_a_rooted_tree_with_a_branch_of_0(metric: Metric, skbio: Any) -> None:
    names, counts = list("ABCD"), np.random.default_rng(5).integers(0, 4, (7, 4))
    expected = oracle(skbio, "((A:1,B:2):0,(C:3,D:4):5);", names, counts, metric)
    found = UniFrac(read_newick("(A:1,B:2,(C:3,D:4):5);"), names, metric).pairs(counts)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_equals_scikit_bio_on_real_samples(shared: Path, skbio: Any) -> None:
    biom = pytest.importorskip("biom")
    folder = shared / "data" / "microbiome" / "global_gut"
    table = biom.load_table(str(folder / "table.biom"))
    names = list(table.ids("observation"))
    rows = np.random.default_rng(0).choice(table.shape[1], 40, replace=False)
    counts = table.matrix_data.T.tocsr()[rows]
    text = (folder / "tree.nwk").read_text(encoding="utf-8")
    dense = counts.toarray().astype(int)
    for metric in METRICS:
        found = UniFrac(read_newick(text), names, metric).matrix(counts)
        np.testing.assert_allclose(found, oracle(skbio, text, names, dense, metric), rtol=0, atol=1e-9)
    tree = skbio.TreeNode.read(io.StringIO(text), convert_underscores=False)
    expected = skbio.diversity.alpha_diversity("faith_pd", dense, taxa=names, tree=tree)
    found = UniFrac(read_newick(text), names).faith_pd(counts)
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_equal_the_matrix_however_memory_cuts_it(metric: Metric) -> None:
    generator = np.random.default_rng(8)
    tree, names = read_newick(random_tree(generator, 97)), [f"t{n}" for n in range(97)]
    counts = sparse.csr_array(random_counts(generator, 31, 97))
    whole = UniFrac(tree, names, metric)
    full = whole.matrix(counts)
    assert (full == full.T).all()
    assert (np.diag(full) == 0).all()
    # Room for one sample, and for seven.
    for memory in (1, 16 * 98 * 7):
        cut = UniFrac(tree, names, metric, memory=memory)
        np.testing.assert_allclose(cut.matrix(counts), full, rtol=0, atol=1e-12)
        assert (cut.matrix(counts) == cut.matrix(counts).T).all()
        np.testing.assert_allclose(cut.faith_pd(counts), whole.faith_pd(counts), rtol=0, atol=1e-12)
    a, b = generator.permutation(31)[:7], generator.permutation(31)[:11]
    np.testing.assert_allclose(whole.pairs(counts[a], counts[b]), full[np.ix_(a, b)], rtol=0, atol=1e-12)
    batch = whole.pairs(counts[a])
    np.testing.assert_allclose(batch, full[np.ix_(a, a)], rtol=0, atol=1e-12)
    assert (batch == batch.T).all()
    assert (np.diag(batch) == 0).all()


@pytest.mark.parametrize("metric", METRICS)
def test_a_block_is_summed_in_steps(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(9)
    tree, names = read_newick(random_tree(generator, 211)), [f"t{n}" for n in range(211)]
    counts = random_counts(generator, 13, 211)
    one = UniFrac(tree, names, metric)
    block, side, faith = one.pairs(counts), one.pairs(counts[:5], counts[5:]), one.faith_pd(counts)
    monkeypatch.setattr("plait.features.unifrac._STEP", 1)
    np.testing.assert_allclose(one.pairs(counts), block, rtol=0, atol=1e-12)
    np.testing.assert_allclose(one.pairs(counts[:5], counts[5:]), side, rtol=0, atol=1e-12)
    np.testing.assert_allclose(one.faith_pd(counts), faith, rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1.0, 1 / 7])
def test_the_order_of_features_does_not_matter(metric: Metric, scale: float) -> None:
    generator = np.random.default_rng(10)
    tree, names = read_newick(random_tree(generator, 61)), [f"t{n}" for n in range(61)]
    counts = random_counts(generator, 19, 61) * scale
    order = generator.permutation(61)
    here = UniFrac(tree, names, metric)
    there = UniFrac(tree, [names[n] for n in order], metric)
    assert (here.pairs(counts) == there.pairs(sparse.csr_array(counts[:, order]))).all()
    assert (here.faith_pd(counts) == there.faith_pd(counts[:, order])).all()


@pytest.mark.parametrize("metric", METRICS)
def test_bounds_and_the_unit_of_counts(metric: Metric) -> None:
    generator = np.random.default_rng(12)
    tree, names = read_newick(random_tree(generator, 83)), [f"t{n}" for n in range(83)]
    counts = random_counts(generator, 23, 83)
    unifrac = UniFrac(tree, names, metric)
    found = unifrac.pairs(counts)
    assert (found >= 0).all()
    if metric != "weighted":
        assert (found <= 1).all()
    np.testing.assert_allclose(unifrac.pairs(counts * 3), found, rtol=0, atol=1e-12)
    np.testing.assert_allclose(unifrac.pairs(counts, counts / 5), found, rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_few_samples_have_blocks_too(metric: Metric) -> None:
    unifrac = UniFrac(read_newick(SMALL), np.array(["C"]), metric)  # type: ignore[arg-type]
    assert unifrac.pairs([[3]]).tolist() == [[0]]
    assert unifrac.pairs([[3]], [[9], [1]]).tolist() == [[0, 0]]
    assert unifrac.pairs(np.zeros((0, 1)), [[1]]).shape == (0, 1)
    assert unifrac.matrix(np.zeros((0, 1))).shape == (0, 0)
    assert unifrac.faith_pd([[3], [0]]).tolist() == [168, 0]


@pytest.mark.parametrize("metric", METRICS)
def test_branches_of_0_alone_give_0(metric: Metric) -> None:
    tree = read_newick("((A:0,B:0):0,(C:0,D:1):0);")
    found = UniFrac(tree, list("ABCD"), metric).pairs(np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    assert found.tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


def test_errors_say_what_is_wrong() -> None:
    tree = read_newick(SMALL)
    with pytest.raises(ConfigError, match="did you mean weighted"):
        UniFrac(tree, ["A"], "wighted")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="2 of 3 ids are not tips of the tree: x, y"):
        UniFrac(tree, ["A", "x", "y"])
    with pytest.raises(DataError, match="no branch above the features has a length"):
        UniFrac(read_newick("((A,B),C);"), ["A", "C"])
    unifrac = UniFrac(tree, ["A", "B"])
    with pytest.raises(DataError, match="3 columns for 2 features"):
        unifrac.pairs(ROWS)
    with pytest.raises(DataError, match="row 1, column 0: 1 counts are negative"):
        unifrac.faith_pd(np.array([[1, 2], [-1, 2]]))
