"""A comparison in words: the table of arms and the verdict."""

from typing import Any

from plait.core.console import say


def tell_comparison(result: dict[str, Any]) -> None:
    """Print the table of arms and the verdict for people."""
    say(f"\ntest {result['metric']} ({result['unit']}, {result['windows']} windows)")
    for arm in sorted(result["arms"], key=lambda arm: arm["mean"]):
        interval = f" [{arm['low']:.4f}, {arm['high']:.4f}]" if arm["low"] is not None else ""
        say(f"  {arm['name']:<22} {arm['mean']:.4f}{interval}  {arm['meaning']}")
    for verdict in result["verdicts"]:
        say(f"\nverdict: {verdict['text']}")
        if "accepted" in verdict:
            fused, placebo = _share(verdict["accepted"]), _share(verdict["placebo_accepted"])
            say(f"accepted on validation: fused {fused}, placebo {placebo}")
    if "recovery" in result:
        share = result["recovery"]
        say(f"share of the oracle's gap: {share['value']:.1%} [{share['low']:.1%}, {share['high']:.1%}]")
    best = result["best_baseline"]
    if best["change"] is not None:
        words = "worse" if best["fused_is_worse"] else "not worse"
        weak = ", a weak comparison" if best["weak"] else ""
        interval = f"[{best['low']:+.1%}, {best['high']:+.1%}]"
        say(f"fused is {words} than the best baseline, {best['name']}: {best['change']:+.1%} {interval}{weak}")


def _share(decisions: list[bool]) -> str:
    return f"{sum(decisions)} of {len(decisions)} seeds"
