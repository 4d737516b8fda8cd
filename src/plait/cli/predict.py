"""`plait predict`: answers of one run or of several together, for new data or for a split of their own."""

from itertools import takewhile
from pathlib import Path
from typing import Any

from plait.cli.arguments import only_options, scored_split
from plait.core.console import say
from plait.core.errors import ConfigError, DataError, FileError

TABLES = {"path": "frame", "text-path": "texts"}
SAMPLES = ("table", "sequences", "tree", "distances", "taxonomy", "metadata", "sources")
NEW = {**TABLES, **{name: name for name in SAMPLES}}
"""The options that new data are given by, with the names by which sources ask for them."""


def predict_verb(tokens: list[str]) -> dict[str, Any]:
    """Predict with a run, or with the mean of several, and print the table or write it."""
    from plait.core.files import write_file
    from plait.runs.run import load_run

    mean, ahead = "--mean" in tokens, "--ahead" in tokens
    words = sum(1 for _ in takewhile(lambda token: not token.startswith("--"), tokens))
    valued = ("split", "output", "device", "weights-from", *NEW)
    parsed = only_options([t for t in tokens if t not in ("--mean", "--ahead")], ("RUN",) * max(1, words), valued)
    options = parsed.options
    if ahead and "split" in options:
        raise ConfigError("--split is of what has happened, --ahead of what is to come", fix="give one of the two")
    run = _together([load_run(word).on(options.get("device", "auto")) for word in parsed.words], mean, options)
    taken = _taken(run.config.data)
    given = {name: options[name] for name in NEW if name in options}
    _check(run, taken, given)
    if given and "split" in options:
        raise ConfigError(
            f"--split is of the run's own data, --{next(iter(given))} brings others", fix="give one of the two"
        )
    if "split" not in options and not given and taken[0] not in TABLES:
        raise DataError("there is nothing to predict", where="predict", fix=f"give --{taken[0]} FILE, or --split test")
    split = scored_split(options["split"]) if "split" in options else None
    if "output" in options and not Path(options["output"]).parent.is_dir():
        raise FileError("no such folder", where=str(Path(options["output"]).parent), fix="make it, or give another")
    made = run.predict(split=split, ahead=ahead, **_read(given, getattr(run.config.data, "new_ends", "")))
    shares = run.shares() if len(parsed.words) > 1 else {}
    for folder, weight in shares.items():
        say(f"{weight:.2f} x {folder}")
    of = {"runs": shares} if shares else {"run": str(run.folder)}
    if "output" in options:
        write_file(Path(options["output"]), made.to_csv(index=False, float_format="%.7g").encode())
        say(f"{len(made)} lines to {options['output']}")
        return {**of, "output": options["output"], "lines": len(made)}
    say(made.to_string(index=False, max_rows=20))
    known = made.astype(object).where(made.notna(), None)  # an interval without bounds has no number
    return {**of, "forecast": known.to_dict(orient="records")}


def _together(runs: list[Any], mean: bool, options: dict[str, str]) -> Any:
    """The one run, or several as one that answers with their weighted mean."""
    from plait.runs.ensemble import Ensemble

    fitted = options.get("weights-from")
    if len(runs) == 1:
        if mean or fitted:
            raise ConfigError("one run has no other to be averaged with", fix="name two runs or more")
        return runs[0]
    if mean == (fitted is not None):
        raise ConfigError("how do several runs answer together?", fix="give --mean, or --weights-from val")
    return Ensemble.of(runs, fitted)


def _taken(source: Any) -> list[str]:
    """The options that a source's new data are given by, the one that must be there first."""
    return [option for name in source.new_names for option, asked in NEW.items() if asked == name]


def _check(run: Any, taken: list[str], given: dict[str, str]) -> None:
    """Refuse files that the run's kind of data is not given by."""
    what = "a series" if taken[0] in TABLES else run.config.data.rows_are
    for name in given:
        if name not in taken:
            raise ConfigError(
                f"this is a run of {what} (recipe {run.config.recipe})", where=f"--{name}",
                fix=f"give its new data by --{taken[0]}",
            )  # fmt: skip
    if given and taken[0] not in given:
        raise ConfigError(f"--{next(iter(given))} needs --{taken[0]} beside it")


def _read(given: dict[str, str], whole: str) -> dict[str, Any]:
    """What `Run.predict` takes: frames of tables in time, paths of samples and, where `whole` says how such files end,
    of whole series.
    """
    from plait.data.table import read_table

    tables = () if whole else TABLES
    return {NEW[name]: read_table(Path(path)) if name in tables else path for name, path in given.items()}
