"""What the attention of a few windows stood on, in words: the texts they saw, piece by piece."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core.schema import Schema
from plait.data.texts import TextTensors, text_units
from plait.evaluation.explain.look import Lens, Look, Rows
from plait.evaluation.explain.timeline import origins
from plait.evaluation.explain.weights import (
    NULL,
    attention_maps,
    over_queries,
    present_queries,
    segments,
    token_weights,
)

EVERY_QUERY = "all queries"
"""The one row of a heat map whose queries are not the variates."""
TEXT = "text"
"""The stream of texts."""


def text_samples(lens: Lens, rows: Rows) -> list[dict[str, Any]]:
    """Some windows with the texts they saw, newest first, and the weight on each piece of them.

    A piece is what a token stands for: a text or sentence where its states are pooled, else a word piece. Weights are
    means over heads, present queries and maps, as in faithfulness; with that on `null` they sum to 1 where a map has
    these keys alone. `heat` has a row a variate, 0 where it is absent, and sums the pieces of a text. Nothing where no
    map of attention names the texts.
    """
    look = lens.look(rows)
    weights = token_weights(look.maps, look.batch.inputs, lens.schema, TEXT)
    if weights is None:
        return []
    shown = TextPieces(lens.data)
    variates = list(lens.schema.variates)
    named = origins(lens.data, look.batch.info["row"].cpu().numpy())
    heat_rows, null, heat = _heat(look, lens.schema)
    samples = []
    for place, origin in enumerate(look.batch.info["row"].tolist()):
        items, slots = shown.of(origin, weights[place].double().cpu().numpy())
        parts = heat[place].double().cpu().numpy().reshape(len(heat_rows), shown.slots, -1).sum(axis=2)
        values = parts[:, slots]
        if null is not None:
            values = np.concatenate([null[place].double().cpu().numpy()[:, None], values], axis=1)
        samples.append({
            "origin": named[place], "row": int(rows[place]), "variates": variates, "items": items,
            "heat": {
                "rows": heat_rows, "columns": [*[NULL] * (null is not None), *(item["place"] for item in items)],
                "values": values.tolist(),
            },
        })  # fmt: skip
    return samples


class TextPieces:
    """The words that the text tokens of a window stand for, as the data laid them out."""

    def __init__(self, data: Any) -> None:
        self.text: TextTensors = data.text
        self.config, self.embedder = data.config.text, data.embedder
        self.distinct = text_units(self.text.texts, self.config).distinct
        self.slots = self.text.rows.shape[1]
        self.by_token = self.config.pool == "none"

    def of(self, origin: int, weights: NDArray[np.float64]) -> tuple[list[dict[str, Any]], list[int]]:
        """The texts an origin sees with the weight of each piece, and which of the newest each is.

        Shape: `weights` (n,), the tokens of all places in order.
        """
        texts, states = self.text.texts, self.text.states.shape[1] if self.by_token else 1
        units = self.text.unit[origin].reshape(self.slots, -1).tolist()
        shares = weights.reshape(self.slots, -1, states)
        items, kept = [], []
        for slot, row in enumerate(self.text.rows[origin].tolist()):
            if row < 0:
                continue
            pieces: list[list[Any]] = []
            for part, unit in enumerate(units[slot]):
                words = self._words(unit)
                pieces += [[word, float(shares[slot, part, place])] for place, word in enumerate(words)]
            items.append({"date": str(texts.available_at[row])[:10], "place": texts.places[row], "pieces": pieces})
            kept.append(slot)
        return items, kept

    def _words(self, unit: int) -> list[str]:
        """The pieces of a unit: one a present token."""
        if unit < 0:
            return []
        if self.by_token:
            found: list[str] = self.embedder.pieces([self.distinct[unit]], self.config.max_tokens)[0]
            return found
        return [self.distinct[unit]] if bool(self.text.mask[unit].any()) else []


def _heat(look: Look, schema: Schema) -> tuple[list[str], Tensor | None, Tensor]:
    """The weight of each variate on `null`, where a map has it, and on each text token: rows, (b, rows), (b, rows, n).

    Means over heads and maps whose queries are the variates; without such a map one row is the mean over queries.
    """
    inputs, variates = look.batch.inputs, [*schema.variates, *schema.covariates]
    maps = {name: each for name, each in attention_maps(look.maps).items() if any(key == TEXT for key, _ in each.keys)}
    own = [each for each in maps.values() if each.axes[2] == f"{schema.anchor} token"]
    own = [each for each in own if each.values.shape[2] == len(variates)]
    values: dict[str, list[Tensor]] = {NULL: [], TEXT: []}
    for each in own or maps.values():
        queries = present_queries(each, 2, inputs, schema)
        for name, part in segments(each):
            if name in values:
                mean = part.mean(dim=1)
                kept = torch.where(queries[..., None], mean, 0.0) if own else over_queries(mean, queries)[:, None]
                values[name].append(kept)
    text = torch.stack(values[TEXT]).mean(dim=0)
    null = torch.stack(values[NULL]).mean(dim=0).sum(dim=-1) if values[NULL] else None
    return (variates if own else [EVERY_QUERY]), null, text
