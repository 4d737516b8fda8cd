"""Linear forecasts in closed form: ridge regression on the lookback, the seasonal prior and the season."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from plait.baselines.panel import Panel
from plait.core.schema import SPLITS
from plait.features.seasonal_prior import BoolArray, FloatArray, IntArray, seasonal_prior

STRENGTHS: tuple[float, ...] = tuple(10.0**power for power in range(-2, 6))


@dataclass(frozen=True, eq=False)
class RidgeFit:
    """Hold the coefficients of one linear map per horizon step: ``yhat = x @ coef.T + intercept``.

    Shape: coef (p, f), intercept (p,), strengths (p,) the chosen lambda of each step.
    """

    coef: FloatArray
    intercept: FloatArray
    strengths: FloatArray

    def predict(self, x: FloatArray) -> FloatArray:
        """Apply the map to rows of features.

        Shape: x (..., f) -> (..., p). Units: those of the targets of the fit.
        """
        return x @ self.coef.T + self.intercept


def fit_ridge(
    x: FloatArray,
    y: FloatArray,
    x_val: FloatArray,
    y_val: FloatArray,
    strengths: Sequence[float] = STRENGTHS,
    *,
    shared_strength: bool = False,
) -> RidgeFit:
    """Fit one ridge regression per horizon step and choose its strength on validation rows.

    Each step minimises ``sum (y - x @ w - c)^2 + lambda |w|^2`` over the rows where its target is observed;
    features and target are centred on those rows, so the intercept c is not penalised. The lambda with the
    smallest validation MSE over observed targets is kept (the first of equals): one per step, or with
    ``shared_strength`` one for all steps together. A step without any observed target gets zeros; where
    validation has no target to score, the strongest lambda is taken.

    Shape: x (b, f), y (b, p), x_val (c, f), y_val (c, p); NaN in y and y_val means missing.
    Errors: ValueError where shapes disagree, a feature is not finite, or a strength is not positive.
    Source: Hastie, Tibshirani & Friedman, The Elements of Statistical Learning (2nd ed.), eq. 3.41-3.47.
    """
    grid = np.asarray(strengths, dtype=np.float64)
    if grid.ndim != 1 or not grid.size or not np.all(grid > 0):
        raise ValueError(f"strengths must be a list of positive numbers, got {strengths}")
    if x.shape != (len(y), x_val.shape[1]) or y.shape[1] != y_val.shape[1] or len(x_val) != len(y_val):
        raise ValueError(f"shapes disagree: {x.shape}, {y.shape}; validation {x_val.shape}, {y_val.shape}")
    if not (np.isfinite(x).all() and np.isfinite(x_val).all()):
        raise ValueError("features must be finite: fill missing values first")
    coef, intercept = _solve(x, y, grid)
    error = np.stack([_squared_error(x_val @ w.T + c, y_val) for w, c in zip(coef, intercept, strict=True)])
    scored = (~np.isnan(y_val)).sum(axis=0)
    if shared_strength:
        error = np.repeat(error.sum(axis=1, keepdims=True), y.shape[1], axis=1)
        scored = np.full(y.shape[1], scored.sum())
    best = np.where(scored > 0, error.argmin(axis=0), grid.argmax())
    each = np.arange(y.shape[1])
    return RidgeFit(coef[best, each], intercept[best, each], grid[best])


def features(panel: Panel, split: str, prior: bool = False, dummies: bool = False) -> FloatArray:
    """Build the features of the ridge family, relative to the last value z[o] of each window.

    Columns, in this order: the lookback differences ``z[o - lookback + 1 .. o - 1] - z[o]``, oldest first
    (lookback - 1 columns); with ``prior`` the ``seasonal_prior[o + 1 .. o + horizon] - z[o]`` (horizon
    columns); with ``dummies`` the one-hot season code of the origin (n_seasons columns). Missing values are
    carried forward.

    Shape: (n, v, f) without NaN. Units: those of panel.z, one-hot columns 0 or 1.
    Source: NLinear, Zeng et al. 2023, arXiv 2205.13504, section 3.3 (subtract the last value, add it back).
    """
    seen = panel.lookbacks(split)
    last = seen[:, -1:]
    parts = [(seen[:, :-1] - last).transpose(0, 2, 1)]
    at = panel.origins[split]
    if prior:
        expected, _ = seasonal_prior(panel.z, panel.period, at, panel.horizon)
        parts.append((expected - last).transpose(0, 2, 1))
    if dummies:
        one_hot = np.eye(panel.n_seasons)[panel.season[at]][:, None, :]
        parts.append(np.broadcast_to(one_hot, (len(at), panel.z.shape[1], panel.n_seasons)))
    return np.concatenate(parts, axis=2)


def fit_panel(panel: Panel, prior: bool = False, dummies: bool = False) -> RidgeFit:
    """Fit the ridge family on the train windows of a panel: one set of coefficients shared by all variates.

    The targets are ``z[o + h] - z[o]``, the features those of `features`; one lambda serves all steps, chosen
    on the validation windows. With ``prior``, train windows with a step that has no prior are left out of the
    fit; where that leaves no window, all coefficients are 0 and the forecast is the last value.

    Shape: coef (p, f), f as in `features`.
    """
    pooled = {}
    for split in ("train", "val"):
        x = features(panel, split, prior, dummies)
        change = (panel.targets(split) - panel.lookbacks(split)[:, -1:]).transpose(0, 2, 1)
        kept: BoolArray = np.ones(x.shape[:2], dtype=np.bool_)
        if prior and split == "train":
            _, known = seasonal_prior(panel.z, panel.period, panel.origins[split], panel.horizon)
            kept = np.logical_and.reduce(known, axis=1)
        pooled[split] = x[kept], change[kept]
    return fit_ridge(*pooled["train"], *pooled["val"], shared_strength=True)


def nlinear_ridge(panel: Panel) -> dict[str, FloatArray]:
    """Forecast ``z[o]`` plus a ridge map of the lookback relative to z[o].

    Shape: per split (n, p, v). Units: those of panel.z.
    Source: NLinear, Zeng et al. 2023, arXiv 2205.13504, section 3.3, fitted in closed form.
    """
    return _forecast(panel, prior=False, dummies=False)


def ridge_prior(panel: Panel) -> dict[str, FloatArray]:
    """Forecast ``z[o]`` plus a ridge map of the lookback and of the seasonal prior, both relative to z[o].

    Shape: per split (n, p, v). Units: those of panel.z.
    """
    return _forecast(panel, prior=True, dummies=False)


def ridge_season_dummies(panel: Panel) -> dict[str, FloatArray]:
    """Forecast ``z[o]`` plus a ridge map of the lookback relative to z[o] and of the origin's season.

    Shape: per split (n, p, v). Units: those of panel.z.
    """
    return _forecast(panel, prior=False, dummies=True)


def _forecast(panel: Panel, prior: bool, dummies: bool) -> dict[str, FloatArray]:
    """Fit on the panel and forecast every split."""
    fit = fit_panel(panel, prior, dummies)
    return {
        split: panel.lookbacks(split)[:, -1:] + fit.predict(features(panel, split, prior, dummies)).transpose(0, 2, 1)
        for split in SPLITS
    }


def _solve(x: FloatArray, y: FloatArray, grid: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Solve every step for every strength: (b, f), (b, p), (k,) -> coef (k, p, f), intercept (k, p)."""
    coef = np.zeros((len(grid), y.shape[1], x.shape[1]))
    intercept = np.zeros(coef.shape[:2])
    observed = ~np.isnan(y)
    x_mean = x.sum(axis=0) / max(len(x), 1)
    y_mean = np.nansum(y, axis=0) / np.maximum(observed.sum(axis=0), 1)
    centred = x - x_mean
    gram = centred.T @ centred
    cross = centred.T @ np.where(observed, y - y_mean, 0.0)
    for steps, rows in _steps_by_rows(observed):
        own_gram, own_mean = _moments(centred, gram, rows)
        scale, basis = np.linalg.eigh(own_gram)
        # Rounding can leave eigenvalues of a rank-deficient Gram matrix below zero.
        shrink = 1.0 / (np.maximum(scale, 0.0) + grid[:, None])
        weights = basis @ (shrink[:, :, None] * (basis.T @ cross[:, steps]))
        coef[:, steps] = weights.transpose(0, 2, 1)
        intercept[:, steps] = y_mean[steps] - coef[:, steps] @ (x_mean + own_mean)
    return coef, intercept


def _steps_by_rows(observed: BoolArray) -> Iterator[tuple[IntArray, BoolArray]]:
    """Group the steps that are observed in the same rows, so that each group costs one eigendecomposition."""
    groups: dict[bytes, list[int]] = {}
    for step, column in enumerate(observed.T):
        groups.setdefault(column.tobytes(), []).append(step)
    for steps in groups.values():
        rows = observed[:, steps[0]]
        if rows.any():
            yield np.asarray(steps), rows


def _moments(centred: FloatArray, gram: FloatArray, rows: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Find the centred Gram matrix and the mean of some rows of a centred matrix with Gram matrix gram."""
    count = rows.sum()
    if 2 * count > len(rows):
        # Few rows are missing: take them away from the whole instead of adding up all the others again.
        gone = centred[~rows]
        own, mean = gram - gone.T @ gone, -gone.sum(axis=0) / count
    else:
        kept = centred[rows]
        own, mean = kept.T @ kept, kept.mean(axis=0)
    return own - count * np.outer(mean, mean), mean


def _squared_error(forecast: FloatArray, y: FloatArray) -> FloatArray:
    """Sum the squared errors of each step over its observed targets."""
    error: FloatArray = np.nansum((y - forecast) ** 2, axis=0)
    return error
