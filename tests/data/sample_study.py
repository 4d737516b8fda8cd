"""A small study of samples whose files a test can change, shuffle and write."""

import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.written_files import written
from plait.core.tokens import Batch
from plait.data.samples import SampleData
from plait.data.sources.asv import AsvSourceConfig

SAMPLES = [f"{'ab'[n % 2]}{n:02d}" for n in range(31)]
SPLITS = ("train", "val", "test")
FEATURES = [f"v{n:02d}" for n in range(19)]


def _counts() -> dict[tuple[str, str], int]:
    chance = np.random.default_rng(7)
    values = chance.poisson(9, size=(31, 19)) * (chance.random((31, 19)) < np.linspace(0.15, 1, 19))
    values[:, -1] += 1
    return {(s, f): int(values[i, j]) for i, s in enumerate(SAMPLES) for j, f in enumerate(FEATURES)}


def _metadata() -> dict[str, dict[str, str]]:
    chance = random.Random(5)
    rows = {}
    for number, sample in enumerate(SAMPLES):
        rows[sample] = {
            "age": f"{chance.uniform(1, 40):.2f}" if number % 10 else "",
            "site": chance.choice(["gut", "skin", "mouth"]),
            "sex": chance.choice(["male", "female", "Unknown", ""]),
            "ph": f"{chance.uniform(4, 9):.1f}" if number % 7 else "NA",
            "family": f"f{number // 2}" if number < 29 else "",
        }
    return rows


def _letters() -> dict[str, str]:
    chance = random.Random(3)
    return {name: "".join(chance.choices("ACGT", k=23 + number % 3)) for number, name in enumerate(FEATURES)}


def _tree(names: list[str]) -> str:
    """A ladder with a length on every branch."""
    text = f"{names[0]}:0.5"
    for number, name in enumerate(names[1:], 1):
        text = f"({text},{name}:0.{number % 9 + 1}):0.{number % 7 + 1}"
    return text + ";"


@dataclass
class Study:
    """What the files of a study hold; `order` shuffles the rows and columns of all of them."""

    samples: list[str] = field(default_factory=lambda: list(SAMPLES))
    features: list[str] = field(default_factory=lambda: list(FEATURES))
    counts: dict[tuple[str, str], int] = field(default_factory=_counts)
    metadata: dict[str, dict[str, str]] = field(default_factory=_metadata)
    letters: dict[str, str] = field(default_factory=_letters)
    order: int | None = None

    def with_cell(self, sample: str, column: str, cell: str) -> "Study":
        """The same study with another cell of metadata."""
        return replace(self, metadata={**self.metadata, sample: {**self.metadata[sample], column: cell}})

    def of_samples(self, samples: list[str]) -> "Study":
        """The same study with some of its samples."""
        return replace(self, samples=list(samples), metadata={name: self.metadata[name] for name in samples})

    def _shuffled(self, names: list[str], what: str) -> list[str]:
        return names if self.order is None else random.Random(f"{self.order} {what}").sample(names, len(names))

    def write(self, folder: Path) -> dict[str, str]:
        """Write the files, and say which is which."""
        folder.mkdir(parents=True, exist_ok=True)
        samples, features = self._shuffled(self.samples, "samples"), self._shuffled(self.features, "features")
        columns = list(next(iter(self.metadata.values())))
        tables = {
            "table": [["#OTU ID", *samples]]
            + [[f, *(str(self.counts.get((s, f), 0)) for s in samples)] for f in features],
            "metadata": [["sample_id", *columns]]
            + [[s, *(self.metadata[s][c] for c in columns)] for s in self._shuffled(list(self.metadata), "metadata")],
            "sequences": [[f">{f}\n{self.letters[f]}"] for f in self._shuffled(self.features, "sequences")],
            "tree": [[_tree(self.features)]],
            "taxonomy": [["feature_id", "taxon"], *([f, f"k__{f}"] for f in features if f != self.features[0])],
        }
        for name, rows in tables.items():
            written(folder / name, "\n".join("\t".join(row) for row in rows) + "\n")
        return {name: str(folder / name) for name in tables}


USUAL: dict[str, Any] = {
    "target": "age", "categories": "site, sex", "numbers": "ph", "group_by": "family", "prevalence": 0.4,
    "kmers": 5, "tree_width": 3, "cooccurrence": 7, "bins": 11,
}  # fmt: skip


PLANTED = [f"{'xyz'[n % 3]}{n:02d}" for n in range(60)]


def planted() -> Study:
    """Sixty samples of 40 ASVs: ages that two ASVs tell, families of one or two samples, countries that say nothing,
    and five clinics.
    """
    chance, words, names = np.random.default_rng(11), random.Random(11), [f"v{n:02d}" for n in range(40)]
    counts = chance.poisson(7, size=(60, 40)) * (chance.random((60, 40)) < 0.5)
    counts[:, -1] += 1
    ages = 5 + 3 * np.log1p(counts[:, 2]) - 2 * np.log1p(counts[:, 7]) + chance.normal(0, 0.2, 60)
    metadata = {
        sample: {
            "age": f"{ages[row]:.3f}",
            "grown": "old" if ages[row] > np.median(ages) else "young",
            "country": words.choice(["peru", "mali", "laos"]),
            "ph": f"{words.uniform(4, 9):.1f}" if row % 7 else "",
            "family": f"f{row // 2 if row % 3 else row + 100}",
            "clinic": f"c{row % 5}",
        }
        for row, sample in enumerate(PLANTED)
    }
    return Study(
        samples=list(PLANTED), features=names, metadata=metadata,
        counts={(s, f): int(counts[i, j]) for i, s in enumerate(PLANTED) for j, f in enumerate(names)},
        letters={name: "".join(words.choices("ACGT", k=21 + row % 3)) for row, name in enumerate(names)},
    )  # fmt: skip


def config_of(folder: Path, study: Study | None = None, **fields: Any) -> AsvSourceConfig:
    """The source of a study, whose files are written first; a field that is None stays unset."""
    given = {**(study or Study()).write(folder), **USUAL, **fields}
    return AsvSourceConfig.model_validate({name: value for name, value in given.items() if value is not None})


def data_of(folder: Path, study: Study | None = None, seed: int = 3, **fields: Any) -> SampleData:
    """The data of a study, read from its files."""
    config = config_of(folder, study, **fields)
    return config.build(config.read(), seed)


def check_same(one: Batch, other: Batch, leave: tuple[str, ...] = ()) -> None:
    """Check that two batches are equal to the bit."""
    for part, twin in zip(one, other, strict=True):
        assert set(part) - set(leave) == set(twin) - set(leave)
        for name in set(part) - set(leave):
            assert part[name].dtype == twin[name].dtype
            assert torch.equal(part[name], twin[name]), name


def dense_of(batch: Batch, features: int) -> Tensor:
    """The counts of a batch, checked for order and padding on the way."""
    asv, mask, counts = (batch.inputs[name] for name in ("asv", "asv_mask", "asv_counts"))
    assert int(mask.sum(dim=1).max()) == mask.shape[1]
    assert not asv[~mask].any()
    assert not counts[~mask].any()
    assert (counts[mask] > 0).all()
    for row, there in zip(asv, mask, strict=True):
        assert there[: int(there.sum())].all()
        assert (row[there].diff() > 0).all()
    out = torch.zeros(len(asv), features)
    return out.scatter_add(1, asv, counts)
