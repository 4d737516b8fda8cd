"""`plait`: the verbs, with torch and pydantic imported only by those that need them."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from plait.core import console, signals
from plait.core.errors import PlaitError

RAW = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = typer.Typer(
    name="plait",
    help="Attention-based multimodal fusion, and proof of what each modality adds.",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
data_app = typer.Typer(help="Look at data: list, check.", rich_markup_mode=None, no_args_is_help=True)
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
_raw("embed", "Encode the texts of a recipe's data into the store, once.")
_raw("train", "Train a recipe or a run.yaml into a new run folder.")
_raw("evaluate", "Score a run again, from its own model and data.")
_raw("predict", "Forecast with a run, in the unit of the data.")
_raw("compare", "Train naive, anchor-only, fused and placebo arms and print the verdict.")
_raw("report", "Write the HTML page of a run or a comparison.")
_raw("doctor", "Say what this machine and installation can do.")
_raw("list", "List recipes, data kinds and the kinds of parts.", data_app)
_raw("check", "Read a recipe's data and say what was found; exit 3 on what must be decided.", data_app)


def run_verb(verb: str, tokens: list[str]) -> None:
    """Run one verb with its tokens: human text, or with --json one object on standard output."""
    from plait.cli import verbs

    action: Callable[[list[str]], Any] = getattr(verbs, verb.replace(" ", "_"))
    as_json = "--json" in tokens
    tokens = [t for t in tokens if t not in ("--json", "--debug")]
    console.speak_on(sys.stderr if as_json else None)
    signals.install()
    result = action(tokens)
    if as_json:
        print(json.dumps(result, ensure_ascii=False, allow_nan=False))


def main() -> None:
    """The entry point: errors become one line and an exit code; `--debug` shows the traceback."""
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=False)
    except PlaitError as error:
        if debug:
            raise
        _end(f"plait: {error}", error.exit_code)
    except KeyboardInterrupt:
        _end("plait: interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if type(error).__module__.startswith("typer") or hasattr(error, "format_message"):
            _end(f"plait: {_usage(error)}", 2)
        if debug:
            raise
        _end(f"plait: {type(error).__name__}: {error} (an error of plait's own; --debug shows where)", 1)


def _usage(error: Any) -> str:
    message = str(error.format_message()).rstrip(".") if hasattr(error, "format_message") else str(error)
    if message.startswith("No such command"):
        from plait.core.errors import suggest

        name = message.split("'")[1] if "'" in message else ""
        group = data_app if len(sys.argv) > 1 and sys.argv[1] == "data" else app
        names = [c.name for c in group.registered_commands if c.name] + ([] if group is data_app else ["data"])
        return f"no verb {name!r} ({suggest(name, names)})"
    return message or "see plait --help"


def _end(text: str, code: int) -> None:
    print(text, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
