"""Losses of the chance of an event: cross-entropy that may count easy rows less, as rows."""

import torch
import torch.nn.functional as F
from torch import Tensor


def focal(logit: Tensor, event: Tensor, mask: Tensor, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """-a (1 - p)^gamma ln p of each row, p the chance given to what came; 0 where that is not known.

    a is alpha for an event and 1 - alpha for none, without alpha 1; gamma = 0 without alpha is the cross-entropy.
    Shape: all (b,) -> (b,) float32, also under half precision. Units: nats.
    Mask: what a False row holds is never read.
    Source: Lin et al. 2017, equations 4 and 5.
    """
    logit = torch.where(mask, logit.float(), 0.0)
    event = torch.where(mask, event.float(), 0.0)
    surprise = F.binary_cross_entropy_with_logits(logit, event, reduction="none")
    rows = surprise if gamma == 0 else (-torch.expm1(-surprise)) ** gamma * surprise
    if alpha is not None:
        rows = rows * torch.where(event > 0, alpha, 1 - alpha)
    return torch.where(mask, rows, 0.0)
