"""Modality dropout: whole modalities of a row are hidden in training, so that the model learns to do without them."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from plait.core.errors import ConfigError, suggest
from plait.core.protocols import Dataset
from plait.core.seeding import generator
from plait.core.tokens import Batch


class ModalityDropout:
    """Hides each context modality of a row at a rate of its own, never the anchor.

    Which rows are hidden is a function of the seed, the stage, the epoch and the row alone: devices, accumulation and
    a resume do not change it. A hidden modality has an all-False mask, as a missing one; rows where it is missing
    stay as they are.
    Source: ModDrop, Neverova et al. 2016, section 3.3, with a rate a modality.
    """

    def __init__(self, rates: float | Mapping[str, float], data: Dataset, seed: int) -> None:
        schema = data.schema
        self.rates = dict.fromkeys(schema.contexts, rates) if isinstance(rates, float) else dict(rates)
        for name in self.rates:
            if name not in schema.contexts:
                anchor = name == schema.anchor
                raise ConfigError(
                    f"{name!r} is {'the anchor, which is never hidden' if anchor else 'no modality of these data'}",
                    where="training.modality_dropout",
                    fix=suggest(name, schema.contexts) if schema.contexts else "there is one stream: leave it out",
                )
        self.data, self.seed = data, seed

    def __call__(self, batch: Batch, rows: NDArray[np.int64], stage: str, epoch: int) -> Batch:
        """The rows of the train split with some of their modalities hidden. Shape: `rows` (b,), their numbers."""
        inputs = dict(batch.inputs)
        for name, rate in self.rates.items():
            mask = inputs.get(f"{name}_mask")
            if rate and mask is not None:
                maker = generator(self.seed, "modality dropout", name, stage, epoch)
                kept = torch.from_numpy(maker.random(len(self.data.rows("train")))[rows] >= rate).to(mask.device)
                inputs[f"{name}_mask"] = mask & kept.reshape(-1, *[1] * (mask.dim() - 1))
        return batch._replace(inputs=inputs)
