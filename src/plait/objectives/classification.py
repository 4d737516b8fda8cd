"""Losses and scores of a class a row: cross-entropy as (sum, weight), weights that balance classes, sums by row."""

import torch
from torch import Tensor

from plait.core.errors import DataError


def balanced_class_weights(labels: Tensor, classes: int) -> Tensor:
    """The weight of each class, n / (classes n_c), so that all classes weigh the same over the training rows.

    Shape: labels (n,) integers of training rows -> (classes,) float32.
    Errors: DataError for a label that is no class, and for a class without a row.
    """
    labels = labels.long()
    odd = labels[(labels < 0) | (labels >= classes)].unique().tolist()
    if odd:
        raise DataError(f"labels {odd} are not among the {classes} classes")
    counts = torch.bincount(labels, minlength=classes)
    empty = (counts == 0).nonzero().flatten().tolist()
    if empty:
        raise DataError(f"no training row has class {', '.join(map(str, empty))}", fix="split stratified, or drop it")
    return (len(labels) / (classes * counts.double())).float()


def surprise(logits: Tensor, labels: Tensor, mask: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """-w_c log softmax(logits)_c of each row with a known class c, and its weight w_c (1 if unset); both 0 elsewhere.

    Shape: logits (b, ..., c), labels and mask (b, ...), weights (c,) -> two of (b, ...).  Units: nats.
    Mask: what a False row holds is never read, also a label that is no class.
    """
    labels, logits = _known(labels, logits.to(torch.promote_types(logits.dtype, torch.float32)), mask)
    rows = _surprise(logits, labels)
    weight = torch.ones_like(rows) if weights is None else weights.to(rows)[labels]
    weight = torch.where(mask, weight, 0.0)
    return weight * rows, weight


def cross_entropy(logits: Tensor, labels: Tensor, mask: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The sum of `surprise` over rows, and that of the weights. Shape: as there -> two scalars."""
    rows, weight = surprise(logits, labels, mask, weights)
    return rows.sum(), weight.sum()


def row_scores(logits: Tensor, labels: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Log loss and rightly named classes summed over each row, and its known labels, all without class weights.

    The class named is the first of the largest logits.  Shape: logits (b, ..., c), labels and mask (b, ...) ->
    `log_loss`, `correct` and `n` of (b,) float64.  Units: `log_loss` in nats.  Mask: as for `cross_entropy`.
    """
    labels, logits = _known(labels, logits.double(), mask)
    surprise, right = _surprise(logits, labels), logits.argmax(-1) == labels
    rows = {"log_loss": torch.where(mask, surprise, 0.0), "correct": mask & right, "n": mask}
    return {name: values.double()[..., None].flatten(1).sum(1) for name, values in rows.items()}


def _known(labels: Tensor, logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(mask, labels, 0).long(), torch.where(mask[..., None], logits, 0.0)


def _surprise(logits: Tensor, labels: Tensor) -> Tensor:
    return -logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0]
