"""What every fusion operator is held to."""

from collections.abc import Callable
from itertools import combinations

import torch

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Notes
from plait.testing.attention import ATTENTION
from plait.testing.case import (
    Tensors,
    hold,
    law,
    require,
    require_equal,
    require_finite,
    require_near,
    rows,
    with_dropout,
)
from plait.testing.graphs import GRAPHS
from plait.testing.laws import EVERY_PART, seeded
from plait.testing.streams import FusionCase, example_schema


def check_fusion(
    config: Config,
    schema: Schema | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    graphs: bool = True,
) -> None:
    """Hold a fusion operator, ours or yours, to the contract of every fusion.

    `config` is a `Config` with `kind`, `anchored`, for anchored kinds the property `closed`, and
    `build(schema)`, which returns `forward({name: Tokens}, notes=None) -> Tokens` with the attribute `dim`. Every law
    is a function of this module or of `attention`, `laws` and `graphs` beside it, and its docstring says what it holds:

    - types: widths, masks, dtype and device of the output; config and `state_dict` round trips; every parameter
      learns one step after the start;
    - rows: deterministic in evaluation mode; independent of other rows, of the order of the mapping's keys, and of
      the amount and content of padding;
    - presence: every pattern of present streams is finite; a stream that is all absent equals one left out; an
      anchored kind returns the anchor exactly in a row without context, also after training; no stream at all gives
      zeros with a False mask;
    - start: a kind that says `closed` returns the anchor bit for bit at initialisation;
    - attention: where there is a `plait.nn.attention.Attention`, its queries and keys learn from a single context
      token and from several; its map depends on the position, sums to 1 over present keys and is exactly 0 for absent
      ones;
    - notes: with them the tokens are the same; maps are labelled, a map `gate...` is a share; own losses are (sum over
      rows, number of rows), to which an anchored kind adds exactly 0 for a row without context;
    - graphs, which cost seconds and are left out with `graphs=False`: `torch.export` with a dynamic batch and
      `torch.compile(fullgraph=True, backend="aot_eager")` agree.

    Tolerances, relative to max(1, |y|): 1e-5, and 1e-6 for the rows that a change does not concern; in other dtypes
    than float32 both are 2e-2. What is said to be exact or bit for bit is compared by `torch.equal` in every dtype.
    `schema` names the streams, the anchor first; without one it has an anchor of 5 tokens, as wide as `config` allows
    from 19 on, and contexts of 7 and 11 tokens with widths from 13 and 17 on.

    Raises: AssertionError that names the kind, the law, what was measured and the tolerance.

    >>> from plait.fusion.add import AddConfig
    >>> check_fusion(AddConfig())
    """
    case = FusionCase(config, schema or example_schema(config), dtype, device)
    hold(case, (shapes, *EVERY_PART))
    hold(case, (*FUSION, *ATTENTION))
    hold(case, GRAPHS if graphs else ())


@law
def shapes(case: FusionCase) -> None:
    """`dim` is the width of the output; anchored kinds keep the anchor's shape and mask, others have some token."""
    module, inputs = case.build(), case.sample()
    out = case.run(module, inputs)
    x, mask, name = out["x"], out["mask"], case.schema.anchor
    require(mask.dtype == torch.bool, f"the mask is {mask.dtype}, it must be bool")
    expected = [3, mask.shape[1], module.dim]
    require(list(x.shape) == expected and mask.dim() == 2, f"x {list(x.shape)} is not (b, n, dim) = {expected}")
    if case.anchored:
        require(x.shape == inputs[name].shape, f"x {tuple(x.shape)} against the anchor {tuple(inputs[name].shape)}")
        require(torch.equal(mask, inputs[f"{name}_mask"]), "the mask is not the anchor's")
    else:
        require(bool(mask.any(dim=1).all()), "a row with tokens in every stream has no token in the output")


@law
def padding_amount_changes_nothing(case: FusionCase) -> None:
    """Three more absent tokens at the end of every stream leave the present tokens as they were."""
    module, inputs = case.trained(), case.sample()
    longer = dict(inputs)
    for name in case.schema.streams:
        x, mask = inputs[name], inputs[f"{name}_mask"]
        longer[name] = torch.cat([x, torch.full_like(x[:, :1], 1e4).expand(-1, 3, -1)], dim=1)
        longer[f"{name}_mask"] = torch.cat([mask, torch.zeros_like(mask[:, :1]).expand(-1, 3)], dim=1)
    got, want = (case.run(module, each) for each in (longer, inputs))
    present = ({"present tokens": out["x"][out["mask"]]} for out in (got, want))
    require_near(next(present), next(present), case.near, "3 absent tokens more in every stream")


@law
def key_order_changes_nothing(case: FusionCase) -> None:
    """The order of the mapping's keys has no meaning."""
    module, inputs = case.trained(), case.sample()
    want = case.seen(case.run(module, inputs))
    got = case.seen(case.run(module, dict(reversed(inputs.items()))))
    require_near(got, want, case.near, "the streams in reversed order")


@law
def every_presence_is_finite(case: FusionCase) -> None:
    """Every pattern of present streams gives finite tokens, in evaluation and in training."""
    module, inputs = case.trained(), case.sample()
    for absent in patterns(case.optional()):
        for mode in (False, True):
            what = f"{', '.join(absent)} absent ({'training' if mode else 'evaluation'} mode)"
            require_finite(case.run(module.train(mode), case.without(inputs, absent)), what)
            if len(absent) < len(case.schema.streams):
                require_finite(case.run(module, case.left_out(inputs, absent)), f"{what}, left out")


@law
def absent_stream_equals_one_left_out(case: FusionCase) -> None:
    """A stream absent in every row gives what leaving it out gives, in evaluation and, with dropout 0, in training."""
    module, inputs = case.build(with_dropout(case.config, 0.0)), case.sample()
    module.load_state_dict(case.trained().state_dict())
    for absent in patterns(case.optional()):
        if len(absent) == len(case.schema.streams):
            continue
        for mode in (False, True):
            module.train(mode)
            got = seeded(case, module, case.without(inputs, absent))
            want = seeded(case, module, case.left_out(inputs, absent))
            what = f"{', '.join(absent)} absent ({'training' if mode else 'evaluation'} mode), against left out"
            require_near(present_tokens(got), present_tokens(want), case.near, what)


@law
def mixed_presence_agrees(case: FusionCase) -> None:
    """Rows with different streams present, in one batch, come out as each does alone."""
    module, mixed = case.trained(), case.sample(rows=4)
    optional = case.optional()
    for row, absent in ((1, optional[:1]), (2, optional[1:]), (3, optional)):
        mixed = case.without(mixed, absent, slice(row, row + 1))
    want = case.seen(case.run(module, mixed))
    for row in range(4):
        alone = case.seen(case.run(module, rows(mixed, [row])))
        require_near(alone, rows(want, [row]), case.near, f"row {row} of a batch with mixed presence, alone")


@law
def no_context_returns_the_anchor(case: FusionCase) -> None:
    """An anchored kind returns the anchor bit for bit in a row without context: at the start and after training,
    in evaluation and in training, with contexts absent or left out, beside rows that have context.

    A config with `keeps_anchor = False` says that its kind changes the anchor there too; the law leaves it out.
    """
    if not case.keeps_anchor:
        return
    inputs, contexts = case.sample(), case.schema.contexts
    want = case.anchor(inputs)
    for module, when in ((case.build(), "at initialisation"), (case.trained(), "after training steps")):
        for mode in (False, True):
            module.train(mode)
            what = f"{when} ({'training' if mode else 'evaluation'} mode), without context, against the anchor"
            require_equal(case.seen(case.run(module, case.left_out(inputs, contexts))), want, f"{what}, left out")
            require_equal(case.seen(case.run(module, case.without(inputs, contexts))), want, what)
            part = case.seen(case.run(module, case.without(inputs, contexts, slice(1, None))))
            require_equal(rows(part, [1, 2]), rows(want, [1, 2]), f"{what}, beside a row with context")


@law
def all_absent_gives_zeros(case: FusionCase) -> None:
    """Where every stream is absent the tokens are zeros with a False mask, whatever stands under the masks."""
    module, inputs = case.trained(), case.sample()
    nothing = case.without(inputs, tuple(case.schema.streams))
    for value in (0.5, float("nan")):
        out = case.run(module, case.poisoned(nothing, value))
        require(not bool(out["mask"].any()), "no stream is present, and the output's mask has a True")
        require_equal({"x": out["x"]}, {"x": torch.zeros_like(out["x"])}, f"no stream present, {value} under the masks")


@law
def closed_start(case: FusionCase) -> None:
    """A kind that says `closed` returns the anchor bit for bit at initialisation, in evaluation and in training."""
    if not getattr(case.config, "closed", False):
        return
    require(case.anchored, "closed, and not anchored")
    module, inputs = case.build(), case.sample()
    for mode in (False, True):
        what = f"at initialisation ({'training' if mode else 'evaluation'} mode), against the anchor"
        require_equal(case.seen(case.run(module.train(mode), inputs)), case.anchor(inputs), what)


@law
def explain_agrees(case: FusionCase) -> None:
    """Asked for its maps the operator computes the same tokens; every map is finite, batch first, each axis named."""
    module, inputs = case.trained(), case.sample()
    notes, want = Notes(explain=True), case.seen(case.run(module, inputs))
    require_near(case.seen(case.run(module, inputs, notes)), want, case.near, "with maps, against without")
    require_near(case.seen(case.run(module, inputs, Notes())), want, case.same, "with notes, against without")
    for name, found in notes.maps.items():
        require_finite({name: found.values}, "maps")
        require(len(found.axes) == found.values.dim(), f"map {name} has {found.values.dim()} axes, named {found.axes}")
        require(len(found.values) == 3, f"map {name} has {len(found.values)} rows of 3")


@law
def gates_are_shares(case: FusionCase) -> None:
    """A map whose name begins with `gate` lies in [0, 1]."""
    notes = Notes(explain=True)
    case.run(case.trained(), case.sample(), notes)
    for name, found in notes.maps.items():
        if name.startswith("gate"):
            low, high = (float(bound) for bound in found.values.detach().aminmax())
            require(low >= 0 and high <= 1, f"{name} lies in [{low:.3g}, {high:.3g}], a share lies in [0, 1]")


@law
def no_context_adds_no_loss(case: FusionCase) -> None:
    """To the own losses of an anchored kind a row without context adds exactly 0, and counts as a row."""
    if not case.anchored:
        return
    module, inputs = case.trained(), case.sample()
    for name, (total, weight) in case.losses(module, case.without(inputs, case.schema.contexts)).items():
        size = float(total.detach())
        require(size == 0, f"{name} of 3 rows without context is {size:.2g}, it must be 0")
        require(float(weight) == 3, f"{name} of 3 rows without context has the weight {float(weight):g}")


def patterns(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Every choice of at least one name."""
    return [choice for count in range(1, len(names) + 1) for choice in combinations(names, count)]


def present_tokens(outputs: Tensors) -> Tensors:
    """The present tokens of every row, one after the other."""
    return {"present tokens": outputs["x"][outputs["mask"]], "tokens a row": outputs["mask"].sum(dim=1)}


FUSION: tuple[Callable[[FusionCase], None], ...] = (
    padding_amount_changes_nothing,
    key_order_changes_nothing,
    closed_start,
    every_presence_is_finite,
    no_context_returns_the_anchor,
    all_absent_gives_zeros,
    absent_stream_equals_one_left_out,
    mixed_presence_agrees,
    explain_agrees,
    gates_are_shares,
    no_context_adds_no_loss,
)
