"""`products`: attributes and any number of embedding sources, fused, to a price."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from plait.core.config import Config, PartOf, validate
from plait.core.errors import ConfigError, suggest
from plait.core.kinds import config_class, kind_named, kinds, same_kind
from plait.core.protocols import Encoder, Fusion, Head
from plait.core.schema import Schema
from plait.core.seeding import seed_torch
from plait.core.tokens import Batch, Map, Notes, Output, Prediction, Tokens, fields_of
from plait.encoders.attributes import first_rows
from plait.nn.contexts import stream_layers
from plait.nn.side_by_side import joined_parts, side_by_side
from plait.objectives.smape import z_of

ATTRIBUTES = "attributes"
NO_NUMBER = ("classification", "distribution", "forecast", "multi_task")
"""Heads whose answer is not one number that a linear part could be added to."""

QUIET = 0.01
"""What a head starts at beside a wide part, of what it starts at alone."""


class AllBut:
    """Every name but some: what a model reads where the names are the user's, and the data alone know them.

    It has no members to go through, so that a union with it is what the others name: data of products bring every
    source, whichever are asked for.
    """

    def __init__(self, left_out: frozenset[str]) -> None:
        self.left_out = left_out

    def __contains__(self, name: object) -> bool:
        return name not in self.left_out

    def __iter__(self) -> Iterator[str]:
        return iter(())


class ProductsConfig(Config):
    """What is known of a product, its attributes and embeddings of its pictures and texts, to its price."""

    kind: Literal["products"] = "products"
    attributes: Annotated[Any, PartOf("encoders")] = {"kind": "attributes"}
    """The leg of the attributes; left out where the table gives none."""
    branch: Annotated[Any, PartOf("encoders")] = {"kind": "branch"}
    """The leg of every embedding source."""
    branches: dict[str, dict[str, Any]] = {}
    """Fields of a source's leg, by the source's name, that differ from `branch`."""
    without: list[str] = []
    """Sources that are left out."""
    fusion: Annotated[Any, PartOf("fusion", usual="hierarchical")] | None = None
    """How the sources meet; unset: hierarchical where there is more than one, none elsewhere."""
    head: Annotated[Any, PartOf("heads")] = {"kind": "mixture_of_experts"}
    """From tokens to a number near the logarithm of the price."""
    wide: bool = True
    """Add a linear map of the attributes to what the head says, which then starts at next to nothing."""
    nets: int = Field(1, ge=1)
    """Networks of different starts, trained side by side; their numbers are averaged."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "ProductsConfig":
        if self.attributes.modality != ATTRIBUTES:
            raise ValueError(f"attributes.kind: {self.attributes.kind!r} encodes {self.attributes.modality}, not them")
        for name in ("any", *self.branches):
            leg = self.leg(name)
            if "modality" not in type(leg).model_fields:
                raise ValueError(f"branch.kind: {leg.kind!r} encodes {leg.modality}, not any source of embeddings")
        fusion = self.fusion
        changes_one_token = fusion is not None and fusion.anchored and ATTRIBUTES not in self.without
        if changes_one_token and getattr(fusion, "depth", 0):
            raise ValueError("fusion.depth: attention over the one token of the attributes learns nothing: depth 0")
        if self.head.kind in NO_NUMBER or getattr(self.head, "constraint", "none") != "none":
            answer = f"{self.head.kind!r} {getattr(self.head, 'constraint', '')}".strip()
            raise ValueError(f"head: {answer} gives no free number to add to: mixture_of_experts, or regression")
        return self

    def leg(self, source: str) -> Any:
        """The config of the encoder of an embedding source: that of every source, with the fields of its own."""
        own, usual = self.branches.get(source, {}), self.branch
        kind = kind_named(str(own.get("kind", usual.kind)), kinds("encoders"))
        shared = usual.model_dump(mode="json") if same_kind(kind, usual.kind) else {}
        chosen = config_class("encoders", kind)
        names = {"kind": kind, **({"modality": source} if "modality" in chosen.model_fields else {})}
        return validate(chosen, {**shared, **own, **names}, f"model.branches.{source}")

    @property
    def reads(self) -> frozenset[str] | AllBut:
        """The inputs the model reads: every source that is not left out; without a fusion the anchor alone, which is
        the attributes where there are any.
        """
        if self.fusion is not None and self.fusion.kind == "none":
            return frozenset({ATTRIBUTES}) - frozenset(self.without)
        return AllBut(frozenset(self.without))

    def alone(self) -> "ProductsConfig":
        """The same model of the anchor alone."""
        head = self.head.model_copy(update={"film": False}) if getattr(self.head, "film", False) else self.head
        return self.model_copy(update={"fusion": config_class("fusion", "none")(), "head": head})

    def resolve(self, schema: Schema) -> "ProductsConfig":
        """The config with the fusion chosen: none where one source is left.

        Errors: ConfigError for a source that the data lack, and where none is left.
        """
        sources = [name for name in schema.streams if name != ATTRIBUTES]
        for field, named in (("without", set(self.without) - {ATTRIBUTES}), ("branches", self.branches)):
            for name in sorted(set(named) - set(sources)):
                raise ConfigError(
                    f"there is no source {name!r}", where=f"model.{field}",
                    fix=f"{suggest(name, sources)}; the sources are {', '.join(sources)}",
                )  # fmt: skip
        left = [name for name in schema.streams if name not in self.without]
        if not left:
            raise ConfigError(
                "every source is left out", where="model.without", fix=f"keep one of {', '.join(schema.streams)}"
            )
        chosen = self.fusion if len(left) > 1 else config_class("fusion", "none")()
        return self.model_copy(update={"fusion": chosen or config_class("fusion", "hierarchical")()})

    def build(self, schema: Schema) -> "Products":
        """The model for these data; every part of every net starts from a seed of its own name."""
        config, root = self.resolve(schema), torch.initial_seed()
        left = [name for name in schema.streams if name not in config.without]
        read = left[:1] if cast(Any, config.fusion).kind == "none" else left
        nets = [_net(config, replace(schema, anchor=left[0]), read, root, number) for number in range(config.nets)]
        return Products(nets, left[0], bool(schema.columns))


def _net(config: ProductsConfig, schema: Schema, read: list[str], root: int, number: int) -> "ProductsNet":
    """One network of the sources that are read, wired by the config."""

    def part(name: str, chosen: Any, facts: Schema) -> nn.Module:
        seed_torch(root, number, name)
        built: nn.Module = chosen.build(facts)
        return built

    chosen = {name: config.attributes if name == ATTRIBUTES else config.leg(name) for name in read}
    legs = {name: part(name, each, schema) for name, each in chosen.items()}
    widths = {name: cast(Encoder, leg).dim for name, leg in legs.items()}
    inner = schema.with_widths(widths)
    fusion = part("fusion", config.fusion, inner)
    head = part("head", config.head, inner.with_widths({**widths, schema.anchor: cast(Fusion, fusion).dim}))
    wide = None
    if config.wide and ATTRIBUTES in legs:
        wide = Wide(schema.streams[ATTRIBUTES], list(schema.columns.values()))
        quieten(head)
    return ProductsNet(legs, fusion, head, wide, schema.anchor)


@torch.no_grad()
def quieten(head: nn.Module) -> None:
    """Scale the last linear map of a head, which heads name `project`, to next to nothing.

    At 0 no gradient would pass, and a closed fusion before the head, which is 0 itself, would open a step later.
    """
    for name, layer in head.named_modules():
        if name.rpartition(".")[2] == "project" and isinstance(getattr(layer, "weight", None), Tensor):
            for parameter in layer.parameters():
                parameter.mul_(QUIET)


class Wide(nn.Module):
    """w . x + the offset of each category, for the numbers x of a row's attributes; all 0 at the start.

    Reads `values` (b, 1, w), `mask` (b, 1), and where there are categories `codes` (b, k). Shape: -> (b, 1).
    Mask: numbers and codes of a row under False are never read, its answer is 0.
    Source: Cheng et al. 2016, section 3.1, without crossed features.
    """

    starts: Tensor

    def __init__(self, width: int, sizes: list[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, width))
        self.offsets = nn.Parameter(torch.zeros(sum(sizes) + len(sizes), 1)) if sizes else None
        self.register_buffer("starts", first_rows(sizes), persistent=False)

    def forward(self, fields: Mapping[str, Tensor]) -> Tensor:
        """What the attributes of every row add."""
        mask = fields["mask"]
        # Products and a sum, not a linear layer: the whole of a price is read here, and autocast would round it.
        found = (torch.where(mask[..., None], fields["values"], 0.0)[:, 0] * self.weight).sum(dim=1, keepdim=True)
        if self.offsets is not None:
            codes = torch.where(mask, fields["codes"], 0)
            found = found + torch.where(mask, F.embedding(codes + self.starts, self.offsets).sum(dim=1), 0.0)
        return found


class ProductsNet(nn.Module):
    """Each source -> tokens; fusion; head; plus the wide part. Shape and masks as in `Products`."""

    def __init__(
        self, legs: dict[str, nn.Module], fusion: nn.Module, head: nn.Module, wide: Wide | None, anchor: str
    ) -> None:
        super().__init__()
        self.legs, self.fusion, self.head, self.wide, self.anchor = stream_layers(legs), fusion, head, wide, anchor

    def forward(self, inputs: Mapping[str, Tensor], notes: Notes) -> Prediction:
        """The number of every row, and by name what it was read from."""
        given = {name: fields_of(inputs, name) for name in self.legs if name in inputs}
        streams: dict[str, Tokens] = {name: self.legs[name](fields) for name, fields in given.items()}
        tokens = cast(Fusion, self.fusion)(streams, notes)
        context = {name: found for name, found in streams.items() if name != self.anchor}
        found = cast(Head, self.head)(tokens, context)
        if notes.explain and "gate" in found.parts:
            notes.maps["experts"] = Map(found.parts["gate"][:, 0], ("row", "expert"))
        parts = {"points": found.point[:, None], **found.parts}
        if self.wide is not None and ATTRIBUTES in given:
            parts = raised(parts, self.wide(given[ATTRIBUTES]))
        return Prediction(parts["points"][:, 0], parts)


def raised(parts: Mapping[str, Tensor], by: Tensor) -> dict[str, Tensor]:
    """The numbers of a prediction, of the net and of its experts, raised by one a row. Shape: `by` (b or 1, 1)."""
    return {name: part + by[:, None] if name in ("points", "experts") else part for name, part in parts.items()}


class Products(nn.Module):
    """Attributes and embeddings of a product to one number a row, by one net or the mean of several.

    Reads `attributes` (b, 1, w), `attributes_mask` (b, 1), where there are categories `attributes_codes` (b, k), and
    of every other source `<name>` (b, t, e), `<name>_mask` (b, t). Shape: -> point (b, 1), with `points` (b, nets, 1)
    and of a mixture of experts `gate` and `experts` (b, nets, experts).
    Units: z, near the logarithm of the price (`objectives.smape`); `centre` is the median of the train rows,
    `spread` how far an interval reaches in it, not known until a task calibrates it on validation rows.
    Mask: a source that a row lacks is absent from the fusion; how that is read is the operator's.
    Source: the design document of `products`; Cheng et al. 2016 for the wide part beside the deep one.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, nets: list[ProductsNet], anchor: str, categories: bool) -> None:
        super().__init__()
        self.nets, self.anchor = nn.ModuleList(nets), anchor
        codes = [f"{ATTRIBUTES}_codes"] if anchor == ATTRIBUTES and categories else []
        self.required = (anchor, f"{anchor}_mask", *codes)
        self.register_buffer("centre", torch.zeros(1, 1))
        self.register_buffer("spread", torch.tensor(float("nan")))

    @property
    def fused(self) -> bool:
        """Whether there is more than one leg."""
        return len(cast(ProductsNet, self.nets[0]).legs) > 1

    @property
    def fusion(self) -> nn.ModuleList:
        """The fusion of every net."""
        return nn.ModuleList(cast(ProductsNet, net).fusion for net in self.nets)

    def start(self, data: Any) -> dict[str, Any]:
        """Set the centre to the median z of the train rows whose price is known."""
        prices = data.prices("train")
        self.centre.fill_(float(np.median(z_of(prices[np.isfinite(prices)]))))
        return {}

    def forward(self, batch: Batch, explain: bool = False) -> Output:
        """The number of every row, the fusion's own losses, and with `explain` its maps and those of the experts."""
        notes, predictions = side_by_side(self.nets, batch.inputs, explain)
        parts = raised(joined_parts(predictions), self.centre)
        return Output(Prediction(parts["points"].mean(dim=1), parts), notes.losses, notes.maps)
