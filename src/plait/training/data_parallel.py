"""torch's DataParallel for a Batch and an Output: rows are shared out, answers put together, losses summed."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from plait.core.tokens import Batch, Map, Output, Prediction


class BatchParallel(nn.DataParallel[nn.Module]):
    """A model on every GPU, each of which passes a share of a batch's rows.

    A pass gives what the model gives for the whole batch: the answers in the order of the rows, losses as sums.
    Precision is set around the pass and not in the model, whose copies would all call the first one's forward.
    """

    def __init__(self, model: nn.Module, precision: Callable[[], AbstractContextManager[Any]]) -> None:
        super().__init__(model)
        self.precision = precision

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The model's Output for a Batch."""
        with self.precision():
            return super().forward(*inputs, **kwargs)

    def scatter(self, inputs: tuple[Any, ...], kwargs: dict[str, Any] | None, device_ids: Sequence[Any]) -> Any:
        """A part of the rows of a batch for each device that gets any; what is named beside it goes to all."""
        (batch,) = inputs
        parts = split_batch(batch, len(device_ids))
        moved = tuple((part.to(torch.device("cuda", d)),) for part, d in zip(parts, device_ids, strict=False))
        return moved, tuple(dict(kwargs or {}) for _ in moved)

    def gather(self, outputs: Any, output_device: Any) -> Output:
        """One Output from those of the devices."""
        return join_outputs(outputs, torch.device("cuda", output_device))


def split_batch(batch: Batch, count: int) -> list[Batch]:
    """Up to `count` batches with rows of about equal number, in order and none without a row."""
    rows = next(len(tensor) for part in batch for tensor in part.values())
    size = max(1, -(-rows // count))
    return [batch.rows(slice(start, start + size)) for start in range(0, rows, size)]


def join_outputs(outputs: Sequence[Output], device: torch.device) -> Output:
    """The Output of a batch from those of its parts: answers and maps one behind the other, losses summed.

    Answers and losses are float32 also under half precision.
    """

    def behind(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([wide(each) for each in tensors])

    def wide(tensor: Tensor) -> Tensor:
        half = tensor.dtype in (torch.float16, torch.bfloat16)
        return tensor.to(device, torch.float32 if half else tensor.dtype)

    first = outputs[0]
    names = first.prediction.parts
    parts = {name: behind([each.prediction.parts[name] for each in outputs]) for name in names}
    losses = {}
    for name in first.losses:
        totals, weights = zip(*(each.losses[name] for each in outputs), strict=True)
        losses[name] = torch.stack([*map(wide, totals)]).sum(), torch.stack([*map(wide, weights)]).sum()
    maps = {name: Map(behind([e.maps[name].values for e in outputs]), m.axes, m.keys) for name, m in first.maps.items()}
    return Output(Prediction(behind([each.prediction.point for each in outputs]), parts), losses, maps)
