"""`classification`: the mean of a row's tokens to the logits of its class."""

import math
from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Prediction, Tokens
from plait.heads._readout import Readout, ReadoutConfig


class ClassificationConfig(ReadoutConfig):
    """The logits of every class of the target."""

    kind: Literal["classification"] = "classification"

    def build(self, schema: Schema) -> "Classification":
        """The head for these streams. Errors: ConfigError where the data have fewer than two classes."""
        if schema.outputs < 2:
            raise ConfigError(
                f"a classification needs 2 classes or more, the data have {schema.outputs}",
                where="model.head.kind", fix="give a target of categories, or a head of another kind",
            )  # fmt: skip
        return Classification(self.readout(schema, schema.outputs))


class Classification(nn.Module):
    """The numbers of the readout as logits.

    Shape: (b, n, d) -> point (b, classes), `logits` (b, 1, classes).  Units: nats, up to a constant a row.
    Mask: absent tokens, and absent context tokens, are never read; a row without context comes out as without film.
    """

    def __init__(self, readout: Readout) -> None:
        super().__init__()
        self.readout = readout

    def together(self, parts: Mapping[str, Tensor]) -> Tensor:
        """One answer of several nets: the log of the mean of their probabilities.

        Shape: `logits` (b, m, classes) -> (b, classes).
        """
        logs = parts["logits"].float().log_softmax(dim=-1)
        return logs.logsumexp(dim=1) - math.log(logs.shape[1])

    def forward(self, tokens: Tokens, context: Mapping[str, Tokens]) -> Prediction:
        """The logits of every row."""
        logits: Tensor = self.readout(tokens, context)
        return Prediction(logits, {"logits": logits[:, None]})
