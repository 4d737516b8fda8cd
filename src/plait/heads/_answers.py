"""What a model does with a head's answer, whatever its kind: back into the unit of the data, if it is a series."""

from typing import Any

from torch import Tensor

from plait.core.errors import ConfigError
from plait.core.tokens import Prediction
from plait.nn.window_norm import Scale

QUANTILES = "quantiles"
"""The part of a forecast that holds its quantiles."""


def in_data_unit(found: Prediction, scale: Scale) -> Prediction:
    """A series, with its quantiles, out of the unit of its window; an answer of one a row (logits, numbers) as it is.

    Which of the two a head gives, the shape of its point says, and is the same for every batch.
    Shape: point (b, p, v), its quantiles (b, p, v, q), or point (b, outputs).
    """
    if found.point.dim() != 3:
        return found
    return _changed(found, scale.undo(found.point), lambda held: scale.undo(held.movedim(-1, 0)).movedim(0, -1))


def shifted(found: Prediction, by: Tensor) -> Prediction:
    """A series that does not learn, and its quantiles, moved by so much. Shape: by (b, p, v)."""
    return _changed(found, found.point.detach() + by, lambda held: held.detach() + by[..., None])


def _changed(found: Prediction, point: Tensor, change: Any) -> Prediction:
    if QUANTILES not in found.parts:
        return found._replace(point=point)
    return Prediction(point, {**found.parts, QUANTILES: change(found.parts[QUANTILES])})


def check_head(head: Any, question: Any) -> None:
    """Refuse a head of steps where a class a window is asked for. `question` is None where a task has none."""
    if question is not None and question.outputs and head.kind == "forecast":
        raise ConfigError(
            "the task asks for a class a window, the head forecast answers steps", where="model.head.kind",
            fix="--model.head.kind classification",
        )  # fmt: skip
