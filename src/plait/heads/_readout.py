"""What the heads of one answer a row share: the mean of the tokens to numbers, and the context that modulates them."""

from collections.abc import Mapping

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.nn.contexts import Contexts
from plait.nn.film import FeatureModulation
from plait.nn.pool import masked_mean


class ReadoutConfig(Config):
    """The fields of a head that reads one answer a row."""

    hidden: int = Field(96, ge=0)
    """Width of a hidden layer before the last linear map; 0 leaves it out, or with film makes it as wide as tokens."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Dropout of the normalised mean of the tokens."""
    film: bool = False
    """Modulate the hidden layer by the pooled context; starts closed."""

    def readout(self, schema: Schema, outputs: int) -> "Readout":
        """The readout of so many numbers from the tokens of these streams."""
        return readout_of(schema, outputs, self.hidden, self.dropout, self.film)


def readout_of(schema: Schema, outputs: int, hidden: int, dropout: float, film: bool) -> "Readout":
    """The readout of the anchor's tokens for these streams; with film it is modulated by all contexts among them."""
    dim = schema.streams[schema.anchor]
    contexts = {name: schema.streams[name] for name in schema.contexts} if film else {}
    return Readout(dim, outputs, hidden or (dim if film else 0), dropout, contexts)


class Readout(nn.Module):
    """W GELU(h) + b of the mean x of a row's tokens, h = W1 drop(LN(x)) + b1; without a hidden layer W drop(LN(x)) + b.

    With contexts h is (1 + gamma) * h + beta, both of the mean of the context tokens, each stream through a projection
    to the hidden width; gamma and beta are 0 at the start.
    Shape: (b, n, d) -> (b, outputs).
    Mask: the mean reads present tokens only; a row without any is that of a mean of 0. Absent context tokens are never
    read; a row without any comes out bit for bit as without contexts.
    Source: Perez et al. 2018 (FiLM), which modulates before the activation.
    """

    def __init__(self, dim: int, outputs: int, hidden: int, dropout: float, contexts: Mapping[str, int]) -> None:
        super().__init__()
        self.norm, self.drop = nn.LayerNorm(dim), nn.Dropout(dropout)
        self.hidden = nn.Linear(dim, hidden) if hidden else None
        self.project = nn.Linear(hidden or dim, outputs)
        # Last, so that the other layers start the same with contexts and without.
        self.contexts = Contexts(contexts, hidden) if contexts else None
        self.film = FeatureModulation(hidden, hidden, hidden) if contexts else None

    def forward(self, tokens: Tokens, context: Mapping[str, Tokens]) -> Tensor:
        """The numbers of every row."""
        x = self.drop(self.norm(masked_mean(tokens)))
        if self.hidden is not None:
            x = F.gelu(modulated(self.hidden(x)[:, None], context, self.contexts, self.film)[:, 0])
        found: Tensor = self.project(x)
        return found


def modulated(
    x: Tensor, context: Mapping[str, Tokens], contexts: Contexts | None, film: FeatureModulation | None
) -> Tensor:
    """A hidden layer changed by the streams that its head was built for; others are not read.

    Shape: (b, n, hidden) -> the same.
    """
    if contexts is None or film is None:
        return x
    given = {name: context[name] for name in contexts.project if name in context}
    changed: Tensor = film(x, contexts(given)) if given else x
    return changed
