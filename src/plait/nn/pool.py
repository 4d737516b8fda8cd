"""Pooling of tokens that reads only those that are present."""

import torch
from torch import Tensor

from plait.core.tokens import Tokens


def masked_mean(tokens: Tokens) -> Tensor:
    """The mean of the present tokens; exactly 0 for a row without any. Shape: (b, n, d) -> (b, d)."""
    kept = torch.where(tokens.mask[..., None], tokens.x, 0.0)
    count = tokens.mask.sum(dim=1, keepdim=True).clamp(min=1)
    return kept.sum(dim=1) / count.to(kept.dtype)


def join(streams: list[Tokens]) -> Tokens:
    """Streams of one width, one after the other along the token axis."""
    return Tokens(torch.cat([s.x for s in streams], dim=1), torch.cat([s.mask for s in streams], dim=1))
