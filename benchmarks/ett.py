"""ETTh1 96 -> 96 with the recipe's defaults, three seeds, the cheap forecasts beside it: docs/results/ett.md.

Resumable: a seed whose run folder is finished is not trained again. Usage: python benchmarks/ett.py [folder of the CSV]
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "ett.md"
SEEDS = (0, 1, 2)
GOAL = 0.386


def run(seed: int, data: str) -> dict:
    """Train one seed through the command line, or read what it left."""
    folder = ROOT / "runs" / f"bench-ett-seed{seed}"
    if not (folder / "metrics.json").exists():
        command = [sys.executable, "-m", "plait.cli.main", "train"]
        if folder.exists():
            command += ["--resume", str(folder)]
        else:
            command += ["chimera", "--data.kind", "ett", "--data.root", data, "--data.path", "ETTh1"]
            command += ["--pred-len", "96", "--seed", str(seed), "--out", str(folder)]
        subprocess.run(command, check=True)
    return json.loads((folder / "metrics.json").read_text())


def page(results: list[dict], machine: dict) -> str:
    """The results page as Markdown."""
    mse = [r["metrics"]["test"]["mse"] for r in results]
    mae = [r["metrics"]["test"]["mae"] for r in results]
    windows = results[0]["windows"]["test"]
    lines = [
        "# ETTh1, 96 -> 96, seven variates",
        "",
        "Made by `python benchmarks/ett.py`; nothing here is typed in by hand.",
        f"Errors are in units standardised by the train rows, over all {windows} x 96 x 7 test values.",
        "",
        "| model | seed | test MSE | 95 % interval | test MAE | validation MSE | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        test = r["metrics"]["test"]
        lines.append(
            f"| itransformer | {r['seed']} | {test['mse']:.4f} | {test['mse_low']:.4f} .. {test['mse_high']:.4f} | "
            f"{test['mae']:.4f} | {r['metrics']['val']['mse']:.4f} | {r['total_s']:.0f} |"
        )
    means = [f"**{statistics.mean(values):.4f}** (sd {statistics.stdev(values):.4f})" for values in (mse, mae)]
    lines.append(f"| **itransformer, mean** | {len(mse)} seeds | {means[0]} | | {means[1]} | | |")
    for name, scores in results[0]["baselines"].items():
        lines.append(f"| {name} | | {scores['mse']:.4f} | | {scores['mae']:.4f} | {scores['val_mse']:.4f} | |")
    met = "met" if statistics.mean(mse) <= GOAL else "**not met**"
    lines += [
        "",
        f"Goal: mean MSE <= {GOAL}: {met}. Intervals: circular block bootstrap over forecast origins, blocks of 192.",
        f"{results[0]['parameters']:,} parameters. Machine: {machine['cores']} cores, {machine['threads']} torch",
        f"threads, torch {machine['packages']['torch']}, Python {machine['python']}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Train what is missing and write the page."""
    default = Path(os.environ.get("PLAIT_DATA", ROOT.parent / "shared" / "data")) / "ett"
    data = sys.argv[1] if len(sys.argv) > 1 else str(default)
    results = [run(seed, data) for seed in SEEDS]
    machine = json.loads((ROOT / "runs" / f"bench-ett-seed{SEEDS[0]}" / "environment.json").read_text())
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    text = page(results, machine)
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
