"""From a verb's tokens to its options and its config: the recipe's fields with what was named laid over them."""

import sys
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.cli.grammar import Parsed, parse
from plait.core.errors import ConfigError, suggest

if TYPE_CHECKING:
    from plait.runs.config import RunConfig
    from plait.runs.recipe import Recipe
    from plait.runs.seed_yaml import SeedYaml


COMMON = "--json (one object on standard output), --debug (tracebacks)"
"""What every verb takes."""


def only_options(tokens: list[str], words: tuple[str, ...], valued: tuple[str, ...] = ()) -> Parsed:
    """A verb without config fields: exactly the named words, an unknown option is an error."""
    parsed = parse(tokens, valued)
    if parsed.fields:
        name = parsed.fields[0][0]
        raise ConfigError(f"no option --{name}", fix=suggest(name, [*valued, "json", "debug", "help"]))
    if len(parsed.words) != len(words):
        raise ConfigError(f"expects {' '.join(words) or 'no argument'}, got {' '.join(parsed.words) or 'nothing'}")
    return parsed


def raw_config_of(
    tokens: list[str], valued: tuple[str, ...] = (), pretrain: bool = False
) -> tuple[Parsed, "Recipe", dict[str, Any]]:
    """The recipe, or that of its pretraining, and the config, as plain data, that a verb's tokens name."""
    from plait.runs.recipe import apply, choose_kinds, load_recipe, names_of, recipe_names, start_config

    valued = (*valued, "size", "seed-yaml")
    first = parse(tokens, valued)
    # Which names are switches depends on the recipe, which may stand behind one (`--deterministic chimera`), and on
    # the kinds that other tokens choose.
    behind = [str(v) for _, v in first.fields if v in recipe_names() or str(v).endswith(".yaml")]
    if not first.words and not behind:
        raise ConfigError("name a recipe or a run.yaml", fix=f"recipes: {', '.join(recipe_names())}")
    recipe = load_recipe([*first.words, *behind][0])
    recipe = recipe.for_pretraining() if pretrain else recipe
    seed = _seed_yaml(recipe, first)
    size = first.options.get("size", seed.size if seed else None)
    below = seed.overrides if seed else []
    old = _old_switches(recipe)
    raw = start_config(recipe, size, [*below, *_fields(first.fields, recipe)[0]])
    first = parse(tokens, valued, names_of(raw, recipe).switches() | old)
    choose_kinds(raw, recipe, [*below, *_fields(first.fields, recipe)[0]])
    names = names_of(raw, recipe)
    parsed = parse(tokens, valued, names.switches() | old)
    if len(parsed.words) > 1:
        raise ConfigError(f"one recipe at a time, got {' '.join(parsed.words)}")
    known, warnings = _fields(parsed.fields, recipe)
    if seed:
        below, lost = seed.fitting(names.fields)
        warnings += [f"{parsed.options['seed-yaml']}: {words}" for words in (*lost, *_taken(seed, parsed, valued))]
    for words in warnings:
        print(words, file=sys.stderr)
    return parsed, recipe, apply(start_config(recipe, size, [*below, *known]), recipe, [*below, *known])


def _seed_yaml(recipe: "Recipe", parsed: Parsed) -> "SeedYaml | None":
    """The file of `--seed-yaml`, if there is one."""
    from plait.runs.seed_yaml import read_seed_yaml

    path = parsed.options.get("seed-yaml")
    return None if path is None else read_seed_yaml(recipe, Path(path))


def _taken(seed: "SeedYaml", parsed: Parsed, valued: Container[str]) -> list[str]:
    """Give a verb the options that the file stands for, where none of its own says otherwise; returns all notices."""
    said = [] if "size" in parsed.options else [f"its keys are laid over --size {seed.size}"]
    for name, value in seed.options.items():
        if name not in valued:
            said.append(f"{value!r} is for --{name}, which this verb has not")
        elif not {name, "resume"} & set(parsed.options):
            parsed.options[name] = value
    return [*said, *seed.notices]


def _fields(fields: list[tuple[str, Any]], recipe: "Recipe") -> tuple[list[tuple[str, Any]], list[str]]:
    """The fields in the recipe's own names, and what to say of those that had others."""
    from plait.runs.old_flags import renewed
    from plait.runs.recipe import spread

    known = [(name, value) for name, value in fields if name.replace("_", "-") not in recipe.ignored]
    idle = [name for name, _ in fields if name.replace("_", "-") in recipe.ignored]
    known, warnings = renewed(recipe, spread(recipe, known))
    return known, [f"--{name} is accepted and has no effect here" for name in idle] + warnings


def _old_switches(recipe: "Recipe") -> set[str]:
    from plait.runs.old_flags import SWITCHES

    return {name for name in SWITCHES if name.replace("_", "-") in recipe.old} - {"film_conditioning"}


def guide_of(tokens: list[str]) -> str | None:
    """The text of a switch that a recipe explains things by, if a verb's tokens name one; it ends in `-help`."""
    if not any(token.endswith("-help") and token != "--help" for token in tokens):
        return None
    from plait.runs.recipe import load_recipe, recipe_names

    for name in recipe_names():
        guides = load_recipe(name).guides
        found = next((text for switch, text in guides.items() if f"--{switch}" in tokens), None)
        if found is not None and (name in tokens or not set(recipe_names()) & set(tokens)):
            return found
    return None


def config_of(
    tokens: list[str], valued: tuple[str, ...] = (), pretrain: bool = False
) -> tuple[Parsed, "Recipe", "RunConfig"]:
    """The recipe, or that of its pretraining, and the checked config that a verb's tokens name."""
    from plait.core.config import validate
    from plait.runs.config import RunConfig

    parsed, recipe, raw = raw_config_of(tokens, valued, pretrain)
    beside = f", {parsed.options['seed-yaml']}" if "seed-yaml" in parsed.options else ""
    return parsed, recipe, validate(RunConfig, raw, f"{recipe.source}{beside}")


def count_of(text: str, option: str) -> int:
    """The whole number from 1 that an option of a verb was given."""
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{text!r} is no count", where=option, fix="give a whole number from 1")
    return int(text)


def scored_split(name: str) -> str:
    """The split of this name, one that a run is scored on."""
    if name not in ("val", "test"):
        raise ConfigError(f"no split {name!r}", where="--split", fix=suggest(name, ["val", "test"]))
    return name
