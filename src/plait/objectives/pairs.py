"""Distances between pairs of samples, predicted from an embedding of each."""

import torch
from torch import Tensor

ROUND = 1e-3
"""Below this length the norm of a difference is rounded off, so that it is smooth where two embeddings are equal."""


def predicted_distances(one: Tensor, other: Tensor) -> Tensor:
    """The distance that two embeddings stand for, r / (1 + r) of their Euclidean distance r.

    Like UniFrac it is a metric that lies in [0, 1), 0 for equal embeddings; and like no exponential, 1 - exp(-r), its
    slope falls off by a power, so that pairs which start far apart still learn. r is rounded off near 0,
    sqrt(|difference|^2 + e^2) - e, so its gradient is finite everywhere, and 0 for equal embeddings.
    Shape: (..., d), (..., d) -> (...).
    """
    square = (one - other).square().sum(dim=-1)
    length = (square + ROUND**2).sqrt() - ROUND
    return length / (1 + length)


def pair_loss(
    embedding: Tensor, distances: Tensor, mask: Tensor | None = None, first: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The squared error of the predicted distance over the pairs i < j of a batch: its sum, and the number of pairs.

    Only the pairs above the diagonal of `distances` are read. With `first` only the pairs count whose row i it names:
    processes that gather their rows count each pair once.
    Shape: embedding (n, d), distances (n, n), first (n,) bool -> (), ().
    Mask: (n,), True = the row takes part; what masked rows hold is never read, so it may be NaN.
    """
    n = len(embedding)
    i, j = torch.triu_indices(n, n, offset=1, device=embedding.device)
    if mask is not None:
        both = mask[i] & mask[j]
        i, j = i[both], j[both]
    if first is not None:
        i, j = i[first[i]], j[first[i]]
    error = predicted_distances(embedding[i], embedding[j]) - distances[i, j].to(embedding.dtype)
    return error.square().sum(), torch.tensor(float(len(i)), dtype=embedding.dtype, device=embedding.device)
