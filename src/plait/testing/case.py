"""What a law is held against: a part that can be built, fed, trained a little and compared."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from functools import wraps
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import Schema

Tensors = dict[str, Tensor]

POISONS = (float("nan"), 1e30)


class Case(ABC):
    """A part's config with the schema, the dtype and the device it is checked for.

    Inputs and outputs are flat dicts of tensors, so that one law serves fusions, encoders, heads and models.
    """

    room: ClassVar[str]

    def __init__(self, config: Config, schema: Schema, dtype: torch.dtype, device: torch.device | str) -> None:
        self.config, self.schema, self.dtype, self.device = config, schema, dtype, torch.device(device)
        self.kind = str(getattr(config, "kind", type(config).__name__))
        self._trained: nn.Module | None = None

    def __str__(self) -> str:
        return f"{self.room} {self.kind!r} ({str(self.dtype).removeprefix('torch.')})"

    @abstractmethod
    def sample(self, rows: int = 3, seed: int = 0) -> Tensors:
        """Inputs of some rows, with absent tokens in them."""

    @abstractmethod
    def run(self, module: nn.Module, inputs: Tensors) -> Tensors:
        """The part's outputs by name."""

    @abstractmethod
    def masks(self, inputs: Tensors) -> dict[str, str]:
        """Which mask tells of which input whether its content is there."""

    def seen(self, outputs: Tensors) -> Tensors:
        """The outputs that have a meaning."""
        return outputs

    def losses(self, module: nn.Module, inputs: Tensors, explain: bool = False) -> dict[str, tuple[Tensor, Tensor]]:
        """The part's own losses by name, as (sum, weight)."""
        return {}

    def lessons(self) -> list[Tensors]:
        """The inputs that together must reach every parameter."""
        return [self.sample()]

    @property
    def near(self) -> float:
        """The tolerance between two ways to compute the same, relative to max(1, |y|)."""
        return 1e-5 if self.dtype == torch.float32 else 2e-2

    @property
    def same(self) -> float:
        """The tolerance between two runs in which a row is untouched, relative to max(1, |y|)."""
        return 1e-6 if self.dtype == torch.float32 else 2e-2

    def build(self, config: Config | None = None, seed: int = 0) -> nn.Module:
        """The part at its initialisation, in evaluation mode."""
        torch.manual_seed(seed)
        module: nn.Module = (config or self.config).build(self.schema)  # type: ignore[attr-defined]
        return module.to(device=self.device, dtype=self.dtype).eval()

    def trained(self) -> nn.Module:
        """The part after three optimiser steps, in evaluation mode: closed starts are open."""
        if self._trained is None:
            module = self.build()
            for seed in range(3):
                learn(self, module, self.lessons(), lr=0.01, seed=seed)
            self._trained = module.eval()
        return deepcopy(self._trained)

    def finish(self, inputs: Tensors) -> Tensors:
        """Sampled inputs on the device, floats in the dtype."""
        return {name: t.to(self.device, self.dtype if t.is_floating_point() else t.dtype) for name, t in inputs.items()}

    def poisoned(self, inputs: Tensors, value: float) -> Tensors:
        """The inputs with their absent content replaced; a row number or a code, which can't be NaN, by one that is far
        out of range.
        """
        far = int(1e12 if value > 0 else -1e12 if value != 0 else 0)
        found = dict(inputs)
        for name, mask in self.masks(inputs).items():
            found[name] = put(inputs[name], inputs[mask], value if inputs[name].is_floating_point() else far)
        return found


C = TypeVar("C", bound=Case)


def law(check: Callable[[C], None]) -> Callable[[C], None]:
    """Make a check raise AssertionErrors that name the part and the law, and leave the random state alone."""

    @wraps(check)
    def held(case: C) -> None:
        devices = [case.device] if case.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(0)
            try:
                check(case)
            except AssertionError as error:
                raise AssertionError(f"{case} breaks the law {check.__name__}: {error}") from None
            except Exception as error:
                message = f"{case} breaks the law {check.__name__}: it raised {type(error).__name__}: {error}"
                raise AssertionError(message) from error

    return held


def hold(case: C, laws: Iterable[Callable[[C], None]]) -> None:
    """Hold a case to laws, one after the other."""
    for each in laws:
        each(case)


def require(holds: object, message: str) -> None:
    """Raise with the message unless it holds."""
    if not holds:
        raise AssertionError(message)


def distance(got: Tensor, want: Tensor) -> float:
    """The largest |got - want| / max(1, |want|); infinite where one is not a number or the shapes differ."""
    if got.shape != want.shape:
        return float("inf")
    if not got.numel():
        return 0.0
    a, b = got.detach().double(), want.detach().double()
    gap = (a - b).abs() / b.abs().clamp(min=1.0)
    return float(gap.nan_to_num(nan=float("inf")).max())


def require_near(got: Mapping[str, Tensor], want: Mapping[str, Tensor], tolerance: float, what: str) -> None:
    """Require outputs of the same names to agree; bools and integers exactly."""
    require(got.keys() == want.keys(), f"{what}: outputs {sorted(got)} against {sorted(want)}")
    for name, tensor in want.items():
        if tensor.is_floating_point():
            gap = distance(got[name], tensor)
            require(gap <= tolerance, f"{what}: {name} moved by {gap:.2g}, the tolerance is {tolerance:g}")
        else:
            require(torch.equal(got[name], tensor), f"{what}: {name} differs, it must be equal")


def require_equal(got: Mapping[str, Tensor], want: Mapping[str, Tensor], what: str) -> None:
    """Require outputs to agree bit for bit."""
    require(got.keys() == want.keys(), f"{what}: outputs {sorted(got)} against {sorted(want)}")
    for name, tensor in want.items():
        if not torch.equal(got[name], tensor):
            raise AssertionError(
                f"{what}: {name} differs by {distance(got[name], tensor):.2g}, it must be equal bit for bit"
            )


def require_finite(outputs: Mapping[str, Tensor], what: str) -> None:
    """Require every number to be finite, those under a False mask too: the next part multiplies them by weights."""
    for name, tensor in outputs.items():
        bad = int((~torch.isfinite(tensor)).sum())
        require(bad == 0, f"{what}: {bad} of {tensor.numel()} values of {name} are not finite")


def put(content: Tensor, mask: Tensor, value: float) -> Tensor:
    """The content with a value wherever its mask is False."""
    return torch.where(mask.reshape(mask.shape + (1,) * (content.dim() - mask.dim())), content, value)


def rows(tensors: Mapping[str, Tensor], index: Sequence[int]) -> Tensors:
    """Some rows of every tensor."""
    return {name: tensor[list(index)] for name, tensor in tensors.items()}


def half_absent(case: Case, inputs: Tensors) -> Tensors:
    """The inputs with every mask of every second row False."""
    changed = dict(inputs)
    for name in set(case.masks(inputs).values()):
        changed[name] = inputs[name].clone()
        changed[name][::2] = False
    return changed


def loss_of(outputs: Mapping[str, Tensor], seed: int = 0) -> Tensor:
    """The mean squared distance of every floating output from a fixed random target."""
    maker = torch.Generator().manual_seed(seed + 1009)  # never the seed of a sample: the target would be its anchor
    terms = []
    for tensor in outputs.values():
        if tensor.is_floating_point():
            target = torch.randn(tensor.shape, generator=maker).to(tensor)
            terms.append(((tensor - target) ** 2).mean())
    return torch.stack(terms).sum()


def gradients(case: Case, module: nn.Module, inputs: Tensors, seed: int = 0) -> Tensors:
    """The gradient of every trainable parameter, 0 for one that the loss does not read."""
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    loss = loss_of(case.seen(case.run(module, inputs)), seed)
    if not parameters or not loss.requires_grad:
        return {name: torch.zeros_like(p) for name, p in parameters.items()}
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(parameters.items(), found, strict=True)}


def learn(case: Case, module: nn.Module, lessons: list[Tensors], lr: float, seed: int = 0) -> None:
    """One step of each trainable parameter against the sign of its gradient, in training mode.

    It is Adam's first step: as long as the rate, however small the gradient.
    """
    module.train()
    found = [gradients(case, module, inputs, seed) for inputs in lessons]
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                gradient = torch.stack([each[name] for each in found]).sum(dim=0)
                parameter.sub_(lr * gradient.sign())


def with_dropout(config: Config, rate: float) -> Config:
    """The config with every dropout of its tree at one rate, and every noise of that deviation."""
    changes: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Config):
            changes[name] = with_dropout(value, rate)
        elif isinstance(value, list | tuple):
            changes[name] = type(value)(with_dropout(v, rate) if isinstance(v, Config) else v for v in value)
        elif isinstance(value, float) and (name in ("dropout", "noise") or name.endswith("_dropout")):
            changes[name] = rate
    return config.model_copy(update=changes)
