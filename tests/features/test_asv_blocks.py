"""Blocks of ASV vectors against naive loops and plain SVDs, on trees and sequences small and large, seen and unseen."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.core.errors import ConfigError, DataError
from plait.features.asv_blocks import KmerMap, cooccurrence_block, kmer_counts, letters, tree_block
from plait.features.composition import clr
from plait.features.tree import Tree, read_newick


def _naive_counts(sequences: list[str], k: int) -> Any:
    column = {"".join(word): at for at, word in enumerate(product("ACGT", repeat=k))}
    counts = np.zeros((len(sequences), 4**k))
    for row, text in enumerate(sequences):
        for start in range(len(text) - k + 1):
            word = "".join({"a": "A", "c": "C", "g": "G", "t": "T", "u": "T", "U": "T"}.get(x, x) for x in text)
            at = column.get(word[start : start + k])
            if at is not None:
                counts[row, at] += 1
    return counts


def _principal(table: Any, width: int) -> Any:
    """Left vectors times singular values of the centred table, and the right vectors, by the plain SVD."""
    left, values, right = np.linalg.svd(table - table.mean(axis=0), full_matrices=False)
    rank = min(int((values > 1e-9 * max(values.max(initial=0), 1e-9)).sum()), width)
    return (left * values)[:, :rank], right[:rank], values[:rank]


def _up(vectors: Any) -> Any:
    """Turn each column so that its largest entry by size is positive."""
    return vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])


def _random_sequences(count: int, length: int, seed: int) -> list[str]:
    """Mutants of few founders, so that the components differ in size."""
    generator = np.random.default_rng(seed)
    founders = generator.choice(list("ACGT"), size=(7, length))
    made = founders[generator.integers(0, 7, count)]
    changed = generator.random((count, length)) < generator.random(count)[:, None] * 0.4
    made[changed] = generator.choice(list("ACGT"), size=int(changed.sum()))
    return ["".join(row) for row in made]


def _random_tree(tips: int, seed: int) -> Tree:
    generator = np.random.default_rng(seed)
    nodes = [f"t{at}:{generator.exponential():.6f}" for at in range(tips)]
    while len(nodes) > 1:
        generator.shuffle(nodes)
        size = min(int(generator.integers(2, 4)), len(nodes))
        nodes = [*nodes[size:], f"({','.join(nodes[:size])}):{generator.exponential():.6f}"]
    return read_newick(nodes[0] + ";")


def _under(tree: Tree, features: list[str]) -> Any:
    """The features by branches matrix, by walking up from every tip."""
    table = np.zeros((len(features), len(tree.parent)))
    for row, name in enumerate(features):
        node = tree.tips[name]
        while node != -1:
            table[row, node] = np.sqrt(tree.length[node])
            node = int(tree.parent[node])
    return table


def test_letters_are_codes_padded_to_the_longest() -> None:
    assert letters(["ACGT", "", "uNa-Tét", "c"]).tolist() == [
        [1, 2, 3, 4, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [4, 5, 1, 5, 4, 5, 4],
        [2, 0, 0, 0, 0, 0, 0],
    ]
    assert letters(["", ""]).shape == (2, 0)
    assert letters([]).shape == (0, 0)
    assert letters(["A"]).dtype == np.uint8


def test_kmers_stand_in_the_order_of_the_alphabet() -> None:
    counts = kmer_counts(["AAC", "TT", "", "A", "ANA", "ug"], 2)
    assert counts.dtype == np.float32
    there = {(row, int(at)): int(counts[row, at]) for row in range(6) for at in np.flatnonzero(counts[row])}
    assert there == {(0, 0): 1, (0, 1): 1, (1, 15): 1, (5, 14): 1}


@given(st.lists(st.text(alphabet="ACGTacgtuUNn-é", max_size=23), max_size=7), st.integers(1, 4))
def test_kmer_counts_equal_a_loop(sequences: list[str], k: int) -> None:
    np.testing.assert_array_equal(kmer_counts(sequences, k), _naive_counts(sequences, k))


def test_parts_of_many_sequences_join_without_a_seam() -> None:
    sequences = _random_sequences(8209, 11, 0)
    counts = kmer_counts(sequences, 3)
    rows = [0, 4095, 4096, 4097, 8191, 8192, 8208]
    np.testing.assert_array_equal(counts[rows], _naive_counts([sequences[row] for row in rows], 3))
    assert (counts.sum(axis=1) == 9).all()


@pytest.mark.parametrize("k", [0, -1, 7])
def test_a_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(ConfigError, match="1 to 6"):
        kmer_counts(["ACGT"], k)


@pytest.mark.parametrize("k, count, width", [(2, 11, 5), (3, 101, 7), (5, 131, 13)])
def test_the_kmer_map_is_the_principal_components_of_the_roots(k: int, count: int, width: int) -> None:
    sequences = _random_sequences(count, 47, k)
    fitted = KmerMap.fit(sequences, width, k)
    scores, right, _ = _principal(np.sqrt(_naive_counts(sequences, k)), width)
    turned = _up(right.T)
    np.testing.assert_allclose(fitted.components, turned.T, atol=1e-8)
    assert fitted.scale == pytest.approx(scores.std(), rel=1e-12)
    found = fitted.transform(sequences)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, scores * (turned.T * right).sum(axis=1) / scores.std(), atol=1e-5)
    assert found.std() == pytest.approx(1, rel=1e-6)


def test_two_sequences_lie_opposite_on_one_component() -> None:
    fitted = KmerMap.fit(["AAAAA", "CC"], 3, 1)
    # Roots (sqrt 5, 0) and (0, sqrt 2) differ along one axis; A has the larger loading.
    far = np.sqrt(5 + 2)
    np.testing.assert_allclose(fitted.components[0], [np.sqrt(5) / far, -np.sqrt(2) / far, 0, 0], atol=1e-12)
    assert fitted.scale == pytest.approx(far / 2)
    np.testing.assert_allclose(fitted.transform(["AAAAA", "CC"]), [[1, 0, 0], [-1, 0, 0]], atol=1e-6)


def test_a_sequence_gets_the_same_vector_in_whatever_company() -> None:
    sequences, unseen = _random_sequences(61, 37, 3), _random_sequences(5, 41, 4)
    fitted = KmerMap.fit(sequences, 11, 4)
    whole = fitted.transform([*sequences, *unseen, "", "NNNN"])
    np.testing.assert_allclose(fitted.transform(unseen), whole[61:66], atol=1e-6)
    expected = (np.sqrt(_naive_counts(unseen, 4)) - fitted.mean) @ fitted.components.T / fitted.scale
    np.testing.assert_allclose(whole[61:66], expected, atol=1e-5)
    np.testing.assert_allclose(
        whole[66:], np.tile(-fitted.mean @ fitted.components.T / fitted.scale, (2, 1)), atol=1e-5
    )
    assert fitted.transform([]).shape == (0, 11)


def test_the_order_of_the_fitted_sequences_does_not_matter() -> None:
    sequences = _random_sequences(83, 41, 5)
    order = np.random.default_rng(0).permutation(83)
    one, other = KmerMap.fit(sequences, 7, 4), KmerMap.fit([sequences[at] for at in order], 7, 4)
    np.testing.assert_allclose(one.transform(sequences), other.transform(sequences), atol=1e-5)


def test_components_beyond_the_rank_are_zero_also_for_the_unseen() -> None:
    fitted = KmerMap.fit(["ACGTA", "CCGTA", "GGATT"], 7, 3)
    found = fitted.transform(["CCGTA", "GGGGG"])
    assert (np.abs(found[:, :2]).max(axis=0) > 0.1).all()
    assert (found[:, 2:] == 0).all()
    # Equal sequences have no component; what rounding leaves of the centring is none either.
    for count in (1, 3, 7, 49):
        fitted = KmerMap.fit(["ACGTTACGAACGA"] * count, 5, 2)
        assert (fitted.transform(["ACGT", "TTTTT"]) == 0).all()
        assert fitted.scale == 1


def test_a_kmer_map_comes_back_exactly() -> None:
    fitted = KmerMap.fit(_random_sequences(31, 29, 6), 5, 3)
    tensors = fitted.tensors()
    assert all(isinstance(numbers, np.ndarray) for numbers in tensors.values())
    back = KmerMap.read({name: numbers.copy() for name, numbers in tensors.items()})
    unseen = _random_sequences(13, 31, 7)
    assert (back.k, back.scale) == (fitted.k, fitted.scale)
    np.testing.assert_array_equal(back.transform(unseen), fitted.transform(unseen))


def test_relatives_lie_together_in_a_tree_of_four() -> None:
    # Two cherries, with branches of 9 above and 1 below: one axis between the cherries, one within each.
    block = tree_block(read_newick("((a:1,b:1):9,(c:1,d:1):9):5;"), ["d", "a", "c", "b"], 4)
    between, within = np.sqrt(19.0) / 2, np.sqrt(0.5)
    sd = np.sqrt((4 * between**2 + 4 * within**2) / 12)
    np.testing.assert_allclose(np.abs(block[:, 0]), between / sd, rtol=1e-6)
    assert block[0, 0] == block[2, 0] == -block[1, 0] == -block[3, 0]
    np.testing.assert_allclose(
        block[:, 1:3] @ block[:, 1:3].T, np.kron([[1, -1], [-1, 1]], np.eye(2)) * (within / sd) ** 2, atol=1e-6
    )
    assert (block[:, 3] == 0).all()


# 5 and 97 tips are written out; 701 and 1,009 are searched by blocks.
@pytest.mark.parametrize("tips, width", [(5, 3), (97, 11), (701, 48), (1009, 13)])
def test_the_tree_block_is_the_svd_of_tips_by_branches(tips: int, width: int) -> None:
    tree = _random_tree(tips, tips)
    features = [f"t{at}" for at in np.random.default_rng(1).permutation(tips)]
    scores, _, _ = _principal(_under(tree, features), width)
    found = tree_block(tree, features, width)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, _up(scores) / scores.std(), atol=2e-5)


@pytest.mark.parametrize("tips", [53, 701])
def test_the_tree_block_follows_the_features_asked_for(tips: int) -> None:
    tree = _random_tree(tips, 2)
    features = [f"t{at}" for at in range(tips - 3)]
    found = tree_block(tree, features, 7)
    order = np.random.default_rng(0).permutation(len(features))
    np.testing.assert_array_equal(tree_block(tree, [features[at] for at in order], 7), found[order])
    scores, _, _ = _principal(_under(tree, features), 7)
    np.testing.assert_allclose(found, _up(scores) / scores.std(), atol=2e-5)


@pytest.mark.parametrize("tips", [7, 1501])
def test_a_star_whose_directions_are_all_equal_still_has_a_block(tips: int) -> None:
    star = read_newick("(" + ",".join(f"t{at}:1" for at in range(tips)) + ");")
    block = tree_block(star, list(star.tips), 5).astype(np.float64)
    np.testing.assert_allclose(block.T @ block, np.eye(5) * tips, atol=1e-3 * tips)
    np.testing.assert_array_equal(tree_block(star, list(star.tips), 5), block)


def test_a_tree_without_differences_gives_zeros() -> None:
    for text in ("(a:0,b:0,c:0):7;", "((a:0,b:0,c:0):0.1,d:5):0.3;"):
        assert (tree_block(read_newick(text), ["c", "a", "b"], 3) == 0).all()
    assert (tree_block(read_newick("(a:1,b:2);"), ["b"], 3) == 0).all()
    with pytest.raises(DataError, match="1 of 2 ids are not tips"):
        tree_block(read_newick("(a:1,b:2);"), ["b", "x"], 3)


# Fewer samples than features, and more; 1,013 samples are searched by blocks.
@pytest.mark.parametrize("samples, features, width", [(7, 23, 5), (31, 11, 7), (1013, 199, 13), (1013, 41, 48)])
def test_the_cooccurrence_block_is_the_scaled_right_vectors(samples: int, features: int, width: int) -> None:
    generator = np.random.default_rng(samples)
    table = generator.standard_normal((samples, features)) * generator.exponential(size=features) + 3
    before = table.copy()
    _, right, values = _principal(table, width)
    scores = _up(right.T * values)
    found = cooccurrence_block(table, width)
    assert found.shape == (features, width)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, : len(values)], scores / scores.std(), atol=3e-5)
    assert (found[:, len(values) :] == 0).all()
    np.testing.assert_array_equal(table, before)


def test_two_features_that_exclude_each_other_lie_opposite() -> None:
    # Loadings of one size, but for rounding: the first is the positive one. The constant column has none.
    for more in (1.0, 1 + 1e-12, 1 - 1e-12):
        block = cooccurrence_block(np.asarray([[1.0, -more, 5.0], [-1.0, more, 5.0]]), 2)
        np.testing.assert_allclose(block[:, 0], np.asarray([1, -1, 0]) * np.sqrt(1.5), atol=1e-6)
        assert (block[:, 1] == 0).all()


def test_the_cooccurrence_block_follows_the_columns_and_not_the_rows() -> None:
    generator = np.random.default_rng(8)
    table = generator.standard_normal((53, 37)) * generator.exponential(size=37)
    rows, columns = generator.permutation(53), generator.permutation(37)
    found = cooccurrence_block(table, 5)
    np.testing.assert_allclose(cooccurrence_block(table[rows], 5), found, atol=1e-5)
    np.testing.assert_allclose(cooccurrence_block(table[:, columns], 5), found[columns], atol=1e-5)


def test_fewer_directions_than_the_width_are_filled_up_with_zeros() -> None:
    table = np.random.default_rng(9).standard_normal((4, 17))
    block = cooccurrence_block(table, 7)
    assert (np.abs(block[:, :3]).max(axis=0) > 0.1).all()
    assert (block[:, 3:] == 0).all()
    assert block[:, :3].std() == pytest.approx(1, rel=1e-6)
    for count in (1, 3, 7):
        assert (cooccurrence_block(np.full((count, 5), 0.1), 3) == 0).all()


@pytest.mark.parametrize("bad", [np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(3), np.asarray([[1.0, np.nan]])])
def test_what_is_no_table_of_log_ratios_is_refused(bad: Any) -> None:
    with pytest.raises(DataError, match="log ratios"):
        cooccurrence_block(bad)


def test_a_width_of_nothing_and_a_fit_on_nothing_are_refused() -> None:
    for block in (
        lambda: KmerMap.fit(["ACGT"], 0),
        lambda: tree_block(read_newick("(a:1,b:2);"), ["a"], 0),
        lambda: cooccurrence_block(np.ones((2, 2)), 0),
    ):
        with pytest.raises(ConfigError, match="0 wide"):
            block()
    with pytest.raises(DataError, match="no sequence"):
        KmerMap.fit([])


def test_the_blocks_of_the_real_microbiomes(shared: Any) -> None:
    biom = pytest.importorskip("biom")
    folder = shared / "data" / "microbiome" / "global_gut"
    table = biom.load_table(str(folder / "table.biom"))
    features = list(map(str, table.ids("observation")))
    lines = (folder / "rep_seqs.fasta").read_text().split()
    known = dict(zip([name[1:] for name in lines[::2]], lines[1::2], strict=True))
    sequences = [known[name] for name in features]
    fitted = KmerMap.fit(sequences)
    kmers = fitted.transform(sequences)
    tree = tree_block(read_newick((folder / "tree.nwk").read_text()), features)
    ratios = clr(table.matrix_data.T.tocsr()[:300])
    together = cooccurrence_block(ratios)
    for block in (kmers, tree, together):
        assert block.shape == (4040, 48)
        assert block.std() == pytest.approx(1, rel=1e-5)
        size = np.linalg.norm(block, axis=0)
        assert (np.diff(size) < 0).all()
        gram = (block.T @ block) / np.outer(size, size)
        if block is not kmers:
            assert (block[np.abs(block).argmax(axis=0), np.arange(48)] > 0).all()
        np.testing.assert_allclose(gram, np.eye(48), atol=1e-4)
    # 48 directions keep the most that any 48 can: the bound of Eckart and Young by an SVD of the table itself.
    values = np.linalg.svd(ratios - ratios.mean(axis=0), compute_uv=False)[:48]
    np.testing.assert_allclose(
        np.linalg.norm(together, axis=0) / np.linalg.norm(together[:, 0]), values / values[0], rtol=1e-4
    )
    # Near relatives by letters are near in the tree: of 300 features, the nearest by k-mers against any other.
    some = np.arange(0, 4040, 13)[:300]
    apart = np.linalg.norm(kmers[some][:, None] - kmers[some], axis=2) + np.diag(np.full(300, np.inf))
    branches = np.linalg.norm(tree[some][:, None] - tree[some], axis=2)
    nearest = branches[np.arange(300), apart.argmin(axis=1)]
    assert np.median(nearest) < 0.3 * np.median(branches)
