"""The four tasks of `chimera` on real data, each beside its cheap rivals: docs/results/chimera_tasks.md.

Forecasts with intervals, and what these hold of planted and of real data; imputation, anomalies and directions of
Time-MMD with and without text, by `plait compare chimera --task TASK`; imputation by rate and pattern on ETTh1; classes
of whole series. What is finished lies in runs/bench-chimera-tasks and is not done again.
Usage: OMP_NUM_THREADS=1 python benchmarks/chimera_tasks.py [--only forecast,imputation,...] [--data FOLDER] [--page]
"""

import argparse
import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _page import held, write_page

from plait.core.config import validate
from plait.evaluation.compare import Comparison, Plan
from plait.evaluation.verdict import percent
from plait.objectives.bootstrap import Interval
from plait.runs.config import RunConfig
from plait.runs.fit import fit
from plait.runs.folder import read_json, write_start
from plait.runs.recipe import load_recipe, merge, resolve

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("PLAIT_DATA", ROOT.parent / "shared" / "data"))
RUNS, PAGE = ROOT / "runs" / "bench-chimera-tasks", ROOT / "docs" / "results" / "chimera_tasks.md"
SEEDS = (0, 1, 2)
DOMAINS = ("Energy", "Health_US", "Economy", "Traffic", "Agriculture", "Climate")
MONTHLY = ("Economy", "Traffic", "Agriculture")
LEVELS = [0.05, 0.5, 0.95]
COVERED = (0.88, 0.92)
DRAWS = (0, 1, 2, 3)
RATES, PATTERNS = (0.125, 0.25, 0.375, 0.5), ("random", "blocks")
ARCHIVE = ("GunPoint", "ArrowHead", "ItalyPowerDemand", "BasicMotions", "JapaneseVowels")
TEXT_TASKS = ("imputation", "anomaly", "direction")
RECIPE = load_recipe("chimera")

Fields = list[tuple[str, Any]]


@dataclass(frozen=True)
class Study:
    """One training a seed, or with `arms` a comparison, with the command that does the same."""

    task: str
    name: str
    config: RunConfig
    arms: bool = False

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return RUNS / self.task / self.name

    def run(self) -> None:
        """Do what is not done yet."""
        if self.arms:
            if not (self.folder / "compare.json").exists():
                if not (self.folder / "config.yaml").exists():
                    self.folder.mkdir(parents=True, exist_ok=True)
                    write_start(self.folder, self.config)
                Comparison(Plan.of_recipe(RECIPE, self.config, SEEDS), self.folder).run()
            return
        for seed in SEEDS:
            folder = self.folder / str(seed)
            if not (folder / "metrics.json").exists():
                folder.mkdir(parents=True, exist_ok=True)
                fit(self.config.model_copy(update={"seed": seed}), folder)

    def found(self) -> list[dict[str, Any]]:
        """The metrics of the seeds that are finished."""
        places = [self.folder / str(seed) / "metrics.json" for seed in SEEDS]
        return [read_json(place) for place in places if place.exists()]


def time_mmd(data: Path, domain: str) -> Fields:
    """A domain, as its fields."""
    return [("data.kind", "time_mmd"), ("data.root", str(data / "time_mmd")), ("data.domain", domain)]


def etth1(data: Path) -> Fields:
    """ETTh1, as its fields."""
    return [("data.kind", "ett"), ("data.root", str(data / "ett")), ("data.path", "ETTh1")]


def archive() -> Path | None:
    """The folder of series that the package sktime brings, which is not imported."""
    spec = importlib.util.find_spec("sktime")
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) / "datasets" / "data" if places else None


def config_of(size: str | None, fields: Fields) -> RunConfig:
    """The config of a command."""
    return resolve(RECIPE, size, [*fields, ("trackers", []), ("device", "cpu")])


def planted(draw: int, quantiles: list[float] | None) -> RunConfig:
    """The settings of `plait demo` on a draw of the generator."""
    over = {"data": {"kind": "planted", "draw": draw}, "task": {"quantiles": quantiles}, "device": "cpu"}
    raw = merge(RECIPE.config, merge(RECIPE.demo, over))
    return validate(RunConfig, {**raw, "training": {**raw["training"], "trackers": []}}, "planted")


def studies(data: Path) -> Iterator[Study]:
    """All of them, in the order in which they are done."""
    quantiles: Fields = [("task.quantiles", LEVELS)]
    for kind, levels in (("point", None), ("quantiles", LEVELS)):
        for draw in DRAWS:
            yield Study("forecast", f"planted-{draw}-{kind}", planted(draw, levels))
        for domain in DOMAINS:
            fields = [*time_mmd(data, domain), *(quantiles if levels else [])]
            yield Study("forecast", f"{domain}-{kind}", config_of(None, fields))
        fields = [*etth1(data), ("pred-len", 96), *(quantiles if levels else [])]
        yield Study("forecast", f"ETTh1-{kind}", config_of("tiny", fields))
    folder = archive()
    for name in ARCHIVE if folder else ():
        fields = [("data.kind", "labelled_series"), ("data.root", str(folder)), ("data.path", name)]
        yield Study("classification", name, config_of(None, fields))
    for task in TEXT_TASKS:
        for domain in DOMAINS:
            # A window of 8 months would be hidden whole by a stretch of the usual 8 steps.
            short = [("task.block", 2)] if task == "anomaly" and domain in MONTHLY else []
            fields = [("task.kind", task), *time_mmd(data, domain), *short]
            yield Study(task, domain, config_of("base", fields), arms=True)
    for pattern in PATTERNS:
        for rate in RATES:
            fields = [("task.kind", "imputation"), ("task.mask_rate", rate), ("task.pattern", pattern), *etth1(data)]
            yield Study("imputation", f"ETTh1-{pattern}-{rate}", config_of("tiny", fields))
    yield Study("anomaly", "ETTh1", config_of("tiny", [("task.kind", "anomaly"), *etth1(data)]))


def spread(values: list[float], digits: int = 4) -> str:
    """The mean of seeds, and their sd."""
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.{digits}f}"


def forecast_section(data: Path) -> list[str]:
    """What 90 % intervals hold."""
    lines = [
        "## Forecast: what intervals hold", "",
        "Intervals that are to hold 90 % of the truth, split-conformal by step and variate: reached from the point, or",
        "from the quantiles 0.05 and 0.95 that the pinball loss trained, by the misses of the validation windows. The",
        "coverage shown is measured on test, where nothing was fitted; windows of a series are not exchangeable: 90 %",
        "is asked and not promised. Time-MMD: its recipe at the shortest horizon. ETTh1: size `tiny`, 96 steps.",
        f"Mean of {len(SEEDS)} seeds. Errors of forecasts beside their rivals: time_mmd.md, ett.md, planted.md.", "",
        "| data | forecast | coverage of test | of validation | mean width, sds | test MSE | seeds |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    covered: dict[str, list[float]] = {}
    for study in studies(data):
        found = study.found() if study.task == "forecast" else []
        if not found:
            continue
        name, kind = study.name.rsplit("-", 1)
        test, val = ([each["metrics"][split] for each in found] for split in ("test", "val"))
        if name.startswith("planted"):
            covered.setdefault(kind, []).extend(each["coverage"] for each in test)
        cells = [
            name.replace("planted-", "planted, draw "), kind, f"{np.mean([m['coverage'] for m in test]):.1%}",
            f"{np.mean([m['coverage'] for m in val]):.1%}", f"{np.mean([m['interval_width'] for m in test]):.3f}",
            f"{np.mean([m['mse'] for m in test]):.4f}", str(len(found)),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for kind, values in covered.items():
        low, high = COVERED
        lines.append(
            f"- Planted, {kind}: {np.mean(values):.1%} over {len(values)} trainings ({min(values):.1%} to"
            f" {max(values):.1%}), goal {low:.0%} to {high:.0%}: {held(low <= np.mean(values) <= high)}."
        )
    return [*lines, ""]


def arms_section(title: str, task: str, words: list[str], data: Path) -> list[str]:
    """Domains with and without text: the verdict of each, and all arms and rivals."""
    lines = [f"## {title}", "", *words, ""]
    tables: list[str] = []
    asked = [study for study in studies(data) if study.task == task and study.arms]
    places = [(study.name, study.folder / "compare.json") for study in asked]
    known = {name: json.loads(place.read_text(encoding="utf-8")) for name, place in places if place.exists()}
    if not known:
        return [*lines, "Not run yet.", ""]
    unit = next(iter(known.values()))["unit"]
    lines += [
        f"Test {next(iter(known.values()))['metric']} ({unit}).", "",
        "| domain | test rows | without text | with text | with, raw | placebo, raw | kept | with against without |"
        " best rival | with against it |", "|" + "---|" * 10,
    ]  # fmt: skip
    for name, result in known.items():
        arms = {arm["name"]: arm for arm in result["arms"]}
        verdict, best = result["verdicts"][0], result["best_baseline"]
        effect = "not enough data"
        if verdict["low"] is not None:
            effect = percent(Interval(verdict["effect"], verdict["low"], verdict["high"]))
        against = "not enough data"
        if best["low"] is not None:
            against = percent(Interval(best["change"], best["low"], best["high"]))
            against += ": worse" if best["fused_is_worse"] else ""
        errors = [f"{arms[arm]['mean']:.4f}" for arm in ("anchor", "fused", "fused_raw", "placebo_raw")]
        kept = f"{sum(verdict['accepted'])} of {len(verdict['accepted'])}"
        rival = f"{best['name']} {arms[best['name']]['mean']:.4f}"
        cells = [name, f"{result['windows']:,}", *errors, kept, effect, rival, against]
        lines.append(f"| {' | '.join(cells)} |")
        tables += [f"\n{name}: {verdict['text']}.", ""]
        others = sorted(result["arms"], key=lambda arm: arm["mean"])
        tables.append("; ".join(f"{arm['name']} {arm['mean']:.4f}{_also(arm)}" for arm in others) + ".")
    absent = [name for name, _ in places if name not in known]
    lines += ["", f"Not run yet: {', '.join(absent)}."] if absent else []
    return [*lines, *tables, ""]


def _also(arm: dict[str, Any]) -> str:
    also = {name: each["value"] for name, each in arm.get("also", {}).items()}
    return f" ({', '.join(f'{name} {value:.3f}' for name, value in also.items())})" if also else ""


def runs_table(task: str, names: list[str], data: Path) -> list[str]:
    """Trainings without text: each metric of test, of the model and of every rival."""
    asked = [study for study in studies(data) if study.task == task and study.name in names]
    known = {study.name: found for study in asked if (found := study.found())}
    if not known:
        return ["Not run yet.", ""]
    first = next(iter(known.values()))[0]["metrics"]["test"]
    shown = [name for name in first if isinstance(first[name], float) and not name.endswith(("_low", "_high"))]
    lines = [f"| data | answer | {' | '.join(shown)} |", "|---|---|" + "---|" * len(shown)]
    for data_name, found in known.items():
        own = [spread([each["metrics"]["test"][name] for each in found]) for name in shown]
        lines.append(f"| {data_name} | chimera, {len(found)} seeds | {' | '.join(own)} |")
        for rival, scores in found[0]["baselines"].items():
            cells = [f"{scores[name]:.4f}" if name in scores else "" for name in shown]
            lines.append(f"| {data_name} | {rival} | {' | '.join(cells)} |")
    absent = [study.name for study in asked if study.name not in known]
    lines += ["", f"Not run yet: {', '.join(absent)}."] if absent else []
    return [*lines, ""]


def page(data: Path) -> list[str]:
    """The lines of the results page."""
    ett = [f"ETTh1-{pattern}-{rate}" for pattern in PATTERNS for rate in RATES]
    return [
        "# The tasks of chimera on real data", "",
        "Made by `OMP_NUM_THREADS=1 python benchmarks/chimera_tasks.py`; nothing here is typed in by hand. Each domain",
        "of Time-MMD is one `plait compare chimera --task TASK --data.kind time-mmd --data.root DIR --data.domain",
        "DOMAIN --size base`, with three seeds: the series alone, with its texts, and retrained with shuffled texts,",
        "beside the cheap rivals of the task. `raw` is before acceptance; what is not kept equals the series alone.",
        "Intervals are 95 %, blocks of neighbouring windows, crossed with seeds.", "",
        *forecast_section(data),
        *arms_section("Imputation", "imputation", ["A quarter of the cells of a window are hidden, one by one."], data),
        "ETTh1, seven variates, size `tiny`, by share and pattern of what is hidden (stretches of 8 steps in blocks):",
        "", *runs_table("imputation", ett, data),
        *arms_section("Anomalies", "anomaly", [
            "Five kinds of injected, seeded anomalies in a tenth of the test rows; validation chooses by the",
            "reconstruction error, so the table is of it. Stretches of 8 steps are hidden, of 2 in monthly series.",
        ], data),
        "ETTh1, size `tiny`:", "", *runs_table("anomaly", ["ETTh1"], data),
        *arms_section("Directions", "direction", [
            "Down, flat or up: the mean of the next horizon against the last value, parted by the terciles of train.",
        ], data),
        "## Classes of whole series", "",
        "Sets of the UCR and UEA archive with their published split, the recipe's own settings for such data.", "",
        *runs_table("classification", list(ARCHIVE), data),
    ]  # fmt: skip


def main() -> None:
    """Do what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="forecast,classification,imputation,anomaly,direction")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--page", action="store_true", help="write the page of what is finished, and train nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for study in studies(given.data):
        if not given.page and study.task in given.only.split(","):
            study.run()
    write_page(PAGE, page(given.data))


if __name__ == "__main__":
    main()
