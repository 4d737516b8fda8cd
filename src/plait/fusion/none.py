"""`none`: the anchor stream alone, the honest baseline arm."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import nn

from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens, anchored


class NoneConfig(Config):
    """The anchor alone; every other stream is ignored."""

    anchored: ClassVar[bool] = True
    kind: Literal["none"] = "none"

    @property
    def closed(self) -> bool:
        """Whether the operator equals the anchor at initialisation."""
        return True

    def build(self, schema: Schema) -> "AnchorOnly":
        """The operator for these streams."""
        return AnchorOnly(schema)


class AnchorOnly(nn.Module):
    """x -> x. Shape: (b, n, d) -> (b, n, d). Mask: the anchor's."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.anchor, self.dim = schema.anchor, schema.streams[schema.anchor]

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        """The anchor's tokens, untouched."""
        return anchored(streams, self.anchor)[0]
