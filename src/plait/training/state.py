"""What a training is at a moment: its position and its weights."""

from dataclasses import dataclass, field

from torch import Tensor, nn

Weights = dict[str, Tensor]


@dataclass
class Position:
    """Where a training stands, all of it plain data: what a checkpoint's JSON holds."""

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    sums: dict[str, list[float]] = field(default_factory=dict)
    log_bytes: int = 0
    done: bool = False


@dataclass(frozen=True)
class Trained:
    """What a training leaves: the best weights, those of the anchor alone if a stage trained it, and the history."""

    best: Weights
    anchor: Weights | None
    position: Position


def copy_weights(model: nn.Module) -> Weights:
    """The model's weights as they are now."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
