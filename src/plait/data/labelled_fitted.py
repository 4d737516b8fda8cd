"""What was fitted on the train rows of labelled series, as a run keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core.errors import DataError


@dataclass(frozen=True, eq=False)
class LabelledFitted:
    """Mean and sd of each variate over the observed cells of the train rows, and the names of the classes.

    Shape: mean and sd (v,). `class_counts` counts the train rows of each class.
    """

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]

    @classmethod
    def of(cls, values: NDArray[np.float64], label: NDArray[np.int64], classes: tuple[str, ...]) -> "LabelledFitted":
        """The fit on train rows. Shape: values (n, t, v), NaN = missing; label (n,).

        A variate that does not vary keeps its unit. Errors: DataError for a variate without an observed value.
        """
        lacking = np.flatnonzero(np.isnan(values).all(axis=(0, 1)))
        if len(lacking):
            raise DataError(f"dimension {lacking[0] + 1} has no observed value in the train series", where="data.train")
        mean, sd = np.nanmean(values, axis=(0, 1)), np.nanstd(values, axis=(0, 1))
        counts = np.bincount(label, minlength=len(classes))
        return cls(mean, np.where(sd > 0, sd, 1.0), classes, tuple(map(int, counts)))

    def tensors(self) -> dict[str, Tensor]:
        """The numbers, for a file."""
        return {"mean": torch.from_numpy(self.mean), "sd": torch.from_numpy(self.sd)}

    def record(self) -> dict[str, Any]:
        """The words, for a file."""
        return {"classes": list(self.classes), "class_counts": list(self.class_counts)}

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> "LabelledFitted":
        """What `tensors` and `record` wrote."""
        mean, sd = (tensors[name].numpy() for name in ("mean", "sd"))
        return cls(mean, sd, tuple(record["classes"]), tuple(record["class_counts"]))
