"""The same splits and seeds for naive, anchor-only, fused and placebo arms, and the verdict over them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from plait.baselines import MEANINGS
from plait.baselines.bag_of_words import bag_of_words_ridge
from plait.baselines.ridge import fit_ridge
from plait.core.config import validate
from plait.core.console import clock, say
from plait.core.errors import ConfigError
from plait.core.files import write_json
from plait.data.windows import ForecastData
from plait.evaluation.verdict import Arm, verdict
from plait.objectives.bootstrap import Bootstrap, RowScores, enough
from plait.runs.acceptance import Acceptance, accept
from plait.runs.assemble import build_data, build_model, is_fused, stages_for
from plait.runs.config import RunConfig
from plait.runs.fit import fit, warn
from plait.runs.folder import check_data, read_json, write_splits
from plait.runs.recipe import merge
from plait.runs.scores import SCORED, baseline_scores, forecast_errors
from plait.training.evaluate import Scores

WEAK = 0.10
"""A relative difference whose interval is wider than this is called weak."""

ARMS = {
    "anchor": "the series alone, same epochs",
    "calendar": "the series with season dummies and the seasonal prior",
    "fused": "with texts, where validation accepts them",
    "placebo": "retrained with shuffled texts, where validation accepts them",
    "oracle": "ridge that knows the announced steps",
}
"""What each arm is, beside the baselines."""

Raw = dict[str, dict[str, list[Scores]]]
"""Per-row scores before acceptance: by arm, then by split, one entry a seed."""


@dataclass(frozen=True)
class Plan:
    """What a comparison trains: arms by name, each a tree laid over the config, for some seeds."""

    config: RunConfig
    modality: str
    arms: dict[str, dict[str, Any]]
    seeds: tuple[int, ...]

    def of(self, arm: str, seed: int) -> RunConfig:
        """The config of one training."""
        base = {**self.config.model_dump(mode="json"), "seed": seed}
        return validate(RunConfig, merge(base, self.arms[arm]), f"arm {arm}")


class Trainings:
    """Trains the arms of a plan into a folder, one run folder each; what is finished there is not done again.

    All arms share one reading of the data, the splits, the task and the scores of the cheap rivals. `parameters` counts
    those of each arm's model, before acceptance, once it has been trained or read.
    Errors: ConfigError where the data lack the modality, DataError where they are not those the folder began with.
    """

    def __init__(self, config: RunConfig, modality: str, folder: Path, table: Any = None) -> None:
        self.config, self.folder = config, folder
        self.table = config.data.read() if table is None else table
        self.data = self._read(config)
        if modality not in self.data.schema.contexts:
            raise ConfigError(
                f"the data have no {modality}, so there is nothing to compare", where="data",
                fix="give data.text.path, or use plait train, which prints the baselines",
            )  # fmt: skip
        check_data(folder, self.data)
        write_splits(folder, self.data)
        self.task: Any = config.task.build()
        self.rivals = baseline_scores(self.task, self.data)
        self.parameters: dict[str, int] = {}

    def run(self, plan: Plan) -> Raw:
        """Say what is to come, train what is not trained yet, and return the scores of every arm and seed."""
        self._announce(plan)
        raw: Raw = {arm: {split: [] for split in SCORED} for arm in plan.arms}
        for seed in plan.seeds:
            for arm in plan.arms:
                scores = self._train(plan, arm, seed)
                for split in SCORED:
                    raw[arm][split].append(scores[split])
        return raw

    def decide(self, raw: Raw, arm: str) -> list[Acceptance]:
        """Whether each seed of an arm is kept against the anchor of the same seed, by validation."""
        if self.config.accept == "always":
            return [Acceptance(True, "accept: always")] * len(raw[arm]["val"])
        pairs = zip(raw[arm]["val"], raw["anchor"]["val"], strict=True)
        return [accept(fused, anchor, self.task.score, self.data.horizon) for fused, anchor in pairs]

    def rows(self, seeds: list[Scores]) -> RowScores:
        """The task's per-row scores over seeds. Shape: total (s, n), count (n,)."""
        return RowScores(np.stack([s[self.task.score] for s in seeds]), seeds[0]["n"])

    def arm(self, name: str, tests: list[Scores]) -> Arm:
        """A line of the comparison: an arm's scores on test over its seeds."""
        return Arm(name, self.rows(tests), len(tests), ARMS.get(name, ""), self.parameters.get(name, 0))

    def facts(self, seeds: tuple[int, ...]) -> dict[str, Any]:
        """What every table of this comparison says of itself: metric and unit, recipe, seeds, test windows, block."""
        return {
            "metric": self.task.metric,
            "unit": "standardised by the train rows",
            "recipe": self.config.recipe,
            "seeds": list(seeds),
            "windows": len(self.data.rows("test")),
            "block": 2 * self.data.horizon,
        }

    def bootstrap(self, seeds: int) -> Bootstrap | None:
        """The resamples of test windows and seeds that all arms share, None where there are fewer than 4 blocks."""
        rows, block = len(self.data.rows("test")), 2 * self.data.horizon
        return Bootstrap(rows, block, seeds) if enough(rows, block) else None

    def _read(self, config: RunConfig) -> ForecastData:
        # One reading serves every arm: an encoder that has no use for the prior does not look at it.
        model = config.model.model_copy(update={"series": config.model.series.model_copy(update={"prior": True})})
        return build_data(config.model_copy(update={"model": model}), self.table)

    def _announce(self, plan: Plan) -> None:
        """Say what to know of the data, how many trainings there will be and how long they take, from a few steps."""
        warn(plan.config, self.data)
        seconds = sum(self._seconds(plan, arm) for arm in plan.arms) * len(plan.seeds)
        count, arms, seeds = len(plan.arms) * len(plan.seeds), ", ".join(plan.arms), len(plan.seeds)
        say(f"{count} trainings: {arms}, {seeds} seed{'s' * (seeds > 1)} each; about {clock(seconds)} at most")

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
            batch = self.data.batch("train", rows[: training.batch_size])
            total, weight = next(iter(self.task.losses(model(batch), batch).values()))
            if total.requires_grad:
                (total / weight).backward()
            times.append(time.monotonic() - began)
        return min(times) * 1.4 * epochs * -(-len(rows) // training.batch_size)

    def _train(self, plan: Plan, arm: str, seed: int) -> dict[str, Scores]:
        folder = self.folder / "arms" / f"{arm}-seed{seed}"
        config = plan.of(arm, seed)
        if not (folder / "metrics.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            fusion = config.model.fusion
            data = self.data if config.data == self.config.data else self._read(config)
            alone = fusion is not None and fusion.kind == "none"
            anchor = None if alone else self.folder / "arms" / f"anchor-seed{seed}"
            result = fit(config, folder, data=data, rivals=self.rivals, anchor=anchor)
            error = result["raw"]["test"][self.task.metric]
            say(f"  {arm}, seed {seed}: test {self.task.metric} {error:.4f}, {clock(result['total_s'])}")
        self.parameters[arm] = int(read_json(folder / "metrics.json")["raw_parameters"])
        stored = load_file(folder / "scores.safetensors")
        return {split: {name: stored[f"raw.{split}.{name}"] for name in ("se", "ae", "n")} for split in SCORED}


class Comparison:
    """The arms of a plan, trained into a folder, beside the cheap rivals, and the verdict over them."""

    def __init__(self, plan: Plan, folder: Path, table: Any = None) -> None:
        self.plan, self.folder = plan, folder
        self.trainings = Trainings(plan.config, plan.modality, folder, table)

    def run(self) -> dict[str, Any]:
        """Train what is not trained yet, score everything, write compare.json and return it."""
        raw = self.trainings.run(self.plan)
        decisions = {arm: self.trainings.decide(raw, arm) for arm in self.plan.arms if arm in ("fused", "placebo")}
        result = self._result(raw, decisions)
        write_json(self.folder / "compare.json", result)
        return result

    def _arms(self, raw: Raw, decisions: Mapping[str, list[Acceptance]]) -> list[Arm]:
        arm, arms = self.trainings.arm, []
        for name, splits in raw.items():
            tests = splits["test"]
            if name in decisions:
                anchors = raw["anchor"]["test"]
                kept = [t if d.accepted else a for t, a, d in zip(tests, anchors, decisions[name], strict=True)]
                arms.append(arm(name, kept))
                arms.append(replace(arm(name, tests), name=f"{name}_raw", meaning=f"{name} before acceptance"))
            else:
                arms.append(arm(name, tests))
        return arms

    def _result(self, raw: Raw, decisions: Mapping[str, list[Acceptance]]) -> dict[str, Any]:
        shared = self.trainings
        bootstrap = shared.bootstrap(len(self.plan.seeds))
        arms = self._arms(raw, decisions)
        named = {arm.name: arm for arm in arms}
        naive = shared.rivals | self._text_baselines()
        meanings = {**MEANINGS, **ARMS}
        cheap = {name: Arm(name, shared.rows([s["test"]]), 1, meanings.get(name, "")) for name, s in naive.items()}
        task = shared.task
        scored = {name: task.metrics(s["val"])[task.metric] for name, s in naive.items() if name != "oracle"}
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
        found["accepted"] = [decision.accepted for decision in decisions["fused"]]
        found["placebo_accepted"] = [decision.accepted for decision in decisions["placebo"]]
        found["acceptance"] = [decision.reason for decision in decisions["fused"]]
        result: dict[str, Any] = {
            **shared.facts(self.plan.seeds),
            "arms": [arm.to_json(bootstrap) for arm in (*arms, *cheap.values())],
            "verdicts": [found],
            "best_baseline": self._against_best(named["fused"], cheap[best], bootstrap),
        }
        if "oracle" in cheap and bootstrap is not None:
            share = bootstrap.recovery(named["fused"].scores, named["anchor"].scores, cheap["oracle"].scores)
            result["recovery"] = {"value": share.value, "low": share.low, "high": share.high}
        return result

    def _against_best(self, fused: Arm, best: Arm, bootstrap: Bootstrap | None) -> dict[str, Any]:
        change = bootstrap.change(fused.scores, best.scores) if bootstrap else None
        return {
            "name": best.name, "chosen_on": "val",
            "change": change.value if change else None,
            "low": change.low if change else None, "high": change.high if change else None,
            "fused_is_worse": change.low > 0 if change else None,
            "weak": change.high - change.low > WEAK if change else None,
        }  # fmt: skip

    def _text_baselines(self) -> dict[str, dict[str, Scores]]:
        data = self.trainings.data
        panel = data.panel()
        made = {}
        text, table = data.text, data.table
        if text is not None:
            made["bag_of_words_ridge"] = bag_of_words_ridge(panel, text.texts.contents, text.rows)
        if table.announced is not None:
            made["oracle"] = oracle(data)
        return {name: {s: forecast_errors(panel, s, forecast[s]) for s in SCORED} for name, forecast in made.items()}


def oracle(data: ForecastData) -> dict[str, Any]:
    """The series ridge with marks of the origin, told the announced steps that have not begun: the ceiling for text.

    Shape: per split (n, p, v), standardised.
    """
    assert data.table.announced is not None
    x, y, last = {}, {}, {}
    for split in ("train", *SCORED):
        batch = data.batch(split, data.rows(split))
        series = batch.inputs["series"].double()
        last[split] = series[:, -1:]
        window = (series - last[split]).transpose(1, 2)
        marks = batch.inputs["series_marks"][:, -1:].double().expand(-1, window.shape[1], -1)
        steps = data.table.announced[data.origins[split]] / data.fitted.sd
        parts = [window, marks, torch.from_numpy(steps).transpose(1, 2)]
        x[split] = torch.cat(parts, dim=-1).flatten(0, 1).numpy()
        target = torch.where(batch.targets["mask"], batch.targets["y"].double() - last[split], torch.nan)
        y[split] = target.transpose(1, 2).flatten(0, 1).numpy()
    fit_of_steps = fit_ridge(x["train"], y["train"], x["val"], y["val"], shared_strength=True)
    variates = len(data.table.variates)
    return {
        split: fit_of_steps.predict(x[split]).reshape(-1, variates, data.horizon).transpose(0, 2, 1)
        + last[split].numpy()
        for split in SCORED
    }
