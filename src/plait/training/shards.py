"""Weights that each process holds a shard of: put together, cut, and put in place."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

Weights = dict[str, Tensor]


def whole(value: Tensor) -> Tensor:
    """A tensor put together from the shards of all processes, which must all call; in main memory, where it has room.

    A tensor that is not sharded is returned as it is.
    """
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def shard_like(value: Tensor, other: Tensor) -> Tensor:
    """A whole tensor cut as `other` is, if `other` is cut and of its shape: each process takes its part."""
    if not isinstance(other, DTensor) or isinstance(value, DTensor) or value.shape != other.shape:
        return value
    return distribute_tensor(value.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


def shards_like(weights: Weights, model: nn.Module) -> Weights:
    """Whole weights cut as the model's are."""
    return {name: shard_like(weights[name], own) for name, own in model.state_dict().items()}


def copy_shards(model: nn.Module) -> Weights:
    """What this process holds of the model's weights."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@contextmanager
def in_place(weights: Weights, model: nn.Module) -> Iterator[None]:
    """Weights, cut as the model's are, in the place of its own for as long as the context lasts."""
    own = copy_shards(model)
    model.load_state_dict(weights)
    yield
    model.load_state_dict(own)
