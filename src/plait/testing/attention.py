"""What attention between streams is held to."""

from collections.abc import Callable
from dataclasses import replace

import torch

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Map, Notes
from plait.nn.attention import Attention
from plait.testing.case import Tensors, distance, gradients, law, learn, require
from plait.testing.streams import FusionCase


@law
def queries_and_keys_learn(case: FusionCase) -> None:
    """Query and key projections have a gradient one optimiser step after the start, from a single context token and
    from several: softmax over one key is 1, and gives them none.

    In float32 it must exceed 1e-4 of the gradient of the values, else it is rounding.
    """
    schema = one_context(case)
    for count in (1, 7):
        single = replace(schema, stream_tokens=dict.fromkeys(schema.contexts, count))
        one = FusionCase(case.config, single, case.dtype, case.device)
        module, inputs = one.build(), one.sample()
        learn(one, module, [inputs], lr=1e-2)
        found = gradients(one, module.train(), inputs)
        for name, part in module.named_modules():
            if isinstance(part, Attention):
                sizes = {w: float(found[f"{name}.{w}.weight"].abs().max()) for w in ("query", "key", "value")}
                floor = 1e-4 * sizes["value"] if case.dtype == torch.float32 else 0.0
                for weight in ("query", "key"):
                    what = f"{count} context token{'s' * (count > 1)}: the gradient of {name}.{weight}"
                    require(sizes[weight] > floor, f"{what} is {sizes[weight]:.2g}, it must exceed {floor:.2g}")


@law
def attention_is_shown(case: FusionCase) -> None:
    """An operator with attention has a map `attention...`, (row, head, query, key), that depends on the position."""
    for name, values in attention_maps(case, case.sample()).items():
        spread = distance(values[:, :, 1:], values[:, :, :-1]) if values.shape[2] > 1 else 1.0
        require(spread > 1e-4, f"{name} differs by {spread:.2g} between positions, it must exceed 1e-4")


@law
def attention_weights_sum_to_one(case: FusionCase) -> None:
    """Over present keys, within 1e-6 (2e-2 in other dtypes than float32), and to 0 for a query without any key."""
    inputs = case.without(case.sample(), case.schema.contexts, slice(2, None))
    for name, values in attention_maps(case, inputs).items():
        total = values.sum(dim=-1)
        empty = (values == 0).all(dim=-1)
        gap = distance(torch.where(empty, 1.0, total), torch.ones_like(total))
        require(gap <= case.same, f"{name} sums to 1 within {gap:.2g}, the tolerance is {case.same:g}")
        require(not bool(empty[:2].any()), f"{name} is 0 for every key of a query in a row with context")


@law
def absent_keys_weigh_nothing(case: FusionCase) -> None:
    """A map names its keys, stream by stream; those of absent tokens weigh exactly 0 for every query."""
    inputs = case.sample()
    for name, found in shown_attention(case, inputs).items():
        places = found.values.shape[-1]
        named = sum(count for _, count in found.keys)
        require(named == places, f"{name} has {places} keys, it names {named}: {found.keys}")
        for (stream, count), weights in zip(
            found.keys, found.values.split([n for _, n in found.keys], dim=-1), strict=True
        ):
            if stream in case.schema.streams:
                mask = inputs[f"{stream}_mask"]
                require(
                    count == mask.shape[1], f"{name} has {count} keys of {stream}, which has {mask.shape[1]} tokens"
                )
                most = float(torch.where(mask[:, None, None], 0.0, weights.detach()).abs().max())
                require(most == 0, f"{name} gives {most:.2g} to an absent token of {stream}, it must be exactly 0")


def one_context(case: FusionCase) -> Schema:
    """The schema with the first context alone, or as it is if the config names more streams."""
    kept = (case.schema.anchor, *case.schema.contexts[:1])
    single = case.schema.with_widths({name: case.schema.streams[name] for name in kept})
    try:
        case.config.build(single)  # type: ignore[attr-defined]
    except ConfigError:
        return case.schema
    return single


def attention_maps(case: FusionCase, inputs: Tensors) -> Tensors:
    """The weights of every attention of a trained operator."""
    return {name: found.values for name, found in shown_attention(case, inputs).items()}


def shown_attention(case: FusionCase, inputs: Tensors) -> dict[str, Map]:
    """The maps of a trained operator whose name begins with `attention`; none asked of one without an Attention."""
    if not any(isinstance(module, Attention) for module in case.trained().modules()):
        return {}
    notes = Notes(explain=True)
    case.run(case.trained(), inputs, notes)
    found = {name: each for name, each in notes.maps.items() if name.startswith("attention")}
    require(found, f"the maps are {sorted(notes.maps)}, none is named attention")
    for name, (values, _, _) in found.items():
        require(values.dim() == 4, f"map {name} has {values.dim()} axes, attention has (row, head, query, key)")
    return found


ATTENTION: tuple[Callable[[FusionCase], None], ...] = (
    queries_and_keys_learn,
    attention_is_shown,
    attention_weights_sum_to_one,
    absent_keys_weigh_nothing,
)
