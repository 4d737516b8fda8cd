"""`multi_task`: several numbers a row, each by a readout of its own."""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Prediction, Tokens
from plait.heads._readout import ReadoutConfig


class MultiTaskConfig(ReadoutConfig):
    """A number for every output of the target, with nothing shared but the tokens."""

    kind: Literal["multi_task"] = "multi_task"
    hidden: int = Field(32, ge=0)
    """Width of a hidden layer of each readout; 0 leaves it out, or with film makes it as wide as tokens."""

    def build(self, schema: Schema) -> "MultiTask":
        """The head for these streams. Errors: ConfigError where the data have no number a row to predict."""
        if schema.outputs < 1:
            raise ConfigError(
                "there is no target of numbers a row", where="model.head.kind", fix="give a target, or another head"
            )
        return MultiTask([self.readout(schema, 1) for _ in range(schema.outputs)])


class MultiTask(nn.Module):
    """[readout_1 ; ... ; readout_k] of the same tokens.

    Shape: (b, n, d) -> point (b, outputs).  Units: of each target; a task that asks for a chance reads logits.
    Mask: absent tokens, and absent context tokens, are never read; a row without context comes out as without film.
    Source: the design document of `market`, section 4.
    """

    def __init__(self, readouts: list[nn.Module]) -> None:
        super().__init__()
        self.readouts = nn.ModuleList(readouts)

    def forward(self, tokens: Tokens, context: Mapping[str, Tokens]) -> Prediction:
        """The answers of every row."""
        numbers: list[Tensor] = [readout(tokens, context) for readout in self.readouts]
        return Prediction(torch.cat(numbers, dim=1))
