"""What a bias by distance costs in attention: docs/results/attention.md.

Forward and backward of attention with the power-law bias, of one strength and of one learned strength a head, for T
tokens. Against it, in the same run: causal attention without a bias (`is_causal=True`) and the naive form (matmul, add
the bias, softmax, matmul). One thread; CPU milliseconds of the process, which other processes disturb little.
Usage: OMP_NUM_THREADS=1 python benchmarks/attention.py [runs]
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.core.schema import Schema
from plait.core.tokens import Batch
from plait.models.calf import CalfConfig
from plait.nn.attention import attend
from plait.nn.attention_bias import BiasConfig

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "attention.md"
SIZES, ROWS, HEADS, WIDTH = (64, 256, 1024), 8, 4, 32
GOAL_AT, GOAL_CAUSAL, GOAL_NAIVE, GOAL_ALONE = 256, 1.3, 0.7, 0.55
OURS, LEARNED, CAUSAL, NAIVE = "power law", "power law, learned", "causal, no bias", "naive"


def steps(n: int) -> dict[str, Callable[[], None]]:
    """A forward and a backward pass of each form, to queries, keys, values and, where learned, the strengths."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(ROWS, HEADS, n, WIDTH, requires_grad=True) for _ in range(3))
    fixed, learned = (BiasConfig(learn=learn).build(HEADS) for learn in (False, True))
    towards = torch.randn(ROWS, HEADS, n, WIDTH)

    def naive() -> Tensor:
        scores = q @ k.transpose(-2, -1) * WIDTH**-0.5
        return torch.softmax(scores + fixed(n), dim=-1) @ v

    forms: dict[str, Callable[[], Tensor]] = {
        OURS: lambda: attend(q, k, v, bias=fixed(n))[0],
        LEARNED: lambda: attend(q, k, v, bias=learned(n))[0],
        CAUSAL: lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        NAIVE: naive,
    }

    def step(form: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            form().backward(towards)
            for tensor in (q, k, v, *learned.parameters()):
                tensor.grad = None

        return run

    return {name: step(form) for name, form in forms.items()}


def paired(forms: dict[str, Callable[[], None]], runs: int, passes: int) -> dict[str, list[float]]:
    """CPU milliseconds a pass, by form and run; in each run every form goes once, `passes` passes long."""
    times: dict[str, list[float]] = {name: [] for name in forms}
    for run in range(2 + runs):
        for name, step in forms.items():
            began = time.process_time()
            for _ in range(passes):
                step()
            if run >= 2:  # the first two warm up
                times[name].append(1000 * (time.process_time() - began) / passes)
    return times


def ratio(times: dict[str, list[float]], form: str, against: str) -> float:
    """The median over the runs of a form's time to another's in the same run."""
    return statistics.median(a / b for a, b in zip(times[form], times[against], strict=True))


def cost(runs: int) -> list[str]:
    """Time of a training step, and its ratios."""
    lines = [
        "## Forward and backward",
        "",
        f"{ROWS} rows, {HEADS} heads of width {WIDTH}, float32; the median of {runs} runs, in each of which every form",
        "goes in turn; ratios are medians of the ratios within a run.",
        "",
        "| T | " + " | ".join(f"{name}, CPU ms" for name in (OURS, LEARNED, CAUSAL, NAIVE))
        + " | power law to causal | to naive | learned to causal | to naive |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for n in SIZES:
        times = paired(steps(n), runs, passes=max(1, (512 // n) ** 2))
        medians = [f"{statistics.median(times[name]):.2f}" for name in (OURS, LEARNED, CAUSAL, NAIVE)]
        ratios = [ratio(times, form, against) for form in (OURS, LEARNED) for against in (CAUSAL, NAIVE)]
        lines.append(f"| {n:,} | " + " | ".join([*medians, *(f"{each:.2f}" for each in ratios)]) + " |")
        if n == GOAL_AT:
            verdicts = [
                f"{each:.2f} to {name}, goal {goal}: {'held' if each <= goal else 'missed'}"
                for each, name, goal in zip(ratios, ("causal", "naive"), (GOAL_CAUSAL, GOAL_NAIVE), strict=False)
            ]
    return [*lines, "", f"At T = {GOAL_AT}, one strength: {'; '.join(verdicts)}.", ""]


def memory(runs: int) -> list[str]:
    """Bytes of the matrix that a bias keeps."""
    lines = [
        "## Memory of the matrix",
        "",
        "Of one strength, kept once for all layers, rows and heads; the goal is T x T x 4 bytes.",
        "",
        "| T | bytes | T x T x 4 | ratio |",
        "|---|---|---|---|",
    ]
    for n in SIZES:
        bias = BiasConfig().build(HEADS)
        bias(n)
        held = sum(matrix.untyped_storage().nbytes() for matrix in bias.kept.values())
        lines.append(f"| {n:,} | {held:,} | {4 * n * n:,} | {held / (4 * n * n):.2f} |")
    return [*lines, ""]


def inference(runs: int) -> list[str]:
    """A forecast of the two-branch model, which runs the time branch alone, against running both."""
    schema = Schema("series", {"series": 7}, tuple("abcdefg"), 96, 96)
    torch.manual_seed(0)
    model = CalfConfig(gpt_layers=4, dim=128, heads=4).build(schema).eval()
    text = model.text
    assert text is not None
    batch = Batch({"series": torch.randn(32, 96, 7), "series_mask": torch.ones(32, 96, 7, dtype=torch.bool)}, {}, {})
    tokens = torch.randn(32 * 7, 12, 128)

    @torch.no_grad()
    def alone() -> None:
        model(batch)

    @torch.no_grad()
    def both() -> None:
        model(batch)
        text(tokens)

    share = ratio(paired({"alone": alone, "both": both}, runs, 1), "alone", "both")
    held = "held" if share <= GOAL_ALONE else "missed"
    return [
        "## Inference with and without the text branch",
        "",
        "`calf`, four blocks of width 128, 32 windows of seven variates: the time branch alone, as a prediction runs",
        f"it, costs {share:.2f} of running both branches, goal {GOAL_ALONE}: {held}.",
        "",
    ]


SECTIONS: tuple[Callable[[int], list[str]], ...] = (cost, memory, inference)
"""The sections of the page, in order: each measures and returns its lines."""


def main() -> None:
    """Measure, print, and write the page."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    torch.set_num_threads(1)
    lines = [
        "# What a bias by distance costs",
        "",
        "Made by `OMP_NUM_THREADS=1 python benchmarks/attention.py`; nothing here is typed in by hand.",
        "",
    ]
    for section in SECTIONS:
        lines += section(runs)
    lines += [f"torch {torch.__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} cores, 1 thread.", ""]
    print("\n".join(lines))
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
