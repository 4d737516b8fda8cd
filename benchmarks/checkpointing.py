"""What gradient checkpointing saves, at equal gradients: docs/results/checkpointing.md.

A training step of `chimera` at the `seed` size on long texts: peak memory with and without, each in a fresh process,
the time of a step, and whether loss and gradients are equal bit for bit.
Usage: OMP_NUM_THREADS=1 python benchmarks/checkpointing.py
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _page import write_page
from torch import Tensor, nn

from plait.core.schema import Schema
from plait.core.tokens import Batch
from plait.evaluation.cost import peak_bytes
from plait.nn.recompute import recompute
from plait.runs.recipe import load_recipe, resolve

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results" / "checkpointing.md"
TEXTS, WORDS, WIDTH, MARKS = 4, 512, 384, 4
SCHEMA = Schema(
    "series", {"series": 7, "text": WIDTH}, tuple("abcdefg"), 96, 96, MARKS, 24, {"text": TEXTS * WORDS}
)  # fmt: skip


def network(again: bool) -> nn.Module:
    """The model in training mode, from the same seed."""
    torch.manual_seed(0)
    model: nn.Module = resolve(load_recipe("chimera"), "seed", []).model.build(SCHEMA)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)  # an open fusion, so that gradients reach the texts
    if again:
        recompute(model)
    return model.train()


def one_window() -> Batch:
    """A random window; its texts fill three quarters of their places, on average."""
    maker = torch.Generator().manual_seed(1)
    series = torch.randn(1, 96, 7, generator=maker)
    lengths = torch.randint(WORDS // 2, WORDS + 1, (1, TEXTS, 1), generator=maker)
    inputs = {
        "series": series,
        "series_mask": torch.ones_like(series, dtype=torch.bool),
        "series_marks": torch.randn(1, 96, MARKS, generator=maker),
        "series_season": torch.zeros(1, dtype=torch.int64),
        "text": torch.randn(1, TEXTS * WORDS, WIDTH, generator=maker),
        "text_mask": (torch.arange(WORDS) < lengths).flatten(1),
        "text_age": torch.rand(1, TEXTS * WORDS, generator=maker),
    }
    return Batch(inputs, {}, {})


def stepping(model: nn.Module, batch: Batch) -> Callable[[], Tensor]:
    """A forward and a backward pass, with the same draws of dropout every time."""

    def step() -> Tensor:
        model.zero_grad(set_to_none=True)
        torch.manual_seed(2)
        out = model(batch)
        loss = out.prediction.point.square().mean() + sum(total / weight for total, weight in out.losses.values())
        loss.backward()
        return loss.detach()

    return step


def resident() -> int:
    """The most memory this process has had, in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory(again: bool) -> dict[str, int]:
    """Peak memory of a training step beyond the model and the batch: of the process, and of the tensors made."""
    model, batch = network(again), one_window()
    before = resident()
    stepping(model, batch)()
    grown = resident() - before
    model.zero_grad(set_to_none=True)
    return {"resident": grown, "tensors": peak_bytes(stepping(model, batch), torch.device("cpu"))}


def measured(again: bool) -> dict[str, int]:
    """The same, in a fresh process."""
    command = [sys.executable, __file__, "--memory", str(int(again))]
    found: dict[str, int] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def compared() -> tuple[float, bool, int]:
    """Time of a step with checkpointing over one without, whether loss and gradients are equal, and their number."""
    batch = one_window()
    models = [network(again) for again in (False, True)]
    steps = [stepping(model, batch) for model in models]
    equal = torch.equal(*(step() for step in steps))  # warms up, too
    times = []
    for step in steps:
        began = time.process_time()
        step()
        times.append(time.process_time() - began)
    one, two = ({name: p.grad for name, p in model.named_parameters() if p.grad is not None} for model in models)
    equal = equal and one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    return times[1] / times[0], equal, len(one)


def results() -> list[str]:
    """The lines of the table, and what is said of the gradients."""
    without, again = measured(False), measured(True)
    slower, equal, count = compared()
    lines = ["| peak memory of | without | with | change |", "|---|---|---|---|"]
    for name, what in (("resident", "the process"), ("tensors", "the tensors made")):
        sizes = [f"{found[name] / 2**20:,.0f} MiB" for found in (without, again)]
        lines.append(f"| {' | '.join([what, *sizes, f'{again[name] / without[name] - 1:+.0%}'])} |")
    said = "equal, bit for bit" if equal else "NOT equal"
    return [*lines, "", f"Loss and gradients ({count} tensors): {said}. A step takes {slower:.2f} times as long."]


def main() -> None:
    """Measure, and write the page."""
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--memory"]:
        print(json.dumps(memory(sys.argv[2] == "1")))
        return
    lines = [
        "# Gradient checkpointing", "",
        "Made by `OMP_NUM_THREADS=1 python benchmarks/checkpointing.py`; nothing here is typed in by hand. With",
        "`--gradient-checkpointing` what transformer blocks compute is computed again in the backward pass, not kept.",
        f"A training step of `chimera` at the size `seed`, of one window with {TEXTS} texts of up to {WORDS} tokens:",
        "what a forward and a backward pass take beyond the model and the batch. The process is fresh; its peak is",
        "that of the operating system. CPU time, one thread, float32, dropout on.", "",
        *results(),
    ]  # fmt: skip
    write_page(PAGE, lines)


if __name__ == "__main__":
    main()
