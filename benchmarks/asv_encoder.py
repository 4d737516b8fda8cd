"""What encoding each distinct sequence of a batch once saves in a training step: docs/results/asv_encoder.md.

One forward and backward pass of the `seed` size (width 128, 4 heads, 4 layers, feed-forward 512) over nucleotides
alone, pooled by abundance, on a real batch of 32 samples of `global_gut` with the most abundant 256, then 1,024, ASVs
of each. Against it: the same network encoding every (sample, ASV) pair of the batch, each sample padded to the limit.
Both in chunks of 256 sequences with checkpointing, in float32, without dropout, from the same weights. CPU seconds of
the process, which other processes disturb little; one pass each, for the padded one takes minutes.
Usage: OMP_NUM_THREADS=1 python benchmarks/asv_encoder.py [--quick] [--limits 256 1024] [--data folder of global_gut]
--quick takes 3 samples of 32 ASVs in chunks of 16 and writes no page.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.core.schema import Schema
from plait.data.sample_table import SampleTable, read_samples
from plait.encoders.asv import Asv, AsvConfig, NucleotidesConfig
from plait.nn.abundance_pool import AbundancePool

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "asv_encoder.md"
DATA = Path(os.environ.get("PLAIT_DATA", ROOT.parent / "shared" / "data")) / "microbiome" / "global_gut"
ROWS, LIMITS, CHUNK = 32, (256, 1024), 256
CODES = {letter: code for code, letter in enumerate("ACGT", start=1)}


class Side(NamedTuple):
    """One training step: its CPU and wall seconds, the loss and the gradients."""

    cpu: float
    wall: float
    loss: float
    gradients: list[Tensor]


class Case(NamedTuple):
    """A limit: how many pairs and distinct sequences the batch has, and both steps."""

    limit: int
    present: int
    padded: int
    distinct: int
    over_batches: list[int]
    once: Side
    every: Side

    @property
    def apart(self) -> float:
        """The largest difference of a gradient, relative to the largest gradient of its parameter."""
        pairs = zip(self.once.gradients, self.every.gradients, strict=True)
        return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)) for a, b in pairs)


def letters_of(table: SampleTable) -> Tensor:
    """The features' letters as codes, 0 after the end. Shape: (f, L) uint8."""
    assert table.sequences is not None
    codes = torch.zeros(len(table.sequences), max(map(len, table.sequences)), dtype=torch.uint8)
    for row, text in enumerate(table.sequences):
        codes[row, : len(text)] = torch.tensor([CODES.get(letter, 5) for letter in text], dtype=torch.uint8)
    return codes


def fields_of(table: SampleTable, rows: list[int], limit: int, pad: int | None) -> dict[str, Tensor]:
    """The most abundant ASVs of some samples, in the order of their numbers, padded to `pad` or to the longest."""
    held = []
    for row in rows:
        start, end = table.counts.indptr[row : row + 2]
        ids, counts = table.counts.indices[start:end], table.counts.data[start:end]
        most = np.sort(np.lexsort((ids, -counts))[:limit])
        order = most[np.argsort(ids[most])]
        held.append((ids[order], counts[order]))
    width = pad or max(len(ids) for ids, _ in held)
    values, counts = torch.zeros(len(rows), width, dtype=torch.int64), torch.zeros(len(rows), width)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, (ids, found) in enumerate(held):
        values[row, : len(ids)] = torch.from_numpy(ids.astype(np.int64))
        counts[row, : len(ids)] = torch.from_numpy(found).float()
        mask[row, : len(ids)] = True
    return {"values": values, "mask": mask, "counts": counts}


def distinct_of(letters: Tensor, fields: dict[str, Tensor]) -> int:
    """How many distinct sequences the present ASVs of a batch have."""
    return len(torch.unique(letters[fields["values"][fields["mask"]]], dim=0))


def step(encoder: Asv, head: nn.ModuleList, fields: dict[str, Tensor], target: Tensor, once: bool) -> Side:
    """One forward and backward pass in training mode."""
    encoder.once = once
    parameters = [*encoder.parameters(), *head.parameters()]
    for parameter in parameters:
        parameter.grad = None
    cpu, wall = time.process_time(), time.perf_counter()
    pooled, _ = head[0](encoder(fields), torch.log1p(fields["counts"]))
    loss = F.mse_loss(head[1](pooled)[:, 0], target)
    loss.backward()
    took = time.process_time() - cpu, time.perf_counter() - wall
    return Side(*took, loss.item(), [p.grad.clone() for p in parameters if p.grad is not None])


def measure(table: SampleTable, letters: Tensor, limit: int, rows: int, chunk: int) -> Case:
    """Both steps on the first batch of an epoch, and the distinct sequences of all its batches."""
    order = np.random.default_rng(0).permutation(len(table.samples)).tolist()
    batches = [order[at : at + rows] for at in range(0, len(order) - rows + 1, rows)]
    torch.manual_seed(0)
    schema = Schema("asv", {"asv": 0}, features=len(letters), letters=letters.shape[1], outputs=1)
    seed = NucleotidesConfig(dim=128, depth=4, heads=4, hidden=512, dropout=0.0, chunk=chunk)
    encoder = AsvConfig(dim=128, dropout=0.0, nucleotides=seed).build(schema).train()
    encoder.fill({"letters": letters})
    pool = AbundancePool(128, 8)
    head, target = nn.ModuleList([pool, nn.Linear(pool.dim, 1)]), torch.randn(rows)
    own, padded = (fields_of(table, batches[0], limit, pad) for pad in (None, limit))
    for way in (True, False):  # what a first pass sets up is no part of a step
        step(encoder, head, {name: each[:, :1] for name, each in own.items()}, target, way)
    once = step(encoder, head, own, target, once=True)
    print(f"limit {limit}: each distinct sequence once: {once.cpu:.1f} CPU s, loss {once.loss:.7f}", flush=True)
    every = step(encoder, head, padded, target, once=False)
    print(f"limit {limit}: every padded pair: {every.cpu:.1f} CPU s, loss {every.loss:.7f}", flush=True)
    counted = [distinct_of(letters, fields_of(table, batch, limit, None)) for batch in batches]
    return Case(limit, int(own["mask"].sum()), padded["mask"].numel(), counted[0], counted, once, every)


def lines_of(case: Case) -> tuple[str, str]:
    """A line of counts, and one of times."""
    spread = case.over_batches
    counts = (
        f"| {case.limit:,} | {case.padded:,} | {case.present:,} | {case.distinct:,} | "
        f"{min(spread):,} to {max(spread):,} (mean {np.mean(spread):,.0f} of {len(spread)}) |"
    )
    times = (
        f"| {case.limit:,} | {case.once.cpu:.1f} | {case.every.cpu:.1f} | **{case.every.cpu / case.once.cpu:.1f}** | "
        f"{case.every.wall / case.once.wall:.1f} | {case.once.loss:.7f} | "
        f"{abs(case.once.loss - case.every.loss):.1e} | {case.apart:.1e} |"
    )
    return counts, times


def page(cases: list[Case], table: SampleTable, length: int, chunk: int) -> list[str]:
    """The page's lines."""
    counts, times = zip(*map(lines_of, cases), strict=True)
    absent = [f"{limit:,}" for limit in LIMITS if limit not in [case.limit for case in cases]]
    return [
        "# Each distinct sequence of a batch once, against every padded pair",
        "",
        "Made by `OMP_NUM_THREADS=1 python benchmarks/asv_encoder.py`; nothing here is typed in by hand. One training",
        "step (forward and backward) of the `seed` size: width 128, 4 heads, 4 layers, feed-forward 512, over",
        f"nucleotides of length {length}, pooled by abundance with 8 heads. global_gut, {len(table.samples)} samples x "
        f"{len(table.features):,} features.",
        f"Both sides in chunks of {chunk} sequences with checkpointing, float32, without dropout, the same weights.",
        *([f"Not run here: the limit {' and '.join(absent)}."] if absent else []),
        "",
        "## What a batch holds",
        "",
        "| ASVs a sample, at most | padded pairs | pairs that are there | distinct sequences | in all batches |",
        "|---|---|---|---|---|",
        *counts,
        "",
        "## A step",
        "",
        "| ASVs a sample, at most | once, CPU s | every pair, CPU s | ratio | ratio of wall times | loss "
        "| difference of losses | of gradients, relative |",
        "|---|---|---|---|---|---|---|---|",
        *times,
        "",
        f"torch {torch.__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} thread.",
        "",
    ]


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--limits", type=int, nargs="+", default=LIMITS)
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = read_samples(given.data / "table.biom", sequences=given.data / "rep_seqs.fasta")
    letters = letters_of(table)
    rows, chunk, limits = (3, 16, (32,)) if given.quick else (ROWS, CHUNK, given.limits)
    cases = [measure(table, letters, limit, rows, chunk) for limit in limits]
    lines = page(cases, table, letters.shape[1], chunk)
    print("\n".join(lines))
    if not given.quick:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
