"""One batch as a model saw it, with what it noted and what it says without noting."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

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

    `data` has `schema`, `rows(split)` and `batch(split, index)`; nothing else is asked of it here. With `places` every
    row has so many tokens of the anchor, the last of them absent, so that the maps of all batches have one shape.
    """

    model: Any
    data: Any
    split: str
    device: Any
    places: int = 0
    said: Callable[[Output], Tensor] | None = None
    """What a task reads of an output as its answer, in numbers that compare; unset: `answer` decides."""

    @property
    def schema(self) -> Schema:
        """What the data say of the streams."""
        schema: Schema = self.data.schema
        return schema

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the model chooses from, none where it says numbers."""
        return tuple(getattr(getattr(self.data, "fitted", None), "classes", ()))

    def batch(self, rows: Rows) -> Batch:
        """Windows of the split, where the model is."""
        batch: Batch = self.data.batch(self.split, rows)
        return padded(batch, self.schema.anchor, self.places).to(self.device)

    def forward(self, batch: Batch, explain: bool = False) -> Output:
        """What the model says of a batch."""
        self.model.eval()
        with torch.no_grad():
            output: Output = self.model(batch, explain=explain)
        return output

    def answer(self, output: Output) -> Tensor:
        """What a model says, in numbers that compare: the point, or the probability of each class."""
        if self.said is not None:
            return self.said(output)
        point = output.prediction.point
        return point.softmax(dim=-1) if self.classes else point

    def look(self, rows: Rows) -> Look:
        """What the model saw of some windows."""
        batch = self.batch(rows)
        return Look(rows, batch, self.forward(batch, explain=True), self.forward(batch))


def padded(batch: Batch, anchor: str, places: int) -> Batch:
    """The batch with so many places of the anchor's tokens, those behind its own absent and 0; 0 leaves it as it is.

    Shape: inputs of the anchor (b, s, ...) -> (b, places, ...).
    """
    here = {k: v for k, v in batch.inputs.items() if k == anchor or k.startswith(f"{anchor}_")}
    room = max(0, places - here[f"{anchor}_mask"].shape[1]) if places else 0
    if not room:
        return batch
    wide = {name: _longer(each, room) for name, each in here.items()}
    return batch._replace(inputs={**batch.inputs, **wide})


def _longer(values: Tensor, room: int) -> Tensor:
    return F.pad(values, (*(0, 0) * (values.dim() - 2), 0, room))
