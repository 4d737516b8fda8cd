"""Faithfulness: removing the most attended token should move the output more than removing another one."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from plait.core.seeding import generator
from plait.evaluation.explain.estimate import Estimate, finite, written
from plait.evaluation.explain.look import Lens, Look
from plait.evaluation.explain.streams import present_tokens, without_tokens
from plait.evaluation.explain.weights import token_weights
from plait.evaluation.explain.words import Words

PICKS = ("most", "random", "least")
"""Which token of a row is removed: the most attended, one of the others at random, the least attended."""


class Faithfulness:
    """How far the answer moves without one token of the context, over the rows that have two or more.

    The score of a token is the weight on it, the mean over heads, present queries of the anchor and all maps that name
    its stream. It is removed by its mask. The random one depends on the seed and the row alone.
    """

    def __init__(self, lens: Lens, seed: int, windows: int, words: Words | None = None) -> None:
        self.lens, self.words = lens, words or Words()
        self._drawn = torch.from_numpy(generator(seed, "explain", "random token").random(windows))
        self._moved: dict[str, list[np.ndarray[Any, np.dtype[np.float64]]]] = {pick: [] for pick in PICKS}
        self._streams: list[str] = []
        self._chosen = np.zeros(windows, dtype=bool)

    def add(self, look: Look) -> None:
        """Remove a token of each of some rows, three times, and note how far the answer moves."""
        inputs, schema = look.batch.inputs, self.lens.schema
        weights, masks = {}, {}
        for stream in schema.contexts:
            weight, mask = token_weights(look.maps, inputs, schema, stream), present_tokens(inputs, schema, stream)
            if weight is not None and mask is not None and mask.shape[1] == 1:
                weight = weight.sum(dim=1, keepdim=True)  # the tokens of one vector go together
            if weight is not None and mask is not None and weight.shape == mask.shape:
                weights[stream], masks[stream] = weight, mask
        self._streams = list(weights)
        if not weights:
            return
        score, present = torch.cat(list(weights.values()), dim=1), torch.cat(list(masks.values()), dim=1)
        chosen = (present.sum(dim=1) >= 2).cpu().numpy()
        if not chosen.any():
            return
        self._chosen[look.rows] = chosen
        for pick, item in picked(score, present, self._drawn[look.rows].to(score)).items():
            moved = self._without(look, item, {stream: mask.shape[1] for stream, mask in masks.items()})
            self._moved[pick].append(moved.double().cpu().numpy()[chosen])

    def _without(self, look: Look, item: Tensor, counts: dict[str, int]) -> Tensor:
        """The movement of each row's answer without one token. Shape: `item` (b,) -> (b,)."""
        batch, schema = look.batch, self.lens.schema
        places = torch.arange(sum(counts.values()), device=item.device)
        removed = (places == item[:, None]).split(list(counts.values()), dim=1)
        for stream, each in zip(counts, removed, strict=True):
            batch = without_tokens(batch, schema, stream, each)
        before, after = (self.lens.answer(output) for output in (look.plain, self.lens.forward(batch)))
        change = (after - before).abs().mean(dim=1)
        if change.dim() == 1:
            return change
        present = present_tokens(look.batch.inputs, schema, schema.anchor)
        variates = None if present is None else present[:, schema.answered]
        if variates is None or variates.shape != change.shape:
            return change.mean(dim=1)
        kept = torch.where(variates, change, 0.0)
        return kept.sum(dim=1) / variates.sum(dim=1).clamp(min=1)

    def result(self, estimate: Estimate, fusion: str) -> tuple[dict[str, Any] | None, str | None]:
        """What is known of the attention, or why nothing is."""
        if not self._streams:
            return None, f"the fusion {fusion} has no attention on tokens of a context"
        if not self._moved["most"]:
            return None, f"no {self.words.row} has two tokens of {' and '.join(self._streams)}"
        stream = " + ".join(self._streams)
        most, random, least = (np.concatenate(self._moved[pick]) for pick in PICKS)
        changes = {
            "most_against_random": estimate.change(most, random, where=self._chosen),
            "most_against_least": estimate.change(most, least, where=self._chosen),
            "random_against_least": estimate.change(random, least, where=self._chosen),
        }
        lows = [changes["most_against_random"]["low"], changes["most_against_least"]["low"]]
        known = [low for low in lows if low is not None]
        faithful = all(low > 0 for low in known) if len(known) == len(lows) else None
        return {
            "stream": stream, "windows": len(most),
            "most": finite(most.mean()), "random": finite(random.mean()), "least": finite(least.mean()),
            **changes, "faithful": faithful, "text": _words(stream, changes, faithful, self.words),
        }, None  # fmt: skip


def picked(score: Tensor, present: Tensor, drawn: Tensor) -> dict[str, Tensor]:
    """The most attended of the present tokens, the least attended and a random one of the others.

    Shape: `score` and `present` (b, n), `drawn` (b,) in [0, 1) -> (b,) each. In a row with fewer than two present
    tokens they mean nothing.
    """
    most = score.masked_fill(~present, float("-inf")).argmax(dim=1)
    others = present & (torch.arange(score.shape[1], device=score.device) != most[:, None])
    least = score.masked_fill(~others, float("inf")).argmin(dim=1)
    count = others.sum(dim=1)
    place = torch.minimum((drawn * count).long(), (count - 1).clamp(min=0))
    rank = others.cumsum(dim=1) - 1
    random = (others & (rank == place[:, None])).to(torch.uint8).argmax(dim=1)
    return {"most": most, "random": random, "least": least}


def _words(stream: str, changes: dict[str, dict[str, float | None]], faithful: bool | None, words: Words) -> str:
    against = f"{written(changes['most_against_random'])} against a random one"
    against += f", {written(changes['most_against_least'])} against the least attended"
    said = {
        True: "the attention is faithful",
        False: "the attention is not shown to be faithful",
        None: "not enough data to say whether the attention is faithful",
    }
    return f"{said[faithful]}: without the most attended token of {stream} the {words.answer} moves by {against}"
