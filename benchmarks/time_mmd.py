"""Six domains of Time-MMD at four horizons, with and without text: docs/results/time_mmd.md.

Each cell is a whole `plait compare chimera --data.kind time-mmd` with its own defaults: anchor, calendar, fused and
placebo, with every seed, beside the cheap rivals. The shortest horizon is done with a second text encoder too.
Resumable: what is finished lies in runs/bench-time-mmd and is not done again.
Usage: OMP_NUM_THREADS=1 python benchmarks/time_mmd.py [--seeds N] [--data FOLDER] [--page]
"""

import argparse
import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _page import write_page

from plait.core.config import validate
from plait.data.sources.time_mmd import TimeMmdConfig
from plait.data.windows import ForecastData
from plait.evaluation.compare import Comparison, Plan
from plait.runs.folder import write_start
from plait.runs.recipe import load_recipe, resolve
from plait.tasks.forecast import ForecastTask

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("PLAIT_DATA", ROOT.parent / "shared" / "data")) / "time_mmd"
RUNS, PAGE = ROOT / "runs" / "bench-time-mmd", ROOT / "docs" / "results" / "time_mmd.md"
MONTHLY, WEEKLY = (6, 8, 10, 12), (12, 24, 36, 48)
HORIZONS = {
    "Agriculture": MONTHLY, "Climate": WEEKLY, "Economy": MONTHLY, "Energy": WEEKLY, "Health_US": WEEKLY,
    "Traffic": MONTHLY,
}  # fmt: skip
USUAL, OTHER = "wordllama", "minilm"


@dataclass(frozen=True)
class Cell:
    """One line of the table."""

    domain: str
    horizon: int
    embedder: str

    @property
    def name(self) -> str:
        """What it is called, of its folder too."""
        return f"{self.domain}-{self.horizon}-{self.embedder}"


def cells() -> list[Cell]:
    """Every domain and horizon by the usual text encoder; the shortest horizon also by the other one."""
    usual = [Cell(domain, horizon, USUAL) for domain, horizons in HORIZONS.items() for horizon in horizons]
    return [*usual, *(Cell(domain, horizons[0], OTHER) for domain, horizons in HORIZONS.items())]


def compare(cell: Cell, seeds: int, data: Path) -> None:
    """The comparison of one cell, going on where it stopped."""
    folder = RUNS / cell.name
    if (folder / "compare.json").exists():
        return
    recipe = load_recipe("chimera")
    fields: list[tuple[str, Any]] = [("data.kind", "time_mmd"), ("data.root", str(data)), ("data.domain", cell.domain)]
    fields += [("pred-len", cell.horizon), ("llm-model", cell.embedder), ("trackers", []), ("device", "cpu")]
    config = resolve(recipe, None, fields)
    if not (folder / "config.yaml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_start(folder, config)
    Comparison(Plan.of_recipe(recipe, config, tuple(range(seeds))), folder).run()


def finished() -> dict[Cell, dict[str, Any]]:
    """What every finished comparison found."""
    places = {cell: RUNS / cell.name / "compare.json" for cell in cells()}
    return {cell: json.loads(place.read_text(encoding="utf-8")) for cell, place in places.items() if place.exists()}


def percent(found: dict[str, Any] | None) -> str:
    """A relative change with its interval."""
    if found is None or found["low"] is None:
        return "not enough data"
    return f"{found.get('value', found.get('change')):+.1%} [{found['low']:+.1%}, {found['high']:+.1%}]"


def arm_table(cell: Cell, result: dict[str, Any]) -> list[str]:
    """Every arm of one comparison, by error."""
    best = result["best_baseline"]["name"]
    lines = [
        f"\n### {cell.domain}, {cell.horizon} steps, {cell.embedder}",
        "",
        f"{result['verdicts'][0]['text']}.",
        "",
        "| arm | test MSE | 95 % interval | seeds | parameters | what it is |",
        "|---|---|---|---|---|---|",
    ]
    for arm in sorted(result["arms"], key=lambda arm: arm["mean"]):
        name = f"**{arm['name']}**" if arm["name"] in ("fused", best) else arm["name"]
        span = "not enough data" if arm["low"] is None else f"{arm['low']:.4f} .. {arm['high']:.4f}"
        note = " (best baseline, by validation)" if arm["name"] == best else ""
        row = [name, f"{arm['mean']:.4f}", span, str(arm["seeds"]), f"{arm['parameters']:,}", arm["meaning"] + note]
        lines.append(f"| {' | '.join(row)} |")
    return lines


def summary_row(cell: Cell, result: dict[str, Any]) -> str:
    """One line of the first table."""
    arms = {arm["name"]: arm["mean"] for arm in result["arms"]}
    found, best = result["verdicts"][0], result["best_baseline"]
    effect = None if found["low"] is None else {"value": found["effect"], **{k: found[k] for k in ("low", "high")}}
    weak = ", weak" if best["weak"] else ""
    word = "not enough data" if best["fused_is_worse"] is None else "worse" if best["fused_is_worse"] else "not worse"
    kept = [f"{sum(found[key])} of {len(found[key])}" for key in ("accepted", "placebo_accepted")]
    errors = [f"{arms[name]:.4f}" for name in ("anchor", "calendar", "fused", "fused_raw", "placebo_raw")]
    says = "not enough data" if found["helps"] is None else "helps" if found["helps"] else "does not help"
    if found["helps"]:
        says += ", beyond the calendar" if found["beyond_calendar"] else ", not beyond the calendar"
    row = [
        cell.domain, str(cell.horizon), cell.embedder, str(result["windows"]), *errors, *kept, percent(effect), says,
        f"{best['name']} {arms[best['name']]:.4f}", f"{percent(best)}: {word}{weak}",
    ]  # fmt: skip
    return f"| {' | '.join(row)} |"


def is_above(result: dict[str, Any]) -> bool:
    """Whether the fused model's mean error is above that of the best baseline."""
    arms = {arm["name"]: arm["mean"] for arm in result["arms"]}
    return bool(arms["fused"] > arms[result["best_baseline"]["name"]])


def why_worse(cell: Cell, result: dict[str, Any]) -> str:
    """The line of a cell whose error is above the best baseline's: where the difference comes from."""
    arms = {arm["name"]: arm["mean"] for arm in result["arms"]}
    found, best = result["verdicts"][0], result["best_baseline"]
    kept, ridge = sum(found["accepted"]), arms[best["name"]]
    gap, own = arms["fused"] - ridge, arms["anchor"] - ridge
    reason = (
        f"the series leg alone is {arms['anchor'] / ridge - 1:+.1%} against it, which is {own / gap:.0%} of the gap;"
        f" texts were kept in {kept} of {len(found['accepted'])} trainings"
    )
    return f"- {cell.domain}, {cell.horizon} steps, {cell.embedder}: {percent(best)} against {best['name']}; {reason}."


def reference_rows(data: Path) -> list[str]:
    """The cheap baselines at all four horizons against the reference table, where it is there."""
    path = data.parent.parent / "reference" / "time_mmd_baselines.csv"
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        lines = list(csv.DictReader(file))
    rows = []
    for domain in HORIZONS:
        name = "Health_US_rows_as_filed" if domain == "Health_US" else domain
        config = validate(TimeMmdConfig, {"kind": "time_mmd", "root": str(data), "domain": domain})
        table, task, worst, count = config.read(), ForecastTask(), 0.0, 0
        wanted = [line for line in lines if line["domain"] == name and line["horizon"] != "mean"]
        for horizon in sorted({int(line["horizon"]) for line in wanted}):
            windows = ForecastData(table, config.model_copy(update={"horizon": horizon}), text=False)
            scores = task.rivals(windows)
            for line in (line for line in wanted if int(line["horizon"]) == horizon):
                got = task.metrics(scores[line["baseline"]]["test"])
                for metric in ("mse", "mae"):
                    worst = max(worst, abs(got[metric] / float(line[metric]) - 1))
                    count += 1
        rows.append(f"| {domain} | {count} | {worst:.1e} |")
    return rows


def page(results: dict[Cell, dict[str, Any]], seeds: int, data: Path) -> list[str]:
    """The lines of the results page."""
    above = {cell: result for cell, result in results.items() if is_above(result)}
    worse = [why_worse(*pair) for pair in above.items() if pair[1]["best_baseline"]["fused_is_worse"]]
    higher = [why_worse(*pair) for pair in above.items() if not pair[1]["best_baseline"]["fused_is_worse"]]
    helped = [cell.name for cell, result in results.items() if result["verdicts"][0]["helps"]]
    absent = [cell.name for cell in cells() if cell not in results]
    names = ["domain", "horizon", "text encoder", "test windows", "anchor", "calendar", "fused", "fused, raw"]
    names += ["placebo, raw", "fused kept", "placebo kept", "fused against anchor", "text", "best baseline"]
    names += ["fused against it"]
    lines = [
        "# Time-MMD, six domains, four horizons, with and without text", "",
        "Made by `OMP_NUM_THREADS=1 python benchmarks/time_mmd.py`; nothing here is typed in by hand. Each line is one",
        "`plait compare chimera --data.kind time-mmd --data.root DIR --data.domain DOMAIN --pred-len HORIZON` with the",
        "recipe's own settings for these data: a linear series leg started from the closed-form ridge and given the",
        "seasonal prior, and a text leg that corrects it. Lookback 8 months or 36 weeks; test MSE of `OT` standardised",
        f"by the train rows, all windows, mean of {seeds} seeds. A text is available at the latest of its dates and of",
        "the full dates that it states; the placebo is retrained with shuffled texts. `raw` is before acceptance; what",
        "is not kept equals the anchor. Intervals: circular block bootstrap over origins, blocks of twice the horizon,",
        "crossed with seeds; one without 4 such blocks is not drawn, and there is no verdict.", "",
        f"- Text helps in: {', '.join(helped) or 'none of them'} ({len(results)} cells).",
        f"- Worse than the best baseline (the lower end of the paired interval above 0): {len(worse) or 'none'}.",
        *([f"- Not run yet: {', '.join(absent)}."] if absent else []), "",
        f"| {' | '.join(names)} |", "|" + "---|" * len(names),
        *(summary_row(cell, result) for cell, result in results.items()),
        *(["", "## Worse than the best baseline, and why", "", *worse] if worse else []),
        *(["", "## Above the best baseline, without being shown to be worse", "", *higher] if higher else []),
    ]  # fmt: skip
    reference = reference_rows(data)
    if reference:
        lines += [
            "", "## The cheap baselines against the reference", "",
            "Largest relative difference of MSE and MAE over six baselines and four horizons. Health_US is compared",
            "with the reference's rows as filed, because its weeks run on without a hole.", "",
            "| domain | figures | largest difference |", "|---|---|---|", *reference,
        ]  # fmt: skip
    lines += ["", "## All arms"]
    for cell, result in results.items():
        lines += arm_table(cell, result)
    return lines


def main() -> None:
    """Compare what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--page", action="store_true", help="write the page of what is finished, and train nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.page:
        for cell in cells():
            compare(cell, given.seeds, given.data)
    write_page(PAGE, page(finished(), given.seeds, given.data))


if __name__ == "__main__":
    main()
