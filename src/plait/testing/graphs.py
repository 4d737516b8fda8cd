"""The laws that hold for every part as a graph: exported, and compiled."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from plait.testing.case import Case, Tensors, half_absent, law, require_near


@law
def export_agrees(case: Case) -> None:
    """`torch.export` with a dynamic batch and the masks as inputs agrees, with rows that are absent, too."""
    module, inputs = case.trained(), case.sample()
    shapes = ({name: {0: torch.export.Dim.DYNAMIC} for name in inputs},)
    exported = torch.export.export(Graph(case, module), (inputs,), dynamic_shapes=shapes).module()
    for each in (inputs, half_absent(case, case.sample(5, seed=1))):
        want = case.seen(case.run(module, each))
        require_near(case.seen(exported(each)), want, case.near, f"exported, {len(next(iter(each.values())))} rows")


def compile_agrees(backend: str = "aot_eager") -> Callable[[Case], None]:
    """The law that `torch.compile(fullgraph=True)` agrees, by one of its backends."""

    @law
    def compile_agrees(case: Case) -> None:
        module, inputs = case.trained(), half_absent(case, case.sample(5, seed=1))
        torch._dynamo.reset()
        with torch.no_grad():
            got = torch.compile(Graph(case, module), fullgraph=True, backend=backend)(inputs)
            want = case.run(module, inputs)
        torch._dynamo.reset()
        require_near(case.seen(got), case.seen(want), case.near, f"compiled by {backend}")

    return compile_agrees


class Graph(nn.Module):
    """A case's run as a module of its own, from a dict of tensors to a dict of tensors."""

    def __init__(self, case: Case, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.run: Callable[[nn.Module, Tensors], Any] = case.run

    def forward(self, inputs: dict[str, Tensor]) -> Any:
        """The outputs by name."""
        return self.run(self.module, inputs)


GRAPHS: tuple[Callable[[Case], None], ...] = (export_agrees, compile_agrees())
