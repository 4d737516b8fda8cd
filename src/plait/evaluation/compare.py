"""The same splits and seeds for naive, anchor-only, fused and placebo arms, and the verdict over them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from plait.core.config import validate
from plait.core.console import clock, say
from plait.core.errors import ConfigError
from plait.core.files import write_json
from plait.core.schema import SCORED
from plait.evaluation.verdict import Arm, change, verdict
from plait.objectives.bootstrap import Bootstrap, Interval, Rivals, RowScores, Scores, Units
from plait.objectives.simplex import equal_weights
from plait.runs.acceptance import Acceptance, accept
from plait.runs.assemble import build_data, build_model, is_fused, stages_for
from plait.runs.config import RunConfig
from plait.runs.ensemble import validated_weights
from plait.runs.fit import fit, warn
from plait.runs.folder import check_data, read_json, write_splits
from plait.runs.recipe import Recipe, merge

WEAK = 0.10
"""A relative difference whose interval is wider than this is called weak."""

Raw = dict[str, dict[str, list[list[Scores]]]]
"""Per-row scores before acceptance: by arm, then by split, one entry a seed, in it one a fold."""


@dataclass(frozen=True)
class Plan:
    """What a comparison trains: arms by name, each a tree laid over the config, for some seeds and folds.

    `meanings` says what each arm is. With `folds` every row is tested once, by the training that held its fold out;
    0 takes the config's own splits.
    """

    config: RunConfig
    modality: str
    arms: dict[str, dict[str, Any]]
    seeds: tuple[int, ...]
    meanings: dict[str, str] = field(default_factory=dict)
    folds: int = 0
    given_by: str = ""
    late: tuple[str, ...] = ()
    """Arms whose answers are averaged, with equal weights and with those that validation asks for."""

    @classmethod
    def of_recipe(cls, recipe: Recipe, config: RunConfig, seeds: tuple[int, ...]) -> "Plan":
        """The comparison of a recipe. Errors: ConfigError where nothing stands beside the anchor."""
        folds = getattr(config.data, "folds", None) or recipe.folds
        modality, arms = recipe.modality, recipe.arms
        if modality not in ("", "*") and not getattr(config.data, "contexts", modality):
            raise ConfigError(
                f"data of kind {config.data.kind} have no {modality} beside the {recipe.anchor}, so there is nothing to"
                " compare", where="data.kind", fix="use plait train, which prints the baselines",
            )  # fmt: skip
        if modality == "*":
            modality = " and ".join(config.data.contexts)
            if not modality:
                raise ConfigError(
                    "there is one source, and nothing beside it to compare", where="data", fix=f"give {recipe.given_by}"
                )
            arms = _of_anchor(arms, config.data.streams[0])
        return cls(config, modality, arms, seeds, recipe.meanings, folds, recipe.given_by, recipe.late)

    def of(self, arm: str, seed: int, fold: int = 0) -> RunConfig:
        """The config of one training."""
        base = {**self.config.model_dump(mode="json"), "seed": seed}
        return validate(RunConfig, merge(self._in_fold(base, fold), self.arms[arm]), f"arm {arm}")

    def in_fold(self, fold: int) -> RunConfig:
        """The config of the comparison with one fold held out."""
        return validate(RunConfig, self._in_fold(self.config.model_dump(mode="json"), fold), f"fold {fold}")

    def run_of(self, arm: str, seed: int, fold: int = 0) -> str:
        """The name of the run folder of one training, inside that of the comparison."""
        return f"arms/{arm}-fold{fold}-seed{seed}" if self.folds > 1 else f"arms/{arm}-seed{seed}"

    def _in_fold(self, tree: dict[str, Any], fold: int) -> dict[str, Any]:
        return merge(tree, {"data": {"folds": self.folds, "fold": fold}}) if self.folds else tree


def _of_anchor(tree: Any, anchor: str) -> Any:
    """The tree with the name of the data's anchor in the place of `$anchor`."""
    if isinstance(tree, Mapping):
        return {key: _of_anchor(value, anchor) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_of_anchor(value, anchor) for value in tree]
    return anchor if tree == "$anchor" else tree


@dataclass(frozen=True, eq=False)
class Part:
    """One division into train, validation and test: its data, the task on them, and the scores of the cheap rivals."""

    data: Any
    task: Any
    rivals: Rivals


class Trainings:
    """Trains the arms of a plan into a folder, one run folder each; what is finished there is not done again.

    All arms share one reading of the data, the splits, the task and the scores of the cheap rivals. `parameters` counts
    those of each arm's model, before acceptance, once it has been trained or read.
    Errors: ConfigError where the data lack the modality, DataError where they are not those the folder began with.
    """

    def __init__(self, plan: Plan, folder: Path, table: Any = None) -> None:
        self.config, self.folder, self.meanings = plan.config, folder, plan.meanings
        self.table = plan.config.data.read() if table is None else table
        # One reading serves every arm: a model does not look at inputs that it has no use for.
        models = [plan.of(arm, plan.seeds[0]).model.reads for arm in plan.arms]
        self.reads = frozenset().union(plan.config.model.reads, *models)
        self.parts = [self._part(plan.in_fold(fold), folder) for fold in range(max(1, plan.folds))]
        judged = plan.modality.split(" and ") if plan.modality else []
        if any(name not in self.data.schema.contexts for name in judged):
            raise ConfigError(
                f"the data have no {plan.modality}, so there is nothing to compare", where="data",
                fix=f"give {plan.given_by or 'it'}, or use plait train, which prints the baselines",
            )  # fmt: skip
        write_splits(folder, self.data)
        self.units = {s: Units.joined([part.data.units(s) for part in self.parts]) for s in SCORED}
        self.rivals = joined_rivals([part.rivals for part in self.parts])
        self.parameters: dict[str, int] = {}

    def _part(self, config: RunConfig, folder: Path) -> Part:
        data = self._read(config)
        check_data(folder, data)
        task = config.task.build(data)
        return Part(data, task, task.rivals(data))

    @property
    def data(self) -> Any:
        """The data, as the first fold divides them."""
        return self.parts[0].data

    @property
    def task(self) -> Any:
        """The task on them."""
        return self.parts[0].task

    def run(self, plan: Plan) -> Raw:
        """Say what is to come, train what is not trained yet, and return the scores of every arm, seed and fold."""
        self._announce(plan)
        raw: Raw = {arm: {split: [] for split in SCORED} for arm in plan.arms}
        for seed in plan.seeds:
            for arm in plan.arms:
                folds = [self._train(plan, arm, seed, fold) for fold in range(len(self.parts))]
                for split in SCORED:
                    raw[arm][split].append([scores[split] for scores in folds])
        return raw

    def decide(self, raw: Raw, arm: str) -> list[list[Acceptance]]:
        """Whether each training of an arm is kept against the anchor of the same seed and fold, by validation."""
        if self.config.accept == "always":
            return [[Acceptance(True, "accept: always")] * len(folds) for folds in raw[arm]["val"]]
        return [
            [
                accept(fused, anchor, part.task.score, part.data.units("val"))
                for fused, anchor, part in zip(arms, anchors, self.parts, strict=True)
            ]
            for arms, anchors in zip(raw[arm]["val"], raw["anchor"]["val"], strict=True)
        ]

    def rows(self, seeds: Sequence[Sequence[Scores]]) -> RowScores:
        """The task's per-row scores over seeds, the folds one after the other. Shape: total (s, n), count (n,)."""
        whole = [joined_scores(folds) for folds in seeds]
        return RowScores(np.stack([scores[self.task.score] for scores in whole]), whole[0]["n"])

    def arm(self, name: str, tests: Sequence[Sequence[Scores]]) -> Arm:
        """A line of the comparison: an arm's scores on test over its seeds."""
        meaning, parameters = self.meanings.get(name, ""), self.parameters.get(name, 0)
        return Arm(name, self.rows(tests), len(tests), meaning, parameters, self.also(tests))

    def also(self, tests: Sequence[Sequence[Scores]]) -> dict[str, Interval]:
        """The task's numbers that are no sums over rows, over all folds together; none without data for intervals."""
        bootstrap = self.bootstrap(len(tests))
        if bootstrap is None or not hasattr(self.task, "statistics"):
            return {}
        whole = [joined_scores(folds) for folds in tests]
        metrics, found = ([of(scores) for scores in whole] for of in (self.task.metrics, self.task.statistics))
        return {
            name: bootstrap.statistic([each[name] for each in metrics], [each[name] for each in found])
            for name in found[0]
        }

    def facts(self, seeds: tuple[int, ...]) -> dict[str, Any]:
        """What every table of this comparison says of itself: metric and unit, recipe, seeds, test rows, blocks."""
        units = self.units["test"]
        return {
            "metric": self.task.metric,
            "unit": self.task.unit,
            "row_name": self.task.row_name,
            "recipe": self.config.recipe,
            "seeds": list(seeds),
            "folds": len(self.parts),
            "windows": units.rows,
            "block": units.block,
            "drawn": units.drawn,
            "lacking": "" if units.enough else units.lacking,
        }

    def bootstrap(self, seeds: int) -> Bootstrap | None:
        """The resamples of test rows and seeds that all arms share, None where there are too few blocks or groups."""
        return Bootstrap(self.units["test"], seeds) if self.units["test"].enough else None

    def _read(self, config: RunConfig) -> Any:
        return build_data(config, self.table, reads=self.reads)

    def _announce(self, plan: Plan) -> None:
        """Say what to know of the data, how many trainings there will be and how long they take, from a few steps."""
        warn(plan.config, self.data)
        folds = len(self.parts)
        seconds = sum(self._seconds(plan, arm) for arm in plan.arms) * len(plan.seeds) * folds
        count, arms, seeds = len(plan.arms) * len(plan.seeds) * folds, ", ".join(plan.arms), len(plan.seeds)
        each = f"{seeds} seed{'s' * (seeds > 1)}" + f" and {folds} folds" * (folds > 1)
        say(f"{count} trainings: {arms}, {each} each; about {clock(seconds)} at most")

    def _seconds(self, plan: Plan, arm: str) -> float:
        config = plan.of(arm, plan.seeds[0])
        model = build_model(config, self.data.schema)
        training = stages_for(config.training, model, is_fused(model))
        epochs = sum(s.epochs if training.epochs is None else training.epochs for s in training.stages)
        rows = self.data.rows("train")
        if not epochs:
            return 1.0
        times = []
        for _ in range(4):
            began = time.monotonic()
            batch = self.data.training_batch(rows[: training.batch_size], "estimate", 0)
            total, weight = next(iter(self.task.losses(model(batch), batch).values()))
            if total.requires_grad:
                (total / weight).backward()
            times.append(time.monotonic() - began)
        return min(times) * 1.4 * epochs * -(-len(rows) // training.batch_size)

    def _train(self, plan: Plan, arm: str, seed: int, fold: int) -> dict[str, Scores]:
        folder = self.folder / plan.run_of(arm, seed, fold)
        config, part = plan.of(arm, seed, fold), self.parts[fold]
        if not (folder / "metrics.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            fusion = getattr(config.model, "fusion", None)
            data = part.data if config.data == plan.in_fold(fold).data else self._read(config)
            alone = fusion is not None and fusion.kind == "none"
            anchor = None if alone else self.folder / plan.run_of("anchor", seed, fold)
            result = fit(config, folder, data=data, rivals=part.rivals, anchor=anchor)
            error = result["raw"]["test"][self.task.metric]
            where = f", fold {fold}" if len(self.parts) > 1 else ""
            say(f"  {arm}, seed {seed}{where}: test {self.task.metric} {error:.4f}, {clock(result['total_s'])}")
        self.parameters[arm] = int(read_json(folder / "metrics.json")["raw_parameters"])
        stored = load_file(folder / "scores.safetensors")
        found: dict[str, Scores] = {split: {} for split in SCORED}
        for key, values in stored.items():
            which, split, score = key.split(".", 2)
            if which == "raw":
                found[split][score] = values
        return found


def joined_scores(folds: Sequence[Scores]) -> Scores:
    """The scores of several sets of rows, one after the other."""
    return {name: np.concatenate([scores[name] for scores in folds]) for name in folds[0]}


def joined_rivals(parts: Sequence[Rivals]) -> Rivals:
    """The scores of the rivals that all folds have, the folds one after the other."""
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: {s: joined_scores([part[name][s] for part in parts]) for s in SCORED} for name in names}


class Comparison:
    """The arms of a plan, trained into a folder, beside the cheap rivals, and the verdict over them."""

    def __init__(self, plan: Plan, folder: Path, table: Any = None) -> None:
        self.plan, self.folder = plan, folder
        self.trainings = Trainings(plan, folder, table)

    def run(self) -> dict[str, Any]:
        """Train what is not trained yet, score everything, write compare.json and return it."""
        raw = self.trainings.run(self.plan)
        decisions = {arm: self.trainings.decide(raw, arm) for arm in self.plan.arms if arm in ("fused", "placebo")}
        result = self._result(raw, decisions)
        write_json(self.folder / "compare.json", result)
        return result

    def _arms(self, raw: Raw, decisions: Mapping[str, list[list[Acceptance]]]) -> list[Arm]:
        arm, arms = self.trainings.arm, []
        for name, splits in raw.items():
            tests = splits["test"]
            if name in decisions:
                anchors = raw["anchor"]["test"]
                kept = [
                    [t if d.accepted else a for t, a, d in zip(*folds, strict=True)]
                    for folds in zip(tests, anchors, decisions[name], strict=True)
                ]
                arms.append(arm(name, kept))
                arms.append(replace(arm(name, tests), name=f"{name}_raw", meaning=f"{name} before acceptance"))
            else:
                arms.append(arm(name, tests))
        return [*arms, *self._late(raw)]

    def _late(self, raw: Raw) -> list[Arm]:
        """The arms of `plan.late` averaged: with equal weights, and with those that each fold's validation asks for."""
        shared, averaged = self.trainings, self.plan.late
        if not averaged:
            return []
        even, equally, fitting = equal_weights(len(averaged)), [], []
        for seed in range(len(self.plan.seeds)):
            folds: tuple[list[Scores], list[Scores]] = ([], [])
            for fold, part in enumerate(shared.parts):
                val, test = ([raw[name][split][seed][fold] for name in averaged] for split in SCORED)
                for made, weights in zip(folds, (even, validated_weights(part.task, val)), strict=True):
                    made.append(part.task.together(test, weights))
            equally.append(folds[0])
            fitting.append(folds[1])
        of = " and ".join(averaged)
        return [
            replace(shared.arm("late_mean", equally), meaning=f"the mean of {of}, trained apart"),
            replace(shared.arm("late_weighted", fitting), meaning=f"{of}, trained apart, weighted by validation"),
        ]

    def _result(self, raw: Raw, decisions: Mapping[str, list[list[Acceptance]]]) -> dict[str, Any]:
        shared = self.trainings
        bootstrap = shared.bootstrap(len(self.plan.seeds))
        arms = self._arms(raw, decisions)
        named = {arm.name: arm for arm in arms}
        task = shared.task
        naive = shared.rivals | joined_rivals([part.task.context_rivals(part.data) for part in shared.parts])
        meanings = task.meanings
        cheap = {
            name: Arm(name, shared.rows([[s["test"]]]), 1, meanings.get(name, ""), also=shared.also([[s["test"]]]))
            for name, s in naive.items()
        }
        scored = {name: task.metrics(naive[name]["val"])[task.metric] for name in task.candidates(naive)}
        best = min(scored, key=lambda name: scored[name])
        found = verdict(
            self.plan.modality,
            named["fused"],
            named["anchor"],
            named["placebo"],
            named.get("calendar"),
            bootstrap,
            named["placebo_raw"],
        )
        for key, name in (("accepted", "fused"), ("placebo_accepted", "placebo")):
            found[key] = [decision.accepted for folds in decisions[name] for decision in folds]
        found["acceptance"] = [decision.reason for folds in decisions["fused"] for decision in folds]
        result: dict[str, Any] = {
            **shared.facts(self.plan.seeds),
            "arms": [
                arm.to_json(bootstrap)
                | {"against_anchor": change(arm, named["anchor"], bootstrap)}
                | {"against_best": change(arm, cheap[best], bootstrap)}
                for arm in (*arms, *cheap.values())
            ],
            "verdicts": [found],
            "best_baseline": self._against_best(named["fused"], cheap[best], bootstrap),
            "caveats": task.caveats(self._told(named["fused_raw"], cheap)),
        }
        if "oracle" in cheap and bootstrap is not None:
            share = bootstrap.recovery(named["fused"].scores, named["anchor"].scores, cheap["oracle"].scores)
            result["recovery"] = {"value": share.value, "low": share.low, "high": share.high}
        return result

    def _told(self, fused: Arm, cheap: Mapping[str, Arm]) -> dict[str, Any]:
        """The test errors, in the form of a run's result."""
        metric = self.trainings.task.metric

        def told(arm: Arm) -> dict[str, float]:
            return {metric: arm.scores.mean(), **{name: found.value for name, found in arm.also.items()}}

        return {
            "metric": metric, "baselines": {name: told(arm) for name, arm in cheap.items()},
            "raw": {"test": told(fused)},
        }  # fmt: skip

    def _against_best(self, fused: Arm, best: Arm, bootstrap: Bootstrap | None) -> dict[str, Any]:
        found = bootstrap.change(fused.scores, best.scores) if bootstrap else None
        return {
            "name": best.name, "chosen_on": "val",
            "change": found.value if found else None,
            "low": found.low if found else None, "high": found.high if found else None,
            "fused_is_worse": found.low > 0 if found else None,
            "weak": found.high - found.low > WEAK if found else None,
        }  # fmt: skip
