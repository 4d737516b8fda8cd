"""Three forecasts without a fit: the last value, the last season, and the mean of the last seasons."""

import numpy as np

from plait.baselines.panel import Panel
from plait.core.schema import SPLITS
from plait.features.seasonal_prior import FloatArray
from plait.features.seasonal_prior import seasonal_prior as same_season_mean


def last_value(panel: Panel) -> dict[str, FloatArray]:
    """Repeat the last observed value at or before the origin: ``yhat[o + h] = z[o]``.

    Where nothing was observed yet: 0.

    Shape: per split (n, p, v). Units: those of panel.z.
    Source: the naive method, Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 5.2.
    """
    return {split: np.repeat(panel.lookbacks(split)[:, -1:], panel.horizon, axis=1) for split in SPLITS}


def seasonal_naive(panel: Panel) -> dict[str, FloatArray]:
    """Repeat the newest season up to the origin: ``yhat[t] = z[t - j * period]``, ``j = ceil(h / period)``.

    Up to one period ahead j is 1; further ahead it grows, so that no row after the origin is read. Where that
    value is missing or lies before the first row: the last observed value at or before the origin, else 0.

    Shape: per split (n, p, v). Units: those of panel.z.
    Source: the seasonal naive method, Hyndman & Athanasopoulos, Forecasting (3rd ed.), 5.2.
    """
    return _seasonal(panel, seasons=1)


def seasonal_prior(panel: Panel) -> dict[str, FloatArray]:
    """Average up to seven earlier seasons: `plait.features.seasonal_prior` as a forecast of its own.

    ``yhat[t] = mean of the observed z[t - j * period]``, seven j from ``ceil(h / period)`` on; where nothing
    is observed, the last observed value at or before the origin, else 0.

    Shape: per split (n, p, v). Units: those of panel.z.
    Source: the prior column of the merged Time-MMD files (Liu et al. 2024, arXiv 2406.08627).
    """
    return _seasonal(panel, seasons=7)


def _seasonal(panel: Panel, seasons: int) -> dict[str, FloatArray]:
    """Forecast every split with the mean of the newest same-season values."""
    return {
        split: same_season_mean(panel.z, panel.period, panel.origins[split], panel.horizon, seasons)[0]
        for split in SPLITS
    }
