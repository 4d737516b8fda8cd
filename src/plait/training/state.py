"""What a training is at a moment: its position and its weights."""

from dataclasses import dataclass, field

from torch import nn

from plait.training.shards import Weights, whole


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
    cuts: int = 0
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
    """The model's weights as they are now, whole also where each process holds a shard: then all of them must call."""
    return {name: whole(value).detach().clone() for name, value in model.state_dict().items()}


def add_to(sums: dict[str, list[float]], name: str, total: float, weight: float) -> None:
    """Add a loss and its weight to the sums of its name."""
    before = sums.get(name, [0.0, 0.0])
    sums[name] = [before[0] + total, before[1] + weight]
