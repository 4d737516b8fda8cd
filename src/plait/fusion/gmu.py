"""`gmu`: a gate decides for each anchor token and each feature how much of every context enters."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Map, Notes, Tokens, anchored
from plait.nn.contexts import refuse_unknown, stream_layers
from plait.nn.pool import masked_mean


class GmuConfig(Config):
    """x + sum of z_i * tanh(V_i pool(c_i)), V = 0 at the start; or the paper's unit, in which tanh(W x) replaces x."""

    anchored: ClassVar[bool] = True
    kind: Literal["gmu"] = "gmu"
    form: Literal["residual", "arevalo"] = "residual"
    """`residual` adds each context by its own gate and starts closed; `arevalo` is z * tanh(W x) + (1 - z) * tanh(V c),
    the shares of all modalities sum to 1, open."""

    @property
    def closed(self) -> bool:
        """Whether the operator equals the anchor at initialisation."""
        return self.form == "residual"

    @property
    def keeps_anchor(self) -> bool:
        """Whether a row without context returns the anchor itself; in the form `arevalo` it returns tanh(W x)."""
        return self.form == "residual"

    def build(self, schema: Schema) -> "Gmu":
        """The operator for these streams."""
        return Gmu(schema, self.form)


class Gmu(nn.Module):
    """x + sum of z_i * tanh(V_i c_i), or in the form `arevalo` z_0 * tanh(W x) + sum of z_i * tanh(V_i c_i).

    c_i is the mean of the tokens of context i. Each has its logits u_i = U_i [norm(x) ; norm_i(c_i)] a feature;
    z_i = sigmoid(u_i) in the residual form, where V starts at 0. In the other z = softmax over (0, u_1, u_2, ...), a
    feature at a time, the 0 being the anchor's: with one context that is z_1 = sigmoid(u_1) and z_0 = 1 - z_1, the
    paper's tied gate. A logit reads the anchor and its own context alone, so that any of the others may be absent.
    Shape: (b, n, d) -> (b, n, d). Maps `gate.<stream>` (b, n, d), the share z_i, 0 where the stream is absent.
    Mask: the anchor's; the means read present tokens only; an absent context has a share of exactly 0. A row without
    any returns the anchor exactly in the residual form, and tanh(W x) in the other.
    Source: Arevalo et al. 2017 (arXiv 1702.01992), with gates that read layer-normed inputs; for more than one context
    the paper has independent sigmoids, the softmax is ours.
    """

    def __init__(self, schema: Schema, form: str) -> None:
        super().__init__()
        self.anchor, self.dim = schema.anchor, schema.streams[schema.anchor]
        widths = {name: schema.streams[name] for name in sorted(schema.contexts)}
        self.norm = nn.LayerNorm(self.dim)
        self.norms = stream_layers({name: nn.LayerNorm(width) for name, width in widths.items()})
        self.score = stream_layers({name: nn.Linear(self.dim + width, self.dim) for name, width in widths.items()})
        # Without biases what is absent, a vector of 0, stays 0.
        self.value = stream_layers({name: nn.Linear(width, self.dim, bias=False) for name, width in widths.items()})
        self.own = nn.Linear(self.dim, self.dim, bias=False) if form == "arevalo" else None
        if self.own is None:
            for weight in self.value.parameters():
                nn.init.zeros_(weight)

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """The anchor's tokens, changed."""
        anchor, given = anchored(streams, self.anchor)
        refuse_unknown(given, self.value)
        contexts = {name: given[name] for name in self.value if name in given}
        pooled = {name: masked_mean(context) for name, context in contexts.items()}
        masks = {name: (anchor.mask & context.present[:, None])[..., None] for name, context in contexts.items()}
        shares = self._shares(self.norm(anchor.x), pooled, masks)
        fused = anchor.x if self.own is None else shares[self.anchor] * torch.tanh(self.own(anchor.x))
        for name, context in pooled.items():
            fused = fused + shares[name] * torch.tanh(self.value[name](context))[:, None]
            if notes is not None and notes.explain:
                axes = ("row", f"{self.anchor} token", "feature")
                notes.maps[f"gate.{name}"] = Map(shares[name], axes)
        return Tokens(fused, anchor.mask)

    def _shares(self, x: Tensor, pooled: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The gate of each modality, 0 where its mask is False; the anchor's too where shares sum to 1."""
        logits = {}
        for name, context in pooled.items():
            beside = self.norms[name](context)[:, None].expand(-1, x.shape[1], -1)
            logits[name] = self.score[name](torch.cat([x, beside], dim=-1))
        if self.own is None:
            return {name: torch.where(masks[name], torch.sigmoid(each), 0.0) for name, each in logits.items()}
        present = [each.masked_fill(~masks[name], float("-inf")) for name, each in logits.items()]
        shares = torch.softmax(torch.stack([torch.zeros_like(x), *present]), dim=0)
        return dict(zip((self.anchor, *logits), shares, strict=True))
