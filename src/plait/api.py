"""The Python API: the same runs as the command line makes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plait.core.console import say
from plait.core.errors import ConfigError, suggest
from plait.core.files import write_file
from plait.core.schema import SPLITS
from plait.data.table import as_frame
from plait.evaluation.compare import Plan
from plait.evaluation.comparisons import comparison_of
from plait.evaluation.explain.run import explain as explain_run
from plait.evaluation.fusions import named_kinds
from plait.report.page import write_report
from plait.runs.config import RunConfig
from plait.runs.fit import fit as fit_run
from plait.runs.folder import new_folder, new_or_nothing, write_start
from plait.runs.old_flags import renewed
from plait.runs.recipe import load_recipe, resolve, spread
from plait.runs.run import Run, load_run

__all__ = ["Run", "compare", "explain", "fit", "load_run"]


def fit(
    recipe: str, frame: Any = None, texts: Any = None, *, out: str | None = None, size: str | None = None, **fields: Any
) -> Run:
    """Train a recipe and return its run.

    `frame` (time column and one column a variate) and `texts` (a text column and date columns) are pandas frames or
    what makes one; they are written into the run folder, so that the run can be loaded and resumed. Without them the
    data are those that `fields` name. Fields have the names of the command line: full paths with `__` for the dot
    (`data__lookback=36`), unique last names and aliases (`pred_len=12`).
    Errors: PlaitError, as the command line prints them.
    """
    config, folder = _prepare(recipe, frame, texts, out, size, fields, "")
    with new_or_nothing(folder):
        fit_run(config, folder)
    write_report(folder)
    return load_run(folder)


def compare(
    recipe: str,
    frame: Any = None,
    texts: Any = None,
    *,
    seeds: int = 3,
    fusions: str | Sequence[str] | None = None,
    out: str | None = None,
    size: str | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Train naive, anchor-only, fused and placebo arms on the same splits and seeds; returns what compare.json has.

    With `fusions`, `all`, a list of kinds or one with commas, the arms are the recipe with each kind at a matched
    number of parameters, without a placebo; returns what fusions.json has. A recipe of one modality (`calf`) sets parts
    of its model side by side; returns what ablation.json has.
    """
    kinds = None if fusions is None else named_kinds(fusions if isinstance(fusions, str) else ",".join(fusions))
    config, folder = _prepare(recipe, frame, texts, out, size, fields, "compare")
    chosen = load_recipe(recipe)
    plan = Plan.of_recipe(chosen, config, tuple(range(config.seed, config.seed + seeds)))
    with new_or_nothing(folder):
        write_start(folder, config)
        result = comparison_of(plan, kinds, folder).run()
    write_report(folder)
    return {"folder": str(folder), **result}


def explain(run: Run | str | Path, split: str = "test", *, raw: bool = False) -> dict[str, Any]:
    """Write what a run's model looked at into `RUN/explain/<split>` and its report; returns what explain.json has.

    Attention and gates of every window or sample of the split with checks, whether the attention is faithful, and what
    each modality adds. `raw` explains the model before acceptance, into `<split>-raw`.
    Errors: ConfigError where nothing is fused; NumericsError, after everything is written, where a check fails.
    """
    if split not in SPLITS:
        raise ConfigError(f"no split {split!r}", where="split", fix=suggest(split, SPLITS))
    folder = run.folder if isinstance(run, Run) else Path(run)
    loaded = run if isinstance(run, Run) and run.raw == raw else load_run(folder, raw)
    result = explain_run(loaded, split, folder / "explain" / (f"{split}-raw" if raw else split))
    write_report(folder)
    return result


def _prepare(
    recipe: str, frame: Any, texts: Any, out: str | None, size: str | None, fields: dict[str, Any], verb: str
) -> tuple[RunConfig, Path]:
    chosen = load_recipe(recipe)
    given = [(name.replace("__", "."), value) for name, value in fields.items()]
    overrides, warnings = renewed(chosen, spread(chosen, given))
    for words in warnings:
        say(words)
    if frame is None:
        config = resolve(chosen, size, overrides)
        return config, new_folder(config, out, verb=verb)
    # The folder's name holds the config's digest, and the config the folder's name: the paths are laid on after.
    ahead = [("data.kind", "csv"), ("data.path", "series.csv"), *overrides]
    folder = new_folder(resolve(chosen, size, ahead), out, verb=verb)
    paths = {"data.path": folder / "data" / "series.csv", "data.text.path": folder / "data" / "texts.csv"}
    (folder / "data").mkdir()
    for path, table in zip(paths.values(), (frame, texts), strict=True):
        if table is not None:
            write_file(path, as_frame(table).to_csv(index=False).encode())
    places = [(name, str(path)) for name, path in paths.items() if path.exists()]
    return resolve(chosen, size, [*ahead, *places]), folder
