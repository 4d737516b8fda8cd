"""A comparison in words: the table of arms and the verdict, or the table of fusion kinds."""

from typing import Any

from plait.core.console import say


def tell_comparison(result: dict[str, Any]) -> None:
    """Print the table of arms and the verdict for people."""
    for words in result["caveats"]:
        say(f"\n{words}")
    say(f"\ntest {result['metric']} ({result['unit']}, {result['windows']} {result['row_name']})")
    for arm in sorted(result["arms"], key=lambda arm: arm["mean"]):
        also = "".join(
            f"  {name.replace('_', ' ')} {found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
            for name, found in arm.get("also", {}).items()
        )
        say(f"  {arm['name']:<22} {_error(arm)}{also}  {arm['meaning']}")
    for verdict in result["verdicts"]:
        say(f"\nverdict: {verdict['text']}")
        if "accepted" in verdict:
            what = "seeds" if result["folds"] == 1 else "trainings"
            fused, placebo = (_share(verdict[kept], what) for kept in ("accepted", "placebo_accepted"))
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


def tell_ablation(result: dict[str, Any]) -> None:
    """Print the arms of a comparison of parts for people, the lowest test error first, with their change."""
    say(f"\ntest {result['metric']} ({result['unit']}, {result['windows']} {result['row_name']})")
    for arm in sorted([*result["arms"], *result["rivals"]], key=lambda arm: arm["mean"]):
        found = arm.get("against_anchor")
        own = arm["name"] == result["anchor"]
        against = "" if found is None or own else f"  {_change(found)} against {result['anchor']}"
        say(f"  {arm['name']:<22} {_error(arm)}{against}  {arm['meaning']}")
    for name, reason in result["left_out"].items():
        say(f"left out: {name}: {reason}")


def _share(decisions: list[bool], what: str) -> str:
    return f"{sum(decisions)} of {len(decisions)} {what}"


def tell_fusions(result: dict[str, Any]) -> None:
    """Print the fusion kinds for people, the lowest test error first, with what each costs."""
    seeds, default = len(result["seeds"]), result["default"]
    about = f"{result['windows']} {result['row_name']}, {seeds} seeds"
    say(f"\ntest {result['metric']} ({result['unit']}, {about}), before acceptance")
    say(f"budget: the {result['budget']} parameters of the recipe's own fusion, {default}")
    head = (
        "fusion",
        "error",
        f"against {default}",
        "against the anchor",
        "kept",
        "parameters",
        "whole model",
        "ms",
        "MiB",
    )
    rows = [_anchor_row(result["anchor"])]
    for each in sorted(result["fusions"], key=lambda each: each["error"]["mean"]):
        size = "" if each["label"] == "matched" else f", {each['label']}: x{each['ratio']:.2f}"
        rows.append((
            each["kind"], _error(each["error"]), _change(each["against_default"]), _change(each["against_anchor"]),
            f"{sum(each['accepted'])}/{len(each['accepted'])}", f"{each['parameters']}{size}",
            *_cost(each),
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        say("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for each in result["left_out"]:
        say(f"left out: {each['kind']}: {each['reason']}")
    say("kept: seeds that acceptance keeps; ms: an optimiser step; MiB: the peak of a forward and backward pass")
    say("no placebo is among these arms: they rank the kinds, the verdict comes from plait compare without --fusions")


def _anchor_row(anchor: dict[str, Any]) -> tuple[str, ...]:
    return ("anchor alone", _error(anchor["error"]), "", "", "", str(anchor["parameters"]), *_cost(anchor))


def _cost(facts: dict[str, Any]) -> tuple[str, str, str]:
    return str(facts["total_parameters"]), f"{facts['train_ms']:.1f}", f"{facts['peak_mib']:.1f}"


def _error(found: dict[str, Any]) -> str:
    return f"{found['mean']:.4f}" + ("" if found["low"] is None else f" [{found['low']:.4f}, {found['high']:.4f}]")


def _change(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    return f"{found['value']:+.1%}" + ("" if found["low"] is None else f" [{found['low']:+.1%}, {found['high']:+.1%}]")
