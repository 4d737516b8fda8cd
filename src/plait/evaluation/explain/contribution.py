"""Contribution: what the error is without a modality, or with that of another row, and how far its gate opens."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.core.seeding import generator
from plait.core.tokens import Batch, Output
from plait.evaluation.explain.estimate import Estimate, Estimated, written
from plait.evaluation.explain.look import Lens, Look, Rows
from plait.evaluation.explain.streams import of_modality
from plait.evaluation.explain.weights import gate_share
from plait.evaluation.explain.words import Words

Numbers = NDArray[np.float64]


class Contributions:
    """The errors of every row, whole, with each modality left out, and with its inputs from another row.

    `present` says which rows have a modality. Those that lack it keep what they have; the others exchange inputs
    among each other, none with itself.
    """

    def __init__(self, lens: Lens, task: Any, present: dict[str, NDArray[np.bool_]], seed: int, rows: int) -> None:
        self.lens, self.task, self.present = lens, task, present
        self.words = Words.of(task)
        self.partner = {name: partners(has, seed, name) for name, has in present.items()}
        self.count = np.zeros(rows)
        self._error = {"": np.zeros(rows)}
        self._error |= {f"{how} {name}": np.zeros(rows) for name in present for how in ("drop", "permute")}
        self._gates = {name: np.full(rows, np.nan) for name in present}

    def add(self, look: Look) -> None:
        """Score some rows, whole and changed."""
        self._score("", look.rows, look.plain, look.batch)
        for name in self.present:
            for how, changed in (("drop", look.batch.without([name])), ("permute", self._permuted(look, name))):
                self._score(f"{how} {name}", look.rows, self.lens.forward(changed), look.batch)
            gate = gate_share(look.maps, look.batch.inputs, self.lens.schema, name)
            if gate is not None:
                self._gates[name][look.rows] = gate.double().cpu().numpy()

    def _permuted(self, look: Look, name: str) -> Batch:
        theirs = self.lens.batch(self.partner[name][look.rows])
        return look.batch._replace(inputs={**look.batch.inputs, **of_modality(theirs.inputs, name)})

    def _score(self, which: str, rows: Rows, output: Output, batch: Batch) -> None:
        scores = self.task.scores(output, batch)
        self._error[which][rows] = scores[self.task.score].double().cpu().numpy()
        self.count[rows] = scores["n"].double().cpu().numpy()

    def result(self, estimate: Estimate) -> list[dict[str, Any]]:
        """Of each modality the share of rows that have it, and the relative changes of the error.

        Above 0 the model leans on the modality: on what it says where the other row's is worse too, else on its
        presence. Whether it helps is another question, which takes a model trained without it and one trained on
        shuffled contents (`plait compare`).
        """
        found = []
        for name, has in self.present.items():
            drop, permute = (
                estimate.change(self._error[f"{how} {name}"], self._error[""], self.count)
                for how in ("drop", "permute")
            )
            open_share = self._gates[name][has]
            gate = estimate.mean(open_share, has) if len(open_share) and not np.isnan(open_share).any() else None
            found.append({
                "modality": name, "present": float(has.mean()), "drop": drop, "permute": permute, "gate": gate,
                "text": self._words(name, float(has.mean()), drop, permute, gate),
            })  # fmt: skip
        return found

    def _words(self, name: str, present: float, drop: Estimated, permute: Estimated, gate: Estimated | None) -> str:
        if not present:
            return f"no {self.words.row} has {name}"
        words = f"{name}: {leaning(drop, permute)}; {self.task.metric} changes by {written(drop)} without it"
        words += f" and by {written(permute)} with that of another {self.words.row}"
        words += f"; {present:.1%} of {self.words.rows} have it"
        if gate is not None and gate["value"] is not None:
            words += f"; its gate is open by {gate['value']:.1%}"
        return words


def leaning(drop: Estimated, permute: Estimated) -> str:
    """What the model leans on, by the error without a modality and with that of another row."""
    lows = drop["low"], permute["low"]
    if lows[0] is None or lows[1] is None:
        return "not enough data to say whether the model leans on it"
    if lows[1] > 0:
        return "the model leans on what it says"
    if lows[0] > 0:
        return "the model leans on its presence, not on what it says"
    worse = drop["high"] is not None and drop["high"] < 0
    return "the model errs less without it" if worse else "the model is not shown to lean on it"


def partners(has: NDArray[np.bool_], seed: int, modality: str) -> Rows:
    """The row from which each takes a modality: of those that have it another one, of the others itself.

    A cyclic shift of a random order has no fixed point, and gives each window to exactly one other; one that alone has
    the modality keeps it.
    """
    partner = np.arange(len(has), dtype=np.int64)
    order = generator(seed, "explain", "permute", modality).permutation(np.flatnonzero(has))
    partner[order] = np.roll(order, 1)
    return partner
