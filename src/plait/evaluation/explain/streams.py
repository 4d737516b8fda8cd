"""Which tokens of each stream a batch holds, and a batch without some of them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from plait.core.schema import Schema
from plait.core.tokens import Batch

Inputs = Mapping[str, Tensor]


def present_tokens(inputs: Inputs, schema: Schema, stream: str) -> Tensor | None:
    """Which tokens of a stream are present, as its encoder gives them; None where the inputs have no mask of it.

    Shape: a mask (b, m) gives (b, m / group), a mask (b, t, v) of a series gives (b, v), a mask (b,) gives (b, 1).
    Mask: a group is present where one of its places is, a variate where one of its steps is.
    """
    mask = inputs.get(f"{stream}_mask")
    if mask is None:
        return None
    places = mask[:, None] if mask.dim() == 1 else mask.flatten(1, -2).any(dim=1) if mask.dim() > 2 else mask
    groups: Tensor = places.unflatten(1, (-1, schema.grouped.get(stream, 1)))
    return groups.any(dim=-1)


def places_of(inputs: Inputs, schema: Schema, stream: str, places: int) -> Tensor | None:
    """Which tokens of a stream are present where an operator saw so many of them; None where the inputs have no mask.

    Of samples the anchor may be one vector a row, pooled from its tokens; where nothing is forecast an encoder may make
    tokens of its own from a whole window. They are present where any part of it is. Of any stream's one vector an
    encoder may make several tokens, which are present where it is.
    Shape: (b, m), or (b, places) of a stream that its encoder put together or apart.
    """
    mask = present_tokens(inputs, schema, stream)
    if mask is None or mask.shape[1] == places:
        return mask
    if mask.shape[1] == 1:
        return mask.expand(-1, places)
    if stream != schema.anchor:
        return mask
    joined = places == 1 if schema.features else places > 0 and not schema.horizon
    return mask.any(dim=1, keepdim=True).expand(-1, places) if joined else mask


def without_tokens(batch: Batch, schema: Schema, stream: str, removed: Tensor) -> Batch:
    """The batch with some tokens of a stream absent, each with all places of its group.

    Shape: `removed` (b, n) bool.
    """
    mask = batch.inputs[f"{stream}_mask"]
    places = removed.repeat_interleave(schema.grouped.get(stream, 1), dim=1)
    places = places.reshape(mask.shape[0], *(1,) * (mask.dim() - 2), *mask.shape[1:][-1:])
    return batch._replace(inputs={**batch.inputs, f"{stream}_mask": mask & ~places})


def of_modality(inputs: Inputs, modality: str) -> dict[str, Tensor]:
    """The inputs named `<modality>` or `<modality>_...`."""
    return {k: v for k, v in inputs.items() if k == modality or k.startswith(f"{modality}_")}


def has_modality(inputs: Inputs, schema: Schema, modality: str) -> Tensor:
    """Which rows have a token of a modality. Shape: (b,) bool."""
    present = present_tokens(inputs, schema, modality)
    if present is not None:
        return present.any(dim=1)
    rows = len(next(iter(inputs.values())))
    return torch.full((rows,), modality in inputs)
