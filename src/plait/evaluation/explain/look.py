"""One batch as a model saw it, with what it noted and what it says without noting."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plait.core.schema import Schema
from plait.core.tokens import Batch, Map, Output

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Look:
    """Some windows of a split: their numbers, what the model read, its output with maps, and that of the fast path."""

    rows: Rows
    batch: Batch
    shown: Output
    plain: Output

    @property
    def maps(self) -> dict[str, Map]:
        """The maps the model noted."""
        return self.shown.maps


@dataclass(frozen=True, eq=False)
class Lens:
    """A model over the windows of a split, in evaluation mode and without gradients.

    `data` has `schema`, `rows(split)` and `batch(split, index)`; nothing else is asked of it here.
    """

    model: Any
    data: Any
    split: str
    device: Any

    @property
    def schema(self) -> Schema:
        """What the data say of the streams."""
        schema: Schema = self.data.schema
        return schema

    def batch(self, rows: Rows) -> Batch:
        """Windows of the split, where the model is."""
        batch: Batch = self.data.batch(self.split, rows)
        return batch.to(self.device)

    def forward(self, batch: Batch, explain: bool = False) -> Output:
        """What the model says of a batch."""
        self.model.eval()
        with torch.no_grad():
            output: Output = self.model(batch, explain=explain)
        return output

    def look(self, rows: Rows) -> Look:
        """What the model saw of some windows."""
        batch = self.batch(rows)
        return Look(rows, batch, self.forward(batch, explain=True), self.forward(batch))
