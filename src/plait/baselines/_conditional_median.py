"""What weighted training rows answer, medians or class frequencies, and the weights of leaves and of neighbours."""

from typing import Any

import numpy as np
from scipy import sparse

from plait.features.seasonal_prior import FloatArray, IntArray

CLOSE = 1e-9
"""A cumulated share this near to one half is one half: sums of weights are inexact."""

LEAST = 1e-6
"""No class has a smaller probability, before the sum is brought back to 1."""


def weighted_median(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Read the median of the distribution that puts `weights[i, j]`, divided by the row's sum, on `values[j]`.

    The smallest value up to which at least half of the weight lies; where exactly half of it lies there, the mean of
    that value and the next one with a weight. With equal weights this is the ordinary median.

    Shape: values (n,), weights (m, n) -> (m,). Units: those of the values.
    Errors: ValueError where shapes disagree, or a row has a negative weight or none above 0.
    Source: Meinshausen (2006), Quantile Regression Forests, eq. 6, at 1/2.
    """
    if weights.ndim != 2 or values.shape != weights.shape[1:]:
        raise ValueError(f"values must be (n,) and weights (m, n), got {values.shape} and {weights.shape}")
    if (weights < 0).any() or not weights.any(axis=1).all():
        raise ValueError("every row needs weights of at least 0, and one above 0")
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[:, order], axis=1)
    share /= share[:, -1:]
    lower = (share >= 0.5 - CLOSE).argmax(axis=1)
    upper = (share > 0.5 + CLOSE).argmax(axis=1)
    ranked = values[order]
    middle: FloatArray = (ranked[lower] + ranked[upper]) / 2
    return middle


def leaf_weights(train: IntArray, asked: IntArray) -> Any:
    """Turn leaves into weights of the training rows: ``w_ij = mean over trees of 1[same leaf] / rows in the leaf``.

    All training rows are dropped down every tree, also those that its bootstrap sample left out.

    Shape: leaves of the trees, train (n, t) and asked (m, t) -> CSR (m, n). Every row sums to 1.
    Errors: ValueError where the numbers of trees disagree, or a leaf is asked for that no training row reaches.
    Source: Meinshausen (2006), Quantile Regression Forests, eq. 4 and 5.
    """
    if train.ndim != 2 or asked.ndim != 2 or train.shape[1] != asked.shape[1]:
        raise ValueError(f"leaves must be (n, t) and (m, t), got {train.shape} and {asked.shape}")
    trees = train.shape[1]
    width = 1 + int(max(train.max(initial=0), asked.max(initial=0)))

    def reached(leaves: IntArray) -> Any:
        columns = (leaves + np.arange(trees) * width).ravel()
        starts = np.arange(len(leaves) + 1) * trees
        return sparse.csr_array((np.ones(columns.size), columns, starts), shape=(len(leaves), trees * width))

    there, sought = reached(train), reached(asked)
    rows = np.asarray(there.sum(axis=0)).ravel()
    if (rows[sought.indices] == 0).any():
        raise ValueError("a leaf is asked for that no training row reaches: give leaves of one forest")
    sought.data /= rows[sought.indices] * trees
    return sparse.csr_array(sought @ there.T)


def neighbour_weights(there: FloatArray, asked: FloatArray, k: int) -> FloatArray:
    """Weigh the k nearest training rows of each row by 1 / Euclidean distance; the others have 0.

    Where one of the k lies at a distance of 0, all such have 1 and the others 0. Of equals the first are nearest.

    Shape: there (n, f), asked (m, f) -> (m, n).
    """
    from sklearn.metrics.pairwise import euclidean_distances

    near = np.argsort(euclidean_distances(asked, there), axis=1, kind="stable")[:, :k]
    # Distances through inner products are no exact 0 between equal rows, so those of the k are taken again.
    apart = np.stack([np.linalg.norm(there[at] - row, axis=1) for row, at in zip(asked, near, strict=True)])
    same = apart == 0
    closeness = np.where(same.any(axis=1, keepdims=True), same, 1 / np.where(same, 1.0, apart))
    out = np.zeros((len(asked), len(there)))
    np.put_along_axis(out, near, closeness, axis=1)
    return out


def class_frequencies(labels: IntArray, weights: FloatArray, classes: int) -> FloatArray:
    """Read the share of the weight that lies on each class, kept off zero.

    Shape: labels (n,), weights (m, n) -> (m, classes). Units: probabilities.
    """
    of_class = weights @ np.eye(classes)[labels]
    return kept_off_zero(of_class / of_class.sum(axis=1, keepdims=True))


def kept_off_zero(probabilities: FloatArray) -> FloatArray:
    """Raise each probability to 1e-6 at least, and bring the sums of the rows back to 1. Shape: (m, classes)."""
    kept = np.maximum(probabilities, LEAST)
    return np.asarray(kept / kept.sum(axis=1, keepdims=True))
