"""The transformer block and a stack of them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from plait.core.config import Config
from plait.core.tokens import Notes, Tokens
from plait.nn.attention import Attention

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}


class StackConfig(Config):
    """Transformer blocks over tokens."""

    depth: int = Field(0, ge=0)
    """Transformer blocks; 0 leaves the stage out."""
    heads: int = Field(4, ge=1)
    """Attention heads; they divide the width of the tokens."""
    hidden: int = Field(128, ge=1)
    """Width of the feed-forward layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of the blocks."""


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
    With `recompute` a training pass keeps the block's input alone, and the backward pass computes the rest again, with
    the same draws of dropout.
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
        self.recompute = False
        self.attention = Attention(dim, heads, dropout=dropout)
        self.feed_forward = FeedForward(dim, hidden, dropout, activation)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)
        self.pre = norm == "pre"

    def forward(
        self, tokens: Tokens, bias: Tensor | None = None, weights: bool = False
    ) -> tuple[Tokens, Tensor | None]:
        """The tokens after one block, with the same mask, and the attention weights (b, h, n, n) if asked for."""
        if self.recompute and self.training and torch.is_grad_enabled() and not weights:
            return Tokens(checkpoint(self._passed, *tokens, bias, use_reentrant=False)[0], tokens.mask), None
        x, used = self._passed(*tokens, bias, weights)
        return Tokens(x, tokens.mask), used

    def _passed(
        self, x: Tensor, mask: Tensor, bias: Tensor | None, weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        seen = self.norm1(x) if self.pre else x
        update, used = self.attention(seen, seen, mask, bias, weights)
        x = x + self.drop(update)
        if not self.pre:
            x = self.norm1(x)
        x = x + self.drop(self.feed_forward(self.norm2(x) if self.pre else x))
        return x if self.pre else self.norm2(x), used


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

    def forward(
        self,
        tokens: Tokens,
        notes: Notes | None = None,
        keys: tuple[tuple[str, int], ...] = (),
        bias: Tensor | None = None,
    ) -> Tokens:
        """The tokens after all blocks. Content of absent tokens is set to 0 first, so that it is never read.

        `bias` is added to every block's scores (see `nn.attention_bias`). Where notes ask for maps, the weights of each
        block go there as `attention.block<i>`; `keys` names the tokens.
        """
        return self.run(tokens, 0, len(self.blocks), notes, keys, bias)

    def run(
        self,
        tokens: Tokens,
        first: int,
        last: int,
        notes: Notes | None = None,
        keys: tuple[tuple[str, int], ...] = (),
        bias: Tensor | None = None,
    ) -> Tokens:
        """The tokens after the blocks from number `first` up to `last`, itself left out; the norm follows the last of
        all. Two runs, the second on from where the first ended, are one pass.
        """
        if not self.blocks:
            return tokens
        explain = notes is not None and notes.explain
        tokens = Tokens(torch.where(tokens.mask[..., None], tokens.x, 0.0), tokens.mask)
        for number in range(first, last):
            tokens, used = self.blocks[number](tokens, bias, weights=explain)
            if notes is not None:
                notes.attention(f"block{number}", used, " + ".join(stream for stream, _ in keys), keys)
        return Tokens(self.norm(tokens.x), tokens.mask) if last == len(self.blocks) else tokens
