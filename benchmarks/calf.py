"""ETTh1 with the parts of `calf` side by side, three seeds: docs/results/calf.md.

Resumable: what is finished is not done again, and the page has the horizons that are.
Usage: python benchmarks/calf.py [--seeds 3] [--horizons 96,192] [--data FOLDER] [--page]
"""

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

from _page import about

from plait.core.files import write_file
from plait.evaluation.ablation import Ablation
from plait.evaluation.compare import Plan
from plait.evaluation.verdict import percent
from plait.objectives.bootstrap import Interval
from plait.runs.folder import write_start
from plait.runs.recipe import load_recipe, resolve

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "calf.md"
RUNS = ROOT / "runs" / "bench-calf"
DATA = Path(os.environ.get("PLAIT_DATA", ROOT.parent / "shared" / "data")) / "ett"
HORIZONS = (96, 192, 336, 720)
EPOCHS = 4
"""Most epochs of a training; validation chooses among them."""
GOALS = {96: (0.395, 0.386)}
"""MSE of the model without a language model: what it has to reach, and what it should."""
PUBLISHED = {
    96: (("CALF, AAAI 2025", "96", 0.369, 0.389), ("Powerformer, arXiv 2502.06151", "336 or 512", 0.369, 0.399)),
}


def train(horizon: int, data: Path, seeds: int) -> None:
    """Train the arms of a horizon and write what they scored."""
    recipe, folder = load_recipe("calf"), RUNS / f"h{horizon}"
    fields: list[tuple[str, Any]] = [
        ("data.kind", "ett"), ("data.root", str(data)), ("data.name", "ETTh1"), ("pred-len", horizon),
        ("train-epochs", EPOCHS), ("trackers", []),
    ]  # fmt: skip
    config = resolve(recipe, None, fields)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.yaml").exists():
        write_start(folder, config)
    Ablation(Plan.of_recipe(recipe, config, tuple(range(seeds))), folder).run()


def errors(folder: Path, arm: str) -> dict[str, list[float]]:
    """The test MSE and MAE of an arm by seed."""
    paths = sorted(folder.glob(f"arms/{arm}-seed*/metrics.json"))
    found = [json.loads(path.read_text(encoding="utf-8"))["metrics"]["test"] for path in paths]
    return {name: [each[name] for each in found] for name in ("mse", "mae")}


def section(horizon: int) -> list[str]:
    """One horizon as Markdown."""
    folder = RUNS / f"h{horizon}"
    lines = [f"\n## 96 -> {horizon}", ""]
    if not (folder / "ablation.json").exists():
        return [*lines, "Not finished."]
    result = json.loads((folder / "ablation.json").read_text(encoding="utf-8"))
    lines += [
        f"{result['windows']:,} test windows, {len(result['seeds'])} seeds, {result['drawn']}.", "",
        "| arm | what it is | MSE | MAE | sd of MSE | against the anchor | parameters |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for arm in sorted(result["arms"], key=lambda arm: arm["mean"]):
        found = errors(folder, arm["name"])
        spread = f"{statistics.stdev(found['mse']):.4f}" if len(found["mse"]) > 1 else ""
        change = arm["against_anchor"]
        against = "" if arm["name"] == result["anchor"] else percent(Interval(**change))
        mse = f"{arm['mean']:.4f} [{arm['low']:.4f}, {arm['high']:.4f}]"
        cells = [arm["name"], arm["meaning"], mse, f"{statistics.mean(found['mae']):.4f}", spread, against]
        lines.append(f"| {' | '.join(cells)} | {arm['parameters']:,} |")
    first = next(folder.glob("arms/anchor-seed*/metrics.json"))
    cheap = json.loads(first.read_text(encoding="utf-8"))["baselines"]
    for name, each in sorted(cheap.items(), key=lambda pair: pair[1]["mse"]):
        mse = f"{each['mse']:.4f} [{each['mse_low']:.4f}, {each['mse_high']:.4f}]"
        lines.append(f"| {name} | {each['meaning']} | {mse} | {each['mae']:.4f} | | | |")
    for name, reason in result["left_out"].items():
        lines += ["", f"Left out: {name}: {reason}."]
    if horizon in GOALS:
        must, should = GOALS[horizon]
        best = min(arm["mean"] for arm in result["arms"] if arm["name"].startswith(("anchor", "patch")))
        words = "held" if best <= must else "**not held**"
        lines += ["", f"Goal without a language model: <= {must}, better {should}: {best:.4f}, {words}."]
    if horizon in PUBLISHED:
        lines += [
            "",
            "As published, none of it run here:",
            "",
            "| source | lookback | MSE | MAE |",
            "|---|---|---|---|",
        ]
        lines += [f"| {name} | {lookback} | {mse} | {mae} |" for name, lookback, mse, mae in PUBLISHED[horizon]]
    return lines


def page() -> str:
    """The results page as Markdown."""
    lines = [
        "# Parts of `calf` on ETTh1", "",
        "Made by `python benchmarks/calf.py`; nothing here is typed in by hand. Size `base`, lookback 96 in every row,",
        f"all seven variates, at most {EPOCHS} epochs, the epoch chosen on validation. Errors in units standardised by",
        "the train rows, over all test windows, steps and variates. Intervals are 95 %: blocks of test windows,",
        "crossed with seeds. The language model of this table is a GPT-2 without weights, since none can be had here",
        "without a model hub: what its weights add is not in it.",
    ]  # fmt: skip
    for horizon in HORIZONS:
        if horizon <= 192 or (RUNS / f"h{horizon}").exists():
            lines += section(horizon)
    return "\n".join([*lines, "", about()]) + "\n"


def main() -> None:
    """Train what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--horizons", default="96,192")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--page", action="store_true", help="write the page of what is finished, and train nothing")
    given = parser.parse_args()
    for horizon in [int(text) for text in given.horizons.split(",")] if not given.page else ():
        train(horizon, given.data, given.seeds)
    write_file(PAGE, page().encode())
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
