"""`plait features`: what a recipe computes of its data before any network, once, on all cores."""

from typing import Any

from plait.cli.arguments import COMMON, raw_config_of
from plait.core.console import say
from plait.core.errors import ConfigError

PAGE = f"""usage: plait features RECIPE|run.yaml [--jobs N] [fields]

Computes the topology of every window of closes, which training then reads. Stopped or killed at any moment, it goes on
with what is finished when the same command runs again.

--jobs       processes, default the cores there are
--cache-dir  folder to write to, default a folder of plait's own

Fields as of plait train. Everywhere: {COMMON}"""


def features(tokens: list[str]) -> dict[str, Any]:
    """Compute the features of a recipe's data that are not there yet."""
    if "--help" in tokens or "-h" in tokens:
        say(PAGE)
        return {}
    from plait.core.config import validate
    from plait.data.table import refuse
    from plait.runs.config import RunConfig

    _, recipe, raw = raw_config_of(tokens)
    _check_kind(recipe.name, raw)
    source = validate(RunConfig, raw, recipe.source).data
    table = source.read()
    refuse(table.findings, source.path)
    cache, jobs = source.features(table), source.processes
    cache.check()
    done = cache.compute(jobs)
    there = cache.windows - done.windows
    each = 1000 * done.seconds / done.windows if done.windows else None
    cost = "" if each is None else f" at {each:.1f} ms of CPU each"
    say(f"{cache.windows} windows: {done.windows} computed{cost}, {there} were there already")
    say(f"features: {cache.folder}")
    return {
        "folder": str(cache.folder), "windows": cache.windows, "computed": done.windows, "there": there,
        "cpu_ms_a_window": each, "jobs": jobs,
    }  # fmt: skip


def _check_kind(recipe: str, raw: dict[str, Any]) -> None:
    from plait.core.kinds import config_class, kinds

    data = raw.get("data")
    kind = data.get("kind") if isinstance(data, dict) else data
    able = [name for name in kinds("data.sources") if hasattr(config_class("data.sources", name), "features")]
    if kind not in able:
        raise ConfigError(
            f"{recipe} with data of kind {kind} has no features to compute ahead", where="plait features",
            fix=f"data of kind {', '.join(able)} have",
        )  # fmt: skip
