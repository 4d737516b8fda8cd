"""`regression`: the mean of a row's tokens to its numbers, within what the target can be."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Prediction, Tokens
from plait.heads._readout import Readout, ReadoutConfig
from plait.objectives.constraints import ConstraintKind, OutputConstraint


class RegressionConfig(ReadoutConfig):
    """One number a row for every output of the target."""

    kind: Literal["regression"] = "regression"
    constraint: ConstraintKind = "none"
    """Map of the raw number onto the values that the transformed target can have."""

    def build(self, schema: Schema) -> "Regression":
        """The head for these streams. Errors: ConfigError where the data have no number a row to predict."""
        if schema.outputs < 1:
            raise ConfigError(
                "a regression needs a target of one number a row, the data have none",
                where="model.head.kind", fix="give a numeric target, or a head of another kind",
            )  # fmt: skip
        readout = self.readout(schema, schema.outputs)
        return Regression(readout, OutputConstraint(self.constraint, schema.outputs))


class Regression(nn.Module):
    """The numbers of the readout, constrained.

    Shape: (b, n, d) -> point (b, outputs), `points` (b, 1, outputs).  Units: of the transformed target.
    Mask: absent tokens, and absent context tokens, are never read; a row without context comes out as without film.
    """

    def __init__(self, readout: Readout, constraint: OutputConstraint) -> None:
        super().__init__()
        self.readout, self.constraint = readout, constraint

    def together(self, parts: Mapping[str, Tensor]) -> Tensor:
        """One answer of several nets: the mean of their numbers. Shape: `points` (b, m, outputs) -> (b, outputs)."""
        return parts["points"].mean(dim=1)

    def forward(self, tokens: Tokens, context: Mapping[str, Tokens]) -> Prediction:
        """The answer of every row."""
        # The constraint computes half precision in float32.
        point: Tensor = self.constraint(self.readout(tokens, context)).to(tokens.x.dtype)
        return Prediction(point, {"points": point[:, None]})
