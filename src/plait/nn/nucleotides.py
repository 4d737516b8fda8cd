"""Sequences of nucleotides -> one vector each, a few rows at a time, so that memory does not grow with their number."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from plait.core.tokens import Tokens
from plait.nn.attention import check_heads
from plait.nn.block import Stack
from plait.nn.pool import AttentionPool

LETTERS = 7
"""0 padding, 1 to 4 A C G T, 5 any other letter, 6 a letter that pretraining hides."""


class NucleotideEncoder(nn.Module):
    """Letter and position embeddings, transformer blocks, and attention pooling over the letters of a sequence.

    `chunk` sequences are encoded at a time; while training with `checkpointing`, what a chunk computes is thrown away
    and computed again in the backward pass, so that the states of one chunk alone are held.
    Shape: `letters` (r, L) uint8 or int64 -> (r, dim).
    Mask: a letter of 0 is padding and is never read; a sequence of padding alone is exactly 0.
    """

    def __init__(
        self,
        length: int,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        dropout: float = 0.0,
        chunk: int = 256,
        checkpointing: bool = True,
    ) -> None:
        super().__init__()
        check_heads(dim, heads, "heads")
        self.dim, self.length, self.chunk, self.checkpointing = dim, length, chunk, checkpointing
        self.embed = nn.Embedding(LETTERS, dim)
        self.position = nn.Parameter(torch.empty(length, dim))
        # Alike in size, so that neither the letter nor its place drowns the other.
        nn.init.normal_(self.embed.weight, std=0.5)
        nn.init.normal_(self.position, std=0.5)
        self.drop = nn.Dropout(dropout)
        self.stack = Stack(dim, depth, heads, hidden, dropout)
        self.pool = AttentionPool(dim, length, dim)

    def tokens(self, letters: Tensor) -> Tokens:
        """One state a letter, before pooling: what masked letters are predicted from. Shape: (r, L) -> (r, L, dim)."""
        tokens: Tokens = self.stack(Tokens(self.drop(self.embed(letters.long()) + self.position), letters != 0))
        return tokens

    def encode(self, letters: Tensor) -> Tensor:
        """All sequences at once. Shape: (r, L) -> (r, dim)."""
        pooled: Tokens = self.pool(self.tokens(letters))
        return pooled.x[:, 0]

    def forward(self, letters: Tensor) -> Tensor:
        """The sequences' vectors, chunk by chunk; in a graph, whose number of rows is open, all at once."""
        if torch.compiler.is_compiling():
            return self.encode(letters)
        again = self.checkpointing and self.training and torch.is_grad_enabled()
        parts = letters.split(self.chunk)
        return torch.cat([self._again(part) if again else self.encode(part) for part in parts])

    def _again(self, letters: Tensor) -> Tensor:
        out: Tensor = checkpoint(self.encode, letters, use_reentrant=False)
        return out
