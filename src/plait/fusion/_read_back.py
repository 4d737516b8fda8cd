"""An operator with tokens of its own, read back by the anchor's tokens."""

from collections.abc import Mapping
from math import gcd
from typing import Any, cast

import torch
from torch import nn

from plait.core.protocols import Fusion
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens, anchored
from plait.fusion.cross_attention import CrossAttention, CrossAttentionConfig

FUSED = "fused"


def aligned(config: Any, schema: Schema) -> nn.Module:
    """The operator of a config with the anchor's tokens as its output, for heads that have one answer a token.

    An anchored operator is that by itself; any other is read back.
    """
    built: nn.Module = config.build(schema)
    return built if config.anchored else ReadBack(built, schema, getattr(config, "heads", 4))


class ReadBack(nn.Module):
    """x + Wo Attn(norm(x), [null ; norm(f)]), Wo = 0 at the start, f the tokens of an unanchored operator.

    Shape: (b, n, d) -> (b, n, d). Maps: the operator's own, and those of the reading as `attention.read`.
    Mask: the anchor's; a row without context has an update of exactly 0, though f holds the anchor there.
    Source: the decoder with a query residual of arXiv 2107.14795, with the anchor's tokens as queries.
    """

    def __init__(self, mix: nn.Module, schema: Schema, heads: int) -> None:
        super().__init__()
        self.anchor, self.dim = schema.anchor, schema.streams[schema.anchor]
        self.mix = mix
        read = CrossAttentionConfig(heads=gcd(heads, self.dim))
        self.read = CrossAttention(schema.with_widths({self.anchor: self.dim, FUSED: cast(Fusion, mix).dim}), read)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """The anchor's tokens, changed."""
        anchor, contexts = anchored(streams, self.anchor)
        if not contexts:
            return anchor
        fused: Tokens = self.mix(streams, notes)
        heard = torch.stack([context.present for context in contexts.values()]).any(dim=0)
        inner = Notes(notes is not None and notes.explain)
        out: Tokens = self.read({self.anchor: anchor, FUSED: Tokens(fused.x, fused.mask & heard[:, None])}, inner)
        if notes is not None:
            notes.include(inner, "read")
        return out
