"""What a computation costs: the time of a step, and the peak memory of the tensors that it makes."""

import statistics
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WARM, REPEATS = 2, 9


def step_ms(
    steps: Mapping[str, Callable[[], object]], device: torch.device, warm: int = WARM, repeats: int = REPEATS
) -> dict[str, float]:
    """The median time of each step, by name, in milliseconds.

    After `warm` runs each, the steps run in turn, `repeats` times around: what slows the machine for a while slows
    all of them. On a GPU the clock stops when the device has ended.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(warm + repeats):
        for name, step in steps.items():
            _wait(device)
            began = time.perf_counter()
            step()
            _wait(device)
            if turn >= warm:
                times[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(found) for name, found in times.items()}


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """The most bytes that tensors made while `run` runs held at one moment; what was there before does not count.

    On CUDA the allocator says it, in its own blocks and with what kernels take for themselves. Elsewhere every
    operation is followed: a storage counts once, with all views of it, from the operation that made it until it is
    freed, whoever holds it, the graph of a backward pass among them; what a kernel takes for itself is not seen.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    live = _LiveStorages()
    with live:
        run()
    return live.peak


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class _LiveStorages(TorchDispatchMode):
    """Follows the storages that operations make while it is on: the bytes that are live, and their peak."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        # A storage keeps its Python object for as long as it lives, so the end of one is the end of the other.
        self._held: dict[int, tuple[weakref.ref[Any], int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        # `torch.tensor` makes its tensor out of sight and hands it in here.
        fresh = func is torch.ops.aten.lift_fresh.default
        given = set() if fresh else {_address(leaf) for leaf in tree_leaves((args, dict(kwargs))) if _stored(leaf)}
        out = func(*args, **kwargs)
        for leaf in tree_leaves(out):
            if _stored(leaf) and _address(leaf) not in given:
                self._hold(leaf)
        return out

    def _hold(self, made: Tensor) -> None:
        storage, address = made.untyped_storage(), _address(made)
        if address in self._held:
            return
        size = storage.nbytes()
        self._held[address] = weakref.ref(storage, lambda _: self._free(address)), size
        self.live += size
        self.peak = max(self.peak, self.live)

    def _free(self, address: int) -> None:
        self.live -= self._held.pop(address, (None, 0))[1]


def _stored(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.layout is torch.strided


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
