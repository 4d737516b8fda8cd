"""Checks over all maps: rows of attention sum to 1, absent tokens weigh 0, gates lie between 0 and 1."""

from collections.abc import Iterator, Mapping
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from plait.core.schema import Schema
from plait.core.tokens import Map
from plait.evaluation.explain.look import Look
from plait.evaluation.explain.streams import Inputs, places_of
from plait.evaluation.explain.weights import segments

NEAR = 1e-5
"""How far a sum may be from 1, and a prediction from the fast path's."""

SUMS = "the weights of each query sum to 1 over its keys"
ABSENT = "absent tokens weigh exactly 0"
NAMED = "keys are named with their number of places"
GATES = "gates lie between 0 and 1"
ALLOWED = {SUMS: NEAR, ABSENT: 0.0, NAMED: 0.0, GATES: 0.0}
"""What is checked, and how large the fault of a row may be."""


class Checks:
    """What every check found over the rows so far."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._found: dict[tuple[str, str], tuple[int, float]] = {}
        self._apart = 0.0

    def add(self, look: Look) -> None:
        """Check the maps of some rows, and the prediction beside them against the fast path's."""
        for name, what, largest in faults(look.maps, look.batch.inputs, self.schema):
            rows, before = self._found.get((name, what), (0, 0.0))
            self._found[name, what] = rows + len(look.rows), max(before, largest)
        shown, plain = look.shown.prediction.point, look.plain.prediction.point
        apart = (shown - plain).abs() / plain.abs().clamp(min=1.0)
        self._apart = max(self._apart, _number(apart.max()))

    def to_json(self) -> list[dict[str, Any]]:
        """One record a map and check: rows, the largest fault (None where it is no number), whether it holds."""
        return [
            {
                "map": name, "rows": rows, "what": what, "largest": largest if isfinite(largest) else None,
                "holds": largest <= ALLOWED[what],
            }
            for (name, what), (rows, largest) in self._found.items()
        ]  # fmt: skip

    def agreement(self) -> dict[str, Any]:
        """The largest |y with maps - y of the fast path| / max(1, |y|), and whether it is small enough."""
        largest = self._apart if isfinite(self._apart) else None
        return {"largest": largest, "tolerance": NEAR, "holds": self._apart <= NEAR}


def faults(maps: Mapping[str, Map], inputs: Inputs, schema: Schema) -> Iterator[tuple[str, str, float]]:
    """What each check finds in the maps of a batch: (map, what is checked, the largest fault).

    That keys are named is told of only where they are not: by how many places the names are off.
    """
    for name, found in maps.items():
        if name.startswith("gate"):
            outside = torch.maximum(-found.values, found.values - 1).clamp(min=0)
            yield name, GATES, _number(outside.max())
        elif name.startswith("attention"):
            unnamed = abs(sum(places for _, places in found.keys) - found.values.shape[-1])
            if unnamed:
                yield name, NAMED, float(unnamed)
            yield name, SUMS, _number(_beside_one(found, inputs, schema).max())
            yield from ((name, what, largest) for what, largest in _on_absent(found, inputs, schema))


def _beside_one(found: Map, inputs: Inputs, schema: Schema) -> Tensor:
    """How far each query's weights are from a sum of 1, or from 0 in a row without any key. Shape: (b, h, n)."""
    streams = {name: places for name, places in found.keys if name in schema.streams}
    streams = streams or dict.fromkeys(schema.contexts, 0)
    each = [places_of(inputs, schema, name, places) for name, places in streams.items()]
    masks = [mask for mask in each if mask is not None]
    total = found.values.sum(dim=-1)
    gap = (total - 1).abs()
    if not masks:
        return gap
    some = torch.stack([mask.any(dim=1) for mask in masks]).any(dim=0)
    return torch.where(some[:, None, None], gap, torch.minimum(gap, found.values.abs().sum(dim=-1)))


def _on_absent(found: Map, inputs: Inputs, schema: Schema) -> Iterator[tuple[str, float]]:
    """The largest weight on an absent token, of the streams of which the inputs have a mask."""
    largest, checked = 0.0, False
    for name, part in segments(found):
        mask = places_of(inputs, schema, name, part.shape[-1]) if name in schema.streams else None
        if mask is None:
            continue
        if mask.shape[1] != part.shape[-1]:
            yield NAMED, abs(float(mask.shape[1] - part.shape[-1]))
            continue
        checked = True
        largest = max(largest, _number(torch.where(mask[:, None, None], 0.0, part.abs()).max()))
    if checked:
        yield ABSENT, largest


def _number(value: Tensor) -> float:
    """A number that can be compared: what is not finite is infinite."""
    plain = float(value)
    return plain if isfinite(plain) else inf
