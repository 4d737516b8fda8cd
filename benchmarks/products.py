"""What the loop, the mixture of experts and memory maps cost in recipe products: docs/results/products_speed.md.

The `seed` size on four sources of the design document's widths: rows a second of `plait train` against the same network
in a bare loop with all data in memory; the experts' head against a loop over its experts; and how far the anonymous
resident memory of a training on 75,000 rows in memory maps rises above what importing torch takes.
Usage: OMP_NUM_THREADS=2 python benchmarks/products.py [--rows N] [--steps N]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from _page import held, write_page
from torch import Tensor, nn

from plait.core.tokens import Tokens
from plait.heads.mixture_of_experts import MixtureOfExperts, MixtureOfExpertsConfig
from plait.nn.pool import masked_mean
from plait.runs.assemble import accelerator_for, build_data, build_model, start
from plait.runs.config import RunConfig
from plait.runs.recipe import load_recipe, resolve
from plait.training.loop import Trainer
from plait.training.stages import build_optimizer

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results" / "products_speed.md"
WIDTHS = {"clip": 768, "siglip_image": 1152, "siglip_text": 1024, "qwen": 1027}
TREE = [["clip", "siglip_image"], ["siglip_text", "qwen"]]
BATCH, GOAL_SPEED, GOAL_HEAD, GOAL_MB = 256, 0.9, 1.1, 1024
MEMORY = """
import re, sys, threading, time
import torch
def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
def watch():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.01)
before = anonymous()
peak = [before]
threading.Thread(target=watch, daemon=True).start()
sys.path.insert(0, {here!r})
from products import config_of, trainer_of
trainer = trainer_of(config_of({folder!r}), {folder!r}, {steps})
trainer.run()
trained = peak[0]
trainer.task.rivals(trainer.data.inner)
print(before, trained, peak[0])
"""


def make(folder: Path, rows: int) -> None:
    """Write a table of prices and four arrays, a piece at a time."""
    maker = np.random.default_rng(0)
    ids = [f"p{row}" for row in range(rows)]
    prices = np.exp(maker.normal(3, 1, rows))
    lines = ["id,price", *(f"{name},{price:.2f}" for name, price in zip(ids, np.maximum(prices, 0.1), strict=True))]
    (folder / "products.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, width in WIDTHS.items():
        array = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=(rows, width))
        for first in range(0, rows, 4096):
            array[first : first + 4096] = maker.standard_normal((min(4096, rows - first), width), dtype=np.float32)
        array.flush()
        (folder / f"{name}.ids.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")


def config_of(folder: str) -> RunConfig:
    """The seed size on these arrays, one epoch."""
    sources = [(f"data.sources.{name}.path", f"{name}.npy") for name in WIDTHS]
    fields = [("data.root", folder), ("data.path", "products.csv"), *sources, ("model.fusion.tree", TREE)]
    quiet = [("training.epochs", 1), ("training.checkpoint_seconds", 1e9), ("training.log_steps", 0), ("device", "cpu")]
    return resolve(load_recipe("products"), "seed", [*fields, *quiet])


class Short:
    """Data of which an epoch is so many steps, and validation one batch."""

    def __init__(self, data: object, steps: int) -> None:
        self.inner, self.count = data, {"train": steps * BATCH}

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def rows(self, split: str) -> np.ndarray:
        """The first rows of a split."""
        return self.inner.rows(split)[: self.count.get(split, BATCH)]  # type: ignore[attr-defined]


def trainer_of(config: RunConfig, folder: str, steps: int) -> Trainer:
    """A training of so many steps on the data of a folder."""
    torch.manual_seed(0)
    data = build_data(config)
    model = build_model(config, data.schema)
    start(model, data)
    place = Path(tempfile.mkdtemp(dir=folder))
    task = config.task.build(data)
    return Trainer(model, task, Short(data, steps), config.training, place, 0, accelerator_for(config, place, False))


def loop_speed(folder: Path, steps: int) -> float:
    """Rows a second of the training loop over those of a bare loop with data in memory, in turn, by CPU time."""
    config = config_of(str(folder))
    trainer = trainer_of(config, str(folder), steps)
    data, task = trainer.data, trainer.task
    model = build_model(config, data.schema)
    start(model, data)
    rows = data.rows("train")
    held = [data.batch("train", rows[at : at + BATCH]) for at in range(0, len(rows), BATCH)]
    optimizer = build_optimizer(model, config.training.stages[0], config.training)

    def bare() -> None:
        for batch in held:
            total, weight = task.losses(model(batch), batch)[config.task.loss]
            (total / weight).backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.training.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    stage = config.training.stages[0]
    trainer.optimizer = trainer.accelerator.prepare(build_optimizer(trainer.live, stage, config.training))

    def ours() -> None:
        for at in range(0, len(rows), BATCH):
            trainer._step(rows[at : at + BATCH], stage)

    return _ratio(bare, ours, 3)


def head_speed() -> tuple[float, float]:
    """CPU time of the experts' head over that of a loop over experts, forward and backward, and how far they differ."""
    torch.manual_seed(0)
    config = MixtureOfExpertsConfig(experts=3, hidden=256, dropout=0.0)
    head = MixtureOfExperts(512, 1, config).train()
    tokens = Tokens.full(torch.randn(BATCH, 16, 512))

    def looped() -> Tensor:
        x = head.norm(masked_mean(tokens))
        gate, point = head.gate(x).softmax(-1), torch.zeros(BATCH, 1)
        weights, biases = head.hidden.weight.chunk(3), head.hidden.bias.chunk(3)
        for i in range(3):
            said = F.gelu(F.linear(x, weights[i], biases[i])) @ head.project.weight[i] + head.project.bias[i]
            point = point + gate[:, i : i + 1] * said[:, None]
        return point

    apart = float((looped() - head(tokens, {}).point).detach().abs().max())
    ratio = _ratio(lambda: head(tokens, {}).point.sum().backward(), lambda: looped().sum().backward(), 30)
    return ratio, apart


def _ratio(one: Callable[[], object], other: Callable[[], object], runs: int) -> float:
    """CPU time of one over that of the other, the median over runs in turn."""
    times: list[float] = []
    for run in range(runs + 1):
        spent = []
        for each in (one, other):
            began = time.process_time()
            each()
            spent.append(time.process_time() - began)
        if run:  # the first warms up
            times.append(spent[0] / spent[1])
    return statistics.median(times)


def memory(folder: Path, steps: int) -> tuple[float, float, float]:
    """The most anonymous resident MiB above importing torch, of a training and with its rivals, and the import's own.

    In a process of its own, looked at a hundred times a second.
    """
    code = MEMORY.format(here=str(Path(__file__).resolve().parent), folder=str(folder), steps=steps)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    before, trained, rivals = map(float, said[-3:])
    return trained - before, rivals - before, before


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=75_000)
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, given.rows)
        speed = loop_speed(folder, given.steps)
        above, beside, before = memory(folder, given.steps)
    head, apart = head_speed()

    lines = [
        "# What a training of products costs", "",
        "Made by `OMP_NUM_THREADS=2 python benchmarks/products.py`; nothing here is typed in by hand. The size `seed`",
        f"on four sources, {given.rows:,} rows of {sum(WIDTHS.values()):,} numbers in memory maps, batches of {BATCH}.",
        "",
        f"- Rows a second against the same network in a bare loop with its data in memory: {speed:.2f}, goal"
        f" {GOAL_SPEED}: {held(speed >= GOAL_SPEED)}.",
        f"- CPU time of the experts' head against a loop over its experts: {head:.2f}, goal {GOAL_HEAD}:"
        f" {held(head <= GOAL_HEAD)}; their answers differ by {apart:.0e}.",
        f"- The most anonymous resident memory above importing torch ({before:.0f} MiB): {above:.0f} MiB in a training"
        f" of {given.steps} steps, {beside:.0f} MiB with its cheap rivals, goal {GOAL_MB}: {held(beside <= GOAL_MB)}.",
    ]  # fmt: skip
    write_page(PAGE, lines)


if __name__ == "__main__":
    main()
