"""What was fitted on the train rows of candles, as a run keeps it."""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.features.topology import Grid

FloatArray = NDArray[np.float64]


class Scaling(NamedTuple):
    """Mean and standard deviation of each column over the train rows. Shape: (k,) both."""

    mean: FloatArray
    sd: FloatArray

    @classmethod
    def of(cls, values: FloatArray) -> "Scaling":
        """The scaling of rows (n, k); a column that does not vary keeps its unit."""
        sd = values.std(axis=0)
        return cls(values.mean(axis=0), np.where(sd > 0, sd, 1.0))

    def apply(self, values: FloatArray) -> NDArray[np.float32]:
        """Columns with mean 0 and standard deviation 1 over the train rows."""
        return ((values - self.mean) / self.sd).astype(np.float32)


@dataclass(frozen=True, eq=False)
class CandleFitted:
    """The scalings of channels, topology and indicators, the grid of the topology, and the length of a bar.

    A modality that was not read has none.
    """

    seconds: int
    candles: Scaling
    topology: Scaling | None = None
    complexity: Scaling | None = None
    grid: Grid | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The numbers, for a file."""
        return {
            f"{each.name}.{name}": torch.from_numpy(value)
            for each in fields(self)
            if isinstance(found := getattr(self, each.name), Scaling)
            for name, value in found._asdict().items()
        }

    def record(self) -> dict[str, Any]:
        """The rest, for a file."""
        grid = None if self.grid is None else {**vars(self.grid), "tops": list(self.grid.tops)}
        return {"seconds": self.seconds, "grid": grid}

    @classmethod
    def read(cls, tensors: dict[str, Tensor], record: dict[str, Any]) -> "CandleFitted":
        """What `tensors` and `record` wrote."""
        names = {name.partition(".")[0] for name in tensors}
        found: dict[str, Any] = {
            name: Scaling(tensors[f"{name}.mean"].numpy(), tensors[f"{name}.sd"].numpy()) for name in names
        }
        grid = record["grid"]
        if grid is not None:
            found["grid"] = Grid(tuple(grid["tops"]), grid["bins"], grid["layers"])
        return cls(record["seconds"], **found)
