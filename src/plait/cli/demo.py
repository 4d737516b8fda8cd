"""`plait demo`: the planted signal and its no-signal control, from data to verdict."""

import time
from pathlib import Path
from typing import Any

from plait.cli.verdict import tell_comparison
from plait.core.config import validate
from plait.core.console import clock, say
from plait.core.files import write_json
from plait.evaluation.compare import Comparison, Plan
from plait.report.page import write_report
from plait.runs.config import RunConfig
from plait.runs.folder import read_json, write_start
from plait.runs.recipe import load_recipe, merge

CONTROLS = (("planted", True), ("control", False))


def run_demo(folder: Path, seeds: int) -> dict[str, Any]:
    """Compare the arms on planted data and on the no-signal control; returns what compare.json holds.

    The control has the same series, bit for bit, and bulletins of an independent stream; its comparison stands under
    `control`.
    """
    import torch

    # These tensors are small: a second thread gains little on an idle machine and loses much on a busy one.
    torch.set_num_threads(1)
    began = time.monotonic()
    recipe = load_recipe("chimera")
    results = {}
    for name, signal in CONTROLS:
        raw = merge(recipe.config, merge(recipe.demo, {"data": {"kind": "planted", "signal": signal}}))
        config = validate(RunConfig, raw, "demo")
        place = folder if signal else folder / name
        place.mkdir(parents=True, exist_ok=True)
        write_start(place, config)
        say(
            "bulletins that announce coming level shifts:"
            if signal
            else "\nthe control: bulletins that announce nothing:"
        )
        plan = Plan.of_recipe(recipe, config, tuple(range(seeds)))
        results[name] = Comparison(plan, place).run()
        tell_comparison(results[name])
    write_json(folder / "compare.json", {**results["planted"], "control": results["control"]})
    result: dict[str, Any] = read_json(folder / "compare.json")
    say(f"\nreport: {write_report(folder)}")
    say(f"figures: {folder / 'compare.json'}; {clock(time.monotonic() - began)} in all")
    return result
