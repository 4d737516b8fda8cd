"""The fusion kinds side by side on one recipe: matched parameter budgets, seeds, intervals, and cost beside quality."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from plait.core.config import Config, validate
from plait.core.console import say
from plait.core.errors import ConfigError, PlaitError, suggest
from plait.core.files import write_json
from plait.core.kinds import config_class, kind_named, kinds
from plait.core.schema import Schema
from plait.evaluation.compare import Plan, Raw, Trainings
from plait.evaluation.cost import peak_bytes, step_ms
from plait.evaluation.verdict import change
from plait.runs.assemble import accelerator_for, build_model, is_fused, stages_for
from plait.runs.config import RunConfig
from plait.training.config import StageConfig
from plait.training.stages import build_optimizer, select

NEAR = 0.10
"""A fusion within this share of the budget is matched."""
WIDEST = 2**20
"""No inner width is tried beyond this one."""
TRIES = 64
"""Widths next to each other that are tried where one does not fit (heads that do not divide it)."""
ANCHOR = "anchor"
"""The arm that every comparison has: the fusion `none`."""


@dataclass(frozen=True)
class Candidate:
    """A kind as the comparison trains it: its config, the parameters of `model.fusion`, and what they are to the
    budget: matched, smaller or larger.
    """

    fusion: Any
    parameters: int
    label: str

    @property
    def inner(self) -> dict[str, Any]:
        """The fields of the kind's inner widths and their values, the finest last; none for a kind without any."""
        return {field: _at(self.fusion, field) for field in getattr(self.fusion, "inner", ())}


def named_kinds(text: str) -> list[str]:
    """The fusion kinds that `all` or a comma list names, without `none`; `-` and `_` are the same.

    Errors: ConfigError for a name that is none, with the nearest, and for `none`, which is always there.
    """
    known = [kind for kind in kinds("fusion") if kind != "none"]
    if text.strip() == "all":
        return known
    chosen = [kind_named(name.strip(), kinds("fusion")) for name in text.split(",")]
    for name in chosen:
        if name == "none":
            raise ConfigError(
                "'none' is the anchor's arm, which is always there", where="--fusions", fix="leave it out"
            )
        if name not in known:
            raise ConfigError(f"no fusion of kind {name!r}", where="--fusions", fix=suggest(name, [*known, "all"]))
    return list(dict.fromkeys(chosen))


def fusion_parameters(config: RunConfig, fusion: Config, schema: Schema) -> int:
    """How many values `model.fusion` of the recipe's model has with this fusion; built without memory for them.

    Errors: ConfigError where the fusion does not fit the recipe.
    """
    with torch.device("meta"):
        model: Any = build_model(_with(config, fusion), schema)
    return sum(p.numel() for p in model.fusion.parameters())


def matched(config: RunConfig, kind: str, schema: Schema, budget: int) -> Candidate:
    """The kind with the inner width that brings `model.fusion` nearest to the budget, its other fields as they are.

    The widths are the fields that the config names by `inner`, the finest last; parameters grow with each. The first
    is bisected, the others staying in proportion; where its steps are too coarse it is set as wide as the budget
    allows, and the next one fills the rest. A kind without one, or that comes nowhere within 10 % of the budget, keeps
    its own and is labelled by what it then is.
    Errors: ConfigError where the kind does not fit the recipe.
    """
    usual = validate(config_class("fusion", kind), {"kind": kind}, f"fusion {kind}")

    def count(fusion: Config) -> int:
        return fusion_parameters(config, fusion, schema)

    parameters = count(usual)
    fields: tuple[str, ...] = getattr(usual, "inner", ())
    fusion = usual
    for field in fields if _label(parameters, budget) != "matched" else ():
        below, above = _around_budget(fusion, field, budget, count)
        found = min(below, above, key=lambda each: abs(each[0] - budget))
        if _label(found[0], budget) == "matched":
            return Candidate(found[1], found[0], "matched")
        fusion = below[1]
    return Candidate(usual, parameters, _label(parameters, budget))


def _around_budget(
    usual: Config, field: str, budget: int, count: Callable[[Config], int]
) -> tuple[tuple[int, Config], tuple[int, Config]]:
    """The parameters and the config of two neighbouring widths with the budget between them, by bisection."""
    low = _least(usual, field)

    def built(width: int) -> tuple[int, Config]:
        # The next width that fits, where heads do not divide this one.
        for tried in range(width, width + TRIES):
            with suppress(ConfigError):
                fusion = _put(usual, field, tried)
                return count(fusion), fusion
        return budget * 2**20, usual

    high = max(low, 1)
    while high < WIDEST and built(high)[0] < budget:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if built(middle)[0] < budget else (low, middle)
    return built(low), built(high)


def _label(parameters: int, budget: int) -> str:
    if abs(parameters - budget) <= NEAR * budget:
        return "matched"
    return "smaller" if parameters < budget else "larger"


def _least(fusion: Config, field: str) -> int:
    """The smallest whole number that the field at a dotted path may be; 1 where it does not say."""
    *parents, leaf = field.split(".")
    owner = _at(fusion, ".".join(parents)) if parents else fusion
    for bound in type(owner).model_fields[leaf].metadata:
        if getattr(bound, "ge", None) is not None:
            return int(bound.ge)
        if getattr(bound, "gt", None) is not None:
            return int(bound.gt) + 1
    return 1


def _at(fusion: Any, field: str) -> Any:
    for step in field.split("."):
        fusion = getattr(fusion, step)
    return fusion


def _put(fusion: Config, field: str, value: int) -> Config:
    data = fusion.model_dump(mode="json")
    *parents, leaf = field.split(".")
    node = data
    for step in parents:
        node = node[step]
    node[leaf] = value
    return validate(type(fusion), data, f"fusion {data['kind']}")


def _with(config: RunConfig, fusion: Config) -> RunConfig:
    return config.model_copy(update={"model": config.model.model_copy(update={"fusion": fusion})})


class FusionComparison:
    """Trains the recipe with each fusion kind in turn, for the same seeds, beside the anchor alone.

    There is no placebo among the arms: this ranks operators, and says nothing of whether the modality helps.
    `kinds` are joined by the recipe's own kind, to whose number of parameters the others are brought. A kind that
    does not fit the recipe is left out with its reason. A finished training is not done again.
    Errors: ConfigError where the data lack the modality, or the recipe has no fusion to set a budget.
    """

    def __init__(self, plan: Plan, chosen: Sequence[str], folder: Path, table: Any = None) -> None:
        self.folder = folder
        own = plan.config.model.fusion
        if own is not None and own.kind == "none":
            raise ConfigError("the recipe's own fusion is 'none', so there is no budget to match", where="--fusions")
        self.trainings = Trainings(plan, folder, table)
        schema = self.trainings.data.schema
        usual: Any = plan.config.model.resolve(schema).fusion
        self.default = str(usual.kind)
        self.budget = fusion_parameters(plan.config, usual, schema)
        self.candidates = {self.default: Candidate(usual, self.budget, "matched")}
        self.left_out: list[dict[str, str]] = []
        for kind in chosen:
            if kind != self.default:
                self._consider(plan.config, kind)
        trees = {kind: each.fusion.model_dump(mode="json") for kind, each in self.candidates.items()}
        arms = {ANCHOR: plan.arms[ANCHOR], **{kind: {"model": {"fusion": tree}} for kind, tree in trees.items()}}
        self.plan = replace(plan, arms=arms)

    def run(self) -> dict[str, Any]:
        """Train what is not trained yet, measure the cost, write fusions.json and return it."""
        for each in self.left_out:
            say(f"{each['kind']} does not fit this recipe and is left out: {each['reason']}")
        raw = self.trainings.run(self.plan)
        result = self._result(raw, self._costs())
        write_json(self.folder / "fusions.json", result)
        return result

    def _consider(self, config: RunConfig, kind: str) -> None:
        """Take a kind among the candidates, or leave it out if it can't be built, trained in stages, or run once."""
        data = self.trainings.data
        try:
            candidate = matched(config, kind, data.schema, self.budget)
            model = build_model(_with(config, candidate.fusion), data.schema)
            for stage in stages_for(config.training, model, is_fused(model)).stages:
                select(model, stage)
            with torch.no_grad():
                model(data.batch("train", data.rows("train")[:2]))
        except PlaitError as error:
            self.left_out.append({"kind": kind, "reason": str(error)})
        else:
            self.candidates[kind] = candidate

    def _costs(self) -> dict[str, dict[str, float]]:
        """Of every arm's model the time of an optimiser step and the peak memory, all in one run on one batch.

        The models are held side by side, so that their steps can be timed in turn.
        """
        config, data = self.plan.config, self.trainings.data
        say("measuring time and memory of a step")
        accelerator = accelerator_for(config, self.folder, trackers=False)
        device = accelerator.device
        batch = data.batch("train", data.rows("train")[: config.training.batch_size]).to(device)
        passes: dict[str, Callable[[], None]] = {}
        steps: dict[str, Callable[[], None]] = {}
        for arm in self.plan.arms:
            own = self.plan.of(arm, self.plan.seeds[0])
            model = build_model(own, data.schema).to(device).train()
            passes[arm] = partial(_pass, model, self.trainings.task, batch, accelerator)
            steps[arm] = partial(_step, passes[arm], build_optimizer(model, StageConfig(name="all"), own.training))
        for run in passes.values():
            run()  # what a device takes once for all is not the first arm's
        peaks = {arm: peak_bytes(run, device) for arm, run in passes.items()}
        times = step_ms(steps, device)
        accelerator.free_memory()
        return {arm: {"train_ms": times[arm], "peak_mib": peaks[arm] / 2**20} for arm in self.plan.arms}

    def _result(self, raw: Raw, costs: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
        bootstrap = self.trainings.bootstrap(len(self.plan.seeds))
        arms = {name: self.trainings.arm(name, splits["test"]) for name, splits in raw.items()}

        def facts(name: str, parameters: int) -> dict[str, Any]:
            counts = {"parameters": parameters, "total_parameters": arms[name].parameters}
            found = arms[name].to_json(bootstrap)
            return {**counts, "error": {end: found[end] for end in ("mean", "low", "high")}, **costs[name]}

        fusions = [
            {
                "kind": kind,
                "label": each.label,
                "ratio": each.parameters / self.budget,
                "inner": each.inner,
                **facts(kind, each.parameters),
                "against_default": None if kind == self.default else change(arms[kind], arms[self.default], bootstrap),
                "against_anchor": change(arms[kind], arms[ANCHOR], bootstrap),
                "accepted": [d.accepted for folds in self.trainings.decide(raw, kind) for d in folds],
            }
            for kind, each in self.candidates.items()
        ]
        return {
            **self.trainings.facts(self.plan.seeds),
            "default": self.default,
            "budget": self.budget,
            "anchor": facts(ANCHOR, 0),
            "fusions": fusions,
            "left_out": self.left_out,
        }


def _pass(model: nn.Module, task: Any, batch: Any, accelerator: Any) -> None:
    """One forward and backward pass from cleared gradients."""
    model.zero_grad(set_to_none=True)
    with accelerator.autocast():
        losses = task.losses(model(batch), batch)
    loss = torch.stack([total / weight for total, weight in losses.values()]).sum()
    if loss.requires_grad:
        loss.backward()


def _step(run: Callable[[], None], optimizer: torch.optim.Optimizer) -> None:
    """The same and a step of AdamW."""
    run()
    optimizer.step()
