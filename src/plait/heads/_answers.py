"""What a model does with a head's answer, whatever its kind: back into the unit of the data, if it is a series."""

from typing import Any

from plait.core.errors import ConfigError
from plait.core.tokens import Prediction
from plait.nn.window_norm import Scale


def in_data_unit(found: Prediction, scale: Scale) -> Prediction:
    """A series out of the unit of its window; an answer of one a row (logits, numbers) as it is.

    Which of the two a head gives, the shape of its point says, and is the same for every batch.
    Shape: point (b, p, v), or (b, outputs).
    """
    return found._replace(point=scale.undo(found.point)) if found.point.dim() == 3 else found


def check_head(head: Any, question: Any) -> None:
    """Refuse a head of steps where a class a window is asked for. `question` is None where a task has none."""
    if question is not None and question.outputs and head.kind == "forecast":
        raise ConfigError(
            "the task asks for a class a window, the head forecast answers steps", where="model.head.kind",
            fix="--model.head.kind classification",
        )  # fmt: skip
