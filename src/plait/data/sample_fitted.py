"""What was fitted on the train samples, as a run keeps it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from plait.core.errors import DataError
from plait.data.sample_counts import most_abundant
from plait.data.sample_table import SampleTable
from plait.features.asv_blocks import KmerMap, cooccurrence_block, letters, tree_block
from plait.features.composition import clr
from plait.objectives.transforms import TargetTransform


@dataclass(frozen=True, eq=False)
class SampleFitted:
    """What was fitted on train samples: the ASVs and their vectors, and how metadata and target become numbers.

    `features` are the run's ASVs, with their `sequences` (where there are any), `taxa` (or ids) and `prevalence`, the
    share of the train samples that has each; `left_out` names the ASVs that were too rare. `block_table` holds the
    blocks named by `blocks` side by side. `numbers` has mean and sd of a column, `class_counts` the train samples of
    a class.

    Shape: prevalence and clr_mean (f,), block_table (f, sum of widths), thresholds (k,) or None.
    Units: clr_mean natural logarithms, thresholds of the transformed target.
    """

    features: tuple[str, ...]
    prevalence: NDArray[np.float64]
    block_table: NDArray[np.float32]
    clr_mean: NDArray[np.float32]
    blocks: dict[str, int]
    taxa: tuple[str, ...]
    sequences: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()
    kmers: KmerMap | None = None
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: dict[str, tuple[float, float]] = field(default_factory=dict)
    target: str | None = None
    transform: TargetTransform | None = None
    thresholds: NDArray[np.float32] | None = None
    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()

    def tables(self) -> dict[str, Tensor]:
        """What a model's parts are filled with before training.

        Shape: blocks (f, w) float32, clr_mean (f,) float32, letters (f, L) uint8 where there are sequences,
        thresholds (k,) float32 where the target is a number.
        """
        out = {"blocks": torch.from_numpy(self.block_table), "clr_mean": torch.from_numpy(self.clr_mean)}
        if self.sequences is not None:
            out["letters"] = torch.from_numpy(letters(self.sequences))
        if self.thresholds is not None:
            out["thresholds"] = torch.from_numpy(self.thresholds)
        return out

    def tensors(self) -> dict[str, Tensor]:
        """The numbers, for a file."""
        arrays: dict[str, NDArray[Any]] = {
            "prevalence": self.prevalence, "blocks": self.block_table, "clr_mean": self.clr_mean,
        }  # fmt: skip
        if self.thresholds is not None:
            arrays["thresholds"] = self.thresholds
        if self.kmers is not None:
            arrays |= {f"kmers.{name}": array for name, array in self.kmers.tensors().items()}
        return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}

    def record(self) -> dict[str, Any]:
        """The words, and the numbers that have a name, for a file; floats keep every bit in JSON."""
        return {
            "features": list(self.features),
            "taxa": list(self.taxa),
            "sequences": None if self.sequences is None else list(self.sequences),
            "left_out": list(self.left_out),
            "blocks": dict(self.blocks),
            "categories": {name: list(values) for name, values in self.categories.items()},
            "numbers": {name: list(values) for name, values in self.numbers.items()},
            "target": self.target,
            "transform": None if self.transform is None else self.transform.to_json(),
            "classes": list(self.classes),
            "class_counts": list(self.class_counts),
        }

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> "SampleFitted":
        """What `tensors` and `record` wrote."""
        kmers = {name.removeprefix("kmers."): t.numpy() for name, t in tensors.items() if name.startswith("kmers.")}
        sequences, transform = record["sequences"], record["transform"]
        return cls(
            features=tuple(record["features"]),
            prevalence=tensors["prevalence"].numpy(),
            block_table=tensors["blocks"].numpy(),
            clr_mean=tensors["clr_mean"].numpy(),
            blocks=dict(record["blocks"]),
            taxa=tuple(record["taxa"]),
            sequences=None if sequences is None else tuple(sequences),
            left_out=tuple(record["left_out"]),
            kmers=KmerMap.read(kmers) if kmers else None,
            categories={name: tuple(values) for name, values in record["categories"].items()},
            numbers={name: (values[0], values[1]) for name, values in record["numbers"].items()},
            target=record["target"],
            transform=None if transform is None else TargetTransform.from_json(transform),
            thresholds=tensors["thresholds"].numpy() if "thresholds" in tensors else None,
            classes=tuple(record["classes"]),
            class_counts=tuple(record["class_counts"]),
        )


class Widths(Protocol):
    """The fields of a source that say which ASVs stay and what is said of each."""

    @property
    def prevalence(self) -> float: ...
    @property
    def most_features(self) -> int | None: ...
    @property
    def kmers(self) -> int: ...
    @property
    def tree_width(self) -> int: ...
    @property
    def cooccurrence(self) -> int: ...


def fit_features(table: SampleTable, train: NDArray[np.int64], config: Widths) -> SampleFitted:
    """The ASVs that enough train samples have, with their vectors; no other sample's counts are read.

    Shape: train, row numbers of the table.
    Errors: DataError where no ASV is in enough samples.
    """
    counts = table.counts[train]
    present = np.bincount(counts.indices, minlength=counts.shape[1])
    kept = np.flatnonzero((present > 0) & (present >= config.prevalence * len(train) - 1e-9))
    if not len(kept):
        raise DataError(
            f"no ASV is in {config.prevalence:.3g} of the {len(train)} train samples; the commonest is in"
            f" {int(present.max(initial=0))}",
            where="data.prevalence",
            fix="give a smaller share",
        )
    # These systems are small: threads of a linear algebra cost more than they save, on a busy machine 10 x.
    with threadpool_limits(1):
        return _fitted(table, kept, present[kept] / len(train), counts, config)


def _fitted(
    table: SampleTable, kept: NDArray[np.int64], prevalence: NDArray[np.float64], counts: Any, config: Widths
) -> SampleFitted:
    """The kept ASVs of a table with their vectors."""
    features = tuple(table.features[place] for place in kept)
    ratios = clr(most_abundant(counts[:, kept], config.most_features))
    sequences = _at(table.sequences, kept)
    kmers = KmerMap.fit(sequences, config.kmers) if sequences is not None and config.kmers else None
    blocks = {}
    if kmers is not None and sequences is not None:
        blocks["kmers"] = kmers.transform(sequences)
    if table.tree is not None and config.tree_width:
        blocks["tree"] = tree_block(table.tree, features, config.tree_width)
    if config.cooccurrence:
        blocks["cooccurrence"] = cooccurrence_block(ratios, config.cooccurrence)
    taxa = _at(table.taxonomy, kept) or ("",) * len(kept)
    whole = np.concatenate([np.zeros((len(kept), 0)), *blocks.values()], axis=1)
    return SampleFitted(
        features=features,
        prevalence=prevalence,
        block_table=np.ascontiguousarray(whole, dtype=np.float32),
        clr_mean=ratios.mean(axis=0).astype(np.float32),
        blocks={name: block.shape[1] for name, block in blocks.items()},
        taxa=tuple(taxon or name for taxon, name in zip(taxa, features, strict=True)),
        sequences=sequences,
        left_out=tuple(sorted(set(table.features) - set(features))),
        kmers=kmers,
    )


def _at(texts: Sequence[str] | None, places: NDArray[np.int64]) -> tuple[str, ...] | None:
    return None if texts is None else tuple(texts[place] for place in places)
