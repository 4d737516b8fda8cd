"""`asv`: each sequence variant of a sample is one token: what it is, by blocks and nucleotides, and how much of it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.encoders._tables import fill_buffer, log_counts
from plait.nn.attention import check_heads
from plait.nn.nucleotides import NucleotideEncoder


class NucleotidesConfig(Config):
    """A transformer over the letters of a sequence."""

    dim: int = Field(64, ge=1)
    """Width of a letter's state and of a sequence's vector."""
    depth: int = Field(2, ge=1)
    """Transformer blocks."""
    heads: int = Field(4, ge=1)
    """Attention heads; they divide `dim`."""
    hidden: int = Field(128, ge=1)
    """Width of the feed-forward layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of letters, attention and feed-forward layers."""
    chunk: int = Field(256, ge=1)
    """Sequences encoded at a time: memory grows with it, and not with the number of distinct sequences."""
    checkpoint: bool = True
    """While training, compute a chunk again in the backward pass in place of keeping its states."""
    frozen: bool = False
    """Keep the weights as they are loaded; every sequence of the table is then encoded once and kept."""


class AsvConfig(Config):
    """From the ASVs of a sample to tokens, in any order."""

    modality: ClassVar[str] = "asv"
    kind: Literal["asv"] = "asv"
    dim: int = Field(128, ge=1)
    """Width of a token."""
    hidden: int | None = Field(None, ge=1)
    """Width of the layer that reads an ASV's vector, projected to `dim`; unset, it is `dim`, without a projection."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of the tokens."""
    token_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of a sample's ASVs that training hides whole; one is always kept."""
    abundance: Literal["log", "clr", "none"] = "log"
    """How a count enters its token: log1p, its centred log ratio, or not."""
    blocks: bool = True
    """Whether the blocks of the feature table (k-mers, tree, co-occurrence) tell what an ASV is."""
    nucleotides: NucleotidesConfig | None = None
    """The encoder of the sequences' letters, which tells what an ASV is too; unset, letters are not read."""

    def build(self, schema: Schema) -> "Asv":
        """The encoder for this feature table."""
        if self.nucleotides is not None:
            check_heads(self.nucleotides.dim, self.nucleotides.heads, "model.asv.nucleotides.heads")
            if not schema.letters:
                raise ConfigError(
                    "the data have no sequences", where="model.asv.nucleotides", fix="give sequences, or leave it unset"
                )
        elif not (self.blocks and schema.blocks):
            have = "the data have no blocks" if self.blocks else "blocks are switched off"
            raise ConfigError(
                f"nothing tells one ASV from another: {have} and nucleotides are unset", where="model.asv",
                fix="give the data k-mers, a tree or co-occurrence, or set model.asv.nucleotides",
            )  # fmt: skip
        return Asv(schema, self)


class Asv(nn.Module):
    """LayerNorm(GELU(W e)) + W_s e + w l: e = [blocks ; nucleotide vector] of an ASV, l = log1p(count) / 3 or CLR / 3.

    **Each distinct sequence of a batch is encoded once** and gathered back; two features with the same letters are one
    sequence. A graph (export, compile) encodes every position instead, to the same result, and so does `once = False`.
    Frozen nucleotides are encoded once for the whole table, again after a change of letters or weights.
    Reads `values` (b, s) int64 rows of the feature table, `mask` (b, s), `counts` (b, s). Shape: -> Tokens (b, s, dim),
    in training (b, t, dim) of those that token dropout leaves.
    Buffers: `table` (f, w) the blocks, `letters` (f, L) uint8, where they are read; set by `fill`.
    Mask: kept; ASVs that token dropout hides are not there at all. The row and count of an absent ASV are never read.
    """

    table: Tensor
    letters: Tensor
    known: Tensor

    def __init__(self, schema: Schema, config: AsvConfig) -> None:
        super().__init__()
        self.dim, self.config, self.features, self.once = config.dim, config, schema.features, True
        width, chosen = 0, config.nucleotides
        self.blocks = config.blocks and bool(schema.blocks)
        if self.blocks:
            width = sum(schema.blocks.values())
            self.register_buffer("table", torch.zeros(schema.features, width))
        self.nucleotides: NucleotideEncoder | None = None
        if chosen is not None:
            self.nucleotides = NucleotideEncoder(
                schema.letters, chosen.dim, chosen.depth, chosen.heads, chosen.hidden, chosen.dropout, chosen.chunk,
                chosen.checkpoint,
            )  # fmt: skip
            width += chosen.dim
            self.register_buffer("letters", torch.zeros(schema.features, schema.letters, dtype=torch.uint8))
        self.frozen = chosen is not None and chosen.frozen
        if self.frozen and self.nucleotides is not None:
            self.nucleotides.requires_grad_(False)
            self.register_buffer("known", torch.zeros(0), persistent=False)
            self.known_of: list[Tensor] = []
            self.known_at: tuple[Any, ...] = ()
        inner = config.hidden or config.dim
        self.embed, self.norm = nn.Linear(width, inner), nn.LayerNorm(inner)
        self.project = nn.Linear(inner, config.dim) if config.hidden else nn.Identity()
        self.skip = nn.Linear(width, config.dim, bias=False)
        self.amount = None if config.abundance == "none" else nn.Linear(1, config.dim, bias=False)
        self.drop = nn.Dropout(config.dropout)

    def fill(self, tables: Mapping[str, Tensor]) -> None:
        """Set the features' blocks and letters, those that are read."""
        if self.blocks:
            fill_buffer(self.table, tables, "blocks")
        if self.nucleotides is not None:
            fill_buffer(self.letters, tables, "letters")

    def train(self, mode: bool = True) -> "Asv":
        """Set the mode; frozen nucleotides stay in evaluation mode."""
        super().train(mode)
        if self.frozen and self.nucleotides is not None:
            self.nucleotides.eval()
        return self

    def forward(self, fields: Mapping[str, Tensor]) -> Tokens:
        """One token an ASV that is shown."""
        shown = self.shown(fields)
        return self.weighed(self.named(shown), shown)

    def shown(self, fields: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The fields without the ASVs that token dropout hides in training: nothing is computed of these.

        Shape: each (b, s) -> (b, t), t the most that a row keeps, in their order; in a graph s, with a mask.
        """
        if not (self.training and self.config.token_dropout):
            return fields
        kept = keep_some(fields["mask"], self.config.token_dropout)
        if _is_graph(kept):
            return {**fields, "mask": kept}
        places = kept.argsort(dim=1, descending=True, stable=True)[:, : int(kept.sum(dim=1).max())]
        return {name: field.gather(1, places) for name, field in {**fields, "mask": kept}.items()}

    def named(self, fields: Mapping[str, Tensor]) -> Tokens:
        """What each ASV is, without its count. Shape: (b, s, dim)."""
        values, mask = fields["values"], fields["mask"]
        x = self.distinct(values, mask) if self.once and not _is_graph(values) else self.each(values, mask)
        return Tokens(x, mask)

    def weighed(
        self, tokens: Tokens, fields: Mapping[str, Tensor], under: Tensor | None = None, unknown: Tensor | None = None
    ) -> Tokens:
        """The tokens with their counts; of those `under` no count is read, and `unknown` stands in its place.

        Shape: tokens (b, s, dim), under (b, s) bool, unknown (dim,) -> (b, s, dim).
        """
        x, present, counts = tokens.x, fields["mask"], fields["counts"]
        if self.amount is not None:
            seen = present if under is None else present & ~under
            logs, mean = log_counts(counts, seen, self.features)
            logs = logs - mean if self.config.abundance == "clr" else logs
            added = self.amount((logs / 3)[..., None].to(x.dtype))
            if under is not None and unknown is not None:
                added = torch.where(under[..., None], unknown.to(added.dtype), added)
            x = x + added
        return Tokens(self.drop(x), tokens.mask)

    def distinct(self, values: Tensor, mask: Tensor) -> Tensor:
        """The vectors of the present ASVs, each feature of the batch once; 0 for absent ones. Shape: (b, s, dim)."""
        features, place = torch.unique(values[mask], return_inverse=True)
        vectors = self.describe(features)
        # Neither step back through these adds in an order of its own, so a run on a GPU repeats bit for bit.
        return vectors.new_zeros(*mask.shape, self.dim).index_put((mask,), F.embedding(place, vectors))

    def each(self, values: Tensor, mask: Tensor) -> Tensor:
        """The vectors of all positions, the first feature's for absent ones. Shape: (b, s, dim)."""
        return self.describe(torch.where(mask, values, 0).flatten()).reshape(*values.shape, self.dim)

    def describe(self, features: Tensor) -> Tensor:
        """The vectors of some features, without their counts. Shape: (r,) -> (r, dim)."""
        parts = [F.embedding(features, self.table)] if self.blocks else []
        if self.nucleotides is not None:
            parts.append(self.sequences(features))
        e = torch.cat(parts, dim=-1)
        out: Tensor = self.project(self.norm(F.gelu(self.embed(e)))) + self.skip(e)
        return out

    def sequences(self, features: Tensor) -> Tensor:
        """The nucleotide vectors of some features; frozen ones without a gradient. Shape: (r,) -> (r, d)."""
        assert self.nucleotides is not None
        if self.frozen and not _is_graph(features):
            return F.embedding(features, self.whole_table())
        letters = self.letters.index_select(0, features)
        if not self.once or _is_graph(letters):
            found: Tensor = self.nucleotides(letters)
            return found.detach() if self.frozen else found
        alike, place = torch.unique(letters, dim=0, return_inverse=True)
        return F.embedding(place, self.nucleotides(alike))

    def whole_table(self) -> Tensor:
        """The frozen nucleotide vectors of all features: those kept, made anew where letters or weights have changed.

        Shape: (f, d).
        """
        assert self.nucleotides is not None
        read = [self.letters, *self.nucleotides.parameters()]
        # An in-place change counts a tensor's version up, a move gives it another place.
        now = tuple((t.data_ptr(), t._version, t.dtype, t.device) for t in read)
        if now != self.known_at:
            device = self.letters.device.type
            with torch.inference_mode(False), torch.no_grad(), torch.autocast(device, enabled=False):
                # Averaged weights that come and go for an evaluation are written, but not changed, where frozen.
                if not (self.known_of and all(map(_same, read, self.known_of))):
                    alike, place = torch.unique(self.letters, dim=0, return_inverse=True)
                    self.known = self.nucleotides(alike)[place]
                    self.known_of = [t.detach().clone() for t in read]
            self.known_at = now
        return self.known


def _same(one: Tensor, other: Tensor) -> bool:
    return one.device == other.device and one.dtype == other.dtype and torch.equal(one, other)


def _is_graph(content: Tensor) -> bool:
    # How many rows are distinct depends on the content, which neither a graph nor the device `meta` has.
    return torch.compiler.is_compiling() or content.is_meta


def keep_some(mask: Tensor, rate: float) -> Tensor:
    """Hide each present place with a probability of `rate`, but never the last of a row. Shape: (b, s) bool."""
    if not rate:
        return mask
    draw = torch.where(mask, torch.rand(mask.shape, device=mask.device), -1.0)
    return mask & ((draw >= rate) | (draw == draw.amax(dim=1, keepdim=True)))
