"""Ridge regression in its dual form, for more features than rows; the strength is chosen by the absolute error."""

from collections.abc import Sequence

import numpy as np

from plait.baselines.ridge import RidgeFit
from plait.features.seasonal_prior import FloatArray

STRENGTHS: tuple[float, ...] = tuple(10.0**power for power in range(-4, 4))
"""In units of the mean eigenvalue of the centred kernel, so that they fit features of any scale and number."""


def fit_dual_ridge(
    x: FloatArray, y: FloatArray, x_val: FloatArray, y_val: FloatArray, strengths: Sequence[float] = STRENGTHS
) -> RidgeFit:
    """Minimise ``sum (y - x @ w - c)^2 + lambda |w|^2`` through the kernel ``K = (x - mean)(x - mean)'``.

    ``w = (x - mean)' (K + lambda I)^-1 (y - mean(y))``, with one eigendecomposition of K for all strengths; lambda is a
    strength times the mean eigenvalue of K. The strength with the smallest MAE on the validation rows is kept (the
    first of equals); without any such row the strongest.

    Shape: x (b, f), y (b,), x_val (c, f), y_val (c,), nothing missing; the fit has p = 1.
    Source: Saunders, Gammerman & Vovk (1998); Hastie, Tibshirani & Friedman (2009), section 18.3.5.
    """
    centre, middle = x.mean(axis=0), float(y.mean())
    inner = x - centre
    values, vectors = np.linalg.eigh(inner @ inner.T)
    values = np.maximum(values, 0.0)
    grid = np.asarray(strengths, dtype=np.float64) * (float(values.mean()) or 1.0)
    turned = vectors.T @ (y - middle)
    coef = (vectors @ (turned[:, None] / (values[:, None] + grid))).T @ inner
    intercept = middle - coef @ centre
    errors = np.abs(x_val @ coef.T + intercept - y_val[:, None]).sum(axis=0)
    best = int(errors.argmin()) if len(y_val) else int(grid.argmax())
    return RidgeFit(coef[[best]], intercept[[best]], grid[[best]])
