"""Tests of the tree: what Newick may hold, where its faults lie, deep and wide trees, and cutting to some tips."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core.errors import DataError
from plait.features.tree import Tree, read_newick

SMALL = "((A:1,B:2)x:4,(C:8,D:16,E:32)0.95:64,F:128)root:256;"


def to_root(tree: Tree) -> dict[str, float]:
    """Sum the branches from each tip up, the root's included, by walking."""
    found = {}
    for name, node in tree.tips.items():
        total = 0.0
        while node != -1:
            total += float(tree.length[node])
            node = int(tree.parent[node])
        found[name] = total
    return found


def test_nodes_stand_in_postorder_with_their_branches() -> None:
    tree = read_newick(SMALL)
    assert tree.parent.tolist() == [2, 2, 8, 6, 6, 6, 8, 8, -1]
    assert tree.length.tolist() == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert dict(tree.tips) == {"A": 0, "B": 1, "C": 3, "D": 4, "E": 5, "F": 7}
    first, last = tree.spans
    assert first.tolist() == [0, 1, 0, 2, 3, 4, 2, 5, 0]
    assert last.tolist() == [1, 2, 2, 3, 4, 5, 5, 6, 6]
    assert tree.unstated == 0


@pytest.mark.parametrize(
    "text, tips",
    [
        ("(A:1,B:2);", {"A": 1, "B": 2}),
        ("(A:1,B:2)", {"A": 1, "B": 2}),
        ("\n ( A :\t1 ,\r\nB:2 )\n;\n\n", {"A": 1, "B": 2}),
        ("(A:1e-3,B:2.5E+2,C:.5,D:+1);", {"A": 0.001, "B": 250, "C": 0.5, "D": 1}),
        ("('it''s, (a) tip; [1]:':1,B_b:2);", {"it's, (a) tip; [1]:": 1, "B_b": 2}),
        ("('':1,B:2)A;".replace("''", "''''"), {"'": 1, "B": 2}),
        ("[&R] (A[a [nested] one, with (signs);]:1[&x=2],B:2);", {"A": 1, "B": 2}),
        ("(((A:1):2):4,B:8)'k__Bacteria; 1.0':16;", {"A": 23, "B": 24}),
        ("(A:1,B:2)0.998:0.5;", {"A": 1.5, "B": 2.5}),
        ("(7:1,0.5:2);", {"7": 1, "0.5": 2}),
        ("(A:1,(B:2,C:3)[95]:1);", {"A": 1, "B": 3, "C": 4}),
        ("(Ä:1,猫:2);", {"Ä": 1, "猫": 2}),
    ],
)
def test_newick_as_files_have_it(text: str, tips: dict[str, float]) -> None:
    assert to_root(read_newick(text)) == tips


def test_a_length_that_is_not_given_is_0_and_counted() -> None:
    tree = read_newick("((A,B:2),C:0);")
    assert tree.unstated == 2
    assert to_root(tree) == {"A": 0, "B": 2, "C": 0}


@pytest.mark.parametrize(
    "text, what, place",
    [
        ("((A:1,B:2);", "not closed: 1, the innermost", (1, 1)),
        ("(A:1,(B:2,\n(C:3,D:4);", "not closed: 2, the innermost", (1, 6)),
        ("(A:1,B:2));", "closes that was never opened", (1, 10)),
        ("(A:1,\n  A:2);", "second tip is named 'A'", (2, 6)),
        ("(A:1,B:-0.5);", "length -0.5 is negative", (1, 8)),
        ("(A:1,B:x);", "length 'x' is not a number", (1, 8)),
        ("(A:1,B:nan);", "length 'nan' is not a number", (1, 8)),
        ("(A:1,B:1_0);", "length '1_0' is not a number", (1, 8)),
        ("(A:1,B:);", "colon has no length", (1, 8)),
        ("(A:1,B:1:2);", "two lengths", (1, 9)),
        ("(A:1,B:1 2);", "word follows a length", (1, 10)),
        ("(A:1,);", "tip has no name", (1, 6)),
        ("(A:1,'':2);", "tip has no name", (1, 10)),
        ("(A:1,B b:2);", "two names", (1, 8)),
        ("(A:1,B'b':2);", "two names", (1, 7)),
        ("(A:1,'B:2);", "quoted name does not end", (1, 6)),
        ("(A:1,B]:2);", "comment closes", (1, 7)),
        ("(A:1,[B:2);", "comment does not end", (1, 6)),
        ("(A:1,B:2)(C:1,D:2);", "opens right after a node", (1, 10)),
        ("(A:1,B:2);(C:1,D:2);", "goes on after the semicolon", (1, 11)),
        ("A:1,B:2;", "outside all brackets", (1, 4)),
    ],
)
def test_a_fault_says_what_and_where(text: str, what: str, place: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=what) as caught:
        read_newick(text, where="tree.nwk")
    assert caught.value.where == f"tree.nwk, line {place[0]}, column {place[1]}"


@pytest.mark.parametrize(
    "text, what",
    [("", "no tree"), (" \n[nothing]", "no tree"), (";", "no tree"), ("A:1;", "single tip"), ("(A);", "single tip")],
)
def test_a_text_without_two_tips_is_refused(text: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read_newick(text)


def test_a_caterpillar_of_50000_levels_needs_no_recursion() -> None:
    levels = 50_000
    text = "(" * levels + "a0:1" + "".join(f",a{n}:1):1" for n in range(1, levels + 1)) + ";"
    tree = read_newick(text)
    assert len(tree.parent) == 2 * levels + 1
    kept = tree.keep(["a0", "a49999", "a3"])
    assert to_root(kept) == {"a0": levels + 1, "a49999": 3, "a3": levels - 1}


@pytest.mark.parametrize("order", [["C", "A", "F"], ["F", "A", "C"]])
def test_keeping_tips_merges_chains_up_to_the_root(order: list[str]) -> None:
    kept = read_newick(SMALL).keep(order)
    assert list(kept.tips) == order
    assert kept.parent.tolist() == [3, 3, 3, -1]
    assert kept.length.tolist() == [1 + 4, 8 + 64, 128, 256]
    assert [kept.length[node] for node in kept.tips.values()] == [{"A": 5, "C": 72, "F": 128}[name] for name in order]


def test_polytomies_stay_and_one_clade_keeps_its_way_to_the_root() -> None:
    kept = read_newick(SMALL).keep(["D", "C", "E"])
    assert kept.parent.tolist() == [3, 3, 3, -1]
    assert kept.length.tolist() == [8, 16, 32, 64 + 256]
    alone = read_newick(SMALL).keep(["B"])
    assert (alone.parent.tolist(), alone.length.tolist(), dict(alone.tips)) == ([-1], [262.0], {"B": 0})


@st.composite
def newick(draw: st.DrawFn) -> str:
    """Draw a tree of 2 to 23 tips with lengths that float64 adds exactly."""
    parts = [f"t{n}:{draw(st.integers(0, 64))}" for n in range(draw(st.integers(2, 23)))]
    while len(parts) > 1:
        taken = draw(st.integers(2, min(4, len(parts))))
        at = draw(st.integers(0, len(parts) - taken))
        parts[at : at + taken] = [f"({','.join(parts[at : at + taken])}):{draw(st.integers(0, 64))}"]
    return parts[0] + ";"


@given(text=newick(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_keeping_tips_keeps_their_distances(text: str, data: st.DataObject) -> None:
    tree = read_newick(text)
    names = data.draw(st.lists(st.sampled_from(sorted(tree.tips)), min_size=1, unique=True))
    kept, whole = tree.keep(names), to_root(tree)
    assert list(kept.tips) == names
    assert to_root(kept) == {name: whole[name] for name in names}
    assert (kept.parent[:-1] > np.arange(len(kept.parent) - 1)).all()
    children = np.bincount(kept.parent[:-1], minlength=len(kept.parent))
    assert not (children == 1).any()
    first, last = kept.spans
    for node in range(len(kept.parent)):
        under = sum(_is_under(kept, tip, node) for tip in kept.tips.values())
        assert last[node] - first[node] == under


def _is_under(tree: Tree, node: int, above: int) -> bool:
    while node not in (above, -1):
        node = int(tree.parent[node])
    return node == above


def test_tips_that_are_not_there_are_counted_and_named() -> None:
    tree = read_newick(SMALL)
    with pytest.raises(DataError, match=re.escape("6 of 7 ids are not tips of the tree: u0, u1, u2, u3, u4, ...")):
        tree.keep(["A", *(f"u{n}" for n in range(6))])
    with pytest.raises(DataError, match="2 ids occur more than once: A, B"):
        tree.keep(["A", "B", "A", "C", "B"])
    with pytest.raises(DataError, match="no tip is asked for"):
        tree.keep([])
