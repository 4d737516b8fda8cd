"""`latent_gate`: anchor tokens ask the context in a latent width, and a gate decides how much of the answer enters."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Map, Notes, Tokens, anchored
from plait.nn.attention import Attention, check_heads
from plait.nn.block import Stack
from plait.nn.contexts import Contexts, beside_null, segments
from plait.nn.gate import Gate, GateName, gate_entropy
from plait.nn.pool import masked_mean


class LatentGateConfig(Config):
    """x + g * proj(latent) or g * proj(latent) + (1 - g) * x, latent = blocks(Attn(q = norm(x), kv = [null ; c]))."""

    anchored: ClassVar[bool] = True
    inner: ClassVar[tuple[str, ...]] = ("latent_dim", "gate_hidden")
    kind: Literal["latent_gate"] = "latent_gate"
    latent_dim: int | None = Field(None, ge=1)
    """Width in which the anchor asks and the context answers; unset: the smallest width of the streams."""
    heads: int = Field(4, ge=1)
    """Attention heads, of the blocks after it too; they divide the latent width."""
    depth: int = Field(0, ge=0)
    """Self-attention blocks over the answers, in the latent width; with one anchor token such a block has one key."""
    gate: GateName = "mlp"
    """Of the answer and the anchor token: `mlp` and `linear` give a value a feature, `token_scalar` one a token;
    `global_scalar` is one learned value for all."""
    form: Literal["residual", "convex"] = "residual"
    """`residual` is x + g * proj and starts closed; `convex` is g * proj + (1 - g) * x, open."""
    gate_hidden: int | None = Field(None, ge=1)
    """Width of the layer between of the projection and of an `mlp` gate; unset: twice the anchor's."""
    gate_l1: float = Field(0.0, ge=0)
    """Weight of the gate's mean as a loss, which closes it; 0 leaves it out."""
    gate_entropy: float = Field(0.0, ge=0)
    """Weight of the gate's mean entropy in nats as a loss, which makes it decide; 0 leaves it out."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout of attention weights, of the blocks and of the projection's layer between."""

    @property
    def closed(self) -> bool:
        """Whether the operator equals the anchor at initialisation."""
        return self.form == "residual"

    def build(self, schema: Schema) -> "LatentGate":
        """The operator for these streams."""
        latent = min(schema.streams.values()) if self.latent_dim is None else self.latent_dim
        check_heads(latent, self.heads, "model.fusion.heads")
        return LatentGate(schema, latent, self)


class LatentGate(nn.Module):
    """x + g * proj(latent), or g * proj(latent) + (1 - g) * x in the form `convex`, for every anchor token x.

    latent = blocks(Attn(q = norm(x), kv = [null ; norm(c)])), c the context tokens, each stream through a projection to
    the latent width; proj = MLP, in the form `residual` with a last layer of 0; g = sigmoid(gate([latent ; norm(x)])).
    Shape: (b, n, d) -> (b, n, d). Maps `attention` (b, h, n, 1 + m), key 0 is the null token; `attention.block<i>`
    (b, h, n, n); `gate` (b, n, d) or (b, n, 1), 0 where nothing enters. Own losses `gate_l1` and `gate_entropy`, where
    their weights are not 0.
    Mask: the anchor's; absent keys weigh exactly 0; the null token competes only beside real tokens, and a row
    without any returns the anchor exactly.
    Source: the design document of `chimera`, sections 3.2 and 3.3, with the anchor as the query.
    """

    def __init__(self, schema: Schema, latent: int, config: LatentGateConfig) -> None:
        super().__init__()
        self.anchor, self.dim, self.config = schema.anchor, schema.streams[schema.anchor], config
        hidden = config.gate_hidden or 2 * self.dim
        self.contexts = Contexts({name: schema.streams[name] for name in schema.contexts}, latent)
        self.null = nn.Parameter(torch.randn(1, 1, latent) * 0.02)
        self.norm_query, self.norm_key = nn.LayerNorm(self.dim), nn.LayerNorm(latent)
        self.attention = Attention(latent, config.heads, dropout=config.dropout, query_dim=self.dim)
        self.blocks = Stack(latent, config.depth, config.heads, 2 * latent, config.dropout)
        self.up, self.drop = nn.Linear(latent, hidden), nn.Dropout(config.dropout)
        self.down = nn.Linear(hidden, self.dim, bias=not config.closed)
        if config.closed:
            nn.init.zeros_(self.down.weight)
        self.gate = Gate(config.gate, latent + self.dim, hidden, self.dim)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """The anchor's tokens, changed."""
        anchor, contexts = anchored(streams, self.anchor)
        if not contexts:
            return anchor
        context = self.contexts(contexts)
        present = context.present[:, None]
        keys, mask = beside_null(self.null, Tokens(self.norm_key(context.x), context.mask))
        query = self.norm_query(anchor.x)
        answer, used = self.attention(query, keys, mask, weights=notes is not None and notes.explain)
        latent = self.blocks(Tokens(answer, anchor.mask), notes, segments({self.anchor: anchor})).x
        logits = self.gate(torch.cat([latent, query], dim=-1))
        share = torch.sigmoid(logits)
        update = self.down(self.drop(nn.functional.gelu(self.up(latent))))
        kept = anchor.x if self.config.closed else (1 - share) * anchor.x
        if notes is not None:
            notes.attention("", used, self.anchor, (("null", 1), *segments(contexts)))
            self._note(notes, Tokens(logits, anchor.mask & present))
        return Tokens(torch.where(present[..., None], kept + share * update, anchor.x), anchor.mask)

    def _note(self, notes: Notes, gate: Tokens) -> None:
        """The gate's losses, means over the present tokens and the features of each row, and its map if asked for."""
        logits, mask = gate.x.to(torch.promote_types(gate.x.dtype, torch.float32)), gate.mask
        share = torch.sigmoid(logits)
        if self.config.gate_l1:
            notes.add_loss("gate_l1", self.config.gate_l1 * masked_mean(Tokens(share, mask)).mean(dim=-1))
        if self.config.gate_entropy:
            entropy = masked_mean(Tokens(gate_entropy(logits), mask)).mean(dim=-1)
            notes.add_loss("gate_entropy", self.config.gate_entropy * entropy)
        if notes.explain:
            axes = ("row", f"{self.anchor} token", "feature")
            notes.maps["gate"] = Map(torch.where(mask[..., None], share, 0.0), axes)
