"""Six domains of Time-MMD, with and without text, by two text encoders: docs/results/time_mmd.md.

Each cell is a whole `plait compare chimera --data.kind time-mmd` with its own defaults. Resumable: what is finished is
not done again. Usage: python benchmarks/time_mmd.py [seeds] [folder of Time-MMD]
"""

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from plait.core.config import validate
from plait.data.sources.time_mmd import TimeMmdConfig
from plait.data.windows import ForecastData
from plait.evaluation.compare import Comparison, Plan
from plait.runs.folder import environment, write_start
from plait.runs.recipe import load_recipe, resolve
from plait.tasks.forecast import ForecastTask

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "time_mmd.md"
DOMAINS = ("Agriculture", "Climate", "Economy", "Energy", "Health_US", "Traffic")
EMBEDDERS = ("wordllama", "minilm")


def compare(domain: str, embedder: str, seeds: int, data: Path) -> dict[str, Any]:
    """The comparison of one domain and text encoder, or what it left."""
    folder = ROOT / "runs" / f"bench-time-mmd-{domain}-{embedder}-{seeds}"
    if not (folder / "compare.json").exists():
        recipe = load_recipe("chimera")
        fields = [("data.kind", "time_mmd"), ("data.root", str(data)), ("data.domain", domain)]
        config = resolve(recipe, None, [*fields, ("llm-model", embedder), ("trackers", [])])
        folder.mkdir(parents=True, exist_ok=True)
        write_start(folder, config)
        Comparison(Plan.of_recipe(recipe, config, tuple(range(seeds))), folder).run()
    found: dict[str, Any] = json.loads((folder / "compare.json").read_text())
    return found


def percent(found: dict[str, Any] | None) -> str:
    """A relative change with its interval."""
    if found is None or found["low"] is None:
        return "not enough data"
    return f"{found.get('value', found.get('change')):+.1%} [{found['low']:+.1%}, {found['high']:+.1%}]"


def arm_table(domain: str, embedder: str, result: dict[str, Any]) -> list[str]:
    """Every arm of one comparison, by error."""
    best = result["best_baseline"]["name"]
    lines = [
        f"\n### {domain}, {embedder}",
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
        cells = [name, f"{arm['mean']:.4f}", span, str(arm["seeds"]), f"{arm['parameters']:,}", arm["meaning"] + note]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def summary_row(domain: str, embedder: str, result: dict[str, Any]) -> str:
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
    cells = [
        domain, embedder, str(result["windows"]), *errors, *kept, percent(effect), says,
        f"{best['name']} {arms[best['name']]:.4f}", f"{percent(best)}: {word}{weak}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def reference_rows(data: Path) -> list[str]:
    """The cheap baselines at all four horizons against the reference table, where it is there."""
    path = data.parent.parent / "reference" / "time_mmd_baselines.csv"
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        lines = list(csv.DictReader(file))
    rows = []
    for domain in DOMAINS:
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


def page(results: dict[tuple[str, str], dict[str, Any]], seeds: int, data: Path) -> str:
    """The results page as Markdown."""
    worse = [f"{d} by {e}" for (d, e), r in results.items() if r["best_baseline"]["fused_is_worse"]]
    helped = [f"{d} by {e}" for (d, e), r in results.items() if r["verdicts"][0]["helps"]]
    facts = environment()
    names = ["domain", "text encoder", "test windows", "anchor", "calendar", "fused", "fused, raw", "placebo, raw"]
    names += ["fused kept", "placebo kept", "fused against anchor", "text", "best baseline", "fused against it"]
    lines = [
        "# Time-MMD, six domains, with and without text",
        "",
        f"Made by `python benchmarks/time_mmd.py {seeds}`; nothing here is typed in by hand. Each line is one",
        "`plait compare chimera --data.kind time-mmd --data.root DIR --data.domain DOMAIN` with the recipe's own",
        "settings for these data: a linear series leg started from the closed-form ridge and given the seasonal prior,",
        "and a text leg that corrects it. Monthly 8 -> 6, weekly 36 -> 12; test MSE of `OT` standardised by the train",
        f"rows, all windows, mean of {seeds} seeds. A text is available at the latest of its dates and of the full",
        "dates that it states; the placebo is retrained with shuffled texts. `raw` is before acceptance; what is not",
        "kept equals the anchor. Intervals: circular block bootstrap over origins, blocks of twice the horizon,",
        "crossed with seeds.",
        "",
        f"- Text helps in: {', '.join(helped) or 'none of them'}.",
        f"- Worse than the best baseline: {', '.join(worse) or 'none'}.",
        "",
        f"| {' | '.join(names)} |",
        "|" + "---|" * len(names),
        *(summary_row(d, e, r) for (d, e), r in results.items()),
    ]
    reference = reference_rows(data)
    if reference:
        lines += [
            "",
            "## The cheap baselines against the reference",
            "",
            "Largest relative difference of MSE and MAE over six baselines and four horizons. Health_US is compared",
            "with the reference's rows as filed, because its weeks run on without a hole.",
            "",
            "| domain | figures | largest difference |",
            "|---|---|---|",
            *reference,
        ]
    lines += ["\n## All arms"]
    for (domain, embedder), result in results.items():
        lines += arm_table(domain, embedder, result)
    lines += ["", f"torch {facts['packages']['torch']}, Python {facts['python']}, {facts['threads']} thread.", ""]
    return "\n".join(lines)


def main() -> None:
    """Compare what is missing and write the page."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    default = Path(os.environ.get("PLAIT_DATA", ROOT.parent / "shared" / "data")) / "time_mmd"
    data = Path(sys.argv[2]) if len(sys.argv) > 2 else default
    torch.set_num_threads(1)
    results = {(d, e): compare(d, e, seeds, data.resolve()) for d in DOMAINS for e in EMBEDDERS}
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    text = page(results, seeds, data.resolve())
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
