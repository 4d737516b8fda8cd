"""The cheap rivals of every model, by name."""

from collections.abc import Callable

from plait.baselines.naive import last_value, seasonal_naive, seasonal_prior
from plait.baselines.panel import Panel
from plait.baselines.ridge import nlinear_ridge, ridge_prior, ridge_season_dummies
from plait.features.seasonal_prior import FloatArray

FORECASTS: dict[str, Callable[[Panel], dict[str, FloatArray]]] = {
    "last_value": last_value,
    "seasonal_naive": seasonal_naive,
    "seasonal_prior": seasonal_prior,
    "nlinear_ridge": nlinear_ridge,
    "ridge_prior": ridge_prior,
    "ridge_season_dummies": ridge_season_dummies,
}

MEANINGS = {
    "last_value": "the last observed value",
    "seasonal_naive": "the same season's last value",
    "seasonal_prior": "the mean of the same season's last seven values",
    "nlinear_ridge": "ridge on the series",
    "ridge_prior": "ridge on the series and the seasonal prior",
    "ridge_season_dummies": "ridge on the series and season dummies",
    "bag_of_words_ridge": "ridge on the series and the words of the newest texts",
}
"""What each baseline is, for tables."""
