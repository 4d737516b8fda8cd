"""`plait pretrain`: learn what samples say of themselves, by the same training as `plait train`."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from plait.cli.arguments import COMMON, config_of, only_options, raw_config_of
from plait.core.console import say
from plait.core.errors import ConfigError


def pretrain(tokens: list[str]) -> Any:
    """Train a recipe's encoder without labels, or go on in a run folder."""
    if "--help" in tokens or "-h" in tokens:
        return _help([token for token in tokens if token not in ("--help", "-h")])
    from plait.runs.folder import new_folder, new_or_nothing, read_config, refuse_comparison

    resume = any(token == "--resume" or token.startswith("--resume=") for token in tokens)
    if resume:
        folder = Path(only_options(tokens, (), ("resume",)).options["resume"])
        config = read_config(folder)
        refuse_comparison(folder)
    else:
        parsed, _, config = config_of(tokens, valued=("out",), pretrain=True)
    if config.task.kind != "pretrain":
        raise ConfigError(f"the task is {config.task.kind}", where="plait pretrain", fix="plait train it")
    if not resume:
        folder = new_folder(config, parsed.options.get("out"), verb="pretrain")
    from plait.report.page import write_report
    from plait.runs.fit import fit, tell

    say(f"run folder: {folder}")
    with nullcontext() if resume else new_or_nothing(folder):
        result = fit(config, folder)
    tell(result)
    say(f"report: {write_report(folder)}")
    say(f"start from it: plait train {config.recipe} --pretrained-encoder {folder}")
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
