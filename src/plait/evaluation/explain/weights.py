"""What maps say of each window: the weight on every token, the share that is not on nothing, how far gates open."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from plait.core.schema import Schema
from plait.core.tokens import Map
from plait.evaluation.explain.streams import Inputs, present_tokens

NULL = "null"
"""The key that operators add for an answer of nothing."""

Maps = Mapping[str, Map]


def attention_maps(maps: Maps) -> dict[str, Map]:
    """The maps of attention: values (b, h, n, m) with named keys."""
    return {name: each for name, each in maps.items() if name.startswith("attention") and each.keys}


def segments(found: Map) -> Iterator[tuple[str, Tensor]]:
    """What stands along the keys of a map, in order: (name, the weights on it (b, h, n, places))."""
    start = 0
    for name, places in found.keys:
        yield name, found.values[..., start : start + places]
        start += places


def present_queries(found: Map, axis: int, inputs: Inputs, schema: Schema) -> Tensor:
    """Which tokens along an axis of a map are the anchor's and present; where none is the anchor's, which are present.

    The axis names its streams, `a + b token`. Tokens of which nothing is known count as present. Shape: (b, n) bool.
    """
    rows, count = found.values.shape[0], found.values.shape[axis]
    every = torch.ones(rows, count, dtype=torch.bool, device=found.values.device)
    names = found.axes[axis].removesuffix(" token").split(" + ")
    masks = {name: present_tokens(inputs, schema, name) for name in names if name in schema.streams}
    same = tuple(names) == tuple(name for name, _ in found.keys)
    counts = dict(found.keys) if same else {n: mask.shape[1] for n, mask in masks.items() if mask is not None}
    if sum(counts.get(name, 0) for name in names) != count:
        # A stream of an operator's own fills what the known ones leave.
        unknown = [name for name in names if name not in counts]
        if len(unknown) != 1:
            return every
        counts[unknown[0]] = count - sum(counts.values())
    parts = []
    for name in names:
        mask = masks.get(name)
        known = mask is not None and mask.shape[1] == counts[name]
        parts.append(mask if known and mask is not None else every[:, :1].expand(-1, counts[name]))
        if schema.anchor in names and name != schema.anchor:
            parts[-1] = torch.zeros_like(parts[-1])
    return torch.cat(parts, dim=1)


def over_queries(values: Tensor, queries: Tensor) -> Tensor:
    """The mean over the True queries; 0 where there is none. Shape: (b, n, m), (b, n) -> (b, m)."""
    kept = torch.where(queries[..., None], values, 0.0)
    return kept.sum(dim=1) / queries.sum(dim=1, keepdim=True).clamp(min=1)


def token_weights(maps: Maps, inputs: Inputs, schema: Schema, key: str) -> Tensor | None:
    """The weight on each token of a key: a stream, or what an operator adds. None where no map names it.

    The mean over heads, present queries and all maps that name it. Shape: (b, places).
    """
    found = []
    for each in attention_maps(maps).values():
        queries = present_queries(each, 2, inputs, schema)
        found += [over_queries(part.mean(dim=1), queries) for name, part in segments(each) if name == key]
    return torch.stack(found).mean(dim=0) if found else None


def share_beyond_null(maps: Maps, inputs: Inputs, schema: Schema) -> Tensor | None:
    """The share of attention that is not on `null`: the mean over heads, present queries and maps with such a key.

    Where the anchor's tokens ask in some of these, they alone count. It is 0 in a row without any key, and None where
    no map has a null key. Shape: (b,).
    """
    nulls = [each for each in attention_maps(maps).values() if any(name == NULL for name, _ in each.keys)]
    own = [each for each in nulls if each.axes[2] == f"{schema.anchor} token"]
    found = []
    for each in own or nulls:
        beyond = torch.cat([part for name, part in segments(each) if name != NULL], dim=-1).sum(dim=-1)
        queries = present_queries(each, 2, inputs, schema)
        found.append(over_queries(beyond.mean(dim=1)[..., None], queries)[:, 0])
    return torch.stack(found).mean(dim=0) if found else None


def gate_share(maps: Maps, inputs: Inputs, schema: Schema, stream: str | None = None) -> Tensor | None:
    """How far gates open: the mean over present tokens and features of the maps `gate` and `gate.<...>`.

    Where some let others into the anchor's tokens, these alone. With a `stream` only those of that stream alone,
    `gate.<stream>`, and those of no single stream. None where there is no such map. Shape: (b,).
    """
    gates = {name: each for name, each in maps.items() if name.split(".")[0] == "gate"}
    own = {name: each for name, each in gates.items() if each.axes[1] == f"{schema.anchor} token"}
    found = []
    for name, each in (own or gates).items():
        parts = name.split(".")
        of = parts[1] if len(parts) > 1 and parts[1] in schema.streams else None
        if stream is None or of is None or of == stream:
            queries, values = present_queries(each, 1, inputs, schema), each.values
            found.append(over_queries(values.reshape(*values.shape[:2], -1).mean(dim=-1)[..., None], queries)[:, 0])
    return torch.stack(found).mean(dim=0) if found else None
