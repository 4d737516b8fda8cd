"""The one attention: key masks, additive bias, zero for a row without a key, and weights on request."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.core.errors import ConfigError


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_mask: Tensor | None = None,
    bias: Tensor | None = None,
    dropout: float = 0.0,
    weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention, softmax(q k^T / sqrt(e) + bias) v over the keys that are present.

    Shape: `q` (b, h, n, e), `k` and `v` (b, h, m, e), `key_mask` (b, m) bool or (b, 1, n, m) bool, `bias`
    finite (`nn.attention_bias` says how it excludes keys) and broadcastable to (b, h, n, m); returns (b, h, n, e) and,
    with `weights`, the weights (b, h, n, m).
    Mask: a False key weighs exactly 0, and the content of one that no query may see is never read; a query without
    any key gets exactly 0.
    Source: Vaswani et al. 2017, equation 1.
    """
    mask = None
    if key_mask is not None:
        mask = key_mask[:, None, None, :] if key_mask.dim() == 2 else key_mask
        some, keep = mask.any(dim=-1, keepdim=True), mask.any(dim=-2)[..., None]
        mask = mask | ~some
        k, v = torch.where(keep, k, 0.0), torch.where(keep, v, 0.0)
    if weights:
        # Half precision rounds scores too coarsely to show; the fused path keeps them in float32 as well.
        wide = torch.promote_types(q.dtype, torch.float32)
        scores = q.to(wide) @ k.to(wide).transpose(-2, -1) * q.shape[-1] ** -0.5
        if bias is not None:
            scores = scores + bias
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        used = torch.softmax(scores, dim=-1)
        if mask is not None:
            used = torch.where(some, used, 0.0)
        return (F.dropout(used, dropout) @ v.to(wide)).to(v.dtype), used
    additive = mask
    if bias is not None:
        bias = bias[None] if bias.dim() == 3 else bias  # a mask of three axes leaves the fused CPU kernel
        additive = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=additive, dropout_p=dropout)
    return (out if mask is None else torch.where(some, out, 0.0)), None


def check_heads(dim: int, heads: int, field: str) -> None:
    """Refuse a width that the number of heads does not divide, naming the field."""
    if dim % heads:
        fits = [h for h in range(1, dim + 1) if dim % h == 0 and h <= 4 * heads]
        raise ConfigError(f"{heads} heads do not divide the width {dim}", where=field, fix=f"heads that do: {fits}")


class Attention(nn.Module):
    """Multi-head attention from a query stream to a key stream: projections around `attend`.

    Shape: `x` (b, n, query_dim), `context` (b, m, context_dim) -> (b, n, dim); both widths are `dim` where unset.
    Mask: `mask` (b, m) of the keys; see `attend`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        context_dim: int | None = None,
        dropout: float = 0.0,
        zero_out: bool = False,
        query_dim: int | None = None,
    ) -> None:
        super().__init__()
        check_heads(dim, heads, "heads")
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(query_dim or dim, dim)
        self.key = nn.Linear(context_dim or dim, dim, bias=False)  # a bias adds the same to every score
        self.value = nn.Linear(context_dim or dim, dim)
        self.out = nn.Linear(dim, dim, bias=not zero_out)
        if zero_out:
            nn.init.zeros_(self.out.weight)

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The attended values, projected, and the weights (b, h, n, m) if asked for."""

        def split(t: Tensor) -> Tensor:
            heads: Tensor = t.unflatten(-1, (self.heads, -1))
            return heads.transpose(1, 2)

        q, k, v = split(self.query(x)), split(self.key(context)), split(self.value(context))
        mixed, used = attend(q, k, v, mask, bias, self.dropout if self.training else 0.0, weights)
        return self.out(mixed.transpose(1, 2).flatten(2)), used
