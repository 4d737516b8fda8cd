"""`plait explain`: what a run's model looked at, on disk and in words."""

from pathlib import Path
from typing import Any

from plait.cli.arguments import only_options
from plait.core.console import say
from plait.core.errors import ConfigError, suggest
from plait.core.schema import SPLITS

SHOWN = 5
"""Taxa of each kind that are printed."""


def explain_verb(tokens: list[str]) -> dict[str, Any]:
    """Explain a run over a split into RUN/explain; returns what explain.json holds, an error where a check fails."""
    from plait.evaluation.explain.run import explain
    from plait.report.page import write_report
    from plait.runs.run import load_run

    raw = "--raw" in tokens
    parsed = only_options([t for t in tokens if t != "--raw"], ("RUN",), valued=("split", "device"))
    split = parsed.options.get("split", "test")
    if split not in SPLITS:
        raise ConfigError(f"no split {split!r}", where="--split", fix=suggest(split, SPLITS))
    run = load_run(parsed.words[0], raw).on(parsed.options.get("device", "auto"))
    folder = Path(parsed.words[0]) / "explain" / (f"{split}-raw" if raw else split)
    result = explain(run, split, folder)
    tell(result)
    say(f"maps and figures: {folder}")
    say(f"report: {write_report(run.folder)}")
    return result


def tell(result: dict[str, Any]) -> None:
    """Print an explanation for people."""
    which = " of the model before acceptance" if result["raw"] and result["accepted"] is False else ""
    rows = result.get("row_name", "windows")
    answer = "forecast" if rows == "windows" else "prediction"
    say(f"{result['windows']} {result['split']} {rows}{which}, fusion {result['fusion']}")
    for name, about in result["maps"].items():
        keys = f"; keys {', '.join(f'{places} {key}' for key, places in about['keys'])}" if about["keys"] else ""
        say(f"  map {name}: {' x '.join(map(str, about['shape']))} ({', '.join(about['axes'])}){keys}")
    for check in result["checks"]:
        say(f"ok    {check['map']}: {check['what']} (at most {check['largest']:.2g})")
    agreement = result["agreement"]
    say(f"ok    the {answer} with maps is that of the fast path (within {agreement['largest']:.2g})")
    faithfulness = result["faithfulness"]
    say(faithfulness["text"] if faithfulness else f"no faithfulness: {result['no_faithfulness']}")
    for contribution in result["contributions"]:
        say(contribution["text"])
    tell_between(result.get("between"))
    tell_taxa(result.get("taxa"))
    tell_counterfactuals(result.get("counterfactuals") or [])


def tell_between(between: dict[str, Any] | None) -> None:
    """Print how much of the attention each modality gets."""
    if between:
        each = zip(between["names"], between["received"], between["even"], strict=True)
        shares = (f"{name} {share:.1%} (even: {even:.1%})" for name, share, even in each)
        say(f"attention goes to {', '.join(shares)}")


def tell_taxa(taxa: dict[str, Any] | None) -> None:
    """Print the families and ASVs that look most at the metadata, and those that weigh most in the pool."""
    if not taxa:
        return
    for key, name, title in (("families", "family", "families"), ("attention", "label", "ASVs")):
        for number, row in enumerate(taxa[key][:SHOWN]):
            if not number:
                say(f"{title} that look most at the metadata:")
            each = ", ".join(f"{c} {w:.3f}" for c, w in zip(taxa["columns"], row["weights"], strict=True))
            say(f"  {row[name]}: {each}; in {row['samples']} samples")
    for number, row in enumerate(taxa["pool"][:SHOWN]):
        if not number:
            say("ASVs that weigh most where a sample is pooled:")
        times = f", {row['weight'] / row['even']:.1f} times an even share" if row["even"] else ""
        say(f"  {row['label']}: {row['weight']:.4f}{times}; in {row['samples']} samples")


def tell_counterfactuals(found: list[dict[str, Any]]) -> None:
    """Print how far the mean prediction moves with another value in one column."""
    if not found:
        return
    say("The same samples with another value; this is what the model says, not an effect:")
    for row in found:
        change = row["change"]
        span = "" if change["low"] is None else f" [{change['low']:+.3g}, {change['high']:+.3g}]"
        of = f" of {row['class']}" if row["class"] is not None else ""
        moved = "not known" if change["value"] is None else f"{change['value']:+.3g}"
        step = f" of {row['step']:.3g}" if row["step"] is not None else ""
        words = f"  {row['column']} = {row['value']}{step}: {row['unit']}{of} {moved}{span}"
        say(f"{words}; {row['samples_that_have_it']} samples {'have' if row['step'] is None else 'know'} it")
