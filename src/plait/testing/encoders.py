"""What every encoder is held to."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.testing.case import Case, Tensors, hold, law, put, require, require_near
from plait.testing.graphs import GRAPHS
from plait.testing.laws import EVERY_PART

Fields = Callable[[int, torch.Generator], Tensors]


def check_encoder(
    config: Config,
    schema: Schema | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    fields: Fields | None = None,
    graphs: bool = True,
) -> None:
    """Hold an encoder, ours or yours, to the contract of every encoder.

    `config` is a `Config` with `kind` and `build(schema)`, which returns `forward({field: tensor}) -> Tokens` with
    the attribute `dim`. Every law is a function of this module or of `laws` and `graphs` beside it, and its docstring
    says what it holds:

    - types: shapes, dtype and device; config and `state_dict` round trips; every parameter learns one step after the
      start;
    - rows: deterministic in evaluation mode; independent of each other and of the batch;
    - presence: content under a False mask is never read, by outputs or gradients, and in a stream of vectors its
      amount has no effect; rows without any content are finite, with a False mask;
    - graphs, which cost seconds and are left out with `graphs=False`: `torch.export` with a dynamic batch and
      `torch.compile(fullgraph=True, backend="aot_eager")` agree.

    The class variable `modality` of the config names the stream of `schema` that is encoded. The anchor is a series:
    `values` and `mask` (b, t, v), `marks` (b, t, k), `prior` (b, p, v), `season` (b,). Any other is a stream of
    vectors: `values` (b, m, e), `mask` and `age` (b, m), of which `schema.grouped` says how many are pooled into one.
    For other inputs give `fields(rows, generator)`, which returns them with a `mask`.

    Tolerances, relative to max(1, |y|): 1e-5, and 1e-6 for the rows that a change does not concern; in other dtypes
    than float32 both are 2e-2. What is said to be exact or bit for bit is compared by `torch.equal` in every dtype.

    Raises: AssertionError that names the kind, the law, what was measured and the tolerance.

    >>> from plait.encoders.linear import LinearConfig
    >>> check_encoder(LinearConfig(dim=7))
    """
    case = EncoderCase(config, schema or series_schema(), dtype, device, fields)
    hold(case, (shapes, *EVERY_PART))
    hold(case, ENCODER)
    hold(case, GRAPHS if graphs else ())


def series_schema() -> Schema:
    """Five variates over 11 steps, 13 steps ahead, two marks, and texts of width 17."""
    return Schema(
        "series", {"series": 5, "text": 17}, tuple("abcde"), lookback=11, horizon=13, marks=2, seasons=19,
        stream_tokens={"text": 7},
    )  # fmt: skip


class EncoderCase(Case):
    """An encoder of one modality; the inputs are its fields."""

    room: ClassVar[str] = "encoder"

    def __init__(
        self,
        config: Config,
        schema: Schema,
        dtype: torch.dtype,
        device: torch.device | str,
        fields: Fields | None = None,
    ) -> None:
        super().__init__(config, schema, dtype, device)
        self.fields = fields

    @property
    def series(self) -> bool:
        """Whether the encoder reads a series, and not a stream of vectors."""
        return self.modality == self.schema.anchor

    @property
    def modality(self) -> str:
        """The stream that is encoded."""
        return str(getattr(self.config, "modality", self.schema.anchor))

    @property
    def group(self) -> int:
        """How many neighbouring vectors the encoder pools into one."""
        return self.schema.grouped.get(self.modality, 1)

    def sample(self, rows: int = 3, seed: int = 0) -> Tensors:
        """Random fields: row 0 is fully observed, the others have gaps, row 1 of a series lacks a whole variate."""
        maker = torch.Generator().manual_seed(seed)
        if self.fields is not None:
            inputs = self.fields(rows, maker)
        elif self.series:
            inputs = series_fields(self.schema, rows, maker)
        else:
            inputs = vector_fields(self.schema, self.modality, rows, maker)
        return self.finish(inputs)

    def run(self, module: nn.Module, inputs: Tensors) -> Tensors:
        """The tokens as `x` and `mask`."""
        x, mask = module(inputs)
        return {"x": x, "mask": mask}

    def masks(self, inputs: Tensors) -> dict[str, str]:
        """`mask` tells of `values`, and in a stream of vectors of every float that has one value a token."""
        mask = inputs["mask"]
        alike = [
            name
            for name, tensor in inputs.items()
            if tensor.is_floating_point() and (name == "values" or (mask.dim() == 2 and tensor.shape == mask.shape))
        ]
        return dict.fromkeys(alike, "mask")

    def seen(self, outputs: Tensors) -> Tensors:
        """The tokens with 0 for absent ones, and the mask."""
        return {"x": put(outputs["x"], outputs["mask"], 0.0), "mask": outputs["mask"]}


def series_fields(schema: Schema, rows: int, maker: torch.Generator) -> Tensors:
    """A series with gaps: at the start of a window, at its end, and over all of it for one variate of row 1."""
    steps, variates = schema.lookback, len(schema.variates)
    mask = torch.rand(rows, steps, variates, generator=maker) < 0.8
    mask[1:, 0, 0], mask[1:, -1, -1] = False, False
    mask[0] = True
    mask[1:2, :, 1] = False
    return {
        "values": torch.randn(rows, steps, variates, generator=maker),
        "mask": mask,
        "marks": torch.rand(rows, steps, schema.marks, generator=maker) - 0.5,
        "prior": torch.randn(rows, schema.horizon, variates, generator=maker),
        "season": torch.randint(schema.seasons, (rows,), generator=maker),
    }


def vector_fields(schema: Schema, stream: str, rows: int, maker: torch.Generator) -> Tensors:
    """A stream of vectors with their age, one for all vectors of a group; row 0 is full, the others lack some vectors
    and their last group.
    """
    count, group = schema.stream_tokens.get(stream, 7), schema.grouped.get(stream, 1)
    mask = torch.rand(rows, count, generator=maker) < 0.7
    mask[1:, -group:], mask[0], mask[:, 0] = False, True, True
    values = torch.randn(rows, count, schema.streams[stream], generator=maker)
    age = torch.rand(rows, count // group, generator=maker) * 4
    return {"values": values, "mask": mask, "age": age.repeat_interleave(group, dim=1)}


@law
def shapes(case: EncoderCase) -> None:
    """Tokens (b, n, dim) with a bool mask (b, n): a variate is present if a step is, a vector if its mask says so, a
    group of vectors that are pooled if one of them is.
    """
    module, inputs = case.build(), case.sample()
    out = case.run(module, inputs)
    x, mask = out["x"], out["mask"]
    require(mask.dtype == torch.bool, f"the mask is {mask.dtype}, it must be bool")
    expected = [3, mask.shape[1], module.dim]
    require(list(x.shape) == expected and mask.dim() == 2, f"x {list(x.shape)} is not (b, n, dim) = {expected}")
    if case.fields is None:
        given = inputs["mask"].any(dim=1) if case.series else inputs["mask"].unflatten(1, (-1, case.group)).any(dim=-1)
        require(torch.equal(mask, given), "the mask does not say which variates or vectors are present")


@law
def all_absent_is_masked(case: EncoderCase) -> None:
    """Where nothing is present the tokens have a False mask."""
    inputs = case.sample()
    out = case.run(case.trained(), inputs | {"mask": torch.zeros_like(inputs["mask"])})
    require(not bool(out["mask"].any()), "nothing is present, and the output's mask has a True")


@law
def padding_amount_changes_nothing(case: EncoderCase) -> None:
    """Three more absent vectors, or groups of them, at the end of a stream leave the present tokens as they were."""
    if case.series or case.fields is not None:
        return
    module, inputs = case.trained(), case.sample()
    more = 3 * case.group
    longer = {n: torch.cat([t, t.new_zeros(len(t), more, *t.shape[2:])], dim=1) for n, t in inputs.items()}
    got, want = (case.run(module, each) for each in (longer, inputs))
    present = ({"present tokens": out["x"][out["mask"]]} for out in (got, want))
    require_near(next(present), next(present), case.near, f"{more} absent vectors more")


ENCODER: tuple[Callable[[EncoderCase], None], ...] = (all_absent_is_masked, padding_amount_changes_nothing)
