"""`market`: candles, the topology of their path and its complexity, fused, to the chance and the size of a move."""

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import model_validator
from torch import Tensor, nn

from plait.core.config import Config, PartOf
from plait.core.kinds import config_class
from plait.core.protocols import Encoder, Fusion, Head
from plait.core.schema import Schema
from plait.core.seeding import seed_torch
from plait.core.tokens import Batch, Notes, Output, Prediction, Tokens

ANCHOR, TOPOLOGY, COMPLEXITY = "candles", "topology", "complexity"
Modality = Literal["candles", "topology", "complexity"]


class MarketConfig(Config):
    """Three views of a market's last bars to whether, and how far, it will move."""

    kind: Literal["market"] = "market"
    candles: Annotated[Any, PartOf("encoders")] = {"kind": "nbeats"}
    """The leg of the channels of the candles, the anchor."""
    topology: Annotated[Any, PartOf("encoders")] = {"kind": "vector", "modality": TOPOLOGY}
    """The leg of the topological features."""
    complexity: Annotated[Any, PartOf("encoders")] = {
        "kind": "vector", "modality": COMPLEXITY, "hidden": [64], "dim": 64,
    }  # fmt: skip
    """The leg of the indicators of complexity."""
    without: list[Modality] = []
    """Modalities that are left out."""
    fusion: Annotated[Any, PartOf("fusion", usual="token_transformer")] | None = None
    """How the views meet; unset: token_transformer where there is more than one, none elsewhere."""
    head: Annotated[Any, PartOf("heads")] = {"kind": "multi_task"}
    """From tokens to the logit of a move and its size."""

    @model_validator(mode="after")
    def _legs_fit(self) -> "MarketConfig":
        for leg in (ANCHOR, TOPOLOGY, COMPLEXITY):
            part = getattr(self, leg)
            if part.modality != leg:
                raise ValueError(f"{leg}.kind: {part.kind!r} encodes {part.modality}, not {leg}")
        if not self._left:
            raise ValueError("without: nothing is left to read")
        fusion = self.fusion
        changes_candles = fusion is not None and (fusion.anchored or fusion.kind == "none")
        if fusion is not None and changes_candles and len(self._left) > 1 and ANCHOR not in self._left:
            raise ValueError(f"without: the fusion {fusion.kind!r} changes the candles, they can't be left out")
        return self

    @property
    def _left(self) -> frozenset[str]:
        return frozenset((ANCHOR, TOPOLOGY, COMPLEXITY)) - set(self.without)

    @property
    def reads(self) -> frozenset[str]:
        """The inputs the model reads: those that are not left out, without a fusion the candles alone."""
        alone = self.fusion is not None and self.fusion.kind == "none"
        return frozenset([ANCHOR]) if alone and len(self._left) > 1 else self._left

    def alone(self) -> "MarketConfig":
        """The same model of the candles alone."""
        return self.model_copy(update={"fusion": config_class("fusion", "none")(), "without": [TOPOLOGY, COMPLEXITY]})

    def resolve(self, schema: Schema) -> "MarketConfig":
        """The config with the fusion chosen: none where one view is left."""
        several = len(self.reads & set(schema.streams)) > 1
        chosen = self.fusion if several else None
        return self.model_copy(
            update={"fusion": chosen or config_class("fusion", "token_transformer" if several else "none")()}
        )

    def build(self, schema: Schema) -> "Market":
        """The model for these data; every part starts from a seed of its own name."""
        config, root = self.resolve(schema), torch.initial_seed()

        def part(name: str, chosen: Any, facts: Schema) -> nn.Module:
            seed_torch(root, name)
            built: nn.Module = chosen.build(facts)
            return drawn_anew(built)

        legs = {name: part(name, getattr(config, name), schema) for name in schema.streams if name in config.reads}
        widths = {name: cast(Encoder, leg).dim for name, leg in legs.items()}
        first = next(iter(legs))
        inner = replace(schema, anchor=first, streams=widths)
        fusion = part("fusion", config.fusion, inner)
        head = part("head", config.head, inner.with_widths({**widths, first: cast(Fusion, fusion).dim}))
        return Market(nn.ModuleDict(legs), fusion, head)


def drawn_anew(part: nn.Module) -> nn.Module:
    """Draw the weights of all linear maps by Glorot's uniform rule, and set their biases to 0; returns the part.

    A map of zeros stays: it keeps a path closed at the start.
    Source: Glorot & Bengio 2010, equation 16; the design document of `market`, section 4.
    """
    for module in part.modules():
        if isinstance(module, nn.Linear) and (module.weight.is_meta or bool(module.weight.any())):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return part


class Market(nn.Module):
    """Each view -> tokens; fusion; head; the logit less a shift, divided by a temperature.

    Reads `candles` and `candles_mask` (b, t, c), `topology` (b, 1, e) and `topology_mask` (b, 1), `complexity` and its
    mask likewise. Shape: -> point (b, 2), the logit of a move and its size in percent.
    `shift` and `temperature` are 0 and 1 until a task calibrates them after the training.
    Mask: a view that a row lacks is absent from the fusion; how that is read is the operator's.
    Source: the design document of `market`, sections 0, 3 and 4; Guo et al. 2017 for the temperature.
    """

    anchor: ClassVar[str] = ANCHOR
    shift: Tensor
    temperature: Tensor

    def __init__(self, legs: nn.ModuleDict, fusion: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.legs, self.fusion, self.head = legs, fusion, head
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("temperature", torch.ones(()))
        self.first = next(iter(legs))
        self.required = (self.first, f"{self.first}_mask")

    @property
    def fused(self) -> bool:
        """Whether there is more than one leg."""
        return len(self.legs) > 1

    def forward(self, batch: Batch, explain: bool = False) -> Output:
        """The logit and the size of every row, the fusion's own losses, and with `explain` its maps."""
        notes, inputs = Notes(explain), batch.inputs
        streams: dict[str, Tokens] = {
            name: leg({"values": inputs[name], "mask": inputs[f"{name}_mask"]})
            for name, leg in self.legs.items()
            if name in inputs
        }
        tokens: Tokens = cast(Fusion, self.fusion)(streams, notes)
        context = {name: found for name, found in streams.items() if name != self.first}
        point = cast(Head, self.head)(tokens, context).point
        logit = (point[:, :1] - self.shift.to(point.dtype)) / self.temperature.to(point.dtype)
        return Output(Prediction(torch.cat([logit, point[:, 1:]], dim=1)), notes.losses, notes.maps)
