"""`pretrain`: what samples say of themselves, without a label: distances, diversity, counts and letters."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import field_validator
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import SCORED
from plait.core.seeding import generator
from plait.core.tokens import Batch, Output
from plait.data.samples import SampleData
from plait.nn.masked_letters import BASES, chosen, fixed_draw, hidden_letters
from plait.objectives.auxiliary import AuxiliaryConfig
from plait.objectives.bootstrap import Rivals, Scores
from plait.objectives.pairs import predicted_distances
from plait.tasks import _samples
from plait.tasks._auxiliary import PART, Auxiliary

PARTNERS = 64
"""Samples of a split that each of its samples is compared with in evaluation."""
TRAIN_MEANS = "train_means"


class PretrainTaskConfig(Config):
    """Objectives without labels; validation chooses by their weighted sum."""

    rows_are: ClassVar[str] = "samples"
    kind: Literal["pretrain"] = "pretrain"
    auxiliary: AuxiliaryConfig = AuxiliaryConfig(unifrac=10.0, nucleotides=1.0)
    """The objectives and their weights; one of the whole sample, unifrac or faith, is among them."""

    @field_validator("auxiliary")
    @classmethod
    def _asks_of_samples(cls, value: AuxiliaryConfig) -> AuxiliaryConfig:
        if not (value.unifrac or value.faith):
            raise ValueError("expects a weight for unifrac or faith: nothing else trains the vector of a sample")
        return value

    def build(self, data: SampleData) -> "PretrainTask":
        """The task on these data."""
        return PretrainTask(self, data)


class PretrainTask:
    """The weighted sum of the objectives. All scores are a row's own, whatever batch it is in.

    A row's distances are those to 64 samples of its split, drawn once; what is hidden from its ASVs is a function of
    the ASV.
    """

    row_name, metric, score = "samples", "loss", "loss"

    def __init__(self, config: PretrainTaskConfig, data: SampleData) -> None:
        self.config, self.data = config, data
        self.auxiliary = Auxiliary(config.auxiliary, data)
        self.given = self.auxiliary.given
        self.unit = " + ".join(f"{weight:g} x {name}" for name, weight in self.given.items())
        self.meanings = {TRAIN_MEANS: "the mean of the train samples, and the frequencies of their letters"}
        self._truth: dict[bytes, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}

    def losses(self, output: Output, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Each objective times its weight, and the model's own losses."""
        return {**self.auxiliary.losses(output, batch), **output.losses}

    def weights(self, batch: Batch) -> dict[str, Tensor]:
        """Rows of the batch, and its pairs."""
        return self.auxiliary.weights(batch)

    def scores(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """The objectives of each row; of distances the embedding, which `of_split` scores. Shape: (b,), (b, m, e)."""
        rows = batch.info["row"]
        found = {"row": rows.double(), "n": torch.ones_like(rows).double()}
        for name in self.given:
            part = output.prediction.parts[name]
            found[name] = part if name == "unifrac" else self.auxiliary.rows(name, part, batch)
        return found

    def of_split(self, scores: Mapping[str, NDArray[Any]]) -> Scores:
        """The scores of all rows of a split: of distances the mean squared error of a row to its partners, and the sum.

        Shape: each (n,).
        """
        found = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items() if name != "row"}
        if "unifrac" in found:
            partners, distances = self._partners(scores["row"].astype(np.int64))
            own = torch.from_numpy(found["unifrac"])
            error = predicted_distances(own[:, None], own[partners][None]).numpy() - distances[..., None]
            found["unifrac"] = _without_self((error**2).mean(axis=2), partners)
        found["loss"] = sum((weight * found[name] for name, weight in self.given.items()), np.zeros(len(found["n"])))
        return found

    def _partners(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Which rows of a split stand as partners, and everyone's distances to them. Shape: (k,), (n, k)."""
        key = rows.tobytes()
        if key not in self._truth:
            places = np.sort(generator(0, "partners").permutation(len(rows))[:PARTNERS])
            self._truth[key] = places, self.data.pairs(rows, rows[places]).double().numpy()
        return self._truth[key]

    def selection(self, scores: Mapping[str, Any]) -> float:
        """The weighted sum, by which validation chooses."""
        return self.metrics(scores)["loss"]

    def metrics(self, scores: Mapping[str, Any]) -> dict[str, float]:
        """The weighted sum, and each objective by itself."""
        count = float(np.sum(scores["n"]))
        return {name: float(np.sum(scores[name])) / count for name in ("loss", *self.given)}

    def rivals(self, data: SampleData) -> Rivals:
        """What the train samples' means say, scored as the model is."""
        means = _TrainMeans(self.auxiliary)
        return {TRAIN_MEANS: {split: means.scores(self, split) for split in SCORED}}

    def context_rivals(self, data: SampleData) -> Rivals:
        """None: there is no context."""
        return {}

    def candidates(self, names: Iterable[str]) -> list[str]:
        """The rivals that may be chosen as the best: all."""
        return list(names)

    def caveats(self, result: Mapping[str, Any]) -> list[str]:
        """None: there is no target that a column could give away."""
        return []

    def table(self, data: SampleData, model: nn.Module, split: str, rows: Any, size: int, device: Any) -> pd.DataFrame:
        """The vector of each sample: sample_id, e0, e1, ..."""
        model.eval()
        rows = np.asarray(rows, dtype=np.int64)
        made = [found.point for _, found in _samples.predictions(data, model, split, rows, size, device)]
        vectors = torch.cat(made).double().cpu().numpy()
        ids = data.ids(split)
        columns = {f"e{number}": vectors[:, number] for number in range(vectors.shape[1])}
        return pd.DataFrame({"sample_id": [ids[row] for row in rows], **columns})

    def page(self, data: SampleData, model: nn.Module, device: Any) -> dict[str, Any]:
        """Nothing is drawn of vectors."""
        return {"kind": "none"}


def _without_self(error: NDArray[np.float64], partners: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean over partners other than the row itself; 0 where there is none. Shape: (n, k) -> (n,)."""
    other = np.arange(len(error))[:, None] != partners
    count = other.sum(axis=1)
    total = np.where(other, error, 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(count, 1), dtype=np.float64)


class _TrainMeans:
    """What is expected of any sample after the train samples: one distance, one count, the letters' frequencies."""

    def __init__(self, auxiliary: Auxiliary) -> None:
        self.auxiliary, self.data, self.config = auxiliary, auxiliary.data, auxiliary.config

    def scores(self, task: PretrainTask, split: str) -> Scores:
        """The scores of a split's rows. Shape: each (n,)."""
        rows = self.data.rows(split)
        batches = [self.data.batch(split, rows[start : start + PART]) for start in range(0, len(rows), PART)]
        places = np.concatenate([batch.info["row"].numpy() for batch in batches])
        found: Scores = {"n": np.ones(len(rows))}
        if "unifrac" in task.given:
            partners, distances = task._partners(places)
            found["unifrac"] = _without_self((distances - self._distance(task)) ** 2, partners)
        if "faith" in task.given:
            found["faith"] = torch.cat([self.auxiliary.standardised(each) for each in batches]).double().numpy() ** 2
        if "counts" in task.given:
            found["counts"] = self._counts(batches)
        if "nucleotides" in task.given:
            found["nucleotides"] = self._letters(batches)
        found["loss"] = sum((weight * found[name] for name, weight in task.given.items()), np.zeros(len(rows)))
        return found

    def _train(self) -> list[Batch]:
        rows = self.data.rows("train")
        return [self.data.batch("train", rows[start : start + PART]) for start in range(0, len(rows), PART)]

    def _distance(self, task: PretrainTask) -> float:
        """The mean distance of the train samples to their partners."""
        rows = np.concatenate([batch.info["row"].numpy() for batch in self._train()])
        partners, distances = task._partners(rows)
        other = np.arange(len(rows))[:, None] != partners
        return float(distances[other].mean()) if other.any() else 0.0

    def _counts(self, batches: list[Batch]) -> NDArray[np.float64]:
        """The error of the mean log count of the train samples, at the counts that a model has to tell."""
        train = [batch.inputs["asv_counts"][batch.inputs["asv_mask"]] for batch in self._train()]
        mean = torch.log1p(torch.cat(train).double()).mean()
        draw = fixed_draw(self.data.schema.features, 1)[:, 0]
        rows = []
        for batch in batches:
            asv, mask, counts = (batch.inputs[name] for name in ("asv", "asv_mask", "asv_counts"))
            under = chosen(mask, draw[asv], self.config.hide)
            error = torch.where(under, torch.log1p(counts.double()) - mean, 0.0).square().sum(dim=1)
            rows.append(error / under.sum(dim=1).clamp(min=1))
        return np.asarray(torch.cat(rows).numpy())

    def _letters(self, batches: list[Batch]) -> NDArray[np.float64]:
        """The surprise of the train samples' frequencies of letters, at the letters that a model has to tell."""
        letters = self.data.tables["letters"].long()
        seen = torch.cat([batch.inputs["asv"][batch.inputs["asv_mask"]] for batch in self._train()])
        often = torch.bincount(seen, minlength=len(letters))
        sums = torch.stack([((letters == base).sum(dim=1) * often).sum() for base in range(1, BASES + 1)]).double()
        surprise = -torch.log(sums.clamp(min=0.5) / sums.sum())
        span = self.config.span if self.config.masking == "span" else 1
        hidden = hidden_letters(letters, fixed_draw(*letters.shape), self.config.hide, span)
        each = torch.where(hidden, surprise[(letters - 1).clamp(0, BASES - 1)], 0.0).sum(dim=1)
        each = each / hidden.sum(dim=1).clamp(min=1)
        rows = []
        for batch in batches:
            asv, mask = batch.inputs["asv"], batch.inputs["asv_mask"]
            rows.append(torch.where(mask, each[asv], 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1))
        return np.asarray(torch.cat(rows).numpy())
