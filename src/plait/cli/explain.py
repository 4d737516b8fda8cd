"""`plait explain`: what a run's model looked at, on disk and in words."""

from pathlib import Path
from typing import Any

from plait.cli.arguments import only_options
from plait.core.console import say
from plait.core.errors import ConfigError, suggest
from plait.core.schema import SPLITS


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
    say(f"{result['windows']} {result['split']} windows{which}, fusion {result['fusion']}")
    for name, about in result["maps"].items():
        keys = f"; keys {', '.join(f'{places} {key}' for key, places in about['keys'])}" if about["keys"] else ""
        say(f"  map {name}: {' x '.join(map(str, about['shape']))} ({', '.join(about['axes'])}){keys}")
    for check in result["checks"]:
        say(f"ok    {check['map']}: {check['what']} (at most {check['largest']:.2g})")
    agreement = result["agreement"]
    say(f"ok    the forecast with maps is that of the fast path (within {agreement['largest']:.2g})")
    faithfulness = result["faithfulness"]
    say(faithfulness["text"] if faithfulness else f"no faithfulness: {result['no_faithfulness']}")
    for contribution in result["contributions"]:
        say(contribution["text"])
