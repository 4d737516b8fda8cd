"""The fields of a training."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from plait.core.config import Config

MODES = ("data_parallel", "distributed", "fsdp")
"""Ways to share a training out over devices, one at a time."""


class StageConfig(Config):
    """A span of epochs in which some parameters learn."""

    name: str
    """Name of the stage, in logs and checkpoints."""
    train: list[str] = ["*"]
    """Globs of the names of the parameters that learn; one that matches nothing is an error."""
    also: list[str] = []
    """Globs of parameters that learn too, where there are any."""
    present: list[str] | None = None
    """Modalities the model sees; unset: all."""
    epochs: int = Field(10, ge=0)
    """Epochs at most."""
    lr: float | None = Field(None, gt=0)
    """Peak learning rate; unset: training.lr."""
    weight_decay: float | None = Field(None, ge=0)
    """Weight decay; unset: training.weight_decay."""


class TrainingConfig(Config):
    """How a model is trained."""

    epochs: int | None = Field(None, ge=0)
    """Epochs of every stage; unset: as each stage says."""
    batch_size: int = Field(32, ge=1)
    """Rows of an optimiser step, over all devices."""
    accumulate: int = Field(1, ge=1)
    """Parts an optimiser step's rows are passed in, to save memory."""
    eval_batch_size: int = Field(256, ge=1)
    """Rows of a forward pass in evaluation; no metric depends on it."""
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate of AdamW."""
    lr_of: dict[str, float] = {}
    """Peak rates, in place of lr, of the parameters that a glob names; they follow the same schedule."""
    weight_decay: float = Field(0.01, ge=0)
    """Weight decay of AdamW, on matrices only."""
    weight_decay_of: dict[str, float] = {}
    """Weight decays, in place of weight_decay, of the matrices that a glob names."""
    schedule: Literal["constant", "cosine", "one_cycle", "halving", "plateau"] = "cosine"
    """Rate over a stage's steps: constant; half a cosine to 0; a rise from a 25th, then a cosine; halved each epoch;
    halved after every `plateau` epochs without a better validation score."""
    plateau: int = Field(5, ge=1)
    """Epochs without a better validation score after which the schedule plateau halves the rate."""
    warmup: float = Field(0.0, ge=0, lt=1)
    """Share of a stage's steps over which the rate rises (one_cycle: 0.3 if 0)."""
    clip: float = Field(1.0, ge=0)
    """Largest norm of a step's gradient; 0: no limit."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay a step of an exponential moving average of the weights, which is then what is scored and kept; 0: none."""
    choose: Literal["best", "last"] = "best"
    """The weights a stage ends with: the best on validation, or the last, which spends no validation row on choice and
    takes no notice of patience."""
    patience: int = Field(5, ge=1)
    """Epochs without a better validation score before a stage ends."""
    modality_dropout: float | dict[str, float] = 0.0
    """Share of train rows in which a context modality is hidden whole: one rate, or {name: rate}; never the anchor."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision."""
    checkpointing: bool = False
    """Keep the inputs of transformer blocks alone and compute the rest again in the backward pass: less memory, the
    same weights, more time."""
    compile: bool = False
    """Compile the passes of training (torch.compile): a minute or more before the first step, for a GPU."""
    data_parallel: bool = False
    """One process shares each batch out over all GPUs (torch's DataParallel, for compatibility)."""
    distributed: bool = False
    """A process a device, each with the whole model (DDP); what several processes do unless fsdp is set."""
    fsdp: bool = False
    """A process a device, each with a shard of weights, gradients and optimiser state (FSDP)."""
    trackers: list[str] = ["tensorboard"]
    """Where metrics go besides metrics.jsonl."""
    log_steps: int = Field(50, ge=0)
    """Optimiser steps between lines of metrics.jsonl; 0: a line an epoch only."""
    checkpoint_seconds: float = Field(20.0, ge=0)
    """Seconds between checkpoints."""
    checkpoint_steps: int = Field(0, ge=0)
    """Optimiser steps between checkpoints; 0: by seconds."""
    keep: int = Field(2, ge=1)
    """Checkpoints kept."""
    stages: list[StageConfig] = Field([StageConfig(name="all")], min_length=1)
    """Stages in order; each begins with the best weights of the one before."""

    @model_validator(mode="after")
    def _fits(self) -> "TrainingConfig":
        asked = [name for name in MODES if getattr(self, name)]
        if len(asked) > 1:
            # Each shares out more than the one before it.
            dropped = " and ".join(asked[:-1])
            raise ValueError(f"{dropped} and {asked[-1]} are set, a training has one of them: drop {dropped}")
        if self.schedule == "plateau" and self.choose == "last":
            raise ValueError("the schedule plateau waits for a better validation score, choose last knows none")
        if self.fsdp and self.precision == "fp16":
            raise ValueError("fsdp and precision fp16 do not go together: take bf16, or distributed")
        return self

    @field_validator("modality_dropout", mode="before")
    @classmethod
    def _are_rates(cls, value: Any) -> Any:
        rates = list(value.values()) if isinstance(value, dict) else [value]
        if not all(isinstance(rate, int | float) and not isinstance(rate, bool) and 0 <= rate < 1 for rate in rates):
            raise ValueError("expects a rate from 0 to below 1, or {modality: rate}")
        return {name: float(rate) for name, rate in value.items()} if isinstance(value, dict) else float(value)
