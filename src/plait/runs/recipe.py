"""Recipes: a YAML file each, with sizes and aliases, and the overrides a user lays over them."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from plait.core import yaml
from plait.core.config import validate
from plait.core.errors import ConfigError, suggest
from plait.runs.config import RunConfig
from plait.runs.fields import FieldInfo, walk


@dataclass(frozen=True)
class Recipe:
    """A recipe as its file says: the config, its sizes, the demo's settings, aliases, names taken without effect, and
    the arms of its comparison with the modality they judge.
    """

    name: str
    about: str
    config: dict[str, Any]
    sizes: dict[str, dict[str, Any]]
    demo: dict[str, Any]
    aliases: dict[str, str]
    ignored: tuple[str, ...]
    modality: str
    arms: dict[str, dict[str, Any]]


def recipe_names() -> list[str]:
    """The recipes inside the package."""
    return sorted(p.name.removesuffix(".yaml") for p in files("plait.recipes").iterdir() if p.name.endswith(".yaml"))


def load_recipe(name: str) -> Recipe:
    """A recipe by name, or a config file by path (`run.yaml`), which is a recipe without sizes of its own."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        config = yaml.read(Path(name))
        base = config.get("recipe")
        if isinstance(base, str) and base in recipe_names():
            known = load_recipe(base)
            return replace(known, config=config)
        raise ConfigError(
            f"recipe {base!r} is none", where=f"{name}, field recipe", fix=suggest(str(base), recipe_names())
        )
    if name not in recipe_names():
        raise ConfigError(f"no recipe {name!r}", fix=suggest(name, recipe_names()))
    data = yaml.parse(files("plait.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")
    return Recipe(
        name, data["about"], {"recipe": name, **data["config"]}, data["sizes"], data.get("demo", {}),
        data["aliases"], tuple(data.get("ignored", ())), data["compare"]["modality"], data["compare"]["arms"],
    )  # fmt: skip


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one tree over another; a part whose `kind` changes is replaced, lists are replaced whole."""
    out = dict(copy.deepcopy(dict(base)))
    if "kind" in over and over["kind"] != out.get("kind"):
        out = {}
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = merge(out[key], value)
        else:
            out[key] = copy.deepcopy(value)
    return out


def raw_config(recipe: Recipe, size: str | None = None) -> dict[str, Any]:
    """The recipe's config at a size, as plain data."""
    if size is None:
        return merge(recipe.config, {})
    if size not in recipe.sizes:
        raise ConfigError(f"no size {size!r}", where="--size", fix=suggest(size, recipe.sizes))
    return merge(recipe.config, recipe.sizes[size])


def put(raw: dict[str, Any], path: str, value: Any) -> None:
    """Set the field at a dotted path; a changed `kind` replaces its part."""
    *parents, leaf = path.split(".")
    node = raw
    for step in parents:
        inner = node.get(step)
        if isinstance(inner, str):
            inner = {"kind": inner}
        if not isinstance(inner, dict):
            inner = {}
        node[step] = inner
        node = inner
    if leaf == "kind" and node.get("kind") != value:
        node.clear()
    node[leaf] = value


def names_of(raw: Mapping[str, Any], recipe: Recipe) -> tuple[dict[str, FieldInfo], dict[str, str]]:
    """All fields by path, and every short name (alias or unique leaf) with the path it stands for."""
    fields = {field.path: field for field in walk(RunConfig, raw)}
    short: dict[str, str] = {}
    seen: dict[str, int] = {}
    for path, field in fields.items():
        seen[field.leaf] = seen.get(field.leaf, 0) + 1
        short[field.leaf] = path
    short = {leaf: path for leaf, path in short.items() if seen[leaf] == 1}
    short |= {alias.replace("-", "_"): path for alias, path in recipe.aliases.items()}
    return fields, short


def find(name: str, raw: Mapping[str, Any], recipe: Recipe) -> str:
    """The path a name stands for: a full path, an alias or a unique last name; `-` and `_` are the same."""
    wanted = name.replace("-", "_")
    fields, short = names_of(raw, recipe)
    if wanted in fields:
        return wanted
    if wanted in short:
        return short[wanted]
    if f"{wanted}.kind" in fields:
        return f"{wanted}.kind"
    shared = sorted(path for path, field in fields.items() if field.leaf == wanted)
    if shared:
        raise ConfigError(f"--{name} could be any of {', '.join(shared)}", fix="write the whole name")
    raise ConfigError(f"no field --{name}", fix=suggest(wanted, [*fields, *short]))


def apply(raw: dict[str, Any], recipe: Recipe, overrides: list[tuple[str, Any]]) -> dict[str, Any]:
    """Lay named values over a config: kinds first, so that the fields of a chosen part can be named in any order."""
    waiting = list(overrides)
    for last in (False, True):
        for name, value in list(waiting):
            try:
                path = find(name, raw, recipe)
            except ConfigError:
                if last:
                    raise
                continue
            if path.endswith(".kind") or last:
                put(raw, path, _as_typed(path, value, raw, recipe))
                waiting.remove((name, value))
    return raw


def _as_typed(path: str, value: Any, raw: Mapping[str, Any], recipe: Recipe) -> Any:
    # On a command line 96 may mean the text "96", and 1 the number 1.0: the field's type decides.
    field = names_of(raw, recipe)[0].get(path)
    if field is not None and isinstance(value, int | float) and not isinstance(value, bool) and "text" in field.type:
        return str(value)
    return value


def resolve(recipe: Recipe, size: str | None = None, overrides: list[tuple[str, Any]] | None = None) -> RunConfig:
    """The checked config of a run."""
    raw = apply(raw_config(recipe, size), recipe, overrides or [])
    return validate(RunConfig, raw, recipe.name)
