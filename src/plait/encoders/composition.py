"""`composition`: the whole composition of a sample, what it lacks included, through the vectors of the features."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.encoders._tables import fill_buffer, log_counts

SCALE = 30.0
"""Brings the sum over the features near 1."""


class CompositionConfig(Config):
    """One token a sample: its centred log ratios, to which an absent ASV says something too."""

    modality: ClassVar[str] = "asv"
    single: ClassVar[bool] = True
    """A row is one token, and not a token an ASV."""
    kind: Literal["composition"] = "composition"
    dim: int = Field(64, ge=1)
    """Width of the token."""

    def build(self, schema: Schema) -> "Composition":
        """The encoder for this feature table."""
        if not schema.blocks:
            raise ConfigError(
                "the features have no blocks of columns", where="model.composition",
                fix="give the data k-mers, a tree or co-occurrence, or leave this part out",
            )  # fmt: skip
        return Composition(schema, self)


class Composition(nn.Module):
    """((CLR_i - its training mean) @ E P) / 30, E (f, w) the features' blocks, P learned and linear.

    Reads `values` (b, s) int64 rows of the feature table, `mask` (b, s), `counts` (b, s). With l_ij = log1p(x_ij) and
    m_i its mean over all F features, CLR_i is l_i - m_i: a feature that the sample lacks has -m_i.
    Shape: -> Tokens (b, 1, dim). Buffers: `table` (f, w), `clr_mean` (f,), set by `fill`.
    Mask: absent ASVs are never read; a sample without any is absent, its token 0.
    """

    table: Tensor
    clr_mean: Tensor

    def __init__(self, schema: Schema, config: CompositionConfig) -> None:
        super().__init__()
        self.dim, width = config.dim, sum(schema.blocks.values())
        self.register_buffer("table", torch.zeros(schema.features, width))
        self.register_buffer("clr_mean", torch.zeros(schema.features))
        self.project = nn.Linear(width, config.dim, bias=False)

    def fill(self, tables: Mapping[str, Tensor]) -> None:
        """Set the features' blocks and the training mean of the CLR."""
        fill_buffer(self.table, tables, "blocks")
        fill_buffer(self.clr_mean, tables, "clr_mean")

    def forward(self, fields: Mapping[str, Tensor]) -> Tokens:
        """One token a sample."""
        values, mask, counts = fields["values"], fields["mask"], fields["counts"]
        logs, mean = log_counts(counts, mask, len(self.table))
        table = self.table.to(logs.dtype)
        row = logs.new_zeros(logs.shape[0], len(table)).scatter_add(1, torch.where(mask, values, 0), logs)
        # Autocast, which the device `meta` does not have, would round to half precision what is about to cancel.
        with nullcontext() if logs.is_meta else torch.autocast(logs.device.type, enabled=False):
            whole = (row - mean - self.clr_mean.to(logs.dtype)) @ table
        present = mask.any(dim=1, keepdim=True)
        token = self.project((whole / SCALE).to(self.project.weight.dtype))
        return Tokens(torch.where(present, token, 0.0)[:, None], present)
