"""`calf`: a series through the first blocks of a language model, drawn towards a branch that reads words."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from plait.core.config import Config, PartOf
from plait.core.console import say
from plait.core.errors import ConfigError
from plait.core.protocols import Dataset, Head
from plait.core.schema import Schema
from plait.core.seeding import seed_torch
from plait.core.tokens import Batch, Notes, Output, Prediction, Tokens
from plait.embedders._backbones import architecture_of, backbone_folder
from plait.heads._answers import check_head, in_data_unit
from plait.nn.attention import Attention, check_heads
from plait.nn.attention_bias import AttentionBias, BiasConfig
from plait.nn.block import Stack
from plait.nn.language_model import (
    NORM,
    POSITIONS,
    LanguageBlocks,
    LoraConfig,
    parameter_counts,
    principal_words,
    random_architecture,
)
from plait.nn.patches import Patches, PatchShape
from plait.nn.window_norm import WindowScaling, carry, window_scale

SERIES = "series"
NO_MODEL, UNTRAINED = "patch", "random"
LOOKED = 64
"""Windows, about, whose attention a report shows."""
DISCOUNT = 0.8
"""What a layer's distance counts, to the one above it."""


class CalfConfig(Config):
    """A series to a forecast, through a language model's blocks."""

    kind: Literal["calf"] = "calf"
    backbone: str = UNTRAINED
    """random: a GPT-2 without weights; patch: no language model; smollm2; or a folder, GGUF file or Hub id of a causal
    language model."""
    weights: Literal["pretrained", "random"] = "pretrained"
    """random: the backbone's architecture without its weights, to see what these add."""
    gpt_layers: int = Field(6, ge=1)
    """Its first blocks, this many."""
    dim: int = Field(128, ge=1)
    """Width, where the backbone does not say it."""
    heads: int = Field(4, ge=1)
    """Attention heads, where the backbone does not say it; they divide `dim`."""
    token_axis: Literal["patch", "variate"] = "patch"
    """What a token is: a patch of a variate, in time, or a whole variate, in the order of the columns."""
    patch: PatchShape = PatchShape()
    """How a window is cut."""
    bias: BiasConfig = BiasConfig()
    """How the time branch's attention weighs a token by how far it lies back."""
    scaling: WindowScaling = "standardise"
    """How each window is scaled before the network, and back after it."""
    lora: LoraConfig = LoraConfig()
    """What of the time branch's attention learns."""
    attn_init: Literal["pretrained", "random"] = "pretrained"
    """Where attention starts; random attention learns whole, the rest of the backbone stays."""
    attn_train: Literal["lora", "whole"] | None = None
    """What of attention learns; unset: low-rank updates, or where it starts random the whole."""
    words: int = Field(500, ge=2)
    """Principal components of the table of words that the text branch reads."""
    output_w: float = Field(1.0, ge=0)
    """Weight of the distance between the two branches' forecasts."""
    feature_w: float = Field(0.01, ge=0)
    """Weight of the distances between their hidden states, each layer's 0.8 times that of the one above it."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of tokens, and in the blocks of the backbone `patch`."""
    head: Annotated[Any, PartOf("heads")] = {"kind": "forecast"}
    """From tokens to the prediction."""
    architecture: dict[str, Any] | None = None
    """The configuration of the backbone's blocks, found in the backbone; a run keeps it, so that it needs no other
    file."""

    @model_validator(mode="before")
    @classmethod
    def _has_none(cls, data: Any) -> Any:
        given = isinstance(data, Mapping) and data.get("backbone", UNTRAINED) == UNTRAINED
        return {**data, "weights": "random"} if given else data

    @model_validator(mode="after")
    def _fits(self) -> "CalfConfig":
        if self.token_axis == "variate" and self.bias.decays:
            raise ValueError(
                f"bias: {self.bias.kind!r} over variates would decay over the order of the columns, which is no time:"
                " take bias causal or none, or token_axis patch"
            )
        if self.attn_init == "random" and self.attn_train == "lora":
            raise ValueError(
                "attn_train: random attention under low-rank updates alone would stay as random as it starts: take"
                " whole, or attn_init pretrained"
            )
        return self

    @property
    def reads(self) -> frozenset[str]:
        """The inputs the model reads."""
        return frozenset([SERIES])

    @property
    def speaks(self) -> bool:
        """Whether the backbone is a language model."""
        return self.backbone != NO_MODEL

    @property
    def aligned(self) -> bool:
        """Whether a text branch is trained beside the time branch."""
        return self.speaks and (self.output_w > 0 or self.feature_w > 0)

    def check_against(self, data: Any, task: Any) -> None:
        """Refuse a head that the task has no use for, and covariates, which no token of a variate would read."""
        if getattr(data, "covariates", None):
            raise ConfigError(
                "calf answers for each column from its own tokens, so covariates have no effect",
                where="data.covariates", fix="plait train chimera with the series leg itransformer reads them",
            )  # fmt: skip
        check_head(self.head, getattr(task, "question", None))

    def alone(self) -> "CalfConfig":
        """The model itself: it reads one modality."""
        return self

    def resolve(self, schema: Schema) -> "CalfConfig":
        """The config with the backbone's architecture."""
        if not self.speaks or self.architecture is not None:
            return self
        if self.backbone == UNTRAINED:
            check_heads(self.dim, self.heads, "model.heads")
            found = random_architecture(self.gpt_layers, self.dim, self.heads)
        else:
            found = architecture_of(self.backbone, self.gpt_layers)
        return self.model_copy(update={"architecture": found})

    def notices(self, schema: Schema) -> list[str]:
        """What to know before a training: of the backbone, and of variates that nothing reads."""
        found = []
        if self.speaks and self.weights == "random":
            found.append("the backbone is random: a language model's blocks without a language model's weights")
        if schema.about and len(schema.variates) > 1 and self.token_axis == "patch":
            found.append(f"each variate is read by itself: only {schema.about} has an effect")
        return found

    def build(self, schema: Schema) -> "Calf":
        """The model for these data; every part starts from a seed of its own name."""
        config, root = self.resolve(schema), torch.initial_seed()
        if self.token_axis == "patch":
            self.patch.check(schema.lookback, "model.patch.length")
        seed_torch(root, "time")
        time = config.blocks()
        heads, dim = (time.heads, time.dim) if isinstance(time, LanguageBlocks) else (self.heads, self.dim)
        count = self.patch.count(schema.lookback) if self.token_axis == "patch" else len(schema.variates)
        if isinstance(time, LanguageBlocks):
            _check_positions(time, count)
            _prepare(time, config)
        seed_torch(root, "bias")
        bias = self.bias.build(heads)
        seed_torch(root, "tokens")
        patches = Patches(self.patch, dim) if self.token_axis == "patch" else None
        embed = None if patches is not None else nn.Linear(schema.lookback, dim)
        text = None
        if self.aligned:
            seed_torch(root, "time")  # the same blocks, also where they are random
            same = cast(LanguageBlocks, config.blocks())
            seed_torch(root, "text")
            text = TextBranch(same, self.words, compares=self.feature_w > 0)
        seed_torch(root, "head")
        width = dim * (count if self.token_axis == "patch" else 1)
        head = config.head.build(schema.with_widths({SERIES: width}))
        return Calf(config, patches, embed, time, bias, text, head, schema.answered)

    def blocks(self) -> "LanguageBlocks | Stack":
        """The blocks of a branch, with random weights."""
        if not self.speaks:
            check_heads(self.dim, self.heads, "model.heads")
            return Stack(self.dim, self.gpt_layers, self.heads, 2 * self.dim, self.dropout)
        assert self.architecture is not None
        return LanguageBlocks(self.architecture)


def _check_positions(blocks: LanguageBlocks, count: int) -> None:
    if blocks.positions is not None and count > blocks.positions:
        raise ConfigError(
            f"{count} tokens are more than the backbone's {blocks.positions} positions", where="model.patch.stride",
            fix="a longer stride, or a shorter data.lookback",
        )  # fmt: skip


def _prepare(time: LanguageBlocks, config: CalfConfig) -> None:
    """Freeze the time branch but for its low-rank updates or its attention, its norms and its positions."""
    whole = config.attn_train == "whole" or config.attn_init == "random"
    time.adapt(config.lora.model_copy(update={"r": 0}) if whole else config.lora)
    if whole:
        time.free_attention()
    time.learn(NORM, *POSITIONS)


class TextBranch(nn.Module):
    """Series tokens ask the principal words; what they hear goes through the same blocks with plain causal attention.

    Of its blocks the positions learn, the rest is as pretrained.
    Shape: tokens (b, n, d) -> hidden states of each block (b, n, d), and the last with what was heard added.
    Source: Liu et al. 2025 (CALF), section 3.2, cross-modal match module.
    """

    words: Tensor

    def __init__(self, blocks: LanguageBlocks, count: int, compares: bool) -> None:
        super().__init__()
        dim = blocks.dim
        blocks.adapt(LoraConfig(r=0))
        blocks.learn(*POSITIONS)
        self.blocks = blocks
        self.match = Attention(dim, blocks.heads)
        self.register_buffer("words", torch.randn(min(count, dim), dim))
        layers = blocks.layers if compares else 0
        self.of_time = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))
        self.of_text = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))
        self.causal = BiasConfig(kind="causal").build(1)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The hidden states, and the tokens to answer from."""
        # All rows ask the same words, so they ask as one row, and the words are projected once.
        heard = self.match(x.flatten(0, 1)[None], self.words.to(x.dtype)[None])[0].reshape(x.shape)
        states, _ = self.blocks(heard, self.causal(x.shape[1], device=x.device)[None])
        return states, states[-1] + heard

    def distance(self, time: list[Tensor], text: list[Tensor]) -> Tensor:
        """Sum over layers of 0.8^k times the mean absolute difference of the projected states, k = 0 the last layer.

        Shape: lists of (b, n, d) -> (b, n).
        """
        total = time[0].new_zeros(time[0].shape[:2])
        for k, (one, other) in enumerate(zip(reversed(time), reversed(text), strict=True)):
            layer = len(time) - 1 - k
            apart = (self.of_time[layer](one) - self.of_text[layer](other)).abs()
            total = total + DISCOUNT**k * apart.mean(dim=2)
        return total


class Calf(nn.Module):
    """Window -> tokens of each variate -> time branch with the bias -> head -> undo the window's scaling.

    Reads `series` (b, t, v), `series_mask` (b, t, v). Shape: -> point (b, p, v), in the standardised unit of the
    inputs; of a head with one answer a row (b, outputs). In training, where it is aligned, also the text branch, and as
    losses of its own `output` and `feature`, their weights within; in evaluation the text branch is not run.
    Mask: a variate without an observed value is forecast from tokens of 0 and adds nothing to those losses.
    Source: Liu et al. 2025 (CALF); Hegazy et al. 2025 (Powerformer) for the bias.
    """

    anchor: ClassVar[str] = SERIES
    required: ClassVar[tuple[str, ...]] = ("series", "series_mask")

    def __init__(
        self,
        config: CalfConfig,
        patches: Patches | None,
        embed: nn.Linear | None,
        time: LanguageBlocks | Stack,
        bias: AttentionBias,
        text: TextBranch | None,
        head: nn.Module,
        answered: slice = slice(None),
    ) -> None:
        super().__init__()
        self.config, self.answered = config, answered
        self.patches, self.embed, self.time, self.bias, self.text, self.head = patches, embed, time, bias, text, head
        self.drop = nn.Dropout(config.dropout)

    def start(self, data: Dataset) -> dict[str, Any]:
        """Take the backbone's weights and words, and say what of the branches learns."""
        config = self.config
        weights = config.weights if config.speaks else None
        facts: dict[str, Any] = {"from": config.backbone, "weights": weights, "layers": config.gpt_layers}
        if not isinstance(self.time, LanguageBlocks):
            return {"backbone": facts}
        if config.weights == "pretrained":
            folder = backbone_folder(config.backbone)
            words = self.time.load(folder)
            if self.text is not None:
                self.text.blocks.take(self.time)
                found = principal_words(words, len(self.text.words))
                self.text.words[: len(found)] = found
            if config.attn_init == "random":
                self.time.renew_attention()
        facts["adapted"] = self.time.adapted
        for name, blocks in (("time", self.time), ("text", self.text)):
            if blocks is not None:
                learn, frozen = parameter_counts([blocks])
                facts[name] = {"learn": learn, "frozen": frozen}
                say(f"{name} branch: {learn:,} values learn, {frozen:,} are frozen")
        say(f"{self.time.adapted} modules of attention have low-rank updates")
        return {"backbone": facts}

    def forward(self, batch: Batch, explain: bool = False) -> Output:
        """The answer of every row, the losses that draw the branches together, and with `explain` the maps."""
        notes, mask = Notes(explain), batch.inputs["series_mask"]
        scale = window_scale(batch.inputs["series"], mask, self.config.scaling)
        x = self._tokens(scale.apply(batch.inputs["series"]), mask)
        present = mask.any(dim=1)
        states, last = self._time(x, notes)
        if self.patches is not None:
            # Blocks see a variate as a row; a map's rows are the batch's.
            for name, found in notes.maps.items():
                notes.maps[name] = found._replace(values=found.values.unflatten(0, (len(mask), -1)).flatten(1, 2))
        answer = in_data_unit(self._answer(last, present), scale)
        if self.text is not None and self.training:
            heard, final = self.text(x)
            # A weight of 0 leaves no loss, and nothing to learn from it.
            if self.config.output_w:
                other = in_data_unit(self._answer(final, present), scale)
                apart = (answer.point - other.point).abs()
                known = present[:, None] if apart.dim() == 3 else present.any(dim=1, keepdim=True)
                notes.add_loss("output", self.config.output_w * torch.where(known, apart, 0.0).flatten(1).mean(dim=1))
            if self.config.feature_w:
                tokens = self.text.distance(states, heard)
                if self.patches is not None:
                    tokens = tokens.mean(dim=1).reshape(present.shape)
                rows = torch.where(present, tokens, 0.0).mean(dim=1)
                notes.add_loss("feature", self.config.feature_w * rows)
        return Output(answer, notes.losses, notes.maps)

    @torch.no_grad()
    def looked(self, data: Dataset, device: Any) -> dict[str, Any] | None:
        """The mean attention weight of each block by how many patches a key lies back, over some test windows.

        `bias` is what the bias alone would give, with equal scores. None where tokens have no order in time.
        """
        if self.patches is None:
            return None
        self.eval()
        rows = data.rows("test")
        batch = data.batch("test", rows[:: max(1, len(rows) // LOOKED)]).to(device)
        maps = self(batch, explain=True).maps
        blocks = [maps[f"attention.block{n}"].values.float().flatten(0, -3).mean(dim=0) for n in range(len(maps))]
        if not blocks:
            return None
        length = blocks[0].shape[-1]
        alone = torch.softmax(self.bias(length, device=device), dim=-1).mean(dim=0)
        weights = {"blocks": [_by_distance(each) for each in blocks], "bias": _by_distance(alone)}
        return {**weights, "step": self.config.patch.stride, "name": self.config.bias.words}

    def _tokens(self, values: Tensor, mask: Tensor) -> Tensor:
        """What the branches read: patches (b * v, n, d), or variates (b, v, d)."""
        if self.patches is not None:
            return cast(Tensor, self.drop(self.patches(values, mask))).flatten(0, 1)
        assert self.embed is not None
        return cast(Tensor, self.drop(self.embed(carry(values, mask).transpose(1, 2))))

    def _time(self, x: Tensor, notes: Notes) -> tuple[list[Tensor], Tensor]:
        """The time branch's hidden states, and the tokens to answer from."""
        bias = self.bias(x.shape[1], device=x.device)
        place = ((SERIES, x.shape[1]),)
        if isinstance(self.time, Stack):
            return [], self.time(Tokens.full(x), notes, place, bias).x + x
        states, used = self.time(x, bias[None], notes.explain)
        for number, weights in enumerate(used):
            notes.attention(f"block{number}", weights, SERIES, place)
        return states, states[-1] + x

    def _answer(self, x: Tensor, present: Tensor) -> Prediction:
        """The answer from a branch's tokens, or from those of the one variate that is asked for.

        Shape: (b * v, n, d) or (b, v, d) -> point (b, p, v) or (b, outputs).
        """
        tokens = x.reshape(*present.shape, -1)
        return cast(Head, self.head)(Tokens(tokens[:, self.answered], present[:, self.answered]), {})


def _by_distance(weights: Tensor) -> list[float]:
    """The mean weight of the keys that lie 0, 1, ... places back. Shape: (n, n) -> n numbers."""
    return [float(weights.diagonal(-back).mean()) for back in range(len(weights))]
