"""`distribution`: the mean of a row's tokens to a distribution over bins of the target, read at its median."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from plait.core.errors import ConfigError, DataError
from plait.core.schema import Schema
from plait.core.tokens import Prediction, Tokens
from plait.heads._readout import Readout, ReadoutConfig
from plait.objectives.regression import cdf_of_bins, median_of_bins


class DistributionConfig(ReadoutConfig):
    """A distribution over the bins between the thresholds of the training targets."""

    kind: Literal["distribution"] = "distribution"

    def build(self, schema: Schema) -> "Distribution":
        """The head for these streams. Errors: ConfigError where the data have fewer than two thresholds."""
        if schema.bins < 2:
            raise ConfigError(
                f"a distribution needs 2 bins or more of the target, the data have {schema.bins}",
                where="model.head.kind", fix="give a numeric target with more bins, or a head of another kind",
            )  # fmt: skip
        return Distribution(self.readout(schema, schema.bins), schema.bins)


class Distribution(nn.Module):
    """softmax of the readout over bins; the answer is the median of its distribution function, linear between bins.

    Bin j is what lies above t_{j-1} up to t_j, for the buffer `thresholds` t that `fill` sets.
    Shape: (b, n, d) -> point (b, 1), `logits` (b, 1, bins); `thresholds` (bins,).  Units: of the transformed target.
    Mask: absent tokens, and absent context tokens, are never read; a row without context comes out as without film.
    """

    thresholds: Tensor

    def __init__(self, readout: Readout, bins: int) -> None:
        super().__init__()
        self.readout = readout
        self.register_buffer("thresholds", torch.arange(bins, dtype=torch.float32))

    def fill(self, tables: Mapping[str, Tensor]) -> None:
        """Take over `thresholds` (bins,), increasing. Errors: DataError where they are absent or do not fit."""
        if "thresholds" not in tables:
            raise DataError(
                "the tables have no thresholds", where="model.head", fix="give those of the training targets"
            )
        given, bins = tables["thresholds"], len(self.thresholds)
        if given.shape != (bins,):
            raise DataError(
                f"thresholds of shape {tuple(given.shape)} for {bins} bins", where="model.head",
                fix="build the head from the schema of the same data",
            )  # fmt: skip
        if not bool(torch.isfinite(given).all() & (given.diff() > 0).all()):
            raise DataError("the thresholds do not increase", where="model.head", fix="sort them, without repeats")
        self.thresholds.copy_(given)

    def together(self, parts: Mapping[str, Tensor]) -> Tensor:
        """One answer of several nets: the median of the mean of their distribution functions.

        Shape: `logits` (b, m, bins) -> (b, 1).
        """
        return median_of_bins(cdf_of_bins(parts["logits"]).mean(dim=1), self.thresholds)[:, None]

    def forward(self, tokens: Tokens, context: Mapping[str, Tokens]) -> Prediction:
        """The median of every row, and the logits it was read from."""
        logits = self.readout(tokens, context)
        # The distribution function of half precision is float32.
        median = median_of_bins(cdf_of_bins(logits), self.thresholds).to(tokens.x.dtype)
        return Prediction(median[:, None], {"logits": logits[:, None]})
