"""What topology and complexity add on real candles, and what an attention over one token costs: docs/results/market.md.

`plait compare market` on the BTCUSDT perpetual file: five walk-forward folds, every arm with every seed, beside the
cheap rivals; and the training speed of the `seed` size against the same network with the design document's attention
block over the one token of its N-BEATS leg. Finished trainings lie in runs/bench-market and are not done again.
Usage: OMP_NUM_THREADS=1 python benchmarks/market.py [--seeds N] [--data FOLDER] [--page]
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _page import held, verdict_lines, write_page
from safetensors.numpy import load_file
from torch import Tensor, nn

from plait.core.schema import Schema
from plait.core.tokens import Batch, Tokens
from plait.evaluation.compare import Comparison, Plan
from plait.models.market import Market
from plait.objectives.ranking import roc_auc
from plait.runs.folder import write_start
from plait.runs.recipe import load_recipe, resolve

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("PLAIT_DATA", ROOT.parent / "shared" / "data")) / "candles"
FILE = "btcusdt_perp_15m_2025-07-03_2025-12-30.csv.gz"
RUNS, PAGE = ROOT / "runs" / "bench-market", ROOT / "docs" / "results" / "market.md"
LEAST, LINEAR = "last_bar_range", "logistic_numbers"
ROWS, RUNS_OF_SPEED, GOAL_SPEED = 256, 9, 1.15
SCHEMA = Schema(
    "candles", {"candles": 14, "topology": 214, "complexity": 6}, tuple("abcdefghijklmn"), 96,
    stream_tokens={"topology": 1, "complexity": 1}, outputs=2,
)  # fmt: skip


class OneToken(nn.Module):
    """An encoder of one token with self-attention over it, a residual and a norm: what the design document has."""

    def __init__(self, encoder: nn.Module, heads: int = 8) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, int(encoder.dim)  # type: ignore[arg-type]
        self.attention = nn.MultiheadAttention(self.dim, heads, batch_first=True)
        self.norm = nn.LayerNorm(self.dim)

    def forward(self, fields: dict[str, Tensor]) -> Tokens:
        """The token, changed by a linear map of itself."""
        x, mask = self.encoder(fields)
        return Tokens(self.norm(x + self.attention(x, x, x, need_weights=False)[0]), mask)


def network(with_attention: bool) -> Market:
    """The `seed` size, as it is or with that block."""
    torch.manual_seed(0)
    model: Market = resolve(load_recipe("market"), "seed", [("data.path", FILE)]).model.build(SCHEMA)
    if with_attention:
        model.legs["candles"] = OneToken(model.legs["candles"])
    return model.train()


def stepping(model: Market) -> Callable[[], None]:
    """A training step of `ROWS` windows."""
    maker = torch.Generator().manual_seed(0)
    candles = torch.randn(ROWS, 96, 14, generator=maker)
    views = {name: torch.randn(ROWS, 1, SCHEMA.streams[name], generator=maker) for name in SCHEMA.contexts}
    masks = {f"{name}_mask": torch.ones(ROWS, 1, dtype=torch.bool) for name in views}
    whole = {"candles": candles, "candles_mask": torch.ones_like(candles, dtype=torch.bool)}
    batch = Batch({**whole, **views, **masks}, {}, {})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        model(batch).prediction.point.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def speed() -> list[str]:
    """Windows a second with and without attention over one token, in one paired run."""
    models = {"without": network(False), "with": network(True)}
    steps = {name: stepping(model) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for run in range(2 + RUNS_OF_SPEED):
        for name, step in steps.items():
            began = time.process_time()
            step()
            if run >= 2:  # the first two warm up
                times[name].append(time.process_time() - began)
    ratio = statistics.median(b / a for a, b in zip(times["without"], times["with"], strict=True))
    rate = {name: ROWS / statistics.median(each) for name, each in times.items()}
    count = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    return [
        "## An attention over one token", "",
        "Softmax over one key is 1, so that the block's queries and keys never learn. Training steps of the size",
        f"`seed` at {ROWS} windows, one thread, CPU time; the median of {RUNS_OF_SPEED} runs, both in turn in each.",
        "", "| network | parameters | windows a CPU second |", "|---|---|---|",
        f"| without the block | {count['without']:,} | {rate['without']:.0f} |",
        f"| with it | {count['with']:,} | {rate['with']:.0f} |", "",
        f"Without it: {ratio:.2f} times as fast, goal {GOAL_SPEED}: {held(ratio >= GOAL_SPEED)}.", "",
    ]  # fmt: skip


def train(data: Path, seeds: int) -> None:
    """Make the comparison, going on where it stopped."""
    recipe = load_recipe("market")
    config = resolve(recipe, "base", [("data.root", str(data)), ("data.path", FILE), ("device", "cpu")])
    plan = Plan.of_recipe(recipe, config, tuple(range(seeds)))
    if not (RUNS / "config.yaml").exists():
        RUNS.mkdir(parents=True, exist_ok=True)
        write_start(RUNS, config)
    Comparison(plan, RUNS).run()


def interval(found: dict[str, float], digits: int) -> str:
    """A number with its interval."""
    return f"{found['value']:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"


def table() -> list[str]:
    """The arms and rivals of the comparison, what the verdict says, and each fold by itself."""
    if not (RUNS / "compare.json").exists():
        return ["The comparison is not finished.", ""]
    result: dict[str, Any] = json.loads((RUNS / "compare.json").read_text(encoding="utf-8"))
    lines = [
        f"{result['windows']:,} test bars in {result['folds']} walk-forward folds, {len(result['seeds'])} seeds, each",
        f"row tested once; intervals are 95 %, {result['drawn']}, crossed with seeds. AUC and average precision are of",
        "all folds together. Size `base`; no claim about profit is made.", "",
        "| arm | what it is | Brier score | AUC | average precision |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for arm in sorted(result["arms"], key=lambda arm: arm["mean"]):
        brier = interval({"value": arm["mean"], "low": arm["low"], "high": arm["high"]}, 4)
        ranks = [interval(arm["also"][name], 3) for name in ("auc", "average_precision")]
        lines.append(f"| {' | '.join([arm['name'], arm['meaning'], brier, *ranks])} |")
    own = {arm["name"]: arm for arm in result["arms"]}
    return [*lines, *verdict_lines(result), *goals(own), *folds(result)]


def goals(arms: dict[str, dict[str, Any]]) -> list[str]:
    """Whether the fused model ranks as well as the linear one, and better than the last bar."""
    own = arms["fused_raw"]["also"]["auc"]["value"]
    said = []
    for name, what in ((LINEAR, "the logistic regression"), (LEAST, "the last bar's range")):
        other = arms[name]["also"]["auc"]["value"]
        said.append(f"- AUC of the fused model {own:.3f}, of {what} {other:.3f}: {held(own >= other)}.")
    return [*said, ""]


def folds(result: dict[str, Any]) -> list[str]:
    """Each fold by itself: when it is, how many moves it has, and how the fused model ranks its bars."""
    lines = ["| fold | test bars | with a move | AUC of fused, mean of seeds |", "|---|---|---|---|"]
    for fold in range(result["folds"]):
        found = [load_file(RUNS / f"arms/fused-fold{fold}-seed{seed}/scores.safetensors") for seed in result["seeds"]]
        event = found[0]["raw.test.event"] > 0
        ranks = [float(roc_auc(each["raw.test.logit"], event)[0]) for each in found]
        lines.append(f"| {fold + 1} | {len(event):,} | {event.mean():.1%} | {np.mean(ranks):.3f} |")
    return [*lines, ""]


def main() -> None:
    """Train what is missing, measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--page", action="store_true", help="write the page of what is finished, and train nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.page:
        train(given.data, given.seeds)
    lines = [
        "# Candles, topology and complexity", "",
        "Made by `OMP_NUM_THREADS=1 python benchmarks/market.py`; nothing here is typed in by hand. Bars of 15 minutes",
        f"of `{FILE}`; a move: a range of 2 % in one of the next windows of 8 bars.", "",
        *table(), *speed(),
    ]  # fmt: skip
    write_page(PAGE, lines)


if __name__ == "__main__":
    main()
