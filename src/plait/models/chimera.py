"""`chimera`: a series, dated texts, one fusion between them, and a forecast or another answer."""

from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
import torch
from pydantic import field_validator, model_validator
from torch import nn

from plait.baselines.ridge import fit_ridge
from plait.core.config import Config, PartOf
from plait.core.errors import ConfigError
from plait.core.protocols import Dataset, Encoder, Fusion, Head
from plait.core.schema import Schema
from plait.core.seeding import seed_torch
from plait.core.tokens import Batch, Notes, Output, Prediction, Tokens, fields_of
from plait.fusion._levels import Levels
from plait.fusion._read_back import aligned
from plait.heads._answers import check_head, in_data_unit, shifted
from plait.nn.attention import check_heads
from plait.nn.block import Stack, StackConfig
from plait.nn.window_norm import window_scale

ANCHOR, TEXT = "series", "text"
LEVELLED = ("itransformer",)
"""The series legs whose blocks pass on the anchor's tokens, so that a fusion can stand between them."""


class ChimeraConfig(Config):
    """Series and dated text to a forecast."""

    kind: Literal["chimera"] = "chimera"
    series: Annotated[Any, PartOf("encoders")] = {"kind": "itransformer"}
    """The series leg, the anchor."""
    text: Annotated[Any, PartOf("encoders")] = {"kind": "text"}
    """The text leg; left out where the data have no text."""
    fusion: Annotated[Any, PartOf("fusion", usual="latent_gate")] | None = None
    """How text enters the series; unset: latent_gate where there is text, none elsewhere."""
    levels: list[int] | None = None
    """Numbers of blocks of the series leg after which text enters, as [1, 2], each with a fusion of its own; unset:
    once, after the whole leg."""
    final: StackConfig = StackConfig()
    """Blocks after the fusion; they run with and without text."""
    head: Annotated[Any, PartOf("heads")] = {"kind": "forecast"}
    """From tokens to the prediction."""
    residual: bool = False
    """Forecast = stop_grad(series forecast) + what the fusion changed, mapped to the horizon in data units. A batch
    without text trains the series leg."""

    @property
    def reads(self) -> frozenset[str]:
        """The inputs the model reads: the series, its seasonal prior where the leg asks for it, texts where fused."""
        text = self.fusion is None or self.fusion.kind != "none"
        return frozenset([ANCHOR, *[TEXT] * text, *["series_prior"] * self.series.prior])

    @model_validator(mode="after")
    def _legs_fit(self) -> "ChimeraConfig":
        for leg, modality in (("series", ANCHOR), ("text", TEXT)):
            part = getattr(self, leg)
            if part.modality != modality:
                raise ValueError(f"{leg}.kind: {part.kind!r} encodes {part.modality}, not {modality}")
        return self

    @field_validator("levels")
    @classmethod
    def _ascend(cls, levels: list[int] | None) -> list[int] | None:
        if levels is not None and (not levels or levels != sorted({*levels}) or levels[0] < 1):
            raise ValueError("should be numbers of blocks from 1 on, in order and each once, as [1, 2]")
        return levels

    def check_against(self, data: Any, task: Any) -> None:
        """Refuse levels that the leg does not have, covariates that nothing reads, and a head, a start or a residual
        form that the task has no use for.
        """
        self.check_levels()
        if getattr(data, "covariates", None) and not (getattr(self.series, "across", True) or self.final.depth):
            raise ConfigError(
                f"this leg of kind {self.series.kind!r} reads each column by itself, so covariates have no effect",
                where="data.covariates",
                fix="--model.series.kind itransformer with a depth of 1 or more, or --model.final.depth 1",
            )
        question = getattr(task, "question", None)
        if not getattr(data, "dated", True) and (self.series.prior or getattr(self.series, "calendar", False)):
            raise ConfigError(
                f"data of kind {data.kind} have no dates, so no season", where="model.series",
                fix="--model.series.no-prior --model.series.no-calendar",
            )  # fmt: skip
        check_head(self.head, question)
        if question is None or (question.ahead and not question.outputs):
            return
        if getattr(self.series, "start", None) == "ridge":
            raise ConfigError(
                f"a leg starts from the ridge of forecasts, and the task is {task.kind}", where="model.series.start",
                fix="--model.series.start random, or name a size: --size base",
            )  # fmt: skip
        if question.outputs and self.residual:
            raise ConfigError(
                f"residual adds to a forecast, and the task {task.kind} asks for a class", where="model.residual",
                fix="--no-residual",
            )  # fmt: skip

    def notices(self, schema: Schema) -> list[str]:
        """What to know before a training: variates that nothing reads."""
        across = getattr(self.series, "across", True) or self.final.depth
        if not schema.about or len(schema.variates) == 1 or across:
            return []
        return [f"this leg of kind {self.series.kind} reads each variate by itself: only {schema.about} has an effect"]

    def check_levels(self) -> None:
        """Refuse levels in a leg that is no stack, beyond its last block, or beside a text that corrects the answer."""
        if self.levels is None or (self.fusion is not None and self.fusion.kind == "none"):
            return
        if self.series.kind not in LEVELLED:
            raise ConfigError(
                f"a series leg of kind {self.series.kind!r} has no blocks over variates for text to enter between",
                where="model.levels", fix=f"--model.series.kind {' or '.join(LEVELLED)}, or leave levels out",
            )  # fmt: skip
        if self.levels[-1] > self.series.depth:
            has = f"{self.series.depth} block{'s' * (self.series.depth != 1)}"
            raise ConfigError(
                f"the series leg has {has}, there is no level {self.levels[-1]}", where="model.levels",
                fix="name blocks that there are, or raise model.series.depth",
            )  # fmt: skip
        if self.residual:
            raise ConfigError(
                "residual adds to the forecast of the series alone, levels change the leg that makes it",
                where="model.levels", fix="--no-residual, or leave levels out",
            )  # fmt: skip

    def alone(self) -> "ChimeraConfig":
        """The same model of the series alone."""
        return self.model_copy(update={"fusion": self._part("fusion", "none"), "levels": None})

    def resolve(self, schema: Schema) -> "ChimeraConfig":
        """The config with the fusion chosen; a fusion asked for where there is one stream is refused."""
        self.check_levels()
        if schema.contexts:
            chosen = self.fusion or self._part("fusion", "latent_gate")
        elif self.fusion is None and self.levels is not None:
            raise ConfigError(
                f"there is one stream ({schema.anchor}), nothing enters at levels {self.levels}", where="model.levels",
                fix="give texts (data.text.path), or leave levels out",
            )  # fmt: skip
        elif self.fusion is not None and self.fusion.kind != "none":
            raise ConfigError(
                f"there is one stream ({schema.anchor}), nothing to fuse by {self.fusion.kind!r}",
                where="model.fusion", fix="give texts (data.text.path), or --fusion none",
            )  # fmt: skip
        else:
            chosen = self._part("fusion", "none")
        return self.model_copy(update={"fusion": chosen})

    def levelled(self, schema: Schema, root: int) -> Levels:
        """An operator for each level, each started from a seed of its own."""
        after = {}
        for level in self.levels or ():
            seed_torch(root, "fusion", level)
            after[level] = aligned(self.fusion, schema)
        return Levels(schema.anchor, after)

    @staticmethod
    def _part(room: str, kind: str) -> Config:
        from plait.core.kinds import config_class

        return config_class(room, kind)()

    def build(self, schema: Schema) -> "Chimera":
        """The model for these data; every part starts from a seed of its own name."""
        config = self.resolve(schema)
        chosen_fusion: Any = config.fusion
        root = torch.initial_seed()

        def part(name: str, chosen: Any, facts: Schema) -> nn.Module:
            seed_torch(root, name)
            built: nn.Module = chosen.build(facts)
            return built

        series = part(ANCHOR, config.series, schema)
        widths = {ANCHOR: cast(Encoder, series).dim}
        text = None
        if TEXT in schema.contexts and chosen_fusion.kind != "none":
            text = part(TEXT, config.text, schema)
            widths[TEXT] = cast(Encoder, text).dim
        inner = schema.with_widths(widths)
        seed_torch(root, "fusion")
        fusion = config.levelled(inner, root) if config.levels and text is not None else aligned(chosen_fusion, inner)
        seed_torch(root, "final")
        if config.final.depth:
            check_heads(widths[ANCHOR], config.final.heads, "model.final.heads")
        final = Stack(widths[ANCHOR], config.final.depth, config.final.heads, config.final.hidden, config.final.dropout)
        head = part("head", config.head, inner.with_widths({**widths, ANCHOR: cast(Fusion, fusion).dim}))
        seed_torch(root, "text_head")
        text_head = None
        if config.residual and text is not None:
            if not getattr(chosen_fusion, "keeps_anchor", True):
                raise ConfigError(
                    f"residual needs a fusion that leaves a row without context alone, {chosen_fusion.kind!r} does not",
                    where="model.residual", fix="--no-residual, or another fusion or form",
                )  # fmt: skip
            if getattr(config.head, "film", False):
                raise ConfigError(
                    "residual adds what text says in the unit of the data, a head with film would say it too",
                    where="model.head.film", fix="--no-residual, or --model.head.no-film",
                )  # fmt: skip
            text_head = nn.Linear(widths[ANCHOR], schema.horizon, bias=False)
        return Chimera(config, series, text, fusion, final, head, text_head, schema.answered)


class Chimera(nn.Module):
    """series -> tokens of variates; texts -> tokens; fusion; final blocks; head; undo the window's scaling.

    Covariates are the last columns of the series: their tokens go as far as the head, which reads the variates' alone,
    or that of the one variate that is asked for.
    With `levels` the fusion stands between blocks of the series leg instead of after it (`fusion._levels`).
    Reads `series` (b, t, v), `series_mask` (b, t, v), `series_marks` (b, t, k), `series_prior` (b, p, v),
    `series_season` (b,), and `text` (b, m, e), `text_mask` (b, m), `text_age` (b, m) if there is text.
    Shape: -> point (b, p, v), in the standardised unit of the inputs; of a head with one answer a row (b, outputs).
    Mask: a row without any present text is forecast from its series alone, bit for bit as without the text leg.
    Source: the design document of `chimera`, section 1; Liu et al. 2024 for the series leg.
    """

    anchor: ClassVar[str] = ANCHOR
    required: ClassVar[tuple[str, ...]] = ("series", "series_mask")

    def __init__(
        self,
        config: ChimeraConfig,
        series: nn.Module,
        text: nn.Module | None,
        fusion: nn.Module,
        final: Stack,
        head: nn.Module,
        text_head: nn.Linear | None,
        answered: slice = slice(None),
    ) -> None:
        super().__init__()
        self.config, self.answered = config, answered
        self.series, self.text, self.fusion, self.final, self.head = series, text, fusion, final, head
        self.text_head = text_head

    @property
    def fused(self) -> bool:
        """Whether there is a text leg."""
        return self.text is not None

    def start(self, data: Dataset) -> dict[str, Any]:
        """Start a linear series leg as the ridge of the train windows, if it asks for that."""
        return {"ridge_strength": start_from_ridge(self, data)}

    def forward(self, batch: Batch, explain: bool = False) -> Output:
        """The answer of every row, the fusion's own losses, and with `explain` its maps."""
        notes = Notes(explain)
        fields = fields_of(batch.inputs, ANCHOR)
        scale = window_scale(fields["values"], fields["mask"], self.config.series.scaling)
        own = scale.of(self.answered)
        for name in ("values", "prior"):
            if name in fields:
                fields[name] = scale.apply(fields[name])
        leg, fusion = cast(Any, self.series), self.fusion
        series: Tokens = leg.embedded(fields) if isinstance(fusion, Levels) else leg(fields)
        streams = {ANCHOR: series}
        if self.text is not None and TEXT in batch.inputs:
            streams[TEXT] = self.text(fields_of(batch.inputs, TEXT))
        if isinstance(fusion, Levels):
            fused: Tokens = fusion(streams, notes, leg.stack, fields["values"].shape[2])
        else:
            fused = cast(Fusion, fusion)(streams, notes)
        if self.text_head is None or TEXT not in streams:
            found = in_data_unit(self._answer(fused, streams), own)
        else:
            alone = in_data_unit(self._answer(series, streams), own)
            change = torch.where(series.mask[..., None], fused.x - series.x, 0.0)[:, self.answered]
            found = shifted(alone, self.text_head(change).transpose(1, 2))
        return Output(found, notes.losses, notes.maps)

    def _answer(self, tokens: Tokens, streams: dict[str, Tokens]) -> Prediction:
        context = {name: tokens for name, tokens in streams.items() if name != ANCHOR}
        x, mask = self.final(tokens)
        return cast(Head, self.head)(Tokens(x[:, self.answered], mask[:, self.answered]), context)


def start_from_ridge(model: Any, data: Dataset) -> float | None:
    """Start a linear series leg and its head as the closed-form ridge of the train windows; returns its strength.

    The strength is chosen on validation windows, one for all steps. A head with a hidden layer is refused: it can't be
    a linear map.
    """
    leg: Any = model.series
    if getattr(getattr(leg, "config", None), "start", None) != "ridge":
        return None
    head: Any = model.head
    if getattr(head, "hidden", None) is not None:
        raise ConfigError(
            "a head with a hidden layer can't start as the ridge", where="model.head.hidden",
            fix="leave out hidden and film, or give model.series.start: random",
        )  # fmt: skip
    inputs, targets = {}, {}
    for split in ("train", "val"):
        x, y = [], []
        for rows in np.array_split(data.rows(split), max(1, len(data.rows(split)) // 4096)):
            batch = data.batch(split, rows)
            fields = {k.removeprefix("series_"): v for k, v in batch.inputs.items() if k.startswith("series_")}
            fields["values"] = batch.inputs["series"]
            scale = window_scale(fields["values"], fields["mask"], leg.config.scaling)
            fields["values"] = scale.apply(fields["values"])
            if "prior" in fields:
                fields["prior"] = scale.apply(fields["prior"])
            wanted = batch.targets["y"]
            count = wanted.shape[2]
            target = torch.where(batch.targets["mask"], scale.of(slice(count)).apply(wanted), torch.nan)
            x.append(leg.features(fields)[:, :count].flatten(0, 1).double().numpy())
            y.append(target.transpose(1, 2).flatten(0, 1).double().numpy())
        inputs[split], targets[split] = np.concatenate(x), np.concatenate(y)
    fit = fit_ridge(inputs["train"], targets["train"], inputs["val"], targets["val"], shared_strength=True)
    leg.start_from(torch.from_numpy(fit.coef), head.project, torch.from_numpy(fit.intercept))
    if getattr(head, "levels", ()):
        head.start_from(torch.from_numpy(targets["train"] - fit.predict(inputs["train"])))
    return float(fit.strengths[0])
