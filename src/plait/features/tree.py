"""A rooted tree with branch lengths as flat arrays, read from Newick text without recursion."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from plait.core.errors import DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

EXAMPLES = 5
"""How many names an error gives as examples."""

_TOKEN = re.compile(r"\s*([(),:;]|'[^']*(?:''[^']*)*'|[^\s(),:;\[\]']+)")
_BLANK = re.compile(r"\s*")
_BRACKET = re.compile(r"[\[\]]")


@dataclass(frozen=True, eq=False)
class Tree:
    """A rooted tree of k nodes in postorder: every node stands after all nodes below it, the root last.

    A node's branch is the one above it, the root's included. `tips` maps a tip's name to its node; tips without
    a name do not occur, names of inner nodes are not kept. `unstated` counts the branches below the root whose length
    the text did not give (in a tree cut to some tips: those of the whole); they are 0 here.

    Shape: parent (k,) the node above each, -1 for the root; length (k,), not negative.
    Units: those of the text, mostly substitutions a site.
    """

    parent: IntArray
    length: FloatArray
    tips: Mapping[str, int]
    unstated: int = 0

    @cached_property
    def spans(self) -> tuple[IntArray, IntArray]:
        """Give for each node the tips under it, as a range [first, last) of tip ranks.

        The rank of a tip is its place among the tips in postorder, so what lies under a node is one range and a sum
        over it is a difference of two running sums. A tip of rank r has the range [r, r + 1).

        Shape: two arrays (k,).
        """
        last = np.zeros(len(self.parent), dtype=np.int64)
        last[list(self.tips.values())] = 1
        under = last.tolist()
        for node, above in enumerate(self.parent[:-1].tolist()):
            under[above] += under[node]
        last = np.cumsum(last)
        return last - np.asarray(under, dtype=np.int64), last

    def keep(self, tips: Sequence[str]) -> "Tree":
        """Keep the named tips and drop every branch that leads to none of them.

        A node left with one child is merged with it and the lengths are added, up to and with the root's branch:
        distances to the root stay what they were. Nodes with more children stay, also polytomies. The new tree's
        `tips` has the order asked for; its nodes are in postorder again.

        Errors: DataError where no tip is asked for, a name is asked for twice, or names are not tips of the tree
        (how many, and the first five).
        """
        tips = list(map(str, tips))
        if not tips:
            raise DataError("no tip is asked for", where="tree", fix="give at least one feature id")
        missing = [name for name in tips if name not in self.tips]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(tips)} ids are not tips of the tree: {_examples(missing)}",
                where="tree",
                fix=f"give the tree of these features; its {len(self.tips)} tips are {_examples(list(self.tips))}",
            )
        nodes = np.fromiter((self.tips[name] for name in tips), dtype=np.int64, count=len(tips))
        twice = [name for name, count in Counter(tips).items() if count > 1]
        if twice:
            raise DataError(
                f"{len(twice)} ids occur more than once: {_examples(twice)}",
                where="features",
                fix="merge their columns",
            )
        first, last = self.spans
        present = np.zeros(len(self.tips), dtype=np.bool_)
        present[first[nodes]] = True
        _, _, length, top, group = shear(first, last, self.length, present)
        above = self.parent[top]
        parent = np.where(above < 0, -1, group[above])
        return Tree(parent, length, dict(zip(tips, group[nodes].tolist(), strict=True)), self.unstated)


def shear(
    first: IntArray, last: IntArray, length: FloatArray, present: BoolArray
) -> tuple[IntArray, IntArray, FloatArray, IntArray, IntArray]:
    """Narrow the ranges of a postorder to the tips present, drop what is empty and merge single-child chains.

    In postorder a node whose only surviving child is c stands right after c, so a chain is a run of equal ranges.

    Shape: first, last, length (k,); present (tips,) -> the new first, last and length (j,), the topmost old node of
    each new one (j,), and the new node of each old one (k,), where it survives (else the last survivor before it).
    """
    rank = np.concatenate([[0], np.cumsum(present)])
    low, high = rank[first], rank[last]
    alive = np.flatnonzero(high > low)
    low, high = low[alive], high[alive]
    fresh = np.ones(len(alive), dtype=np.bool_)
    fresh[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    starts = np.flatnonzero(fresh)
    lengths = np.add.reduceat(length[alive], starts) if len(starts) else np.zeros(0)
    top = alive[np.append(starts[1:], len(alive))[: len(starts)] - 1]
    marks = np.zeros(len(first), dtype=np.int64)
    marks[alive[starts]] = 1
    return low[starts], high[starts], lengths, top, np.cumsum(marks) - 1


def read_newick(text: str, where: str = "tree") -> Tree:
    """Read one tree from Newick text.

    Names may stand in single quotes, with '' for a quote inside; underscores are kept as they are. Comments in square
    brackets are skipped, nested ones too. Names or support values of inner nodes are read over. A length that is not
    given counts as 0 and is counted in `unstated` (the root's is 0 by custom and is not). Any number of children is
    taken as it is; the outermost brackets are the root, also where they hold three or more nodes, so an unrooted tree
    is rooted there. The closing semicolon may be absent.

    Time and memory grow with the text, not with the depth.
    Errors: DataError with line and column for brackets that do not match, an unclosed quote or comment, a tip without
    a name or with the name of another, a length that is negative or not a number, text after the semicolon; DataError
    for a text without a tree or with fewer than two tips.
    Source: the Newick standard as of Olsen (1990), save for the underscores.
    """
    reader = _Reader(text, where)
    for token, at in reader.tokens():
        reader.take(token, at)
    return reader.tree()


class _Reader:
    """The state between two tokens: the nodes so far, the open brackets, and what is known of the node at hand."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        self.parent: list[int] = []
        self.length: list[float] = []
        self.tips: dict[str, int] = {}
        self.brackets: list[tuple[int, list[int]]] = []
        self.unstated, self.ended = 0, False
        self.begin(None)

    def begin(self, children: list[int] | None) -> None:
        """Turn to a node: a tip, or the node that the children just read lie under."""
        self.children = children
        self.name: str | None = None
        self.branch: float | None = None
        self.colon = False

    def fault(self, what: str, at: int, fix: str = "") -> NoReturn:
        """Raise the error that names a place of the text."""
        line = self.text.count("\n", 0, at) + 1
        column = at - self.text.rfind("\n", 0, at)
        near = " ".join(self.text[max(at - 20, 0) : at + 20].split())
        raise DataError(f"{what}, near {near!r}", where=f"{self.where}, line {line}, column {column}", fix=fix)

    def tokens(self) -> Iterator[tuple[str, int]]:
        """Cut the text into signs, quoted and bare words with their positions; skip blanks and comments."""
        at = 0
        while True:
            found = _TOKEN.match(self.text, at)
            if found is not None:
                yield found[1], found.start(1)
                at = found.end()
                continue
            blank = _BLANK.match(self.text, at)
            at = blank.end() if blank is not None else at
            if at == len(self.text):
                return
            if self.text[at] == "[":
                at = self.after_comment(at)
            elif self.text[at] == "'":
                self.fault("a quoted name does not end", at, "close the quote; a quote inside a name is ''")
            else:
                self.fault("a comment closes that was never opened", at, "put a name with ] in single quotes")

    def after_comment(self, start: int) -> int:
        """Find where the comment ends that opens at a position."""
        depth = 0
        for found in _BRACKET.finditer(self.text, start):
            depth += 1 if found[0] == "[" else -1
            if depth == 0:
                return found.end()
        self.fault("a comment does not end", start, "close it with ]")

    def take(self, token: str, at: int) -> None:
        """Go on by one token."""
        if self.ended:
            self.fault("the text goes on after the semicolon", at, "give one tree a file")
        if token == "(":
            if self.children is not None or self.name is not None or self.colon:
                self.fault("a bracket opens right after a node", at, "put a comma before it")
            self.brackets.append((at, []))
        elif token == ",":
            if not self.brackets:
                self.fault("a comma stands outside all brackets", at, "put the tree in brackets")
            self.finish(at)
            self.begin(None)
        elif token == ")":
            if not self.brackets:
                self.fault("a bracket closes that was never opened", at, "remove it or open it")
            self.finish(at)
            self.begin(self.brackets.pop()[1])
        elif token == ";":
            self.end(at)
        elif token == ":":
            if self.colon:
                self.fault("a node has two lengths", at, "put names with a colon in single quotes")
            self.colon = True
        elif self.colon:
            self.take_length(token, at)
        elif self.name is not None:
            self.fault("two names follow each other", at, "put names with blanks or quotes in single quotes")
        else:
            self.name = token[1:-1].replace("''", "'") if token[0] == "'" else token

    def take_length(self, token: str, at: int) -> None:
        """Read the number after a colon."""
        if self.branch is not None:
            self.fault("a word follows a length", at, "put a comma or a bracket before it")
        try:
            self.branch = float(token) if "_" not in token else math.nan
        except ValueError:
            self.branch = math.nan
        if not math.isfinite(self.branch):
            self.fault(f"the length {token!r} is not a number", at, "give a number such as 0.01 or 1e-5")
        if self.branch < 0:
            self.fault(f"the length {token} is negative", at, "set negative lengths to 0 or make the tree anew")

    def finish(self, at: int) -> None:
        """Close the node at hand and hang it under the innermost open bracket."""
        node = len(self.parent)
        if self.children is not None:
            for child in self.children:
                self.parent[child] = node
        elif not self.name:
            self.fault("a tip has no name", at, "name every tip")
        elif self.name in self.tips:
            self.fault(f"a second tip is named {self.name!r}", at, "give every tip a name of its own")
        else:
            self.tips[self.name] = node
        if self.colon and self.branch is None:
            self.fault("a colon has no length", at, "give a number or drop the colon")
        self.unstated += self.branch is None and bool(self.brackets)
        self.parent.append(-1)
        self.length.append(self.branch or 0.0)
        if self.brackets:
            self.brackets[-1][1].append(node)

    def end(self, at: int) -> None:
        """Close the root; nothing may follow."""
        if self.brackets:
            self.fault(
                f"brackets not closed: {len(self.brackets)}, the innermost here", self.brackets[-1][0], "close it"
            )
        if self.children is None and self.name is None:
            raise DataError("the text has no tree", where=self.where, fix="give a tree in Newick format")
        self.finish(at)
        self.ended = True

    def tree(self) -> Tree:
        """Give the tree that was read."""
        if not self.ended:
            self.end(len(self.text))
        if len(self.tips) < 2:
            raise DataError(
                f"the tree has a single tip, {next(iter(self.tips))!r}", where=self.where, fix="give two tips or more"
            )
        return Tree(np.asarray(self.parent, dtype=np.int64), np.asarray(self.length), self.tips, self.unstated)


def _examples(names: Sequence[str]) -> str:
    """Write the first five names."""
    more = ", ..." if len(names) > EXAMPLES else ""
    return ", ".join(map(str, names[:EXAMPLES])) + more
