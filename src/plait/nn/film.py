"""Feature-wise modulation: the pooled context scales and shifts every feature of every token."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.core.tokens import Tokens
from plait.nn.pool import masked_mean


class FeatureModulation(nn.Module):
    """(1 + gamma) * x + beta, the same gamma and beta for every token x of a row.

    [gamma ; beta] = W2 GELU(W1 c + b1) + b2, c the mean of the context tokens; W2 and b2 are 0 at the start.
    Shape: x (b, n, dim), context (b, m, width) -> (b, n, dim).
    Mask: the mean reads present context tokens only; a row without any keeps its x bit for bit.
    Source: Perez et al. 2018 (FiLM), equation 2, with gamma as the offset from 1.
    """

    def __init__(self, width: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, 2 * dim)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor, context: Tokens) -> Tensor:
        """The tokens, modulated."""
        gamma, beta = self.down(F.gelu(self.up(masked_mean(context))))[:, None].chunk(2, dim=-1)
        return torch.where(context.present[:, None, None], (1 + gamma) * x + beta, x)
