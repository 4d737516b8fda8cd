"""Gates and attention over time: a point a window, evenly spaced, where the rows have an order."""

from typing import Any

import numpy as np

from plait.core.schema import Schema
from plait.evaluation.explain.look import Look, Rows
from plait.evaluation.explain.weights import gate_share, share_beyond_null

MOST_POINTS = 400


def evenly(rows: Rows, most: int) -> Rows:
    """At most so many of the rows, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.int64)
    return rows[np.unique(places)]


class Timeline:
    """The mean gate of each window, and the share of its attention that is on the context."""

    def __init__(self, schema: Schema, windows: int) -> None:
        self.schema = schema
        self._gate, self._attention = np.full(windows, np.nan), np.full(windows, np.nan)
        self._origin = np.zeros(windows, dtype=np.int64)

    def add(self, look: Look) -> None:
        """Note some windows."""
        self._origin[look.rows] = look.batch.info["row"].cpu().numpy()
        for into, share in ((self._gate, gate_share), (self._attention, share_beyond_null)):
            found = share(look.maps, look.batch.inputs, self.schema)
            if found is not None:
                into[look.rows] = found.double().cpu().numpy()

    def result(self, data: Any) -> list[dict[str, Any]]:
        """At most 400 windows: origin, gate and attention, None where the operator has none."""
        rows = evenly(np.arange(len(self._gate), dtype=np.int64), MOST_POINTS)
        return [
            {"origin": origin, "gate": _plain(self._gate[row]), "attention": _plain(self._attention[row])}
            for origin, row in zip(origins(data, self._origin[rows]), rows, strict=True)
        ]


def origins(data: Any, rows: Rows) -> list[str]:
    """What people call windows, by the rows their batches name: moments where the data have times, else the numbers."""
    times = getattr(getattr(data, "table", None), "times", None)
    return [str(row if times is None else times[row]) for row in rows]


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
