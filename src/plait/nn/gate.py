"""A learned gate: how much of an update each token, or each of its features, takes."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GateName = Literal["mlp", "linear", "token_scalar", "global_scalar"]


class Gate(nn.Module):
    """The logits of a gate, sigmoid(logits) in (0, 1) being the share that passes.

    mlp: two layers, one value a feature; linear: one layer, one value a feature; token_scalar: one layer, one value a
    token; global_scalar: one learned value for all, whatever is given.
    Shape: (b, n, width) -> (b, n, dim), or (b, n, 1) for the scalar kinds.
    Mask: none; every token is its own.
    """

    def __init__(self, kind: GateName, width: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.score: nn.Module | None = None
        if kind == "mlp":
            self.score = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, dim))
        elif kind == "global_scalar":
            self.logit = nn.Parameter(torch.zeros(1))
        else:
            self.score = nn.Linear(width, dim if kind == "linear" else 1)

    def forward(self, x: Tensor) -> Tensor:
        """The logits for these tokens."""
        logits: Tensor = self.logit.expand(*x.shape[:2], 1) if self.score is None else self.score(x)
        return logits


def gate_entropy(logits: Tensor) -> Tensor:
    """The entropy of a gate that is open with probability sigmoid(logits), in nats: ln 2 at 1/2, 0 when decided.

    -g ln g - (1 - g) ln(1 - g) = softplus(z) - z g: from the logits z both it and its gradient stay finite where
    g rounds to 0 or 1.
    """
    return F.softplus(logits) - logits * torch.sigmoid(logits)
