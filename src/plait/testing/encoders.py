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

    The class variable `modality` of the config names the stream of `schema` that is encoded; unset, the schema is
    `schema_of(config)`. `asv` are rows of a feature table: `values`, `mask`, `counts` (b, s); the encoder returns a
    token each, or one a sample. `metadata` are columns: `values` codes, `numbers`, `mask` (b, k). `attributes` are a
    table's row: `values` (b, 1, w), `mask` (b, 1), `codes` (b, k), a token a row. Any other anchor is a series:
    `values` and `mask` (b, t, v), `marks` (b, t, k), `prior` (b, p, v), `season` (b,), and a token a variate; of
    `candles` the encoder gives as many tokens as it likes. Any other stream is of vectors: `values` (b, m, e), `mask`
    and `age` (b, m), of which `schema.grouped` says how many are pooled into one, and where it has one vector a row
    the encoder gives as many tokens as it likes. For other inputs give `fields(rows, generator)`, which returns them
    with a `mask`. A part with `fill` is filled with random tables after it is built.

    Tolerances, relative to max(1, |y|): 1e-5, and 1e-6 for the rows that a change does not concern; in other dtypes
    than float32 both are 2e-2. What is said to be exact or bit for bit is compared by `torch.equal` in every dtype.

    Raises: AssertionError that names the kind, the law, what was measured and the tolerance.

    >>> from plait.encoders.linear import LinearConfig
    >>> check_encoder(LinearConfig(dim=7))
    """
    case = EncoderCase(config, schema or schema_of(config), dtype, device, fields)
    hold(case, (shapes, *EVERY_PART))
    hold(case, ENCODER)
    hold(case, GRAPHS if graphs else ())


def series_schema() -> Schema:
    """Five variates over 11 steps, 13 steps ahead, two marks, and texts of width 17."""
    return Schema(
        "series", {"series": 5, "text": 17}, tuple("abcde"), lookback=11, horizon=13, marks=2, seasons=19,
        stream_tokens={"text": 7},
    )  # fmt: skip


def sample_schema() -> Schema:
    """A table of 31 features with two blocks and 11 letters; three columns of categories and two of numbers."""
    columns = {"site": 3, "ph": 0, "season": 5, "age": 0, "study": 2}
    return Schema(
        "asv", {"asv": 8, "metadata": len(columns)}, features=31, blocks={"kmers": 5, "tree": 3}, letters=11,
        columns=columns, outputs=1, bins=7,
    )  # fmt: skip


def candle_schema() -> Schema:
    """Windows of 11 bars with five channels, and two vectors a row beside them; two numbers to predict."""
    streams = {"candles": 5, "topology": 17, "complexity": 3}
    alone = {"topology": 1, "complexity": 1}
    return Schema("candles", streams, tuple("abcde"), 11, seasons=1, stream_tokens=alone, outputs=2)


def product_schema() -> Schema:
    """Three numbers and two columns of categories, an image of one vector, words of seven, and a price."""
    streams = {"attributes": 3, "image": 17, "words": 13}
    counts = {"attributes": 1, "image": 1, "words": 7}
    return Schema("attributes", streams, stream_tokens=counts, columns={"zip": 5, "state": 2}, outputs=1)


def schema_of(config: Config) -> Schema:
    """The schema an encoder is checked with, by its modality."""
    modality = getattr(config, "modality", "")
    if modality in product_schema().streams:
        return product_schema()
    if modality in candle_schema().streams:
        return candle_schema()
    return sample_schema() if modality in ("asv", "metadata") else series_schema()


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
        """Whether the encoder reads a series, and neither a stream of vectors nor a sample."""
        return self.modality == self.schema.anchor and self.modality not in SAMPLES

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
        elif self.modality in SAMPLES:
            inputs = SAMPLES[self.modality](self.schema, rows, maker)
        else:
            inputs = vector_fields(self.schema, self.modality, rows, maker)
        return self.finish(inputs)

    def build(self, config: Config | None = None, seed: int = 0) -> nn.Module:
        """The part at its initialisation, in evaluation mode; its tables differ by the seed, as its weights do."""
        module = super().build(config, seed)
        fill: Callable[[Tensors], None] | None = getattr(module, "fill", None)
        if fill is not None:
            fill(random_tables(self.schema, seed))
        return module

    def run(self, module: nn.Module, inputs: Tensors) -> Tensors:
        """The tokens as `x` and `mask`."""
        x, mask = module(inputs)
        return {"x": x, "mask": mask}

    def masks(self, inputs: Tensors) -> dict[str, str]:
        """`mask` tells of `values`, of `codes`, and in a stream of vectors or a sample of every float with one value a
        token.
        """
        mask = inputs["mask"]
        alike = [
            name
            for name, tensor in inputs.items()
            if (name == "values" and (tensor.is_floating_point() or self.modality in SAMPLES))
            or name == "codes"
            or (tensor.is_floating_point() and mask.dim() == 2 and tensor.shape == mask.shape)
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


def asv_fields(schema: Schema, rows: int, maker: torch.Generator) -> Tensors:
    """Rows of a feature table with counts; rows share features, row 0 is full, the others lack some."""
    count = 7
    values = torch.stack([torch.randperm(schema.features, generator=maker)[:count].sort().values for _ in range(rows)])
    mask = torch.rand(rows, count, generator=maker) < 0.7
    mask[1:, -1], mask[0], mask[:, 0] = False, True, True
    counts = torch.randint(1, 53, (rows, count), generator=maker).float()
    return {"values": torch.where(mask, values, 0), "mask": mask, "counts": torch.where(mask, counts, 0.0)}


def metadata_fields(schema: Schema, rows: int, maker: torch.Generator) -> Tensors:
    """Codes of the columns of categories, numbers of the others; row 0 is full, the others lack some."""
    sizes = torch.tensor(list(schema.columns.values()))
    mask = torch.rand(rows, len(sizes), generator=maker) < 0.7
    mask[1:, -1], mask[0], mask[:, 0] = False, True, True
    codes = (torch.rand(rows, len(sizes), generator=maker) * sizes).long()
    numbers = torch.where(sizes > 0, 0.0, torch.randn(rows, len(sizes), generator=maker))
    return {"values": torch.where(mask, codes, 0), "numbers": torch.where(mask, numbers, 0.0), "mask": mask}


def attributes_fields(schema: Schema, rows: int, maker: torch.Generator) -> Tensors:
    """Numbers and codes of a table, 0 a code that no column knows; every second row but row 0 lacks all of them."""
    sizes = torch.tensor(list(schema.columns.values()))
    mask = torch.arange(rows)[:, None] % 2 == 0
    fields = {"values": torch.randn(rows, 1, schema.streams["attributes"], generator=maker), "mask": mask}
    codes = (torch.rand(rows, len(sizes), generator=maker) * (sizes + 1)).long()
    return fields | ({"codes": codes} if len(sizes) else {})


SAMPLES = {"asv": asv_fields, "metadata": metadata_fields, "attributes": attributes_fields}
"""How the fields of each modality of samples are drawn."""


def random_tables(schema: Schema, seed: int) -> Tensors:
    """What a part of a run of samples is filled with: blocks, letters with padding (two features have the same), the
    training mean of the CLR, increasing thresholds.
    """
    maker = torch.Generator().manual_seed(seed)
    letters = torch.randint(1, 6, (schema.features, schema.letters), generator=maker).to(torch.uint8)
    lengths = torch.randint(schema.letters // 2, schema.letters + 1, (schema.features, 1), generator=maker)
    letters = torch.where(torch.arange(schema.letters) < lengths, letters, 0).to(torch.uint8)
    letters[schema.features // 2 :][:1] = letters[:1]
    return {
        "blocks": torch.randn(schema.features, sum(schema.blocks.values()), generator=maker),
        "letters": letters,
        "clr_mean": torch.randn(schema.features, generator=maker),
        "thresholds": torch.rand(schema.bins, generator=maker).cumsum(0),
    }


@law
def shapes(case: EncoderCase) -> None:
    """Tokens (b, n, dim) with a bool mask (b, n): a variate is present if a step is, a vector, ASV or column if its
    mask says so; a group of vectors that are pooled, the one token of a sample, and those of candles, if one of them
    is, and those of a single vector if that is.
    """
    module, inputs = case.build(), case.sample()
    out = case.run(module, inputs)
    x, mask = out["x"], out["mask"]
    require(mask.dtype == torch.bool, f"the mask is {mask.dtype}, it must be bool")
    expected = [3, mask.shape[1], module.dim]
    require(list(x.shape) == expected and mask.dim() == 2, f"x {list(x.shape)} is not (b, n, dim) = {expected}")
    if case.fields is None:
        given = inputs["mask"].any(dim=1) if case.series else inputs["mask"].unflatten(1, (-1, case.group)).any(dim=-1)
        if case.modality == "candles" or given.shape[1] == 1 or (case.modality == "asv" and mask.shape[1] == 1):
            given = given.any(dim=1, keepdim=True).expand_as(mask)
        require(torch.equal(mask, given), "the mask does not say which variates, vectors, ASVs or columns are present")


@law
def all_absent_is_masked(case: EncoderCase) -> None:
    """Where nothing is present the tokens have a False mask."""
    inputs = case.sample()
    out = case.run(case.trained(), inputs | {"mask": torch.zeros_like(inputs["mask"])})
    require(not bool(out["mask"].any()), "nothing is present, and the output's mask has a True")


@law
def padding_amount_changes_nothing(case: EncoderCase) -> None:
    """Three more absent vectors or ASVs, or groups of them, at the end of a stream leave the present tokens as they
    were.
    """
    if case.series or case.fields is not None or case.modality in ("metadata", "attributes"):
        return
    module, inputs = case.trained(), case.sample()
    more = 3 * case.group
    longer = {n: torch.cat([t, t.new_zeros(len(t), more, *t.shape[2:])], dim=1) for n, t in inputs.items()}
    got, want = (case.run(module, each) for each in (longer, inputs))
    present = ({"present tokens": out["x"][out["mask"]]} for out in (got, want))
    require_near(next(present), next(present), case.near, f"{more} absent vectors more")


ENCODER: tuple[Callable[[EncoderCase], None], ...] = (all_absent_is_masked, padding_amount_changes_nothing)
