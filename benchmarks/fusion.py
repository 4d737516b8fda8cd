"""What every fusion operator costs beside a plain attention block: docs/results/fusion_cost.md.

Forward and backward time, and the peak memory of the tensors they make, for n anchor and m context tokens in 8, 64 and
512, against one pre-norm transformer block over the n + m tokens, of the same width, heads and feed-forward width.
Usage: python benchmarks/fusion.py [repeats]
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from plait.core.kinds import config_class, kinds
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.evaluation.cost import peak_bytes, step_ms
from plait.nn.attention import Attention
from plait.nn.block import Block
from plait.runs.folder import environment

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "fusion_cost.md"
SIZES, ROWS, DIM, HEADS = (8, 64, 512), 8, 128, 4
PLAIN = "plain block"


class Cell(NamedTuple):
    """One operator at one size, against the plain block in the same run."""

    kind: str
    n: int
    m: int
    ms: float
    mib: float
    time_ratio: float
    memory_ratio: float


def operators() -> dict[str, Any]:
    """Every kind with its defaults, and the plain block."""
    torch.manual_seed(0)
    schema = Schema("anchor", {"anchor": DIM, "context": DIM})
    built = {kind: config_class("fusion", kind)().build(schema) for kind in kinds("fusion") if kind != "none"}
    return {**built, PLAIN: Block(DIM, HEADS, 2 * DIM)}


def step(name: str, module: Any, n: int, m: int) -> Any:
    """A forward and a backward pass of an operator, in training mode, to the weights and to both streams."""
    anchor = torch.randn(ROWS, n, DIM, requires_grad=True)
    context = torch.randn(ROWS, m, DIM, requires_grad=True)
    masks = torch.ones(ROWS, n, dtype=torch.bool), torch.ones(ROWS, m, dtype=torch.bool)

    def run() -> None:
        if name == PLAIN:
            tokens = Tokens(torch.cat([anchor, context], dim=1), torch.cat(masks, dim=1))
            out = module(tokens)[0].x
        else:
            out = module({"anchor": Tokens(anchor, masks[0]), "context": Tokens(context, masks[1])}).x
        out.square().mean().backward()
        for tensor in (anchor, context, *module.parameters()):
            tensor.grad = None

    return run


def cells(repeats: int) -> list[Cell]:
    """Every operator at every size."""
    found = []
    modules, device = operators(), torch.device("cpu")
    for n in SIZES:
        for m in SIZES:
            steps = {name: step(name, module, n, m) for name, module in modules.items()}
            times = step_ms(steps, device, repeats=repeats)
            peaks = {name: peak_bytes(run, device) / 2**20 for name, run in steps.items()}
            for kind in modules:
                ratios = times[kind] / times[PLAIN], peaks[kind] / peaks[PLAIN]
                found.append(Cell(kind, n, m, times[kind], peaks[kind], *ratios))
            print(f"n {n}, m {m}: " + ", ".join(f"{kind} {times[kind]:.2f} ms" for kind in modules), flush=True)
    return found


def reason(cell: Cell) -> str:
    """Where the time of a cell goes: its attentions against the plain block's one, and its costliest operations."""
    modules = operators()
    module, run = modules[cell.kind], step(cell.kind, modules[cell.kind], cell.n, cell.m)
    run()
    sizes: list[tuple[int, int]] = []
    hooks = [
        part.register_forward_pre_hook(lambda _, given: sizes.append((given[0].shape[1], given[1].shape[1])))
        for part in module.modules()
        if isinstance(part, Attention)
    ]
    run()
    for hook in hooks:
        hook.remove()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(5):
            run()
    events = [event for event in found.key_averages() if event.self_cpu_time_total > 0]
    total = sum(event.self_cpu_time_total for event in events)
    costly = sorted(events, key=lambda event: -event.self_cpu_time_total)[:3]
    words = ", ".join(f"{e.key.removeprefix('aten::')} {e.self_cpu_time_total / total:.0%}" for e in costly)
    kernels = sum(event.count for event in events if event.key.startswith("aten::")) // 5
    pairs = ", ".join(f"{q} x {k}" for q, k in sizes) or "none"
    whole = cell.n + cell.m
    return (
        f"attentions (queries x keys): {pairs}; the block has one of {whole} x {whole}. "
        f"{kernels} operations a pass, most time in {words}"
    )


def table(found: list[Cell], value: str, ratio: str) -> list[str]:
    """Kinds down, sizes across: the measurement and its ratio to the plain block."""
    sizes = [(n, m) for n in SIZES for m in SIZES]
    lines = ["| kind | " + " | ".join(f"{n}, {m}" for n, m in sizes) + " |", "|---|" + "---|" * len(sizes)]
    at = {(cell.kind, cell.n, cell.m): cell for cell in found}
    for kind in dict.fromkeys(cell.kind for cell in found):
        row = [at[kind, n, m] for n, m in sizes]
        numbers = (f"{getattr(c, value):.2f}" + (f" ({getattr(c, ratio):.2f})" if kind != PLAIN else "") for c in row)
        lines.append(f"| {kind} | " + " | ".join(numbers) + " |")
    return lines


def main() -> None:
    """Measure and write the page."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    torch.set_num_threads(1)
    found, facts = cells(repeats), environment()
    parameters = {kind: sum(p.numel() for p in module.parameters()) for kind, module in operators().items()}
    worst = sorted((cell for cell in found if cell.kind != PLAIN), key=lambda cell: -cell.time_ratio)[:3]
    lines = [
        "# What each fusion operator costs",
        "",
        "Made by `python benchmarks/fusion.py`; nothing here is typed in by hand. Every kind with its defaults, width",
        f"{DIM}, {ROWS} rows, float32, n anchor and m context tokens, all present. In brackets: against one pre-norm",
        f"transformer block ({HEADS} heads, feed-forward width {2 * DIM}) over the n + m tokens, in the same run; each",
        f"cell is the median of {repeats} interleaved passes.",
        "",
        "## Forward and backward, ms (ratio), by n, m",
        "",
        *table(found, "ms", "time_ratio"),
        "",
        "## Peak memory of the tensors made, MiB (ratio), by n, m",
        "",
        *table(found, "mib", "memory_ratio"),
        "",
        "## Parameters",
        "",
        ", ".join(f"{kind} {count:,}" for kind, count in parameters.items()),
        "",
        "## The three worst ratios, and why",
        "",
        *(f"- {c.kind} at n {c.n}, m {c.m}: {c.time_ratio:.2f} times the block. {reason(c)}." for c in worst),
        "",
        f"torch {facts['packages']['torch']}, Python {facts['python']}, {facts['cores']} cores, 1 thread.",
        "",
    ]
    print("\n".join(lines[-6:]))
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
