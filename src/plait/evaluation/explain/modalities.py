"""Attention between modalities: how much the tokens of one look at those of another, on the mean over rows."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core.schema import Schema
from plait.core.tokens import Map
from plait.evaluation.explain.look import Look
from plait.evaluation.explain.streams import Inputs, places_of
from plait.evaluation.explain.weights import attention_maps

Cells = NDArray[np.float64]


class Modalities:
    """The share of its attention that each modality gives to each, in maps whose queries are the tokens of all.

    The weights on a modality are the sum over its tokens, so that a row of the matrix sums to 1; they are the mean over
    heads, over the present tokens of the modality that looks, and over the rows that have it.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.keys: tuple[tuple[str, int], ...] = ()
        self._given: dict[str, Cells] = {}
        self._received: dict[str, Cells] = {}
        self._rows: dict[str, Cells] = {}

    def add(self, look: Look) -> None:
        """Take the maps of some rows."""
        for name, found in attention_maps(look.maps).items():
            if len(found.keys) < 2 or not _of_all(found):
                continue
            self.keys = found.keys
            present = _present(found, look.batch.inputs, self.schema)
            given, received, rows = between(found, present)
            for into, part in ((self._given, given), (self._received, received), (self._rows, rows)):
                into[name] = into.get(name, 0) + part.cpu().numpy()

    def result(self) -> dict[str, Any] | None:
        """The matrix of each map and its mean over maps, what each modality gets, and what an even share would be.

        None where no map has the tokens of all modalities as queries.
        """
        if not self._given:
            return None
        matrices = {
            name: given / np.maximum(self._rows[name][:-1, None], 1) for name, given in self._given.items()
        }  # fmt: skip
        received = [all_got / max(self._rows[name][-1], 1) for name, all_got in self._received.items()]
        places = np.array([places for _, places in self.keys])
        return {
            "names": [name for name, _ in self.keys],
            "tokens": places.tolist(),
            "even": (places / places.sum()).tolist(),
            "maps": {name: matrix.tolist() for name, matrix in matrices.items()},
            "mean": np.mean(list(matrices.values()), axis=0).tolist(),
            "received": np.mean(received, axis=0).tolist(),
        }


def _of_all(found: Map) -> bool:
    """Whether the queries of a map are the tokens that are its keys."""
    return found.axes[2].removesuffix(" token").split(" + ") == [name for name, _ in found.keys]


def _present(found: Map, inputs: Inputs, schema: Schema) -> Tensor:
    """Which tokens along the keys of a map are present; those of no modality always are. Shape: (b, n) bool."""
    every = torch.ones(found.values.shape[0], found.values.shape[-1], dtype=torch.bool, device=found.values.device)
    masks, start = [], 0
    for name, places in found.keys:
        mask = places_of(inputs, schema, name, places) if name in schema.streams else None
        fits = mask is not None and mask.shape[1] == places
        masks.append(mask if fits and mask is not None else every[:, start : start + places])
        start += places
    return torch.cat(masks, dim=1)


def between(found: Map, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over rows: what each modality gives to each, what each gets of all tokens, and how many rows have it.

    Shape: k modalities, `present` (b, n) -> (k, k), (k,), and (k + 1,), last the rows that have any.
    """
    weights = found.values.double().mean(dim=1)
    groups = torch.zeros(weights.shape[-1], len(found.keys), dtype=weights.dtype, device=weights.device)
    start = 0
    for column, (_, places) in enumerate(found.keys):
        groups[start : start + places, column] = 1.0
        start += places
    onto = torch.where(present[..., None], weights @ groups, 0.0)
    queries = present.to(groups.dtype) @ groups
    given = torch.einsum("bnk,ng->bgk", onto, groups) / queries.clamp(min=1)[..., None]
    received = onto.sum(dim=1) / queries.sum(dim=1, keepdim=True).clamp(min=1)
    rows = torch.cat([(queries > 0).sum(dim=0), (queries.sum(dim=1) > 0).sum()[None]])
    return given.sum(dim=0), received.sum(dim=0), rows
