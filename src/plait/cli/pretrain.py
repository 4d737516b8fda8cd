"""`plait pretrain`: learn what samples say of themselves, by the same training as `plait train`."""

from typing import Any

from plait.cli.arguments import COMMON, raw_config_of
from plait.cli.training import train_run
from plait.core.console import say


def pretrain(tokens: list[str]) -> Any:
    """Train a recipe's encoder without labels, or go on in a run folder."""
    if "--help" in tokens or "-h" in tokens:
        return _help([token for token in tokens if token not in ("--help", "-h")])
    result, folder = train_run(tokens, pretrain=True)
    say(f"start from it: plait train {result['recipe']} --pretrained-encoder {folder}")
    return result


def _help(tokens: list[str]) -> Any:
    say("usage: plait pretrain RECIPE|run.yaml [--size tiny|base|seed] [--out FOLDER] [fields]")
    say("       plait pretrain --resume FOLDER\n")
    say("Learns without labels; plait train RECIPE --pretrained-encoder FOLDER [--freeze-base] starts from what it")
    say(f"learned. Fields as of plait train. Everywhere: {COMMON}\n")
    if not tokens:
        return {}
    from plait.cli.fields_page import fields_page

    _, recipe, raw = raw_config_of(tokens, valued=("out", "resume"), pretrain=True)
    say(fields_page(recipe, raw))
    return {}
