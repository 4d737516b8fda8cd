"""Losses of auxiliary objectives, from what a model's heads say and what the data know of their samples."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core.errors import ConfigError
from plait.core.tokens import Batch, Output
from plait.data.samples import SampleData
from plait.objectives.auxiliary import AuxiliaryConfig
from plait.objectives.gathered import gather_rows, own_rows
from plait.objectives.pairs import pair_loss

PART = 512
"""Rows that are gathered at a time where a whole split is looked at."""


def numbers(data: SampleData, split: str) -> NDArray[np.int64]:
    """The row numbers of the data set of all rows of a split. Shape: (n,)."""
    rows = data.rows(split)
    parts = [data.batch(split, rows[start : start + PART]).info["row"] for start in range(0, len(rows), PART)]
    return np.asarray(torch.cat(parts).numpy(), dtype=np.int64)


class Auxiliary:
    """The objectives with a weight: each a loss of its own name, (weight * sum, number of rows or of pairs).

    Nets of an ensemble are averaged. Nothing is looked up before a loss is asked for.
    Errors: ConfigError for given distances beyond 1.
    """

    def __init__(self, config: AuxiliaryConfig, data: SampleData) -> None:
        self.config, self.data, self.given = config, data, config.weights
        matrix = data.table.distances
        if "unifrac" in self.given and matrix is not None and float(matrix.max()) > 1:
            raise ConfigError(
                f"given distances reach {float(matrix.max()):g}, and what is predicted lies below 1",
                where="task.auxiliary.unifrac", fix="give distances from 0 to 1, or no weight",
            )  # fmt: skip

    @cached_property
    def faith_scale(self) -> tuple[float, float]:
        """Mean and sd of Faith's diversity over the train samples."""
        values = self.data.faith(numbers(self.data, "train")).double()
        return float(values.mean()), float(values.std(correction=0)) or 1.0

    def losses(self, output: Output, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Each objective's loss over the batch times its weight; none where the model says nothing of it."""
        found = {}
        parts = output.prediction.parts
        for name, weight in self.given.items():
            if name not in parts:
                continue
            total, count = self._pairs(parts[name], batch) if name == "unifrac" else self._summed(name, parts, batch)
            found[name] = (weight * total, count)
        return found

    def _pairs(self, embedding: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The pairs of the rows that all processes give; each process counts those whose first row is its own."""
        own = own_rows(len(embedding), embedding.device)
        rows, whole = gather_rows(batch.info["row"].to(embedding.device)), gather_rows(embedding.float())
        distances = self.data.pairs(rows, rows).to(embedding.device)
        each = [pair_loss(net, distances, first=own) for net in whole.unbind(dim=1)]
        return torch.stack([total for total, _ in each]).mean(), each[0][1]

    def _summed(self, name: str, parts: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        rows = self.rows(name, parts[name], batch)
        return rows.sum(), torch.ones_like(rows).sum()

    def rows(self, name: str, part: Tensor, batch: Batch) -> Tensor:
        """The loss of each row, without a weight; not of pairs. Shape: part (b, nets) -> (b,)."""
        if name != "faith":
            return part.mean(dim=1)
        return (part.float() - self.standardised(batch)[:, None].to(part.device)).square().mean(dim=1)

    def standardised(self, batch: Batch) -> Tensor:
        """Faith's diversity of each row, in sds of the train samples about their mean. Shape: (b,)."""
        mean, sd = self.faith_scale
        rows = batch.info["row"]
        return ((self.data.faith(rows) if len(rows) else torch.zeros(0)) - mean) / sd

    def weights(self, batch: Batch) -> dict[str, Tensor]:
        """Of each objective: the rows of the batch, or the pairs that this process counts."""
        rows = batch.info["row"]
        found = {name: torch.tensor(float(len(rows))) for name in self.given}
        if "unifrac" in found:
            own = own_rows(len(rows), rows.device)
            found["unifrac"] = (len(own) - 1 - own.nonzero()[:, 0]).sum().float()
        return found
