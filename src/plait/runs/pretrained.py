"""Starting a training from the encoder of another run: what is taken, what is left, and what stays as it is."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from plait.core.console import say
from plait.core.errors import ConfigError
from plait.core.files import write_json
from plait.runs.config import RunConfig
from plait.runs.folder import read_json
from plait.runs.run import Run, load_run
from plait.training.config import StageConfig, TrainingConfig

RECORD = "pretrained.json"
WHERE = "model.pretrained"
NUCLEOTIDES, ASV, SAMPLE = "nucleotides", "asv", "sample"
PREFIXES = {NUCLEOTIDES: "asv.nucleotides.", ASV: "asv.", SAMPLE: "sample."}
"""The parts of a net that may be taken, each only with the one before it, whose tokens it reads."""
WORDS = {NUCLEOTIDES: "nucleotides", ASV: "the rest of the ASV encoder", SAMPLE: "the sample blocks"}
SHAPE = ("dim", "depth", "heads", "hidden")
"""The fields of an encoder of nucleotides on which the shapes of its weights rest."""


def settled(config: RunConfig) -> RunConfig:
    """The config with the encoder of nucleotides that its pretrained run has; the run is asked for nothing else.

    Errors: ConfigError for a run of another recipe, one without such an encoder, and one that does not fit the
    config's own; those of `load_run`.
    """
    model = config.model
    path = getattr(model, "pretrained", None)
    if path is None:
        if getattr(model, "freeze_base", False):
            raise ConfigError("there is nothing to freeze", where="model.freeze_base", fix="--pretrained-encoder RUN")
        return config
    theirs = _run(config).config.model.asv.nucleotides
    if model.asv.kind != "asv":
        raise ConfigError(f"the encoder {model.asv.kind!r} has no nucleotides", where=WHERE, fix="--model.asv.kind asv")
    own = model.asv.nucleotides or theirs
    for name in SHAPE:
        one, other = getattr(own, name), getattr(theirs, name)
        if one != other:
            raise ConfigError(
                f"{name} is {one}, the pretrained run has {other}", where=f"model.asv.nucleotides.{name}",
                fix="leave model.asv.nucleotides out: it is taken from the run",
            )  # fmt: skip
    chosen = own.model_copy(update={"frozen": model.freeze_base or own.frozen})
    asv = model.asv.model_copy(update={"nucleotides": chosen})
    return config.model_copy(update={"model": model.model_copy(update={"asv": asv})})


def take(config: RunConfig, model: nn.Module, folder: Path) -> dict[str, Any] | None:
    """Copy the weights of the pretrained run into a new model, and freeze them where asked; says what was taken.

    Of each net the nucleotides, then what else of the ASV leg fits by name and shape; number i of the model takes from
    number i of the run, counted round. Buffers are a study's own and never copied. `pretrained.json` keeps what was
    done: a training that goes on from a checkpoint does not need the run.
    Errors: ConfigError as `settled`, and where frozen nucleotides know fewer letters than these sequences have.
    """
    if getattr(config.model, "pretrained", None) is None:
        return None
    if any((folder / "checkpoints").glob("[0-9]*")) and (folder / RECORD).exists():
        facts: dict[str, Any] = read_json(folder / RECORD)
    else:
        facts = _copied(config, model, _run(config))
        write_json(folder / RECORD, facts)
        taken, left = (", ".join(WORDS[part] for part in facts[name]) for name in ("taken", "left"))
        say(f"taken from {facts['run']}: {taken}" + (f"; left as it starts: {left}" if left else ""))
    if config.model.freeze_base:
        parameters = dict(model.named_parameters())
        for name in facts["parameters"]:
            parameters[name].requires_grad_(False)
    return facts


def without_frozen(training: TrainingConfig, model: nn.Module) -> TrainingConfig:
    """The stages without the parameters that are frozen before the first; a stage that has none left falls away."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    if not frozen:
        return training
    learning = [name for name, _ in model.named_parameters() if name not in frozen]
    stages: list[StageConfig] = []
    for stage in training.stages:
        kept, also = (
            [name for name in learning if any(fnmatchcase(name, glob) for glob in globs)]
            for globs in (stage.train, stage.also)
        )
        known = all(any(fnmatchcase(name, glob) for name in (*learning, *frozen)) for glob in stage.train)
        if not known:
            stages.append(stage)  # a glob that matches nothing is the loop's to tell
        elif kept:
            stages.append(stage.model_copy(update={"train": kept, "also": also}))
    return training.model_copy(update={"stages": stages})


def _run(config: RunConfig) -> Run:
    """The pretrained run. Errors: as `settled`."""
    run = load_run(config.model.pretrained)
    if run.config.recipe != config.recipe:
        raise ConfigError(
            f"{run.folder} is a run of {run.config.recipe}, not of {config.recipe}", where=WHERE,
            fix=f"give a run of plait pretrain {config.recipe}",
        )  # fmt: skip
    if getattr(run.config.model.asv, NUCLEOTIDES, None) is None:
        raise ConfigError(
            f"{run.folder} has no encoder of nucleotides to take", where=WHERE,
            fix=f"give a run of plait pretrain {config.recipe}",
        )  # fmt: skip
    return run


def _copied(config: RunConfig, model: Any, run: Run) -> dict[str, Any]:
    theirs: Any = run.model
    facts: dict[str, Any] = {"run": str(run.folder), "taken": [], "left": [], "nets": [], "parameters": []}
    for number, net in enumerate(model.nets):
        source = number % len(theirs.nets)
        facts["nets"].append(source)
        given = theirs.nets[source]
        for place, part in enumerate(PREFIXES):
            if not _fits(part, net, given):
                facts["left"] += [name for name in list(PREFIXES)[place:] if _parameters(name, net)]
                break
            own, other = _parameters(part, net), _parameters(part, given)
            for name, parameter in own.items():
                _copy(name, parameter, other[name], config.model.freeze_base)
                facts["parameters"].append(f"nets.{number}.{name}")
            facts["taken"] += [part] if own else []
    return {**facts, "taken": list(dict.fromkeys(facts["taken"])), "left": list(dict.fromkeys(facts["left"]))}


def _parameters(part: str, net: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of a part by their name in the net."""
    inner = PREFIXES[NUCLEOTIDES] if part == ASV else "-"
    every = net.named_parameters()
    return {name: p for name, p in every if name.startswith(PREFIXES[part]) and not name.startswith(inner)}


def _fits(part: str, net: Any, given: Any) -> bool:
    """Whether a part of two nets is the same by names and shapes; what reads the blocks of one study never fits."""
    if part == ASV and (net.asv.blocks or given.asv.blocks):
        return False
    own, other = _parameters(part, net), _parameters(part, given)
    if set(own) != set(other):
        return False
    return all(_is_position(name) or own[name].shape == other[name].shape for name in own)


def _is_position(name: str) -> bool:
    return name == "asv.nucleotides.position"


def _copy(name: str, parameter: nn.Parameter, given: Tensor, frozen: bool) -> None:
    """Copy a parameter; of places in a sequence those that both know. Errors: ConfigError as `take`."""
    rows = min(len(parameter), len(given)) if _is_position(name) else len(parameter)
    if rows < len(parameter):
        what = f"the pretrained run knows {len(given)} letters of a sequence, the longest here has {len(parameter)}"
        if frozen:
            raise ConfigError(f"{what}: the others would stay as random as they start", where="model.freeze_base",
                              fix="leave out --freeze-base, or pretrain on sequences as long")  # fmt: skip
        say(f"{what}; the places beyond start untrained")
    with torch.no_grad():
        parameter[:rows].copy_(given[:rows])
