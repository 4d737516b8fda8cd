"""`plait evaluate`: score a run again, as a whole or by the price of its rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from plait.cli.arguments import COMMON, only_options, scored_split
from plait.core.console import say
from plait.core.errors import ConfigError

PAGE = f"""usage: plait evaluate RUN [--split val|test] [--groups [--bins quantiles|seed]] [--device auto|cpu|cuda|mps]

--groups  of prices: errors in bins of the true price, held-out rows only, with counts and intervals
--bins    quantiles (tenths of the train prices, default), or seed (the bins and ranges of the design document)

Everywhere: {COMMON}"""


def evaluate(tokens: list[str]) -> dict[str, Any]:
    """Score a run again."""
    if "--help" in tokens or "-h" in tokens:
        say(PAGE)
        return {}
    grouped = "--groups" in tokens
    parsed = only_options([t for t in tokens if t != "--groups"], ("RUN",), valued=("split", "device", "bins"))
    if "bins" in parsed.options and not grouped:
        raise ConfigError("--bins says how --groups groups", fix="add --groups")
    from plait.runs.run import load_run
    from plait.runs.scores import coverage_words

    split = scored_split(parsed.options.get("split", "test"))
    run = load_run(parsed.words[0]).on(parsed.options.get("device", "auto"))
    groups = run.groups(split, parsed.options.get("bins", "quantiles")) if grouped else None
    metrics = run.evaluate(split)
    for name, value in metrics.items():
        say(f"{split} {name}: {value:.6f}")
    if "coverage" in metrics:
        say(coverage_words(metrics, run.config.task.coverage, split))
    found = {"run": parsed.words[0], "split": split, "metrics": {split: metrics}}
    if groups is None:
        return found
    tell_groups(groups)
    return {**found, "groups": groups}


def tell_groups(groups: Sequence[Mapping[str, Any]]) -> None:
    """Print the errors of each group, a line each, and how much each expert is heard there."""
    by = ""
    for group in groups:
        if group["by"] != by:
            by = group["by"]
            say(f"\n{by:<22} {'rows':>6}  {'smape':<24} {'mae':<36} experts")
        errors = [_told(group, name) for name in ("smape", "mae")]
        shares = ["/".join(f"{share:.0%}" for share in net) for net in group["gate"] or ()]
        say(f"{group['label']:<22} {group['count']:>6}  {errors[0]:<24} {errors[1]:<36} {' '.join(shares)}".rstrip())


def _told(group: Mapping[str, Any], name: str) -> str:
    """An error with its interval, where there is one."""
    if group[name] is None:
        return "-"
    low, high = group[f"{name}_low"], group[f"{name}_high"]
    return f"{group[name]:,.1f}" + ("" if low is None else f" [{low:,.1f}, {high:,.1f}]")
