"""Ridge regression of rows that are read in parts; its penalty by generalised cross-validation on the fitted rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from plait.features.seasonal_prior import FloatArray, IntArray

Reader = Callable[[IntArray], FloatArray]
"""Row numbers (n,) -> the features of these rows (n, w)."""

STRENGTHS: tuple[float, ...] = tuple(10.0 ** (power / 2) for power in range(-8, 7))
"""Penalties in units of the mean eigenvalue of the smaller of the two kernels."""
PART = 1024
"""Rows that are read at a time."""
ROUNDING = 1e-10
"""An eigenvalue that is a smaller share of the largest is taken for 0."""
FLAT = 1e-6
"""A column whose sd is a smaller share of its mean holds rounding alone, and no weight is given to it."""


@dataclass(frozen=True, eq=False)
class PriceRidge:
    """A linear map of features. Shape: coef (w,); strength is the penalty that was chosen."""

    coef: FloatArray
    intercept: float
    strength: float

    def predict(self, read: Reader, rows: IntArray) -> FloatArray:
        """The map of some rows. Shape: (n,) -> (n,)."""
        parts = [part @ self.coef + self.intercept for part in _parts(read, rows)]
        return np.concatenate(parts) if parts else np.zeros(0)


def _parts(read: Reader, rows: IntArray) -> Iterator[FloatArray]:
    for start in range(0, len(rows), PART):
        yield np.asarray(read(rows[start : start + PART]), dtype=np.float64)


def fit_price_ridge(read: Reader, rows: IntArray, y: FloatArray) -> PriceRidge:
    """Minimise ``sum (y - x w - c)^2 + lambda |w|^2`` over standardised features, whatever their number.

    With more rows than features the Gram matrix of the features is summed over parts of the rows, and memory does not
    grow with the rows; else through the kernel of the rows. Both give the same map.
    lambda has the least generalised cross-validation score n RSS / (n - 1 - sum d / (d + lambda))^2, d the eigenvalues
    of the centred Gram matrix: no row beyond those of the fit is read.

    Shape: rows (n,), y (n,) their targets.
    Source: Golub, Heath & Wahba (1979), equation 1.4; Hastie, Tibshirani & Friedman (2009), section 3.4.1 and 18.3.5.
    """
    width = read(rows[:1]).shape[1]
    return (by_gram if len(rows) > width else by_kernel)(read, rows, y)


def by_gram(read: Reader, rows: IntArray, y: FloatArray) -> PriceRidge:
    """The fit through the (w, w) matrix of the features."""
    middle = float(y.mean())
    # Away from an origin near the mean, a column far from 0 would lose its digits.
    origin = next(_parts(read, rows)).mean(axis=0)
    width, done = len(origin), 0
    gram, towards, off = np.zeros((width, width)), np.zeros(width), np.zeros(width)
    for part in _parts(read, rows):
        part = part - origin
        gram += part.T @ part
        towards += part.T @ (y[done : done + len(part)] - middle)
        off += part.sum(axis=0) / len(rows)
        done += len(part)
    for place, each in enumerate(off):
        gram[place] -= done * each * off
    mean = origin + off
    scale = _scale(np.sqrt(np.maximum(gram.diagonal() / done, 0.0)), mean)
    gram *= scale
    gram *= scale[:, None]
    d, vectors = _spectrum(gram)
    turned = vectors.T @ (scale * towards)
    strength = _strength(d, turned**2 / d, float(((y - middle) ** 2).sum()), done)
    coef = scale * (vectors @ (turned / (d + strength)))
    return PriceRidge(coef, middle - float(mean @ coef), strength)


def by_kernel(read: Reader, rows: IntArray, y: FloatArray) -> PriceRidge:
    """The fit through the (n, n) matrix of the rows."""
    x = np.concatenate(list(_parts(read, rows)))
    mean, middle = x.mean(axis=0), float(y.mean())
    x -= mean
    scale = _scale(x.std(axis=0), mean)
    x *= scale
    d, vectors = _spectrum(x @ x.T)
    turned = vectors.T @ (y - middle)
    strength = _strength(d, turned**2, float(((y - middle) ** 2).sum()), len(y))
    coef = scale * (x.T @ (vectors @ (turned / (d + strength))))
    return PriceRidge(coef, middle - float(mean @ coef), strength)


def _scale(sd: FloatArray, mean: FloatArray) -> FloatArray:
    """What each column is multiplied by: 1 / sd, and 0 for one that does not vary."""
    varies = sd > FLAT * np.abs(mean)
    return np.where(varies, 1.0 / np.where(varies, sd, 1.0), 0.0)


def _spectrum(square: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The eigenvalues of a matrix that are more than rounding, and their vectors. The matrix is overwritten."""
    from scipy.linalg import eigh

    # This driver needs room for the vectors alone beside the matrix.
    values, vectors = eigh(square, overwrite_a=True, check_finite=False, driver="evr")
    first = int(np.searchsorted(values, max(ROUNDING * float(values[-1]), np.finfo(np.float64).tiny)))
    return values[first:], vectors[:, first:]


def _strength(d: FloatArray, power: FloatArray, square: float, rows: int) -> float:
    """The penalty with the least score, the strongest of equals; `power` is what of `square` lies along each vector."""
    best, least = 1.0, np.inf
    for strength in np.asarray(STRENGTHS)[::-1] * (float(d.mean()) if len(d) else 1.0):
        kept = d / (d + strength)
        residual = square - float(power.sum()) + float((power * (1 - kept) ** 2).sum())
        score = rows * residual / (rows - 1 - float(kept.sum())) ** 2
        if score < least:
            best, least = float(strength), score
    return best
