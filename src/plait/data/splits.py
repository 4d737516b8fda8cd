"""Chronological splits of a series into windows: none is dropped, and train targets never reach validation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plait.core.errors import ConfigError, DataError
from plait.core.schema import SPLITS


@dataclass(frozen=True)
class Borders:
    """The rows of each split, in the order of time."""

    train: int
    val: int
    test: int

    @classmethod
    def by_share(cls, rows: int, shares: list[float]) -> "Borders":
        """int(share * rows) rows for train and test, the rest for validation."""
        if abs(sum(shares) - 1) > 1e-9 or min(shares) <= 0:
            raise ConfigError(f"{shares} are no three positive shares of 1", where="data.splits")
        train, test = int(shares[0] * rows), int(shares[2] * rows)
        return cls(train, rows - train - test, test)

    def origins(self, lookback: int, horizon: int) -> dict[str, NDArray[np.int64]]:
        """The last lookback row of every window of every split.

        Train windows lie wholly in the train rows; validation and test windows reach back one lookback, so their
        first target row is the split's first row. Every window counts.
        """
        ends = {"train": self.train, "val": self.train + self.val, "test": self.train + self.val + self.test}
        first = {"train": lookback - 1, "val": self.train - 1, "test": self.train + self.val - 1}
        made = {}
        for split in SPLITS:
            start = max(first[split], lookback - 1)
            made[split] = np.arange(start, ends[split] - horizon, dtype=np.int64)
            if not len(made[split]):
                have = ends[split] - start - 1 if split != "train" else self.train
                need = horizon if split != "train" else lookback + horizon
                raise DataError(
                    f"the {split} split has {max(have, 0)} rows, a window needs {need}",
                    where=f"lookback {lookback}, horizon {horizon}", fix="shorten data.lookback or data.horizon",
                )  # fmt: skip
        return made
