"""Late blends of price predictions: a weighted mean of logarithms, over the members that say something of a row."""

import numpy as np
from numpy.typing import NDArray

from plait.features.price_groups import smape_of_logs
from plait.features.seasonal_prior import FloatArray
from plait.objectives.simplex import equal_weights, simplex_weights

FOLDS = 5


def blended(weights: FloatArray, members: FloatArray, present: NDArray[np.bool_], otherwise: float) -> FloatArray:
    """The mean of the members by weight in each row; what an absent one would weigh goes to the others.

    Of weightless members alone the plain mean; a row without any is `otherwise`.
    Shape: weights (m,), members and present (m, n) -> (n,).
    Mask: present (m, n), True = the member says something of the row; what the others hold is never read.
    """
    held = np.where(present, members, 0.0)
    own = np.where(present, weights[:, None], 0.0)
    own = np.where(own.sum(axis=0) > 0, own, present)
    total = own.sum(axis=0)
    return np.where(total > 0, (own * held).sum(axis=0) / np.where(total > 0, total, 1.0), otherwise)


def fitted_weights(members: FloatArray, present: NDArray[np.bool_], log_price: FloatArray) -> FloatArray:
    """The weights, 0 or more and 1 together, whose blend has the least mean SMAPE over these rows.

    Shape: members and present (m, n), log_price (n,) -> (m,).
    """

    def loss(weights: FloatArray) -> float:
        return float(smape_of_logs(blended(weights, members, present, 0.0), log_price).mean())

    return simplex_weights(loss, len(members))


def crossed(members: FloatArray, present: NDArray[np.bool_], log_price: FloatArray, otherwise: float) -> FloatArray:
    """The blend of each row by the weights that the rows of the other folds ask for, of five.

    So its error is of rows that its weights have not seen. Rows of unknown price (NaN) teach nothing.
    Shape: members and present (m, n), log_price (n,) -> (n,).
    """
    rows = np.arange(members.shape[1])
    made = np.zeros(len(rows))
    for fold in range(FOLDS):
        inside = rows % FOLDS == fold
        weights = taught(members, present, log_price, ~inside)
        made[inside] = blended(weights, members[:, inside], present[:, inside], otherwise)
    return made


def taught(
    members: FloatArray, present: NDArray[np.bool_], log_price: FloatArray, rows: NDArray[np.bool_]
) -> FloatArray:
    """The fitted weights of some rows whose price is known and of which a member says something; equal without any."""
    usable = rows & np.isfinite(log_price) & present.any(axis=0)
    if not usable.any():
        return equal_weights(len(members))
    return fitted_weights(members[:, usable], present[:, usable], log_price[usable])
