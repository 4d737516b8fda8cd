"""`plait`: the verbs, with torch and pydantic imported only by those that need them."""

import json
import os
import sys
import traceback
from collections.abc import Callable
from itertools import takewhile
from typing import Any

import typer

from plait import __version__
from plait.core import console, signals
from plait.core.errors import PlaitError
from plait.core.processes import leads

RAW = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
# Any option that typer takes apart itself, its --help among them, makes it import pydantic: groups have none, and their
# help is what typer says when they are called without a verb.
GROUP: dict[str, list[str]] = {"help_option_names": []}

app = typer.Typer(
    name="plait",
    help="Attention-based multimodal fusion, and proof of what each modality adds.",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings=GROUP,
    epilog="plait VERB --help says more; plait --version prints the version.",
)
data_app = typer.Typer(
    help="Look at data: list, fetch, check, convert.",
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=GROUP,
)
app.add_typer(data_app, name="data")


def _raw(name: str, summary: str, group: typer.Typer = app) -> None:
    """Add a verb whose tokens the verb itself takes apart."""

    def command(ctx: typer.Context) -> None:
        path = ["data", name] if group is data_app else [name]
        run_verb(" ".join(path), list(ctx.args))

    command.__doc__ = summary
    group.command(name, context_settings=RAW, add_help_option=False, help=summary)(command)


_raw("demo", "Train on planted data and print a verdict (runs/demo).")
_raw("init", "Print a recipe as commented YAML.")
_raw("embed", "Turn photos or texts into arrays of embeddings, or encode a recipe's texts, once.")
_raw("features", "Compute what a recipe reads of its data before any network, once.")
_raw("train", "Train a recipe or a run.yaml into a new run folder.")
_raw("pretrain", "Train a recipe's encoder without labels into a new run folder.")
_raw("evaluate", "Score a run again, from its own model and data.")
_raw("predict", "Forecast with a run, in the unit of the data.")
_raw("compare", "Train naive, single, fused and placebo arms; print the verdict.")
_raw("audit", "Prove that nothing from after an origin reaches the model; exit 3 on a leak.")
_raw("explain", "Write attention and gates of a run, check them, and say what each modality adds.")
_raw("report", "Write the HTML page of a run or a comparison.")
_raw("doctor", "Say what this machine and installation can do.")
_raw("list", "List recipes, data kinds and the kinds of parts.", data_app)
_raw("fetch", "List public data, or download a set of it and check each file.", data_app)
_raw("check", "Read and check a recipe's data; exit 3 on what is to be decided.", data_app)
_raw("convert", "Read embeddings out of a legacy pickle into an .npz; nothing of the pickle runs.", data_app)


def run_verb(verb: str, tokens: list[str]) -> None:
    """Run one verb with its tokens: human text, or with --json one object on standard output."""
    from plait.cli import verbs

    action: Callable[[list[str]], Any] = getattr(verbs, verb.replace(" ", "_"))
    as_json = "--json" in tokens
    tokens = [t for t in tokens if t not in ("--json", "--debug")]
    console.speak_on(sys.stderr if as_json else None)
    signals.install()
    try:
        result = action(tokens)
        if as_json and leads():
            print(json.dumps(result, ensure_ascii=False, allow_nan=False), flush=True)
        if isinstance(result, dict) and result.get("exit_code"):
            sys.exit(result["exit_code"])
    except BrokenPipeError:
        # The reader has what it wanted (`| head`); Python would complain once more when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def main() -> None:
    """The entry point: errors become one line and an exit code; `--debug` shows the traceback."""
    debug = "--debug" in sys.argv
    # `plait --json train` is `plait train --json`.
    ahead = list(takewhile(lambda token: token in ("--json", "--debug"), sys.argv[1:]))
    tokens = sys.argv[1 + len(ahead) :]
    if tokens == ["--version"]:
        return print(f"plait {__version__}")
    help_asked = tokens[-1:] in (["--help"], ["-h"]) and tokens[:-1] in ([], ["data"])
    try:
        app(tokens[:-1] if help_asked else [*tokens, *ahead], prog_name="plait", standalone_mode=False)
    except PlaitError as error:
        if debug:
            traceback.print_exc()
        _end(f"plait: {error}", error.exit_code)
    except KeyboardInterrupt:
        _end("plait: interrupted", 130)
    except Exception as error:
        if type(error).__module__.startswith("typer") or hasattr(error, "format_message"):
            if help_asked:
                return print(error.format_message())  # type: ignore[attr-defined]
            _end(_usage(error), 2)
        if debug:
            traceback.print_exc()
        _end(f"plait: {type(error).__name__}: {error} (an error of plait's own; --debug shows where)", 1)


def _usage(error: Any) -> str:
    message = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    if message.startswith("No such command"):
        from plait.core.errors import suggest

        name = message.split("'")[1] if "'" in message else ""
        group = data_app if len(sys.argv) > 1 and sys.argv[1] == "data" else app
        names = [c.name for c in group.registered_commands if c.name] + ([] if group is data_app else ["data"])
        return f"plait: no verb {name!r} ({suggest(name, names)})"
    return message if message.startswith("Usage:") else f"plait: {message.rstrip('.')} (see plait --help)"


def _end(text: str, code: int) -> None:
    print(text, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
