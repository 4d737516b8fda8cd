"""An operator after each of several blocks of a stack, whose further blocks go on with the changed tokens."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn

from plait.core.protocols import Fusion
from plait.core.tokens import Notes, Tokens
from plait.nn.block import Stack


class Levels(nn.Module):
    """x_k = f_k(x_k, contexts) after block k of a stack, for each level k; then the blocks after it.

    f_k has weights of its own and keeps the anchor's width. At the last block x_k is what the stack's norm gives.
    Shape: (b, n + k, d) -> (b, n, d): the anchor's n tokens come first, and operators change these alone.
    Maps and own losses: those of every operator, named `<name>.level<k>`.
    Mask: the stack's; absent tokens are 0. Where every f_k returns the anchor, so does this what the stack gives.
    Source: the design document of `chimera`, section 8.4.2.
    """

    def __init__(self, anchor: str, after: Mapping[int, nn.Module]) -> None:
        super().__init__()
        self.anchor = anchor
        self.after = nn.ModuleDict({str(level): operator for level, operator in sorted(after.items())})
        self.dim: int = cast(Fusion, next(iter(self.after.values()))).dim

    def forward(self, streams: Mapping[str, Tokens], notes: Notes, stack: Stack, count: int) -> Tokens:
        """The first `count` tokens of the anchor's stream, which the stack has not read yet, after all its blocks."""
        tokens, done, depth = streams[self.anchor], 0, len(stack.blocks)
        for name, operator in self.after.items():
            tokens, done = stack.run(tokens, done, int(name)), int(name)
            inner, own = Notes(notes.explain), Tokens(tokens.x[:, :count], tokens.mask[:, :count])
            changed: Tokens = operator({**streams, self.anchor: own}, inner)
            tokens = Tokens(torch.cat([changed.x, tokens.x[:, count:]], dim=1), tokens.mask)
            notes.include(inner, f"level{name}")
        if done < depth:
            tokens = stack.run(tokens, done, depth)
        x, mask = tokens.x[:, :count], tokens.mask[:, :count]
        return Tokens(torch.where(mask[..., None], x, 0.0), mask)
