"""What every model is held to."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.errors import DataError
from plait.core.kinds import config_class
from plait.core.protocols import Model
from plait.core.schema import Schema
from plait.core.tokens import Batch, Notes
from plait.testing.case import (
    Case,
    Tensors,
    half_absent,
    hold,
    law,
    require,
    require_equal,
    require_finite,
    require_near,
    rows,
)
from plait.testing.encoders import (
    SAMPLES,
    Fields,
    candle_schema,
    product_schema,
    random_tables,
    sample_schema,
    series_fields,
    series_schema,
    vector_fields,
)
from plait.testing.graphs import GRAPHS
from plait.testing.heads import prediction_tensors
from plait.testing.laws import EVERY_PART


def check_model(
    config: Config,
    schema: Schema | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    inputs: Fields | None = None,
    graphs: bool = True,
) -> None:
    """Hold a model, ours or yours, to the contract of every model.

    `config` is a `Config` with `kind` and `build(schema)`, which returns `forward(Batch, explain=False) -> Output`
    with the attributes `anchor` and `required`. Every law is a function of this module or of `laws` and `graphs`
    beside it, and its docstring says what it holds:

    - batches: `Batch.check` refuses what the model can't read, `forward` reads inputs alone; rows are independent of
      each other, of their order and of the batch's size; content under a False mask is never read;
    - presence: a row without any context equals the run without contexts bit for bit, and where the fusion is
      anchored and closed, the model at initialisation equals the same model with the fusion `none` bit for bit;
    - types: dtype, device, round trips, deterministic in evaluation mode, every parameter learns, from the whole batch
      or from the anchor alone (a model may stop the anchor's gradient while another leg learns);
    - notes: `explain=True` computes the same numbers; the model's own losses are (sum over rows, number of rows);
    - graphs, which cost seconds and are left out with `graphs=False`: `torch.export` with a dynamic batch and
      `torch.compile(fullgraph=True, backend="aot_eager")` agree.

    The batch is made from `schema`; unset, that is `schema_of(config)`. An anchor `asv` is samples: `asv` rows of a
    feature table, `asv_mask`, `asv_counts` (b, s), and as context `metadata` codes, `metadata_numbers`,
    `metadata_mask` (b, k); a part with `fill` is filled with random tables after the model is built. An anchor
    `attributes` is rows of a table: `attributes` (b, 1, w), `attributes_mask` (b, 1), `attributes_codes` (b, k). Any
    other anchor of a schema with a `lookback` is a series `<anchor>`, `<anchor>_mask` (b, t, v), `_marks` (b, t, k),
    `_prior` (b, p, v), `_season` (b,). Each context, and an anchor of neither form, is a stream of vectors `<name>`
    (b, m, e), `<name>_mask` and `<name>_age` (b, m). For other inputs give `inputs(rows, generator)`.

    Tolerances, relative to max(1, |y|): 1e-5, and 1e-6 for the rows that a change does not concern; in other dtypes
    than float32 both are 2e-2. What is said to be exact or bit for bit is compared by `torch.equal` in every dtype.

    Raises: AssertionError that names the kind, the law, what was measured and the tolerance.

    >>> from plait.models.chimera import ChimeraConfig
    >>> check_model(ChimeraConfig(series={"kind": "linear"}, text={"kind": "text", "depth": 0}), graphs=False)
    """
    case = ModelCase(config, schema or schema_of(config), dtype, device, inputs)
    hold(case, (shapes, bad_batch_is_refused, *EVERY_PART))
    hold(case, MODEL)
    hold(case, GRAPHS if graphs else ())


def schema_of(config: Config) -> Schema:
    """The schema a model is checked with, by the inputs it reads."""
    reads = getattr(config, "reads", ())
    if "attributes" in reads:
        return product_schema()
    if "candles" in reads:
        return candle_schema()
    return sample_schema() if "asv" in reads else series_schema()


class ModelCase(Case):
    """A model over batches of a schema; the inputs are those of the batch."""

    room: ClassVar[str] = "model"

    def __init__(
        self,
        config: Config,
        schema: Schema,
        dtype: torch.dtype,
        device: torch.device | str,
        inputs: Fields | None = None,
    ) -> None:
        super().__init__(config, schema, dtype, device)
        self.inputs = inputs

    @property
    def fusion(self) -> Any:
        """The config of the model's fusion, None for a model without one."""
        resolve: Callable[[Schema], Any] | None = getattr(self.config, "resolve", None)
        return getattr(resolve(self.schema) if resolve else self.config, "fusion", None)

    def sample(self, rows: int = 3, seed: int = 0) -> Tensors:
        """Random inputs: row 0 is fully observed, the others have gaps."""
        maker = torch.Generator().manual_seed(seed)
        if self.inputs is not None:
            return self.finish(self.inputs(rows, maker))
        found: Tensors = {}
        for name in (self.schema.anchor, *self.schema.contexts):
            found |= prefixed(name, self.fields(name, rows, maker))
        return self.finish(found)

    def fields(self, name: str, rows: int, maker: torch.Generator) -> Tensors:
        """Random fields of one modality."""
        if name in SAMPLES:
            return SAMPLES[name](self.schema, rows, maker)
        if name == self.schema.anchor and self.schema.lookback:
            return series_fields(self.schema, rows, maker)
        return vector_fields(self.schema, name, rows, maker)

    @property
    def of_samples(self) -> bool:
        """Whether the anchor is samples, and not a series."""
        return self.schema.anchor in SAMPLES

    def build(self, config: Config | None = None, seed: int = 0) -> nn.Module:
        """The model at its initialisation, in evaluation mode; its tables differ by the seed, as its weights do."""
        module = super().build(config, seed)
        for part in module.modules() if self.of_samples else ():
            fill: Callable[[Tensors], None] | None = getattr(part, "fill", None)
            if fill is not None:
                fill(random_tables(self.schema, seed))
        return module

    def run(self, module: nn.Module, inputs: Tensors, notes: Notes | None = None) -> Tensors:
        """The tensors of the prediction and of the model's own losses by name."""
        output = cast(Model, module)(Batch(inputs, {}, {}), explain=notes is not None and notes.explain)
        if notes is not None:
            notes.maps |= output.maps
        found = prediction_tensors(output.prediction)
        return found | {f"loss {n} {w}": t for n, pair in output.losses.items() for w, t in enumerate(pair)}

    def losses(self, module: nn.Module, inputs: Tensors, explain: bool = False) -> dict[str, tuple[Tensor, Tensor]]:
        """The losses of the output."""
        return cast(Model, module)(Batch(inputs, {}, {}), explain).losses

    def seen(self, outputs: Tensors) -> Tensors:
        """The prediction: losses are sums over the batch."""
        return {name: tensor for name, tensor in outputs.items() if not name.startswith("loss ")}

    def masks(self, inputs: Tensors) -> dict[str, str]:
        """Of every modality the content, codes too, and in a stream of vectors or samples every float with one value a
        token.
        """
        found = {}
        for mask_name in (name for name in inputs if name.endswith("_mask")):
            name, mask = mask_name.removesuffix("_mask"), inputs[mask_name]
            for key, tensor in inputs.items():
                own = key == name or (key.startswith(f"{name}_") and mask.dim() == 2 and tensor.shape == mask.shape)
                codes = name in SAMPLES and key in (name, f"{name}_codes")
                if codes or (own and tensor.is_floating_point()):
                    found[key] = mask_name
        return found

    def lessons(self) -> list[Tensors]:
        """A whole batch, and the anchor alone."""
        inputs = self.sample()
        return [inputs, self.without(inputs, self.schema.contexts)] if self.schema.contexts else [inputs]

    def without(self, inputs: Tensors, names: Iterable[str]) -> Tensors:
        """The inputs without modalities."""
        return Batch(inputs, {}, {}).without(names).inputs


def prefixed(name: str, fields: Tensors) -> Tensors:
    """The fields of one modality under the names of a batch: values -> `text`, mask -> `text_mask`."""
    return {name if field == "values" else f"{name}_{field}": tensor for field, tensor in fields.items()}


@law
def shapes(case: ModelCase) -> None:
    """Every tensor of the prediction is batch first and finite, with and without each context."""
    module, inputs = case.build(), case.sample()
    cast(Any, Batch(inputs, {}, {})).check(module.required)
    require(module.anchor in case.schema.streams, f"the anchor {module.anchor!r} is no stream of the schema")
    require(
        module.anchor in cast(Any, module.required), f"the anchor {module.anchor!r} is not among the required inputs"
    )
    for absent in ((), *((name,) for name in case.schema.contexts), case.schema.contexts):
        outputs = case.seen(case.run(module, case.without(inputs, absent)))
        what = f"without {', '.join(absent)}" if absent else "the whole batch"
        require(outputs, "the prediction is empty")
        require_finite(outputs, what)
        for name, tensor in outputs.items():
            require(len(tensor) == 3, f"{what}: {name} {tuple(tensor.shape)} of 3 rows is not batch first")


@law
def bad_batch_is_refused(case: ModelCase) -> None:
    """`Batch.check` raises DataError for a missing required input and for NaN in a value that is present."""
    module, inputs = case.build(), case.sample()
    required = cast(tuple[str, ...], module.required)
    for name in required:
        lacking = {key: tensor for key, tensor in inputs.items() if key != name}
        require(refuses(lacking, required), f"a batch without {name} passes")
    for name, tensor in inputs.items():
        if tensor.is_floating_point() and tensor.numel():
            # Row 0 of a sample is present everywhere.
            spoilt = tensor.clone()
            spoilt[0].view(-1)[0] = float("nan")
            require(refuses(inputs | {name: spoilt}, required), f"a batch with NaN in {name} passes")


@law
def forward_reads_inputs_alone(case: ModelCase) -> None:
    """Targets and `info` never reach the prediction."""
    module, inputs = case.trained(), case.sample()
    junk = {name: torch.full((3, 5), float("nan"), device=case.device) for name in ("y", "mask", "row")}
    got = prediction_tensors(cast(Model, module)(Batch(inputs, junk, junk)).prediction)
    want = case.seen(case.run(module, inputs))
    require_equal(got, want, "with targets and info, against without")


@law
def closed_start(case: ModelCase) -> None:
    """Where the fusion is anchored and closed, the model at initialisation equals the same model with the fusion
    `none` bit for bit: parts start from seeds of their own names.
    """
    fusion = case.fusion
    if not (getattr(fusion, "anchored", False) and getattr(fusion, "closed", False)):
        return
    alone = case.config.model_copy(update={"fusion": config_class("fusion", "none")()})
    inputs = case.sample()
    for seed in (0, 1):
        got, want = case.build(seed=seed), case.build(alone, seed=seed)
        what = f"fusion {fusion.kind!r} at initialisation, against fusion 'none'"
        require_equal(case.seen(case.run(got, inputs)), case.seen(case.run(want, inputs)), what)


@law
def row_without_context_equals_run_without(case: ModelCase) -> None:
    """With an anchored fusion, a row whose context is absent comes out bit for bit as if that modality, for the whole
    run, were not there: after training, beside rows that have it. Of several contexts that is so where all are absent;
    one of them leaves places of weight 0 among those of the others, and sums over more places round otherwise.
    """
    module, inputs = case.trained(), case.sample(rows=5)
    contexts = case.schema.contexts
    for names in dict.fromkeys([*((name,) for name in contexts), contexts] if contexts else []):
        masks = {f"{name}_mask": inputs[f"{name}_mask"].clone() for name in names}
        for mask in masks.values():
            mask[::2] = False
        absent = [0, 2, 4]
        got = rows(case.seen(case.run(module, inputs | masks)), absent)
        want = rows(case.seen(case.run(module, case.without(inputs, names))), absent)
        what = f"rows without {', '.join(names)}, against the run without"
        if getattr(case.fusion, "anchored", False) and names == contexts:
            require_equal(got, want, what)
        else:
            require_near(got, want, case.near, what)


@law
def explain_agrees(case: ModelCase) -> None:
    """`explain=True` computes the same prediction; every map is finite, batch first, each axis named."""
    module = case.trained()
    for inputs in (case.sample(), half_absent(case, case.sample())):
        notes = Notes(explain=True)
        got = case.seen(case.run(module, inputs, notes))
        require_near(got, case.seen(case.run(module, inputs)), case.near, "explain=True, against the fast path")
        for name, found in notes.maps.items():
            require_finite({name: found.values}, "maps")
            named = len(found.axes) == found.values.dim()
            require(named, f"map {name} has {found.values.dim()} axes, named {found.axes}")
            require(len(found.values) == 3, f"map {name} has {len(found.values)} rows of 3")


def refuses(inputs: Tensors, required: tuple[str, ...]) -> bool:
    """Whether `Batch.check` raises DataError."""
    try:
        Batch(inputs, {}, {}).check(required)
    except DataError:
        return True
    return False


MODEL: tuple[Callable[[ModelCase], None], ...] = (
    forward_reads_inputs_alone,
    closed_start,
    row_without_context_equals_run_without,
    explain_agrees,
)
