"""The transformer block and a stack of them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.core.tokens import Tokens
from plait.nn.attention import Attention

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}


class FeedForward(nn.Module):
    """Linear, activation, dropout, Linear. Shape: (b, n, dim) -> (b, n, dim).

    With `zero_out` the last layer is zero and has no bias: a residual update that starts closed.
    """

    def __init__(
        self, dim: int, hidden: int, dropout: float = 0.0, activation: str = "gelu", zero_out: bool = False
    ) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim, bias=not zero_out)
        self.drop = nn.Dropout(dropout)
        self.activation = activation
        if zero_out:
            nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The transformed tokens."""
        out: Tensor = self.down(self.drop(ACTIVATIONS[self.activation](self.up(x))))
        return out


class Block(nn.Module):
    """A transformer block over the tokens that are present.

    pre:  x = x + Attn(norm(x)); x = x + FFN(norm(x))        post: x = norm(x + Attn(x)); x = norm(x + FFN(x))
    Shape: (b, n, dim) -> (b, n, dim). Mask: absent tokens are no keys, and a row without any stays finite.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        dropout: float = 0.0,
        activation: str = "gelu",
        norm: str = "pre",
    ) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout=dropout)
        self.feed_forward = FeedForward(dim, hidden, dropout, activation)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)
        self.pre = norm == "pre"

    def forward(self, tokens: Tokens, bias: Tensor | None = None) -> Tokens:
        """The tokens after one block, with the same mask."""
        x, mask = tokens
        seen = self.norm1(x) if self.pre else x
        x = x + self.drop(self.attention(seen, seen, mask, bias)[0])
        if not self.pre:
            x = self.norm1(x)
        x = x + self.drop(self.feed_forward(self.norm2(x) if self.pre else x))
        return Tokens(x if self.pre else self.norm2(x), mask)


class Stack(nn.Module):
    """Blocks one after the other, then a norm; without any block it returns the tokens untouched."""

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        dropout: float = 0.0,
        activation: str = "gelu",
        norm: str = "pre",
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, heads, hidden, dropout, activation, norm) for _ in range(depth))
        self.norm = nn.LayerNorm(dim) if depth else nn.Identity()

    def forward(self, tokens: Tokens) -> Tokens:
        """The tokens after all blocks. Content of absent tokens is set to 0 first, so that it is never read."""
        if not self.blocks:
            return tokens
        tokens = Tokens(torch.where(tokens.mask[..., None], tokens.x, 0.0), tokens.mask)
        for block in self.blocks:
            tokens = block(tokens)
        return Tokens(self.norm(tokens.x), tokens.mask)
