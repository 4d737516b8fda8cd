"""What the parts promise each other: Encoder, Fusion, Head, Model, Task, Source."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from plait.core.schema import Schema
from plait.core.tokens import Batch, Notes, Output, Prediction, Tokens


class Encoder(Protocol):
    """One modality -> Tokens of width `dim`."""

    dim: int

    def __call__(self, fields: Mapping[str, Tensor]) -> Tokens: ...


class Fusion(Protocol):
    """Streams by name -> one stream of width `dim`.

    What it says beside its tokens goes into `notes`: its own losses, and with `notes.explain` labelled maps, made by
    the same computation as the tokens.
    """

    dim: int

    def __call__(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens: ...


class Head(Protocol):
    """Tokens, with the context streams where it reads them -> Prediction."""

    def __call__(self, tokens: Tokens, context: Mapping[str, Tokens]) -> Prediction: ...


class Model(Protocol):
    """Batch -> Output. `anchor` is the residual stream, `required` the inputs that may not be absent."""

    anchor: str
    required: tuple[str, ...]

    def __call__(self, batch: Batch, explain: bool = False) -> Output: ...


class Dataset(Protocol):
    """Rows of a split -> Batch, without Python work per row.

    `training_batch` gives train rows as training sees them, which may be augmented: a pure function of the rows and of
    `key`, which names the stage and the epoch. What runs and comparisons ask of data beyond this stands in
    `runs.assemble.build_data`.
    """

    schema: Schema

    def rows(self, split: str) -> Any: ...

    def batch(self, split: str, index: Any) -> Batch: ...

    def training_batch(self, index: Any, *key: object) -> Batch: ...


class Task(Protocol):
    """What is asked of a model.

    `losses` are named (sum, weight), the task's first, then the model's own; `weights` are the weights of the task's,
    known before the forward pass; the weight of a model's own is the number of rows. `scores` are per-row numbers;
    `selection` makes the one number, smaller is better, by which validation chooses.
    """

    def losses(self, output: Output, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]: ...

    def weights(self, batch: Batch) -> dict[str, Tensor]: ...

    def scores(self, output: Output, batch: Batch) -> dict[str, Tensor]: ...

    def selection(self, scores: Mapping[str, Any]) -> float: ...


class Source(Protocol):
    """A config of where data lie that reads and checks them."""

    def read(self) -> Any: ...
