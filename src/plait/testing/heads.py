"""What every head is held to."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Prediction, Tokens
from plait.testing.case import Case, Tensors, hold, law, require, require_finite, require_near
from plait.testing.graphs import GRAPHS
from plait.testing.laws import EVERY_PART


def check_head(
    config: Config,
    schema: Schema | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    graphs: bool = True,
) -> None:
    """Hold a head, ours or yours, to the contract of every head.

    `config` is a `Config` with `kind` and `build(schema)`, which returns `forward(Tokens, {name: Tokens}) ->
    Prediction`. The tokens are one a variate, as wide as the anchor of `schema`; the context streams may be absent or
    left out. A head with a method `fill(tables)` is given `head_tables` once it is built. Every law is a function of
    this module or of `laws` and `graphs` beside it, and its docstring says what it holds:

    - types: every output batch first, finite and of the inputs' dtype and device; config and `state_dict` round
      trips; every parameter learns one step after the start;
    - rows: deterministic in evaluation mode; independent of each other and of the batch;
    - presence: content under a False mask is never read, by outputs or gradients; a context absent in every row
      equals one left out;
    - graphs, which cost seconds and are left out with `graphs=False`: `torch.export` with a dynamic batch and
      `torch.compile(fullgraph=True, backend="aot_eager")` agree.

    Tolerances, relative to max(1, |y|): 1e-5, and 1e-6 for the rows that a change does not concern; in other dtypes
    than float32 both are 2e-2. What is said to be exact or bit for bit is compared by `torch.equal` in every dtype.

    Raises: AssertionError that names the kind, the law, what was measured and the tolerance.

    >>> from plait.heads.forecast import ForecastConfig
    >>> check_head(ForecastConfig())
    """
    case = HeadCase(config, schema or head_schema(), dtype, device)
    hold(case, (shapes, *EVERY_PART))
    hold(case, HEAD)
    hold(case, GRAPHS if graphs else ())


def head_schema() -> Schema:
    """Tokens of width 19 for five variates, and a text stream of width 17; 13 steps ahead, 11 outputs, 7 bins."""
    return Schema(
        "series",
        {"series": 19, "text": 17},
        tuple("abcde"),
        lookback=11,
        horizon=13,
        stream_tokens={"text": 7},
        outputs=11,
        bins=7,
    )


def head_tables(schema: Schema, seed: int = 0) -> Tensors:
    """What a head is filled with: random `thresholds` (bins,) that increase."""
    steps = 0.1 + torch.rand(schema.bins, generator=torch.Generator().manual_seed(seed))
    return {"thresholds": steps.cumsum(0) - schema.bins / 3}


def prediction_tensors(prediction: Prediction) -> Tensors:
    """The tensors of a prediction in one dict: `point`, and each part as `parts.<name>`."""
    return {"point": prediction.point, **{f"parts.{name}": part for name, part in prediction.parts.items()}}


class HeadCase(Case):
    """A head over fused tokens; the inputs are `<stream>` and `<stream>_mask`, the anchor's are the fused ones."""

    room: ClassVar[str] = "head"

    def build(self, config: Config | None = None, seed: int = 0) -> nn.Module:
        """The head, filled; another seed has other tables, so that a `state_dict` must bring them."""
        module = super().build(config, seed)
        fill: Callable[[Mapping[str, Tensor]], None] | None = getattr(module, "fill", None)
        if fill is not None:
            fill(head_tables(self.schema, seed))
        return module

    def sample(self, rows: int = 3, seed: int = 0) -> Tensors:
        """Random tokens: row 0 is full, the others lack some."""
        maker = torch.Generator().manual_seed(seed)
        inputs: Tensors = {}
        for name, width in self.schema.streams.items():
            is_anchor = name == self.schema.anchor
            count = (len(self.schema.variates) or 5) if is_anchor else self.schema.stream_tokens.get(name, 7)
            mask = torch.rand(rows, count, generator=maker) < 0.7
            mask[0], mask[:, 0] = True, True
            mask[1:, -1] = mask[1:, -1] & (count == 1)
            inputs |= {name: torch.randn(rows, count, width, generator=maker), f"{name}_mask": mask}
        return self.finish(inputs)

    def run(self, module: nn.Module, inputs: Tensors) -> Tensors:
        """The tensors of the prediction by name."""
        streams = {n: Tokens(inputs[n], inputs[f"{n}_mask"]) for n in inputs if n in self.schema.streams}
        prediction: Prediction = module(streams.pop(self.schema.anchor), streams)
        return prediction_tensors(prediction)

    def masks(self, inputs: Tensors) -> dict[str, str]:
        """Each stream's own."""
        return {name: f"{name}_mask" for name in inputs if name in self.schema.streams}


@law
def shapes(case: HeadCase) -> None:
    """Every tensor of the prediction is batch first and finite, and there is one."""
    module, inputs = case.build(), case.sample()
    outputs = case.run(module, inputs)
    require(outputs, "the prediction is empty")
    require_finite(outputs, "the prediction")
    for name, tensor in outputs.items():
        require(tensor.dim() > 0 and len(tensor) == 3, f"{name} {tuple(tensor.shape)} of 3 rows is not batch first")


@law
def absent_context_equals_left_out(case: HeadCase) -> None:
    """A context stream absent in every row gives the same as one left out."""
    module, inputs = case.trained(), case.sample()
    for name in case.schema.contexts:
        masked = inputs | {f"{name}_mask": torch.zeros_like(inputs[f"{name}_mask"])}
        left_out = {key: tensor for key, tensor in inputs.items() if key not in (name, f"{name}_mask")}
        require_near(
            case.run(module, masked), case.run(module, left_out), case.near, f"{name} absent, against left out"
        )


HEAD: tuple[Callable[[HeadCase], None], ...] = (absent_context_equals_left_out,)
