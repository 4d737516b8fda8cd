"""A standardised series and its forecast windows: all that a cheap forecast needs to know."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from plait.core.schema import SPLITS
from plait.features.seasonal_prior import FloatArray, IntArray, carry_forward


@dataclass(frozen=True, eq=False)
class Panel:
    """Hold one series of several variates together with the windows of each split.

    A window is named by its origin o, the row number of its last lookback row: it sees rows
    ``o - lookback + 1 .. o`` and is asked for rows ``o + 1 .. o + horizon``.

    Shape: z (t, v), season (t,), each array of origins (n,).
    Units: z is standardised with the statistics of the train rows; period, lookback, horizon count rows.
    Errors: ValueError where shapes disagree, a window leaves the rows of z, a train window leaves the train
    rows, a season code is out of range, or z holds an infinity.
    """

    z: FloatArray
    """Values, float64, NaN where missing."""
    period: int
    """Rows in one season cycle: 12 for monthly, 52 for weekly rows."""
    season: IntArray
    """Code 0..n_seasons-1 of each row: month, ISO week with 53 counted as 52, hour, ..."""
    n_seasons: int
    """Number of season codes."""
    lookback: int
    """Rows a window sees."""
    horizon: int
    """Rows a window is asked for."""
    origins: Mapping[str, IntArray]
    """Last lookback row of each window, for "train", "val" and "test"."""
    train_rows: int
    """Rows 0..train_rows-1 are the train rows."""

    def __post_init__(self) -> None:
        """Refuse windows and codes that can't be read, before any of them is."""
        if self.z.ndim != 2 or self.season.shape != self.z.shape[:1]:
            raise ValueError(f"z must be (t, v) and season (t,), got {self.z.shape} and {self.season.shape}")
        if min(self.period, self.n_seasons, self.lookback, self.horizon) < 1:
            raise ValueError("period, n_seasons, lookback and horizon must be >= 1")
        if np.isinf(self.z).any():
            raise ValueError("z holds an infinity: mark such values as missing (NaN)")
        if np.any((self.season < 0) | (self.season >= self.n_seasons)):
            raise ValueError(f"season codes must lie in 0..{self.n_seasons - 1}")
        if set(self.origins) != set(SPLITS):
            raise ValueError(f"origins need exactly the splits {SPLITS}, got {tuple(self.origins)}")
        for split, at in self.origins.items():
            rows = self.train_rows if split == "train" else len(self.z)
            if np.any((at < self.lookback - 1) | (at >= rows - self.horizon)):
                raise ValueError(
                    f"{split}: every origin must lie in {self.lookback - 1}..{rows - self.horizon - 1}: "
                    f"{self.lookback} lookback and {self.horizon} target rows have to fit into {rows} rows"
                )

    def targets(self, split: str) -> FloatArray:
        """Gather the values to forecast, ``z[o + 1 .. o + horizon]``, NaN where missing.

        Shape: (n, p, v). Units: those of z.
        """
        steps = np.arange(1, self.horizon + 1)
        rows = self.origins[split][:, None] + steps
        return np.take(self.z, rows, axis=0)

    def lookbacks(self, split: str) -> FloatArray:
        """Gather the values a window sees, ``z[o - lookback + 1 .. o]``, missing ones carried forward.

        A missing value takes the last earlier observed value, also one from before the lookback, or 0.

        Shape: (n, lookback, v), without NaN. Units: those of z.
        """
        steps = np.arange(1 - self.lookback, 1)
        rows = self.origins[split][:, None] + steps
        return np.take(carry_forward(self.z), rows, axis=0)
