"""Taxa: which ASVs look at which column of the metadata, and which weigh most where a sample is pooled."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core.schema import Schema
from plait.evaluation.explain.look import Lens, Look
from plait.evaluation.explain.streams import Inputs, has_modality, present_tokens
from plait.evaluation.explain.weights import NULL, Maps, attention_maps, segments

METADATA = "metadata"
"""The stream of the columns."""
LEAST = 5
"""An ASV, or a family, is told of where so many samples have it."""
MOST = 20
"""How many ASVs and families are told of."""
ID = 12
"""Letters of an ASV's id in its label."""
NAMELESS = "no family named"

Numbers = NDArray[np.float64]


class Looks(NamedTuple):
    """The attention of each token on each column, and on nothing where a map has that key.

    Shape: columns (b, s, k), null (b, s).
    """

    columns: Tensor
    null: Tensor | None


class Taxa:
    """Attention on columns and weights in the pool, by ASV: means over the samples that have it, heads and maps.

    Attention is of the samples of which a column is known: in others there is nothing to look at, and it is 0.
    """

    def __init__(self, lens: Lens) -> None:
        self.data, self.schema = lens.data, lens.schema
        self.columns = list(self.schema.columns)
        self.families = [family(taxon) for taxon in self.data.taxa]
        names, self._code = np.unique(np.array(self.families, dtype=object).astype(str), return_inverse=True)
        self._names = [str(name) for name in names]
        count, width = len(self.families), len(self.columns)
        self._samples, self._pooled = np.zeros(count), np.zeros(count)
        self._looks = {"columns": np.zeros((count, width)), "null": np.zeros(count)}
        self._pool, self._even = np.zeros(count), np.zeros(count)
        self._of_family = np.zeros(len(names))
        self._seen = {"columns": False, "null": False, "pool": False}

    def add(self, look: Look) -> None:
        """Note the maps of some samples."""
        inputs = look.batch.inputs
        ids, mask = inputs[self.schema.anchor].cpu(), inputs[f"{self.schema.anchor}_mask"].cpu()
        looks = column_weights(look.maps, inputs, self.schema)
        if looks is not None:
            there = mask & has_modality(inputs, self.schema, METADATA).cpu()[:, None]
            self._seen |= {"columns": True, "null": looks.null is not None}
            self._add(self._samples, ids, there, torch.ones(ids.shape))
            self._add(self._looks["columns"], ids, there, looks.columns)
            if looks.null is not None:
                self._add(self._looks["null"], ids, there, looks.null)
            self._count_families(ids, there)
        weights = pool_weights(look.maps, inputs, self.schema)
        if weights is not None:
            self._seen["pool"] = True
            self._add(self._pooled, ids, mask, torch.ones(ids.shape))
            self._add(self._pool, ids, mask, weights)
            self._add(self._even, ids, mask, (1 / mask.sum(dim=1, keepdim=True).clamp(min=1)).expand(ids.shape))

    def _add(self, into: Numbers, ids: Tensor, mask: Tensor, values: Tensor) -> None:
        np.add.at(into, ids[mask].numpy(), values.cpu()[mask].double().numpy())

    def _count_families(self, ids: Tensor, there: Tensor) -> None:
        row = torch.arange(len(ids))[:, None].expand(ids.shape)[there].numpy()
        pairs = np.unique(np.stack([row, self._code[ids[there].numpy()]]), axis=1)
        np.add.at(self._of_family, pairs[1], 1.0)

    def result(self) -> dict[str, Any]:
        """The ASVs and families that look most at the metadata, and the ASVs that weigh most in the pool.

        Lists are empty where no map says it; `mean` is of every ASV in every sample. `even` is what a weight would be
        were all ASVs of a sample alike.
        """
        return {
            "columns": self.columns, "least": LEAST,
            "known": int((self._samples >= LEAST).sum() if self._seen["columns"] else (self._pooled >= LEAST).sum()),
            "mean": self._mean(), "attention": self._attention(), "families": self._families(), "pool": self._weights(),
        }  # fmt: skip

    def _mean(self) -> dict[str, Any] | None:
        pairs = self._samples.sum()
        if not pairs:
            return None
        null = float(self._looks["null"].sum() / pairs) if self._seen["null"] else None
        return {"null": null, "weights": (self._looks["columns"].sum(axis=0) / pairs).tolist()}

    def _attention(self) -> list[dict[str, Any]]:
        weights, null = self._means(self._samples, self._looks["columns"]), self._looks["null"]
        made = []
        for place in largest(weights.sum(axis=1), self._samples) if self._seen["columns"] else ():
            nothing = float(null[place] / self._samples[place]) if self._seen["null"] else None
            made.append(self._named(place, self._samples) | {"null": nothing, "weights": weights[place].tolist()})
        return made

    def _families(self) -> list[dict[str, Any]]:
        """Means over every ASV of a family in every sample that has it."""
        if not self._seen["columns"]:
            return []
        pairs, null = np.zeros(len(self._names)), np.zeros(len(self._names))
        sums = np.zeros((len(self._names), len(self.columns)))
        for into, values in ((pairs, self._samples), (null, self._looks["null"]), (sums, self._looks["columns"])):
            np.add.at(into, self._code, values)
        weights, asvs = self._means(pairs, sums), np.bincount(self._code[self._samples > 0], minlength=len(pairs))
        return [
            {
                "family": self._names[place], "asvs": int(asvs[place]), "samples": int(self._of_family[place]),
                "null": float(null[place] / pairs[place]) if self._seen["null"] else None,
                "weights": weights[place].tolist(),
            }
            for place in largest(weights.sum(axis=1), self._of_family)
        ]  # fmt: skip

    def _weights(self) -> list[dict[str, Any]]:
        if not self._seen["pool"]:
            return []
        weight, even = self._means(self._pooled, self._pool), self._means(self._pooled, self._even)
        return [
            self._named(place, self._pooled) | {"weight": float(weight[place]), "even": float(even[place])}
            for place in largest(weight, self._pooled)
        ]

    def _means(self, count: Numbers, sums: Numbers) -> Numbers:
        means: Numbers = sums / np.maximum(count, 1).reshape(-1, *(1,) * (sums.ndim - 1))
        return means

    def _named(self, place: int, count: Numbers) -> dict[str, Any]:
        name, taxon = str(self.data.features[place]), str(self.data.taxa[place])
        return {
            "id": name, "label": label(taxon, name), "taxon": taxon, "family": self.families[place],
            "samples": int(count[place]),
        }  # fmt: skip


def largest(values: Numbers, samples: Numbers) -> list[int]:
    """The places of the largest values among those that enough samples have, the largest first."""
    order = np.argsort(-values, kind="stable")
    return [int(place) for place in order if samples[place] >= LEAST][:MOST]


def column_weights(maps: Maps, inputs: Inputs, schema: Schema) -> Looks | None:
    """The attention of each of the anchor's tokens on each column: the mean over heads and maps that have both.

    None where no map does: where queries are not the tokens, but one vector pooled from them, or latents.
    """
    mask, known = (present_tokens(inputs, schema, name) for name in (schema.anchor, METADATA))
    if mask is None or known is None:
        return None
    columns, null = [], []
    for each in attention_maps(maps).values():
        rows = _own_queries(each.values, each.axes[2], each.keys, schema.anchor, mask.shape[1])
        parts = dict(segments(each._replace(values=rows))) if rows is not None else {}
        if METADATA in parts and parts[METADATA].shape[-1] == known.shape[1]:
            columns.append(parts[METADATA].mean(dim=1))
            null += [parts[NULL].mean(dim=1).sum(dim=-1)] if NULL in parts else []
    if not columns:
        return None
    return Looks(torch.stack(columns).mean(dim=0), torch.stack(null).mean(dim=0) if null else None)


def _own_queries(
    values: Tensor, axis: str, keys: tuple[tuple[str, int], ...], anchor: str, places: int
) -> Tensor | None:
    """The rows of a map that are the anchor's tokens; where queries are several streams, these are the keys too."""
    names = axis.removesuffix(" token").split(" + ")
    if names == [anchor]:
        return values if values.shape[2] == places else None
    if anchor not in names or tuple(names) != tuple(name for name, _ in keys) or dict(keys)[anchor] != places:
        return None
    start = sum(count for _, count in keys[: names.index(anchor)])
    return values[:, :, start : start + places]


def pool_weights(maps: Maps, inputs: Inputs, schema: Schema) -> Tensor | None:
    """The weight of each of the anchor's tokens where a row is pooled: the mean over heads and nets. Shape: (b, s).

    None where other tokens are pooled.
    """
    places = inputs[f"{schema.anchor}_mask"].shape[1]
    found = [
        each.values.mean(dim=(1, 2))
        for name, each in attention_maps(maps).items()
        if name.split(".")[1:2] == ["pool"] and each.keys == ((schema.anchor, places),)
    ]
    return torch.stack(found).mean(dim=0) if found else None


def ranks(taxon: str) -> list[tuple[str, str]]:
    """The named ranks of a taxon, highest first, as (letter, name); the letter is empty where none is written.

    `k__Bacteria; p__Firmicutes; s__` and `D_0__Bacteria;D_1__Firmicutes` are read, and names without any mark.
    """
    found = []
    for number, part in enumerate(taxon.split(";")):
        mark, apart, name = part.strip().partition("__")
        written = (mark, name) if apart else ("", mark)
        letter = "kpcofgs"[min(number, 6)] if written[0].startswith("D_") else written[0]
        if written[1].strip():
            found.append((letter, written[1].strip()))
    return found


def family(taxon: str) -> str:
    """The family of a taxon: the rank f, or the fifth of ranks that bear no letter."""
    known = ranks(taxon)
    marked = dict(known)
    if "f" in marked:
        return marked["f"]
    plain = not any(letter for letter, _ in known) and len(known) > 4
    return known[4][1] if plain else NAMELESS


def label(taxon: str, name: str) -> str:
    """The lowest named rank and the id; a species with its genus, a rank above the genus with its letter."""
    short = name if len(name) <= ID else f"{name[: ID - 1]}…"
    known: Sequence[tuple[str, str]] = ranks(taxon)
    if taxon == name or not known:
        return short
    letter, lowest = known[-1]
    genus = dict(known).get("g", "")
    if letter == "s" and genus and not lowest.startswith(genus):
        lowest = f"{genus} {lowest}"
    return f"{letter}__{lowest} {short}" if letter not in ("", "g", "s") else f"{lowest} {short}"
