"""One training from a verb's tokens to its run folder and report, new or resumed."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from plait.cli.arguments import config_of, only_options
from plait.core.console import say
from plait.core.errors import ConfigError


def train_run(tokens: list[str], pretrain: bool = False) -> tuple[dict[str, Any], Path]:
    """Train what the tokens name, or go on in the folder of `--resume`; returns its result and its folder.

    With `pretrain` the recipe is that of its pretraining. Errors: ConfigError where it is then another task.
    """
    from plait.runs.folder import new_folder, new_or_nothing, read_config, refuse_comparison

    resume = any(token == "--resume" or token.startswith("--resume=") for token in tokens)
    if resume:
        folder = Path(only_options(tokens, (), ("resume",)).options["resume"])
        config = read_config(folder)
        refuse_comparison(folder)
    else:
        parsed, _, config = config_of(tokens, valued=("out",), pretrain=pretrain)
    if pretrain and config.task.kind != "pretrain":
        raise ConfigError(f"the task is {config.task.kind}", where="plait pretrain", fix="plait train it")
    if not resume:
        folder = new_folder(config, parsed.options.get("out"), verb="pretrain" if pretrain else "")
    from plait.report.page import write_report
    from plait.runs.fit import fit, tell

    say(f"run folder: {folder}")
    with nullcontext() if resume else new_or_nothing(folder):
        result = fit(config, folder)
    tell(result)
    say(f"report: {write_report(folder)}")
    return result, folder
