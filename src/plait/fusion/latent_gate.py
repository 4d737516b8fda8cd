"""`latent_gate`: anchor and context attend in a latent width, and a gate decides how much the anchor takes of it."""

from collections.abc import Mapping
from functools import reduce
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Map, Notes, Tokens, anchored
from plait.nn.attention import Attention, check_heads
from plait.nn.block import Stack
from plait.nn.contexts import Contexts, beside_null, segments
from plait.nn.gate import Gate, GateName, gate_entropy
from plait.nn.pool import masked_mean

Places = tuple[tuple[str, int], ...]

OTHER_NAMES = {"series": "anchor", "text": "context"}
"""What the design document of `chimera` calls the two sides."""


def _usual(name: object) -> object:
    return OTHER_NAMES.get(name, name) if isinstance(name, str) else name


class LatentGateConfig(Config):
    """x + g * proj(latent) or g * proj(latent) + (1 - g) * x, latent = blocks(Attn(q = norm(x), kv = [null ; c]))."""

    anchored: ClassVar[bool] = True
    inner: ClassVar[tuple[str, ...]] = ("latent_dim", "gate_hidden")
    kind: Literal["latent_gate"] = "latent_gate"
    query: Annotated[Literal["anchor", "context", "both"], BeforeValidator(_usual)] = "anchor"
    """Whose tokens ask: those of the `anchor` (or `series`) the context's; those of the `context` (or `text`) the
    anchor's, which then reads what they found; or `both`, and the anchor takes the sum."""
    latent_dim: int | None = Field(None, ge=1)
    """Width in which anchor and context attend to each other; unset: the smallest width of the streams."""
    heads: int = Field(4, ge=1)
    """Attention heads, of the blocks after it too; they divide the latent width."""
    depth: int = Field(0, ge=0)
    """Self-attention blocks over what was found, in the latent width; with one asking anchor token a block has one
    key."""
    gate: GateName = "mlp"
    """Of what was found and the anchor token: `mlp` and `linear` give a value a feature, `token_scalar` one a token;
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

    query anchor:   latent = blocks(Attn(q = norm(x), kv = [null ; norm(c)])), c the context tokens, each stream through
    a projection to the latent width; context: latent is that of `ContextAsks`; both: the sum of these two, each with
    weights of its own.
    proj = MLP, in the form `residual` with a last layer of 0; g = sigmoid(gate([latent ; norm(x)])).
    Shape: (b, n, d) -> (b, n, d). Maps: where the anchor asks `attention` (b, h, n, 1 + m), key 0 is the null token,
    and `attention.block<i>` (b, h, n, n); where the context does, those of `ContextAsks`; `gate` (b, n, d) or
    (b, n, 1), 0 where nothing enters. Own losses `gate_l1` and `gate_entropy`, where their weights are not 0.
    Mask: the anchor's; absent keys weigh exactly 0; the null token competes only beside real tokens, and a row
    without any returns the anchor exactly.
    Source: the design document of `chimera`, sections 3.2 and 3.3; its direction is `context`, `both` its section 8.4.
    """

    def __init__(self, schema: Schema, latent: int, config: LatentGateConfig) -> None:
        super().__init__()
        self.anchor, self.dim, self.config = schema.anchor, schema.streams[schema.anchor], config
        hidden = config.gate_hidden or 2 * self.dim
        self.contexts = Contexts({name: schema.streams[name] for name in schema.contexts}, latent)
        self.norm_query = nn.LayerNorm(self.dim)
        if config.query != "context":
            self.null = nn.Parameter(torch.randn(1, 1, latent) * 0.02)
            self.norm_key = nn.LayerNorm(latent)
            self.attention = Attention(latent, config.heads, dropout=config.dropout, query_dim=self.dim)
            self.blocks = Stack(latent, config.depth, config.heads, 2 * latent, config.dropout)
        self.up, self.drop = nn.Linear(latent, hidden), nn.Dropout(config.dropout)
        self.down = nn.Linear(hidden, self.dim, bias=not config.closed)
        if config.closed:
            nn.init.zeros_(self.down.weight)
        self.gate = Gate(config.gate, latent + self.dim, hidden, self.dim)
        if config.query != "anchor":
            self.context_asks = ContextAsks(self.dim, latent, config)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """The anchor's tokens, changed."""
        anchor, contexts = anchored(streams, self.anchor)
        if not contexts:
            return anchor
        notes = notes or Notes()
        x, c = Tokens(self.norm_query(anchor.x), anchor.mask), self.contexts(contexts)
        places, found = (segments({self.anchor: anchor}), segments(contexts)), []
        if self.config.query != "context":
            found.append(self._anchor_asks(x, c, places, notes))
        if self.config.query != "anchor":
            found.append(self.context_asks(x, c, places, notes))
        latent = reduce(torch.add, found)
        logits = self.gate(torch.cat([latent, x.x], dim=-1))
        share = torch.sigmoid(logits)
        update = self.down(self.drop(nn.functional.gelu(self.up(latent))))
        kept = anchor.x if self.config.closed else (1 - share) * anchor.x
        present = c.present[:, None]
        self._note(notes, Tokens(logits, anchor.mask & present))
        return Tokens(torch.where(present[..., None], kept + share * update, anchor.x), anchor.mask)

    def _anchor_asks(self, x: Tokens, c: Tokens, places: tuple[Places, Places], notes: Notes) -> Tensor:
        """What the anchor's tokens, normed, find among the context's. Shape: (b, n, e)."""
        keys, mask = beside_null(self.null, Tokens(self.norm_key(c.x), c.mask))
        answer, used = self.attention(x.x, keys, mask, weights=notes.explain)
        found: Tensor = self.blocks(Tokens(answer, x.mask), notes, places[0]).x
        notes.attention("", used, self.anchor, (("null", 1), *places[1]))
        return found

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


class ContextAsks(nn.Module):
    """Context tokens ask the anchor's, and the anchor's read what they found.

    found = blocks([null ; c + Attn(q = norm(c), kv = [null' ; norm(x)])])
    latent = Attn(q = norm(x), kv = norm(found))
    The document's answers are the attention's alone, made of the anchor's values: what a context says could but choose
    among anchor tokens, and beside a single one, without a null token, it would change nothing. So c is carried along.
    Shape: `x` (b, n, d) normed, `c` (b, m, e) -> (b, n, e). Maps `attention.context` (b, h, m, 1 + n),
    `attention.block<i>.context` (b, h, 1 + m, 1 + m), and `attention.read` (b, h, n, 1 + m), where what a context token
    found stands at its place.
    Mask: those of both sides; a null token competes only beside real tokens.
    Source: the design document of `chimera`, section 3.2, whose answers are m tokens; the reading brings them to n.
    """

    def __init__(self, dim: int, latent: int, config: LatentGateConfig) -> None:
        super().__init__()
        self.null_anchor = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.null = nn.Parameter(torch.randn(1, 1, latent) * 0.02)
        self.norm_query, self.norm_key = nn.LayerNorm(latent), nn.LayerNorm(latent)
        self.ask = Attention(latent, config.heads, context_dim=dim, dropout=config.dropout)
        self.blocks = Stack(latent, config.depth, config.heads, 2 * latent, config.dropout)
        self.read = Attention(latent, config.heads, dropout=config.dropout, query_dim=dim)

    def forward(self, x: Tokens, c: Tokens, places: tuple[Places, Places], notes: Notes) -> Tensor:
        """What the anchor's tokens read."""
        (own,), others = places
        keys, mask = beside_null(self.null_anchor, x)
        answer, asked = self.ask(self.norm_query(c.x), keys, mask, weights=notes.explain)
        inner, beside = Notes(notes.explain), (("null", 1), *others)
        found = self.blocks(beside_null(self.null, Tokens(c.x + answer, c.mask)), inner, beside)
        latent: Tensor
        latent, used = self.read(x.x, self.norm_key(found.x), found.mask, weights=notes.explain)
        inner.attention("", asked, " + ".join(name for name, _ in others), (("null", 1), own))
        notes.include(inner, "context")
        notes.attention("read", used, own[0], beside)
        return latent
