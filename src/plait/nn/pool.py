"""Pooling of tokens that reads only those that are present."""

import torch
from torch import Tensor, nn

from plait.core.tokens import Tokens


def masked_mean(tokens: Tokens) -> Tensor:
    """The mean of the present tokens; exactly 0 for a row without any. Shape: (b, n, d) -> (b, d)."""
    kept = torch.where(tokens.mask[..., None], tokens.x, 0.0)
    count = tokens.mask.sum(dim=1, keepdim=True).clamp(min=1)
    return kept.sum(dim=1) / count.to(kept.dtype)


class AttentionPool(nn.Module):
    """Each group of neighbouring tokens -> their mean, weighted by what the tokens say.

    sum of a_i x_i over the present tokens of a group, a = softmax(w^T tanh(W x_i)), W of `hidden` rows.
    Shape: (b, k * group, d) -> (b, k, d).
    Mask: the content of absent tokens is never read; a group without any is exactly 0, with a False mask.
    Source: Yang et al. 2016, equations 5 to 7.
    """

    def __init__(self, dim: int, group: int, hidden: int) -> None:
        super().__init__()
        self.group = group
        self.inner = nn.Linear(dim, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)  # a bias adds the same to every score

    def forward(self, tokens: Tokens) -> Tokens:
        """One token a group."""
        x = torch.where(tokens.mask[..., None], tokens.x, 0.0).unflatten(1, (-1, self.group))
        mask = tokens.mask.unflatten(1, (-1, self.group))
        some = mask.any(dim=-1)
        scores = self.score(torch.tanh(self.inner(x))).squeeze(-1)
        # An empty group keeps its scores, so that its softmax stays finite; its content is 0.
        weights = torch.softmax(scores.masked_fill(~mask & some[..., None], float("-inf")), dim=-1)
        return Tokens((weights[..., None] * x).sum(dim=-2), some)


def join(streams: list[Tokens]) -> Tokens:
    """Streams of one width, one after the other along the token axis."""
    return Tokens(torch.cat([s.x for s in streams], dim=1), torch.cat([s.mask for s in streams], dim=1))
