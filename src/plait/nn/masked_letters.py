"""Hidden letters of sequences, predicted from the letters around them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from plait.nn.nucleotides import NucleotideEncoder

HIDDEN = 6
"""The letter that stands where one is hidden."""
BASES = 4
"""The letters 1 to 4 are A, C, G and T: they alone are hidden, since no other can be known."""


def chosen(present: Tensor, draw: Tensor, share: float) -> Tensor:
    """The places of each row whose draw lies below `share`, and always the one with the least; only present ones.

    Shape: present and draw (b, s) -> (b, s) bool.
    """
    draw = torch.where(present, draw, torch.inf)
    return present & ((draw < share) | (draw == draw.amin(dim=1, keepdim=True)))


def hidden_letters(letters: Tensor, draw: Tensor, share: float, span: int = 1) -> Tensor:
    """Which letters are hidden: about `share` of the bases of each sequence, in spans of `span` neighbours.

    `draw` is uniform on [0, 1). A span starts where it lies below 1 - (1 - share)^(1 / span), so that a base which is
    not among the first is under none with a probability of 1 - share; the least draw at a base always starts one.
    Shape: letters (r, L), draw (r, L) -> (r, L) bool.
    """
    bases = (letters >= 1) & (letters <= BASES)
    if span == 1:
        return chosen(bases, draw, share)
    rate = 1 - (1 - share) ** (1 / span)
    starts = chosen(bases, draw, rate) | ((letters > 0) & (draw < rate))
    return bases & (F.max_pool1d(F.pad(starts.float(), (span - 1, 0)), span, stride=1) > 0)


def fixed_draw(rows: int, columns: int) -> Tensor:
    """Uniform numbers that are the same wherever and whenever they are drawn. Shape: (rows, columns), on the CPU."""
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(0))


class MaskedLetters(nn.Module):
    """A linear map of a letter's state to A, C, G and T, and the surprise at the letters that were hidden."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.read = nn.Linear(dim, BASES)

    def forward(self, encoder: NucleotideEncoder, letters: Tensor, hidden: Tensor) -> Tensor:
        """The mean cross-entropy of each sequence's hidden letters, a chunk of the encoder at a time.

        Shape: letters (r, L), hidden (r, L) bool -> (r,).  Units: nats a letter.
        Mask: a sequence in which nothing is hidden is 0; letters under a False mask are only read as the context.
        """
        again = encoder.checkpointing and self.training and torch.is_grad_enabled()
        parts = []
        for some, under in zip(letters.split(encoder.chunk), hidden.split(encoder.chunk), strict=True):
            if again:
                parts.append(checkpoint(self._surprise, encoder, some, under, use_reentrant=False))
            else:
                parts.append(self._surprise(encoder, some, under))
        return torch.cat(parts)

    def _surprise(self, encoder: NucleotideEncoder, letters: Tensor, hidden: Tensor) -> Tensor:
        states = encoder.tokens(torch.where(hidden, HIDDEN, letters.long())).x
        logits = self.read(states)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        truth = torch.where(hidden, letters.long() - 1, 0)
        surprise = -logits.log_softmax(dim=-1).gather(-1, truth[..., None])[..., 0]
        total = torch.where(hidden, surprise, 0.0).sum(dim=1)
        return total / hidden.sum(dim=1).clamp(min=1).to(total.dtype)
