"""What an audit finds, and what it has proved."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from plait.core.tokens import Batch
from plait.data.windows import ForecastData

Severity = Literal["leak", "suspect"]

CHUNK = 512
"""Windows of a split that a check gathers at a time."""


@dataclass(frozen=True)
class AuditFinding:
    """A fault: which check saw it, what it is in a sentence, and every row or window concerned, in words.

    A `leak` is information that was not there at the origin, or crossed from one split into another; a `suspect` may
    be one and is for people to judge.
    """

    severity: Severity
    check: str
    what: str
    rows: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, with all rows."""
        return {
            "severity": self.severity, "check": self.check, "what": self.what, "count": max(len(self.rows), 1),
            "rows": list(self.rows),
        }  # fmt: skip


@dataclass(frozen=True)
class Checked:
    """What one check did, in a sentence with its counts, and what it found."""

    check: str
    did: str
    findings: tuple[AuditFinding, ...] = ()


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most so many places of `count`, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def batches(data: ForecastData, split: str) -> Iterator[Batch]:
    """Every window of a split, in order, as the model receives it."""
    rows = data.rows(split)
    for start in range(0, len(rows), CHUNK):
        yield data.batch(split, rows[start : start + CHUNK])


def received(data: ForecastData, split: str, name: str) -> torch.Tensor:
    """An input of every window of a split, as the model receives it."""
    return torch.cat([batch.inputs[name] for batch in batches(data, split)])


def origin_rows(data: ForecastData, split: str) -> NDArray[np.int64]:
    """The row each window of a split is made at, as its batch names it."""
    return torch.cat([batch.info["row"] for batch in batches(data, split)]).numpy()
