"""From a RunConfig to built parts: data, model, its start, its stages, the device."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from plait.core.errors import ConfigError, suggest
from plait.core.kinds import config_class, kinds
from plait.core.schema import Schema
from plait.core.seeding import seed_torch
from plait.data.table import refuse
from plait.runs.config import RunConfig
from plait.training.config import TrainingConfig


def build_data(
    config: RunConfig,
    table: Any = None,
    fitted: Any = None,
    progress: Callable[[int, int], None] | None = None,
    ahead: bool = False,
    reads: frozenset[str] | None = None,
) -> Any:
    """The data of a run, checked; `table` stands in for what the source would read.

    `fitted` is what a trained run fitted, `ahead` asks for every row and no splits, `reads` names the inputs (unset:
    those the model reads). A task that asks of windows something else than the next steps says so by its `question`.
    Beyond a `Dataset` it has `findings` and `notices()`, what was found and what to say of it;
    `fitted`, with `tensors()` and `record()`; `units(split)`, the rows a bootstrap draws together; `fingerprint()`
    and `split_summary()`; and where it was built ahead, `asked()`, the rows that a prediction is for.
    """
    _check_rows(config)
    table = config.data.read() if table is None else table
    refuse(table.findings, getattr(config.data, "path", "") or config.data.kind)
    reads = config.model.reads if reads is None else reads
    question = getattr(config.task, "question", None)
    asked = {} if question is None else {"question": question}
    return config.data.build(table, config.seed, fitted=fitted, reads=reads, ahead=ahead, progress=progress, **asked)


def _check_rows(config: RunConfig) -> None:
    """Refuse a task that is of other rows than the data hold."""
    held, asked = (getattr(part, "rows_are", None) for part in (config.data, config.task))
    if None in (held, asked) or held == asked:
        return
    able = [name for name in kinds("tasks") if getattr(config_class("tasks", name), "rows_are", None) == held]
    raise ConfigError(
        f"the task {config.task.kind} is of {asked}, data of kind {config.data.kind} hold {held}", where="task.kind",
        fix=f"--task.kind {' or '.join(able)}",
    )  # fmt: skip


def build_model(config: RunConfig, schema: Schema) -> nn.Module:
    """The model with its starting weights, a function of the seed alone, and with heads for the task's objectives."""
    seed_torch(config.seed, "model")
    auxiliary = getattr(config.task, "auxiliary", None)
    given = {"auxiliary": auxiliary} if auxiliary is not None and auxiliary.weights else {}
    model: nn.Module = config.model.build(schema, **given)
    return model


def start(model: nn.Module, data: Any) -> dict[str, Any]:
    """Give a model what it starts from beside its random weights, by its own `start(data)`; returns what it says."""
    begin = getattr(model, "start", None)
    facts: dict[str, Any] = {} if begin is None else begin(data)
    return facts


def stages_for(training: TrainingConfig, model: nn.Module, fused: bool) -> TrainingConfig:
    """The stages a model goes through: without a context leg, globs of absent parts fall away, those of rates and
    decays too, and so does a stage that has none left. So every parameter learns for the same epochs in every arm of a
    comparison.
    """
    if fused:
        return training
    names = [name for name, _ in model.named_parameters()]

    def matches(glob: str) -> bool:
        return any(fnmatchcase(name, glob) for name in names)

    kept = []
    for stage in training.stages:
        globs = [glob for glob in stage.train if matches(glob)]
        if globs:
            kept.append(stage.model_copy(update={"train": globs}))
    of_parts = {
        field: {glob: value for glob, value in getattr(training, field).items() if matches(glob)}
        for field in ("lr_of", "weight_decay_of")
    }
    return training.model_copy(update={"stages": kept, **of_parts})


def check_anchor_learns(training: TrainingConfig, model: nn.Module, started: bool) -> None:
    """Refuse a training that leaves the anchor's leg as random as it began."""
    anchor = getattr(model, "anchor", "")
    every = [name for name, _ in model.named_parameters()]
    names = [name for name in every if {anchor, "head"} & set(name.split("."))]
    epochs = {stage.name: stage.epochs if training.epochs is None else training.epochs for stage in training.stages}
    globs = [glob for stage in training.stages if epochs[stage.name] for glob in stage.train]
    if not all(any(fnmatchcase(name, glob) for name in every) for glob in globs):
        return  # a glob that matches nothing is the loop's to tell
    if not started and not any(fnmatchcase(name, glob) for name in names for glob in globs):
        raise ConfigError(
            f"no stage trains the {anchor} leg, and it does not start from a closed form", where="training.stages",
            fix=f"give a stage that trains {anchor} some epochs, or take a size: --size base",
        )  # fmt: skip


def accelerator_for(config: RunConfig, folder: Any, trackers: bool = True) -> Any:
    """Device, precision, launch and trackers, by Accelerate."""
    from accelerate import Accelerator
    from accelerate.utils import LoggerType

    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device", where="--device", fix="use --device auto or cpu")
    if config.device == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("there is no MPS device", where="--device", fix="use --device auto or cpu")
    if config.training.precision == "fp16" and (config.device == "cpu" or not torch.cuda.is_available()):
        raise ConfigError("fp16 needs a GPU", where="training.precision", fix="use bf16 or no")
    known = {str(name) for name in LoggerType} - {"all"}
    for name in config.training.trackers:
        if name not in known:
            raise ConfigError(f"no tracker {name!r}", where="training.trackers", fix=suggest(name, known))
    if config.deterministic:
        torch.use_deterministic_algorithms(True)
    accelerator = Accelerator(
        cpu=config.device == "cpu",
        mixed_precision=config.training.precision,
        log_with=(config.training.trackers or None) if trackers else None,
        project_dir=str(folder),
    )
    return accelerator


def is_fused(model: nn.Module) -> bool:
    """Whether a model has a context leg."""
    return bool(getattr(model, "fused", False))
