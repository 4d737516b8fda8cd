"""`aam`: the ASVs of a sample, metadata of the sample, one fusion between them, and one answer a sample."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from plait.core.config import Config, PartOf
from plait.core.errors import ConfigError, suggest
from plait.core.kinds import config_class
from plait.core.protocols import Dataset, Encoder, Fusion, Head
from plait.core.schema import Schema
from plait.core.seeding import seed_torch
from plait.core.tokens import Batch, Notes, Output, Prediction, Tokens, fields_of
from plait.encoders._objectives import Objectives, objectives_of
from plait.encoders.asv import Asv
from plait.nn.abundance_pool import AbundancePool
from plait.nn.attention import check_heads
from plait.nn.block import Stack, StackConfig
from plait.nn.category_scaling import CategoryScaling
from plait.nn.pool import masked_mean
from plait.nn.side_by_side import joined_parts, side_by_side
from plait.objectives.auxiliary import AuxiliaryConfig
from plait.objectives.choice import check_choice, check_reach

ASV, METADATA = "asv", "metadata"
POOLED_KINDS = ("film", "gmu")
"""Fusions that change the pooled vector unless `fuse_at` says otherwise."""


class PoolConfig(Config):
    """From the tokens of a sample to one vector."""

    heads: int = Field(8, ge=1)
    """Learned queries, from one that sees who is present to one that sees who is abundant."""
    key: int = Field(16, ge=1)
    """Width of a head's keys."""
    value: int = Field(16, ge=1)
    """Width of a head's values."""


class AamConfig(Config):
    """ASVs with abundances, and metadata, to a phenotype."""

    kind: Literal["aam"] = "aam"
    asv: Annotated[Any, PartOf("encoders")] = {"kind": "asv"}
    """The ASV encoder, the anchor."""
    sample: StackConfig = StackConfig()
    """Blocks over the ASVs of a sample, without positions."""
    metadata: Annotated[Any, PartOf("encoders")] = {"kind": "metadata"}
    """The encoder of the metadata columns; left out where none is named."""
    fusion: Annotated[Any, PartOf("fusion", usual="film")] | None = None
    """How metadata enter; unset: film where there are columns, none elsewhere."""
    fuse_at: Literal["tokens", "pooled"] | None = None
    """Whether metadata change each ASV's token or the pooled vector; unset: pooled for film and gmu, else tokens."""
    target: StackConfig = StackConfig()
    """Blocks after the fusion at tokens; left out where it returns one token."""
    pool: PoolConfig = PoolConfig()
    """From tokens to one vector a sample."""
    composition: Annotated[Any, PartOf("encoders", usual="composition")] | None = {"kind": "composition"}
    """A linear path of the whole composition beside the pooled tokens; null leaves it out."""
    head: Annotated[Any, PartOf("heads", usual="distribution")] | None = {"kind": "distribution"}
    """From the pooled vector to the answer; null leaves it out, for a pretraining, whose answer is that vector."""
    output_scaling: list[str] = []
    """Metadata columns of categories whose value scales and shifts the answer; scale 1 and shift 0 at the start."""
    nets: int = Field(1, ge=1)
    """Networks of different starts, trained side by side and read together."""
    pretrained: str | None = None
    """Folder of a run whose encoder of nucleotides the training starts from, and what else of its ASV leg fits."""
    freeze_base: bool = False
    """Keep what comes from `pretrained` as it is."""

    @model_validator(mode="before")
    @classmethod
    def _columns_by_comma(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and isinstance(data.get("output_scaling"), str):
            return {**data, "output_scaling": [name.strip() for name in data["output_scaling"].split(",")]}
        return data

    @model_validator(mode="after")
    def _legs_fit(self) -> "AamConfig":
        for leg, modality, single in ((ASV, ASV, False), (METADATA, METADATA, False), ("composition", ASV, True)):
            part = getattr(self, leg)
            if part is not None and part.modality != modality:
                raise ValueError(f"{leg}.kind: {part.kind!r} encodes {part.modality}, not {modality}")
            if part is not None and getattr(part, "single", False) != single:
                wanted, given = ("one token a sample", "a token an ASV")[:: 1 if single else -1]
                raise ValueError(f"{leg}.kind: {part.kind!r} gives {given}, not {wanted}")
        if not self.at_tokens and getattr(self.fusion, "anchored", False) and getattr(self.fusion, "depth", 0):
            raise ValueError("fusion.depth: blocks over the one pooled vector are attention to nothing: fuse_at tokens")
        return self

    def check_against(self, data: Any, task: Any) -> None:
        """Refuse a head that the task can't train, a constraint that the target's transform leaves, unknown columns."""
        constraint: Any = getattr(self.head, "constraint", "none")
        check_choice(constraint, getattr(data, "transform", "none"), getattr(data, "normalize_by", ()))
        if task.kind == "pretrain" and self.head is not None:
            raise ConfigError("a pretraining has no target to answer", where="model.head", fix="--head null")
        wanted = {"classification": "classification"}.get(task.kind)
        if task.kind == "regression":
            wanted = "distribution" if task.loss == "crps" else "regression"
        kind = getattr(self.head, "kind", None)
        if wanted is not None and kind != wanted:
            loss = f" with loss {task.loss}" if task.kind == "regression" else ""
            raise ConfigError(
                f"the task {task.kind}{loss} needs the head {wanted}, not {kind!r}", where="model.head.kind",
                fix=f"--head {wanted}" + (", or another --loss" if loss else ""),
            )  # fmt: skip
        if task.kind == "classification" and not getattr(data, "classifier", True):
            raise ConfigError("the target is read as a number", where="data.classifier", fix="give --classifier")

    def notices(self, schema: Schema) -> list[str]:
        """What is given twice, or given and not read."""
        kind, film = (self.fusion.kind if self.fusion is not None else ""), bool(getattr(self.head, "film", False))
        found = []
        if kind == "film" and film:
            found.append("redundant: --categorical-fusion film and --model.head.film both scale and shift by metadata")
        if schema.columns and kind == "none" and not film and not self.output_scaling:
            found.append("columns of metadata are named and nothing reads them: --categorical-fusion is none")
        if not schema.columns and film:
            found.append("--model.head.film has no columns to read: name some by --categorical-columns")
        return found

    @property
    def encodes_metadata(self) -> bool:
        """Whether the model has a metadata leg, for a fusion or for the head."""
        return self.fusion is None or self.fusion.kind != "none" or bool(getattr(self.head, "film", False))

    @property
    def reads(self) -> frozenset[str]:
        """The inputs the model reads: the ASVs, and the metadata where they are fused, modulate the head or scale."""
        return frozenset([ASV, *[METADATA] * (self.encodes_metadata or bool(self.output_scaling))])

    def alone(self) -> "AamConfig":
        """The same model of the ASVs alone."""
        head: Any = self.head
        head = head.model_copy(update={"film": False}) if getattr(head, "film", False) else head
        none = config_class("fusion", "none")()
        return self.model_copy(update={"fusion": none, "output_scaling": [], "head": head})

    @property
    def at_tokens(self) -> bool:
        """Whether the fusion changes tokens, and not the pooled vector."""
        kind = self.fusion.kind if self.fusion is not None else ""
        return self.fuse_at == "tokens" or (self.fuse_at is None and kind not in POOLED_KINDS)

    @property
    def pools_asvs(self) -> bool:
        """Whether the tokens that are pooled are those of the ASVs, which have counts."""
        return not self.at_tokens or bool(getattr(self.fusion, "anchored", False))

    def resolve(self, schema: Schema) -> "AamConfig":
        """The config with the fusion chosen; a fusion asked for where there is no metadata is refused."""
        if METADATA in schema.contexts:
            chosen = self.fusion or config_class("fusion", "film")()
        elif self.fusion is not None and self.fusion.kind != "none":
            raise ConfigError(
                f"there is one stream ({schema.anchor}), nothing to fuse by {self.fusion.kind!r}",
                where="model.fusion", fix="name columns of the metadata (--categorical-columns), or --fusion none",
            )  # fmt: skip
        else:
            chosen = config_class("fusion", "none")()
        return self.model_copy(update={"fusion": chosen})

    def build(self, schema: Schema, auxiliary: AuxiliaryConfig | None = None) -> "Aam":
        """The model for these data, with a head for each auxiliary objective that has a weight.

        Every part of every net starts from a seed of its own name.
        """
        config, objectives = self.resolve(schema), auxiliary or AuxiliaryConfig()
        root = torch.initial_seed()
        return Aam(config, [_net(config, schema, objectives, root, number) for number in range(config.nets)])


def _net(config: AamConfig, schema: Schema, auxiliary: AuxiliaryConfig, root: int, number: int) -> "AamNet":
    """One network, wired by the config."""

    def part(name: str, chosen: Any, facts: Schema) -> Any:
        seed_torch(root, number, name)
        return chosen.build(facts)

    def stack(name: str, dim: int, chosen: StackConfig) -> Stack:
        seed_torch(root, number, name)
        if chosen.depth:
            check_heads(dim, chosen.heads, f"model.{name}.heads")
        return Stack(dim, chosen.depth, chosen.heads, chosen.hidden, chosen.dropout)

    asv = part(ASV, config.asv, schema)
    widths = {ASV: cast(Encoder, asv).dim}
    sample = stack("sample", widths[ASV], config.sample)
    composition = None if config.composition is None else part("composition", config.composition, schema)
    metadata = None
    if METADATA in schema.contexts and config.encodes_metadata:
        metadata = part(METADATA, config.metadata, schema)
        widths[METADATA] = cast(Encoder, metadata).dim
    extra = 0 if composition is None else composition.dim
    tokens_dim = widths[ASV]
    fusion = None
    if config.at_tokens:
        fusion = part("fusion", config.fusion, schema.with_widths(widths))
        tokens_dim = cast(Fusion, fusion).dim
    # Attention over one token is constant: its queries and keys would never learn.
    single = config.at_tokens and getattr(config.fusion, "single", False)
    target = stack("target", tokens_dim, StackConfig() if single else config.target)
    seed_torch(root, number, "pool")
    chosen = config.pool
    pool = None if single else AbundancePool(tokens_dim, chosen.heads, chosen.key, chosen.value, config.pools_asvs)
    dim = (tokens_dim if pool is None else pool.dim) + extra
    seed_torch(root, number, "objectives")
    objectives = objectives_of(auxiliary, asv, dim)
    if fusion is None:
        fusion = part("fusion", config.fusion, schema.with_widths({**widths, ASV: dim}))
        dim = cast(Fusion, fusion).dim
    head = None if config.head is None else part("head", config.head, schema.with_widths({**widths, ASV: dim}))
    scaling = _scaling(config, schema) if config.output_scaling else None
    return AamNet(config, asv, sample, metadata, fusion, target, pool, composition, head, scaling, objectives)


def _scaling(config: AamConfig, schema: Schema) -> CategoryScaling:
    """The scale and shift of an answer by category."""
    known = {name: size for name, size in schema.columns.items() if size}
    for name in config.output_scaling:
        if name not in known:
            raise ConfigError(
                f"{name!r} is no column of categories that the model is given", where="model.output_scaling",
                fix=suggest(name, known) if known else "name it in --categorical-columns too",
            )  # fmt: skip
    kind = getattr(config.head, "kind", None)
    if kind != "regression":
        raise ConfigError(
            f"scaling by category is of one number a sample, the head is {kind!r}",
            where="model.output_scaling", fix="--head regression, or a fusion of the columns instead",
        )  # fmt: skip
    columns = list(schema.columns)
    return CategoryScaling({columns.index(name): known[name] for name in config.output_scaling}, schema.outputs)


class AamNet(nn.Module):
    """ASVs -> tokens -> sample blocks -> [fusion] -> target blocks -> pooled vector -> [fusion] -> head.

    The pooled vector has the composition beside it. An operator that is not anchored takes the tokens' place: its own
    tokens are pooled without abundances, and where it returns one, that is the pooled vector. Shape and masks as in
    `Aam`.
    """

    def __init__(
        self,
        config: AamConfig,
        asv: nn.Module,
        sample: Stack,
        metadata: nn.Module | None,
        fusion: nn.Module,
        target: Stack,
        pool: AbundancePool | None,
        composition: nn.Module | None,
        head: nn.Module | None,
        scaling: CategoryScaling | None,
        objectives: Objectives | None = None,
    ) -> None:
        super().__init__()
        self.at_tokens, self.pools_asvs = config.at_tokens, config.pools_asvs
        self.asv, self.sample, self.metadata, self.fusion = asv, sample, metadata, fusion
        self.target, self.pool, self.composition, self.head, self.scaling = target, pool, composition, head, scaling
        self.objectives = objectives

    def forward(self, inputs: Mapping[str, Tensor], notes: Notes) -> Prediction:
        """The answer of every row, with the pooled vector it was read from."""
        fields, asv = fields_of(inputs, ASV), cast(Asv, self.asv)
        # Without an answer to give, a model is scored by its objectives.
        asked = self.objectives if self.training or self.head is None else None
        shown = asv.shown(fields)
        said = asv.named(shown)
        tokens: Tokens = self.sample(asv.weighed(said, shown))
        context: dict[str, Tokens] = {}
        if self.metadata is not None and METADATA in inputs:
            context[METADATA] = self.metadata(fields_of(inputs, METADATA))
        fuse = cast(Fusion, self.fusion)
        if self.at_tokens:
            tokens = fuse({ASV: tokens, **context}, notes)
        tokens = self.target(tokens)
        pooled = self._pooled(tokens, fields, shown, notes)
        parts = {} if asked is None else asked(asv, self.sample, shown, said, pooled.x[:, 0])
        if not self.at_tokens:
            pooled = fuse({ASV: pooled, **context}, notes)
        if self.head is None:
            found = Prediction(masked_mean(pooled))
        else:
            found = cast(Head, self.head)(pooled, context)
        if self.scaling is not None and METADATA in inputs:
            point = self.scaling(found.point, inputs[METADATA], inputs[f"{METADATA}_mask"])
            found = Prediction(point, {"points": point[:, None]})
        return found._replace(parts={**found.parts, **parts, "pooled": masked_mean(pooled)[:, None]})

    def _pooled(
        self, tokens: Tokens, fields: Mapping[str, Tensor], shown: Mapping[str, Tensor], notes: Notes
    ) -> Tokens:
        """One vector a row: the tokens of the ASVs shown by attention, and the composition of all."""
        if self.pool is None:
            vector = tokens.x[:, 0]
        else:
            counts = torch.log1p(torch.where(shown["mask"], shown["counts"], 0.0)) if self.pools_asvs else None
            vector, used = self.pool(tokens, counts, weights=notes.explain)
            if used is not None:
                keys = ((ASV if self.pools_asvs else "fused", used.shape[-1]),)
                notes.attention("pool", used[:, :, None], "pooled", keys)
        if self.composition is not None:
            vector = torch.cat([vector, self.composition(fields).x[:, 0]], dim=-1)
        return Tokens(vector[:, None], tokens.present[:, None])


class Aam(nn.Module):
    """Samples of ASVs and metadata to one answer a sample, by one net or the mean of several.

    Reads `asv` (b, s) rows of the feature table, `asv_mask` (b, s), `asv_counts` (b, s), and `metadata` (b, k) codes,
    `metadata_numbers` (b, k), `metadata_mask` (b, k) if metadata are fused. Shape: -> point (b, outputs), with the
    head's parts and `pooled` (b, nets, d). Distributions are averaged as distribution functions, numbers as numbers,
    classes as probabilities.  Units: of the transformed target.  Auxiliary objectives add parts of their own names in
    training (see `Objectives`); a model without a head has them always, and its point (b, nets * d) is its vectors.
    Mask: an unknown cell of metadata is never read; a sample without any is answered from its ASVs alone, bit for bit
    as without the metadata leg. The order of a sample's ASVs has no effect beyond rounding.
    Source: the design document of `aam`; the pooling, blocks and composition path are those measured for this recipe.
    """

    anchor: ClassVar[str] = ASV
    required: ClassVar[tuple[str, ...]] = (ASV, "asv_mask", "asv_counts")

    def __init__(self, config: AamConfig, nets: list[AamNet]) -> None:
        super().__init__()
        self.config = config
        self.nets = nn.ModuleList(nets)

    @property
    def fused(self) -> bool:
        """Whether metadata enter, by a leg or by a scale of the answer."""
        net = cast(AamNet, self.nets[0])
        return net.metadata is not None or net.scaling is not None

    @property
    def fusion(self) -> nn.ModuleList:
        """The fusion of every net."""
        return nn.ModuleList(cast(AamNet, net).fusion for net in self.nets)

    def start(self, data: Dataset) -> dict[str, Any]:
        """Set the feature table and the thresholds of the target in every part that keeps them.

        Errors: DataError for training targets that a constrained answer could never be.
        """
        constraint: Any = getattr(self.config.head, "constraint", "none")
        if constraint != "none":
            targets = data.batch("train", data.rows("train")).targets
            check_reach(constraint, torch.where(targets["mask"], targets["y"], torch.nan))
        tables: Mapping[str, Tensor] = data.tables  # type: ignore[attr-defined]
        for module in self.modules():
            fill = getattr(module, "fill", None)
            if fill is not None:
                fill(tables)
        return {}

    def forward(self, batch: Batch, explain: bool = False) -> Output:
        """The answer of every row, the fusion's own losses, and with `explain` its maps."""
        notes, predictions = side_by_side(self.nets, batch.inputs, explain)
        if len(predictions) == 1:
            return Output(predictions[0], notes.losses, notes.maps)
        parts = joined_parts(predictions)
        head = cast(Any, self.nets[0]).head
        point: Tensor = torch.cat([each.point for each in predictions], dim=1) if head is None else head.together(parts)
        point = point.to(predictions[0].point.dtype)
        return Output(Prediction(point, parts), notes.losses, notes.maps)
