"""`plait predict`: answers for new data, or for a split of a run's own."""

from pathlib import Path
from typing import Any

from plait.cli.arguments import only_options, scored_split
from plait.core.console import say
from plait.core.errors import ConfigError, DataError, FileError

SERIES = ("path", "text-path")
SAMPLES = ("table", "sequences", "tree", "distances", "taxonomy", "metadata")
"""By which options new data are given: of a run of a series, and of one of samples."""


def predict_verb(tokens: list[str]) -> dict[str, Any]:
    """Predict with a run, and print the table or write it."""
    from plait.core.files import write_file
    from plait.runs.run import load_run

    parsed = only_options(tokens, ("RUN",), valued=("split", "output", "device", *SERIES, *SAMPLES))
    options = parsed.options
    run = load_run(parsed.words[0]).on(options.get("device", "auto"))
    given = _new_data(run, {name: options[name] for name in (*SERIES, *SAMPLES) if name in options})
    if given and "split" in options:
        raise ConfigError(
            f"--split is of the run's own data, --{next(iter(given))} brings others", fix="give one of the two"
        )
    if "split" not in options and not given and not hasattr(run.config.data, "lookback"):
        raise DataError("there is nothing to predict", where="predict", fix="give --table FILE, or --split test")
    split = scored_split(options["split"]) if "split" in options else None
    if "output" in options and not Path(options["output"]).parent.is_dir():
        raise FileError("no such folder", where=str(Path(options["output"]).parent), fix="make it, or give another")
    made = run.predict(split=split, **_read(given))
    if "output" in options:
        write_file(Path(options["output"]), made.to_csv(index=False, float_format="%.7g").encode())
        say(f"{len(made)} lines to {options['output']}")
        return {"run": str(run.folder), "output": options["output"], "lines": len(made)}
    say(made.to_string(index=False, max_rows=20))
    return {"run": str(run.folder), "forecast": made.to_dict(orient="records")}


def _new_data(run: Any, given: dict[str, str]) -> dict[str, str]:
    """The files that were given, if they are of the kind of data the run is of."""
    of_samples = not hasattr(run.config.data, "lookback")
    mine, what = (SAMPLES, "samples") if of_samples else (SERIES, "a series")
    for name in given:
        if name not in mine:
            raise ConfigError(
                f"this is a run of {what} (recipe {run.config.recipe})", where=f"--{name}",
                fix=f"give its new data by --{mine[0]}",
            )  # fmt: skip
    if "text-path" in given and "path" not in given:
        raise ConfigError("--text-path needs --path beside it")
    if of_samples and given and "table" not in given:
        raise ConfigError(f"--{next(iter(given))} needs --table beside it")
    return given


def _read(given: dict[str, str]) -> dict[str, Any]:
    """What `Run.predict` takes: frames of a series, paths of samples."""
    from plait.data.table import read_table

    frames = {"path": "frame", "text-path": "texts"}
    return {frames.get(name, name): read_table(Path(path)) if name in frames else path for name, path in given.items()}
