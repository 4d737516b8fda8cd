"""How a training is shared out over devices: DataParallel, DDP or FSDP, put in force and shown to be."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from plait.core.console import say
from plait.core.errors import ConfigError
from plait.core.seeding import seed_torch
from plait.core.tokens import Output, Prediction
from plait.nn.block import Block
from plait.training.checkpoint import rng_state, set_rng_state
from plait.training.config import MODES, TrainingConfig
from plait.training.data_parallel import BatchParallel

ONE = "one device"


class Parallel:
    """The devices of a training: wraps its model, and lets its processes agree.

    Every method that several processes must call says so; with one process all of them do nothing.
    """

    def __init__(self, config: TrainingConfig, accelerator: Any) -> None:
        self.accelerator, self.device = accelerator, accelerator.device
        self.rank, self.world = int(accelerator.process_index), int(accelerator.num_processes)
        self.mode = mode_of(config, self.world)
        self.devices = torch.cuda.device_count() if self.device.type == "cuda" else 0
        if self.mode == "data_parallel" and self.devices < 2:
            say(f"data_parallel is not exercised: it shares batches out over 2 GPUs or more, there is {self.devices}")

    def place(self, model: nn.Module) -> nn.Module:
        """The model on this process's device, in the run's precision."""
        if not hasattr(model, "_original_forward"):  # else Accelerate has set the precision before
            model = self.accelerator.prepare_model(model, evaluation_mode=True)
        return model.to(self.device)

    def wrap(self, model: nn.Module) -> tuple[nn.Module, nn.Module]:
        """What forward goes through, and the module that holds the parameters which learn: with FSDP a sharded copy.

        All processes must call, after `requires_grad` is set. Errors: ConfigError where the mode is not in force.
        """
        learns = any(parameter.requires_grad for parameter in model.parameters())
        wrapped = holder = model
        if self.mode == "fsdp":
            wrapped = holder = self._sharded(model)
        elif self.mode == "data_parallel" and self.devices > 1:
            wrapped = BatchParallel(model.to(self.device), self.accelerator.autocast)
        else:
            wrapped = holder = self.place(model)
            if self.mode == "distributed" and learns:
                device = [self.device.index] if self.device.type == "cuda" else None
                # A stage may leave a leg out.
                wrapped = DistributedDataParallel(holder, device, find_unused_parameters=True)
                # No part has buffers that a forward pass changes: sent around once is enough.
                wrapped.broadcast_buffers = False
        if learns and not (self.mode == "data_parallel" and self.devices < 2):
            check_in_force(self.mode, wrapped)
        return wrapped, holder

    def _sharded(self, model: nn.Module) -> nn.Module:
        from torch.distributed import broadcast
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        sharded = self.place(copy.deepcopy(model))
        for value in sharded.state_dict().values():
            broadcast(value, 0)
        mesh = init_device_mesh(self.device.type, (self.world,))
        for module in sharded.modules():
            if isinstance(module, Block):
                fully_shard(module, mesh=mesh)
        # Resharded after a forward pass too: what evaluation leaves is then what a state dict sees.
        fully_shard(sharded, mesh=mesh, reshard_after_forward=True)
        return sharded

    def record(self, model: nn.Module) -> dict[str, Any]:
        """What is in force: mode, processes, devices a process shares batches over, and parameters held in shards."""
        shards = [p for p in model.parameters() if isinstance(p, DTensor)]
        return {
            "mode": self.mode,
            "processes": self.world,
            "exercised": self.world > 1 or isinstance(model, BatchParallel),
            "sharded_parameters": sum(p.numel() for p in shards),
            "held_here": sum(p.to_local().numel() for p in shards),
        }

    @contextmanager
    def unsynced(self, model: nn.Module) -> Iterator[None]:
        """Gradients of what is passed inside stay in this process until a backward pass outside."""
        if isinstance(model, DistributedDataParallel):
            with model.no_sync():
                yield
        elif self.mode == "fsdp":
            cast(Any, model).set_requires_gradient_sync(False)
            try:
                yield
            finally:
                cast(Any, model).set_requires_gradient_sync(True)
        else:
            yield

    def sum(self, values: list[float]) -> list[float]:
        """The sums over all processes, which must all call."""
        if self.world == 1:
            return values
        total = self.accelerator.reduce(torch.tensor(values, dtype=torch.float64, device=self.device))
        return [float(value) for value in total.tolist()]

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Whether any process says so, flag by flag; all must call. What one process decides, the others say no to."""
        return tuple(count > 0 for count in self.sum([float(flag) for flag in flags]))

    def rng(self) -> tuple[dict[str, Tensor], Any]:
        """The states of the generators of all processes, which must all call: `torch` of the first, `torch.1`, ..."""
        tensors, data = rng_state()
        if self.world > 1:
            from accelerate.utils import gather_object

            every = gather_object([tensors])
            others = {f"{name}.{n}": t for n, each in enumerate(every) if n for name, t in each.items()}
            tensors = every[0] | others
        return tensors, data

    def set_rng(self, tensors: dict[str, Tensor], data: Any, seed: int, step: int) -> None:
        """Put this process's generators back to what `rng` saw; a process that is new begins from `seed` and `step`."""
        end = f".{self.rank}" if self.rank else ""
        if f"torch{end}" in tensors:
            set_rng_state({name: tensors[name + end] for name in ("torch", "cuda") if name + end in tensors}, data)
        else:
            seed_torch(seed, "resume", step, self.rank)


def mode_of(config: TrainingConfig, processes: int) -> str:
    """The mode a training runs in. Errors: ConfigError where it was not started as the mode needs."""
    asked = next((name for name in MODES if getattr(config, name)), "")
    if asked in ("distributed", "fsdp") and processes == 1:
        raise ConfigError(
            f"{asked} shares a training out over processes, and this is the only one", where=f"training.{asked}",
            fix="start it by: torchrun --standalone --nproc_per_node 2 -m plait train ...; "
            f"or leave {asked} out",
        )  # fmt: skip
    if asked == "data_parallel" and processes > 1:
        raise ConfigError(
            f"data_parallel is of one process, this is one of {processes}", where="training.data_parallel",
            fix="start it without torchrun, or take distributed",
        )  # fmt: skip
    return asked or ("distributed" if processes > 1 else ONE)


def check_in_force(mode: str, model: nn.Module) -> None:
    """Refuse a wrapped model that does not do what its mode promises. Errors: ConfigError says what it lacks."""
    lacks = ""
    if mode == "fsdp":
        parameters = list(model.parameters())
        plain = sum(not isinstance(p, DTensor) for p in parameters)
        if plain:
            lacks = f"{plain} of {len(parameters)} parameters are not sharded"
        elif sum(p.to_local().numel() for p in cast(list[DTensor], parameters)) >= sum(p.numel() for p in parameters):
            lacks = "this process holds every value of every parameter"
    elif mode == "distributed" and not isinstance(model, DistributedDataParallel):
        lacks = f"the model is a {type(model).__name__} that no DistributedDataParallel holds"
    elif mode == "data_parallel" and not isinstance(model, BatchParallel):
        lacks = f"the model is a {type(model).__name__} that no DataParallel holds"
    if lacks:
        raise ConfigError(f"{mode} is not in force: {lacks}", where=f"training.{mode}", fix=f"leave {mode} out")


def without_rows(output: Output) -> Output:
    """An Output of the same pass that answers no row: losses over it are 0, and so are their gradients, not absent."""
    point, parts = output.prediction
    losses = {name: (total * 0, weight * 0) for name, (total, weight) in output.losses.items()}
    return Output(Prediction(point[:0], {name: part[:0] for name, part in parts.items()}), losses, {})
