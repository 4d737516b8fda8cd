"""What text costs, and that it is exact: docs/results/text_cost.md.

Encodings of the language model, time of an epoch with text against one without and against the same network on random
tokens, the as-of join at scale, and what a change after the origin does to a prediction (exactly nothing).
Usage: python benchmarks/text_cost.py [folder of Time-MMD]
"""

import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plait.core.schema import SPLITS
from plait.data.asof import usable_texts
from plait.data.store import EmbeddingStore
from plait.data.table import SeriesTable
from plait.data.windows import ForecastData
from plait.embedders.minilm import MiniLmConfig
from plait.runs.assemble import build_data, build_model
from plait.runs.config import RunConfig
from plait.runs.fit import fit
from plait.runs.folder import environment
from plait.runs.recipe import load_recipe, resolve
from plait.runs.run import load_run
from plait.training.config import StageConfig, TrainingConfig
from plait.training.stages import build_optimizer

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "text_cost.md"
PAIRS = 7


class Counting:
    """The embedder inside, counting the texts that it is given."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.seen = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode(self, texts: Any, max_tokens: int) -> Any:
        """The states of the texts."""
        self.seen += len(texts)
        return self.inner.encode(texts, max_tokens)


def encodings(texts: tuple[str, ...]) -> list[str]:
    """n distinct texts cost n encodings, in two runs together, whatever is asked twice."""
    texts = texts[:300]
    model = Counting(MiniLmConfig().build())
    with tempfile.TemporaryDirectory() as folder:
        EmbeddingStore(model, "minilm", 32, "mean", Path(folder)).add([*texts[:200], *texts[:50]])
        EmbeddingStore(model, "minilm", 32, "mean", Path(folder)).add(texts)
    return [
        f"| {len(set(texts))} distinct texts in two runs, MiniLM | {model.seen} encodings | exactly {len(set(texts))} |"
    ]


class RandomText:
    """The same windows with their text states drawn at random, from memory: what the network alone costs."""

    def __init__(self, data: ForecastData) -> None:
        self.data = data
        sample = data.batch("train", data.rows("train")[:1]).inputs
        self.text = {name: t for name, t in sample.items() if name == "text" or name.startswith("text_")}
        generator = torch.Generator().manual_seed(0)
        self.states = torch.randn(512, *self.text["text"].shape[1:], generator=generator)

    def rows(self, split: str) -> Any:
        """The windows of a split."""
        return self.data.rows(split)

    def batch(self, split: str, index: Any) -> Any:
        """Windows with random text states."""
        joined = self.data.text
        self.data.text = None
        batch = self.data.batch(split, index)
        self.data.text = joined
        rows = len(index)
        mask = self.text["text_mask"].expand(rows, -1)
        inputs = {"text": self.states[:rows], "text_mask": mask, "text_age": self.text["text_age"].expand(rows, -1)}
        return batch._replace(inputs=batch.inputs | inputs)


def epoch_seconds(model: Any, data: Any, task: Any, batch_size: int, batches: int) -> float:
    """The time of some optimiser steps, gathering of rows included."""
    optimizer = build_optimizer(model, StageConfig(name="all"), TrainingConfig())
    order = np.random.default_rng(0).permutation(len(data.rows("train")))
    began = time.perf_counter()
    for step in range(batches):
        rows = order[(step * batch_size) % (len(order) - batch_size) :][:batch_size]
        batch = data.batch("train", rows)
        optimizer.zero_grad(set_to_none=True)
        total, weight = next(iter(task.losses(model(batch), batch).values()))
        (total / weight).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - began


def ratio(one: tuple[Any, Any], other: tuple[Any, Any], task: Any, batch_size: int) -> tuple[float, float, float]:
    """Time of one against the other, in alternating pairs: median, least and greatest ratio."""
    batches = max(10, len(one[1].rows("train")) // batch_size)
    for model, data in (one, other):
        epoch_seconds(model, data, task, batch_size, 3)
    found = []
    for _ in range(PAIRS):
        first = epoch_seconds(*one, task, batch_size, batches)
        found.append(first / epoch_seconds(*other, task, batch_size, batches))
    return statistics.median(found), min(found), max(found)


def config_for(root: Path, **fields: Any) -> RunConfig:
    """Energy with the recipe's base size."""
    places = [("data.kind", "time_mmd"), ("data.root", str(root)), ("data.domain", "Energy")]
    return resolve(load_recipe("chimera"), "base", [*places, *fields.items()])


def epochs(root: Path) -> list[str]:
    """Time of an epoch: pooled texts without text layers, and token states, for two text encoders."""
    lines = []
    plain = config_for(root, **{"fusion": "none"})
    task, size = plain.task.build(), plain.training.batch_size
    base = build_data(plain)
    alone = (build_model(plain, base.schema), base)
    for embedder in ("wordllama", "minilm"):
        named = {"llm-model": embedder}
        pooled = config_for(root, **named, **{"text-fusion-layers": 0})
        data = build_data(pooled)
        mid, low, high = ratio((build_model(pooled, data.schema), data), alone, task, size)
        lines.append(
            f"| epoch, {embedder} pooled, no text layers, against text-free |"
            f" {mid:.2f} ({low:.2f} .. {high:.2f}) | <= 1.5 |"
        )
        tokens = config_for(root, **named, **{"pool-type": "none"})
        data = build_data(tokens)
        model = build_model(tokens, data.schema)
        mid, low, high = ratio((model, data), (model, RandomText(data)), task, size)
        words = "against the same network on random tokens from memory"
        lines.append(f"| epoch, {embedder} tokens, {words} | {mid:.2f} ({low:.2f} .. {high:.2f}) | <= 1.2 |")
        mid, low, high = ratio((model, data), alone, task, size)
        lines.append(f"| epoch, {embedder} tokens, against text-free | {mid:.2f} ({low:.2f} .. {high:.2f}) | printed |")
    return lines


def joins() -> list[str]:
    """The as-of join of up to a million texts with 100,000 windows."""
    rng = np.random.default_rng(0)
    start, lines = np.datetime64("1990-01-01", "s"), []
    for count in (250_000, 500_000, 1_000_000):
        days = rng.integers(0, 12_000 * 86_400, count).astype("timedelta64[s]")
        origins = start + np.sort(rng.integers(0, 12_000 * 86_400, 100_000)).astype("timedelta64[s]")
        began = time.perf_counter()
        usable_texts(np.sort(start + days), origins, 4, 1.0)
        passed = time.perf_counter() - began
        lines.append(f"| as-of join, {count:,} texts, 100,000 windows, sorting included | {passed:.2f} s | <= 60 s |")
    return lines


def exactness(root: Path) -> list[str]:
    """The largest change of a trained run's predictions when everything after the origin changes."""
    config = config_for(root, **{"train-epochs": 1, "accept": "always", "trackers": []})
    with tempfile.TemporaryDirectory() as folder:
        fit(config, Path(folder))
        run = load_run(folder)
        data = run.data
    worst, moved, count = 0.0, 0.0, 0
    for split in SPLITS:
        rows = data.rows(split)
        for window in np.unique(np.linspace(0, len(rows) - 1, 12).astype(int)):
            origin = int(data.origins[split][window])
            before = _predicted(run, data, split, window)
            after = _predicted(run, _data(run, changed(data.table, origin, origin)), split, window)
            worst, count = max(worst, float((after - before).abs().max())), count + 1
            earlier = _predicted(run, _data(run, changed(data.table, origin - 30, origin)), split, window)
            moved = max(moved, float((earlier - before).abs().max()))
    return [
        f"| values, texts and their dates changed after the origin, {count} windows: prediction moves by"
        f" | {worst} | exactly 0.0 |",
        f"| the same with the last 30 texts before the origin changed too (the check can fail) | {moved:.3g} | > 0 |",
    ]


def changed(table: SeriesTable, texts_after: int, origin: int) -> SeriesTable:
    """Other values and dates after the origin, and other texts after a row."""
    rng = np.random.default_rng(origin)
    values, texts = table.values.copy(), table.texts
    assert texts is not None
    values[origin + 1 :] += rng.normal(0, 10, values[origin + 1 :].shape)
    late = texts.available_at > table.times[texts_after]
    contents = tuple(f"Changed {i}: prices fell." if late[i] else t for i, t in enumerate(texts.contents))
    future = texts.available_at > table.times[origin]
    at = np.where(future, texts.available_at + np.timedelta64(3 * 86_400, "s"), texts.available_at)
    return replace(table, values=values, texts=replace(texts, contents=contents, available_at=at))


def _data(run: Any, table: SeriesTable) -> ForecastData:
    return build_data(run.config, table, run.fitted)


def _predicted(run: Any, data: ForecastData, split: str, window: int) -> torch.Tensor:
    with torch.no_grad():
        return run.model(data.batch(split, [window])).prediction.point


def main() -> None:
    """Measure and write the page."""
    default = Path(os.environ.get("PLAIT_DATA", ROOT.parent / "shared" / "data")) / "time_mmd"
    root = (Path(sys.argv[1]) if len(sys.argv) > 1 else default).resolve()
    torch.set_num_threads(1)
    facts = environment()
    table = config_for(root).data.read()
    lines = []
    for part in (lambda: encodings(table.texts.contents), lambda: epochs(root), joins, lambda: exactness(root)):
        made = part()
        print("\n".join(made), flush=True)
        lines += made
    text = "\n".join([
        "# What text costs, and that it is exact",
        "",
        "Made by `python benchmarks/text_cost.py`; nothing here is typed in by hand. Time-MMD Energy, weekly 36 -> 12,",
        f"the recipe's base size. Ratios are medians of {PAIRS} alternating pairs of an epoch each, with the least and",
        "the greatest: gathering of rows, forward, backward and AdamW.",
        "",
        "| what | measured | must be |",
        "|---|---|---|",
        *lines,
        "",
        f"torch {facts['packages']['torch']}, Python {facts['python']}, {facts['cores']} cores, 1 thread.",
        "",
    ])  # fmt: skip
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
