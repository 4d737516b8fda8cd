"""The laws that hold for every part: fusions, encoders, heads and models."""

import json
from collections.abc import Callable
from copy import copy
from itertools import product
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from plait.testing.case import (
    POISONS,
    Case,
    Tensors,
    gradients,
    law,
    learn,
    require,
    require_equal,
    require_finite,
    require_near,
    rows,
    with_dropout,
)


@law
def config_round_trip(case: Case) -> None:
    """The config as plain JSON reads back as the same config."""
    plain = json.loads(json.dumps(case.config.model_dump(mode="json")))
    again = type(case.config).model_validate(plain)
    require(again == case.config, f"{plain} reads back as {again!r}")


@law
def state_round_trip(case: Case) -> None:
    """A part of another seed gives the same output bit for bit once it has loaded the `state_dict`.

    A layer in a plain list, or a tensor that is neither parameter nor buffer, is found here.
    """
    module, other = case.trained(), case.build(seed=1)
    other.load_state_dict(module.state_dict(), strict=True)
    inputs = case.sample()
    got, want = case.run(other, inputs), case.run(module, inputs)
    require_equal(case.seen(got), case.seen(want), "after load_state_dict, against the part that was saved")


@law
def dtype_is_kept(case: Case) -> None:
    """Floating outputs have the dtype of the inputs, in evaluation and in training."""
    module, inputs = case.build(), case.sample()
    for mode in (False, True):
        for name, tensor in case.seen(case.run(module.train(mode), inputs)).items():
            if tensor.is_floating_point():
                require(tensor.dtype == case.dtype, f"{name} is {tensor.dtype}, the inputs are {case.dtype}")


@law
def no_branch_reads_data(case: Case) -> None:
    """No Python value is made of a tensor's content: `if mask.any():` breaks graphs and stops a device."""
    module, inputs = case.build(), case.sample()
    with TensorsToPython() as seen:
        case.run(module, inputs)
    require(seen.calls == 0, f"forward reads the content of a tensor {seen.calls} times, by bool(), int() or item()")


@law
def device_is_followed(case: Case) -> None:
    """Every tensor the part makes lies where its inputs lie: moved to the device `meta`, it runs there."""
    module = case.build().to("meta")
    outputs = case.run(module, {name: tensor.to("meta") for name, tensor in case.sample().items()})
    for name, tensor in outputs.items():
        require(tensor.device.type == "meta", f"{name} lies on {tensor.device}, the inputs lie on meta")


@law
def every_parameter_learns(case: Case) -> None:
    """One optimiser step after the start, a finite gradient that is not 0 reaches every trainable parameter, from the
    outputs or from a loss that the part has in training alone.

    A gradient that is 0 but for rounding does not count: a part for float32 is measured in float64, where it must
    exceed 1e-10 of the largest one. Two zero-initialised factors in a row would never open, and are found here.
    """
    exact = case.dtype == torch.float32 and case.device.type != "mps"
    if exact:
        case = copy(case)
        case.dtype = torch.float64
    module = case.build()
    learn(case, module, case.lessons(), lr=1e-2)
    found = [gradients(case, module.train(), inputs) for inputs in case.lessons()]
    found += [gradients_of_losses(case, module, inputs) for inputs in case.lessons()]
    for each in found:
        require_finite(each, "gradients")
    sizes = {name: max(float(each[name].abs().max()) for each in found if name in each) for name in found[0]}
    floor = 1e-10 * max(sizes.values(), default=0.0) if exact else 0.0
    for name, size in sizes.items():
        require(size > floor, f"the largest gradient of {name} is {size:.2g}, it must exceed {floor:.2g}")


@law
def eval_is_deterministic(case: Case) -> None:
    """In evaluation mode, with every dropout of the config at 0.5, two runs agree bit for bit."""
    module, inputs = case.build(with_dropout(case.config, 0.5)), case.sample()
    module.load_state_dict(case.trained().state_dict())
    torch.manual_seed(1)
    first = case.run(module, inputs)
    torch.manual_seed(2)
    require_equal(case.seen(case.run(module, inputs)), case.seen(first), "two runs in evaluation mode")


@law
def rows_are_independent(case: Case) -> None:
    """Changing row 1 leaves the others within 1e-6, in evaluation and, with dropout 0, in training."""
    module = case.build(with_dropout(case.config, 0.0))
    module.load_state_dict(case.trained().state_dict())
    inputs, strange = case.sample(seed=1), case.sample(seed=2)
    others = [i for i in range(len(next(iter(inputs.values())))) if i != 1]
    changed = {name: tensor.clone() for name, tensor in inputs.items()}
    for name, tensor in changed.items():
        tensor[1] = strange[name][1] * 3 if tensor.is_floating_point() else strange[name][1]
    for mode in (False, True):
        module.train(mode)
        got, want = (seeded(case, module, each) for each in (changed, inputs))
        what = f"row 1 changed ({'training' if mode else 'evaluation'} mode), the other rows"
        require_near(rows(case.seen(got), others), rows(case.seen(want), others), case.same, what)


@law
def batch_mates_change_nothing(case: Case) -> None:
    """A row alone, and rows in another order, come out as in the batch."""
    module, inputs = case.trained(), case.sample()
    want = case.seen(case.run(module, inputs))
    for index, what in (([0], "row 0 alone"), ([2, 0, 1], "rows in another order")):
        require_near(case.seen(case.run(module, rows(inputs, index))), rows(want, index), case.near, what)


@law
def absent_content_is_never_read(case: Case) -> None:
    """NaN and 1e30 under a False mask change nothing, and no output becomes NaN, not even an absent one."""
    module, inputs = case.trained(), case.sample()
    want = case.run(module, case.poisoned(inputs, 0.0))
    for value in POISONS:
        got = case.run(module, case.poisoned(inputs, value))
        require_near(case.seen(got), case.seen(want), case.near, f"{value} under a False mask")
        require_finite(got, f"{value} under a False mask")


@law
def absent_content_never_reaches_gradients(case: Case) -> None:
    """NaN and 1e30 under a False mask change no gradient: masks select, they never multiply."""
    module, inputs = case.trained(), case.sample()
    want = gradients(case, module, case.poisoned(inputs, 0.0))
    for value in POISONS:
        got = gradients(case, module, case.poisoned(inputs, value))
        require_near(got, want, case.near, f"{value} under a False mask, the gradients")


@law
def absent_rows_are_finite(case: Case) -> None:
    """Rows in which every mask is False give finite outputs, in evaluation and in training."""
    module, inputs = case.trained(), case.sample()
    names = set(case.masks(inputs).values())
    inputs |= {name: torch.zeros_like(inputs[name]) for name in names}
    inputs = case.poisoned(inputs, float("nan"))
    for mode in (False, True):
        require_finite(case.run(module.train(mode), inputs), "every mask False")


@law
def own_losses_are_sums_over_rows(case: Case) -> None:
    """A loss of the part's own is (sum over rows, number of rows): in evaluation and, with dropout 0, in training the
    rows add together what they add alone, absent content is never read, maps change nothing, and some parameter learns
    from it.
    """
    module, inputs = case.build(with_dropout(case.config, 0.0)), case.sample()
    module.load_state_dict(case.trained().state_dict())
    count = len(next(iter(inputs.values())))
    for mode, explain in product((False, True), repeat=2):
        module.train(mode)
        alone = [case.losses(module, rows(inputs, [i])) for i in range(count)]
        for name, (total, weight) in case.losses(module, case.poisoned(inputs, float("nan")), explain).items():
            require(float(weight) == count, f"{name} of {count} rows has the weight {float(weight):g}")
            want = torch.stack([each[name][0] for each in alone]).sum()
            size = want.detach().abs().clamp(min=1e-6)
            what = f"{name} of {count} rows, against the sum of each alone, relative to it"
            require_near({"the loss": total / size}, {"the loss": want / size}, case.near, what)
            require(total.requires_grad, f"{name} has no gradient")
            parameters = [p for p in module.parameters() if p.requires_grad]
            found = torch.autograd.grad(total, parameters, allow_unused=True, retain_graph=True)
            given = {f"parameter {i}": g for i, g in enumerate(found) if g is not None}
            require_finite(given, f"gradients of {name}")
            require(any(bool((g != 0).any()) for g in given.values()), f"no gradient of {name} differs from 0")


def gradients_of_losses(case: Case, module: nn.Module, inputs: Tensors) -> Tensors:
    """The gradient of every trainable parameter from the own losses that the part has in training alone."""
    usual = case.losses(module.eval(), inputs)
    own = {name: pair[0] for name, pair in case.losses(module.train(), inputs).items() if name not in usual}
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(list(own.values()), list(parameters.values()), allow_unused=True) if own else []
    return {name: g for name, g in zip(parameters, found, strict=False) if g is not None}


class TensorsToPython(TorchDispatchMode):
    """Counts the operations that turn a tensor's content into a Python value."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The operation's own result."""
        if func is torch.ops.aten._local_scalar_dense.default:
            self.calls += 1
        return func(*args, **(kwargs or {}))


def seeded(case: Case, module: nn.Module, inputs: Tensors) -> Tensors:
    """A run from a fixed random state."""
    torch.manual_seed(0)
    return case.run(module, inputs)


EVERY_PART: tuple[Callable[[Case], None], ...] = (
    config_round_trip,
    eval_is_deterministic,
    state_round_trip,
    dtype_is_kept,
    no_branch_reads_data,
    device_is_followed,
    rows_are_independent,
    batch_mates_change_nothing,
    absent_content_is_never_read,
    absent_content_never_reaches_gradients,
    absent_rows_are_finite,
    every_parameter_learns,
    own_losses_are_sums_over_rows,
)
