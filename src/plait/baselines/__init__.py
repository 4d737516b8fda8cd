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
