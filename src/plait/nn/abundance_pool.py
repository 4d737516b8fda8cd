"""Attention pooling whose heads range from the presence of a token to its abundance."""

import torch
from torch import Tensor, nn

from plait.core.tokens import Tokens


class AbundancePool(nn.Module):
    """The tokens of a row -> one vector: per head h the sum of a_hj v_hj over the present tokens j,

        a_h = softmax_j(q_h . k_j / sqrt(key) + beta_h log1p(x_j) / 3),  k = W_k t,  v = W_v t,

    q_h and beta_h learned. beta starts evenly from 0 (the head sees who is present) to 1 (who is abundant); without
    `counts` there is none, and the second term is left out.
    Shape: tokens (b, s, dim), `log_counts` (b, s) = log1p of the counts -> (b, heads * value) and, with `weights`, the
    weights (b, heads, s). It is left out too where no `log_counts` are given.
    Mask: absent tokens weigh 0 and their content and count are never read; a row without any token is exactly 0.
    """

    def __init__(self, dim: int, heads: int, key: int = 16, value: int = 16, counts: bool = True) -> None:
        super().__init__()
        self.dim, self.heads = heads * value, heads
        self.query = nn.Parameter(torch.randn(heads, key))
        self.abundance = nn.Parameter(torch.linspace(0, 1, heads)) if counts else None
        self.key = nn.Linear(dim, heads * key, bias=False)  # a bias adds the same to every score
        self.value = nn.Linear(dim, heads * value, bias=False)

    def forward(
        self, tokens: Tokens, log_counts: Tensor | None = None, weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """The pooled vectors, and the weights if asked for."""
        x, mask = torch.where(tokens.mask[..., None], tokens.x, 0.0), tokens.mask
        wide = torch.promote_types(x.dtype, torch.float32)
        # q . (W_k t) = (W_k^T q) . t, and the sum of a_j W_v t_j = W_v (sum of a_j t_j): with one query a head, neither
        # keys nor values of single tokens are ever needed.
        asked = torch.einsum("hk,hkd->hd", self.query, self.key.weight.unflatten(0, (self.heads, -1)))
        scores = (x @ asked.T).transpose(1, 2).to(wide) * self.query.shape[1] ** -0.5
        if self.abundance is not None and log_counts is not None:
            seen = torch.where(mask, log_counts, 0.0).to(wide) / 3
            scores = scores + self.abundance.to(wide)[:, None] * seen[:, None]
        some = mask.any(dim=1)[:, None, None]
        used = torch.softmax(scores.masked_fill(~mask[:, None] & some, float("-inf")), dim=-1)
        used = torch.where(some, used, 0.0)
        means = used.to(x.dtype) @ x
        pooled = torch.einsum("bhd,hvd->bhv", means, self.value.weight.unflatten(0, (self.heads, -1)))
        return pooled.flatten(1), used if weights else None
