"""The YAML of a design document as fields of its recipe, and what to say of keys that mean something else here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from plait.core import yaml
from plait.core.errors import ConfigError, suggest
from plait.core.yaml import inline
from plait.runs.recipe import Overrides, Recipe


@dataclass(frozen=True)
class Key:
    """What a key of the document stands for, as the recipe's file says."""

    to: list[str] = field(default_factory=list)
    """The fields that it sets."""
    times: dict[str, int] = field(default_factory=dict)
    """Keys whose values it is multiplied by, with what they are where they are not given."""
    over: dict[str, int] = field(default_factory=dict)
    """Keys whose values it is divided by, likewise."""
    first_of: list[str] = field(default_factory=list)
    """It is a count, and the field gets so many of these."""
    only: Any = None
    """The one value that it can have here."""
    option: str = ""
    """The option of the command line that it is."""
    idle: str = ""
    """Why it has no effect."""
    note: str = ""
    """What to say of it; {value} and {laid} are its value and the field's."""


@dataclass(frozen=True)
class SeedYaml:
    """What a file of the document asks for, below all that is named on the command line."""

    size: str
    """The size that the keys are laid over where none is named."""
    overrides: Overrides
    options: dict[str, str]
    notices: list[str]
    keys: dict[str, str]
    """Of each field that is set, the key."""

    def fitting(self, known: Mapping[str, Any]) -> tuple[Overrides, list[str]]:
        """The overrides of fields that the chosen kinds have, and a line for each that they lack."""
        kept = [(path, value) for path, value in self.overrides if path in known]
        lost = [path for path, _ in self.overrides if path not in known]
        return kept, [f"{self.keys[path]} has no effect: with the kinds chosen there is no {path}" for path in lost]


def read_seed_yaml(recipe: Recipe, path: Path) -> SeedYaml:
    """Read a file of the document's keys by the map in the recipe's file.

    Errors: ConfigError for a recipe without such a map, an unknown key (with the nearest one), a value that can't be,
    two keys that set one field to different values.
    """
    if not recipe.seed_yaml:
        raise ConfigError(
            f"the design document of {recipe.name} has no YAML", where="--seed-yaml", fix="give a run.yaml instead"
        )
    keys = {name: Key(**({"to": [of]} if isinstance(of, str) else of)) for name, of in recipe.seed_yaml["keys"].items()}
    given = dict(_leaves(yaml.read(path), keys))
    out = SeedYaml(recipe.seed_yaml["size"], [], {}, [], {})
    for name, value in given.items():
        if name not in keys:
            raise ConfigError(f"no key {name!r}", where=str(path), fix=suggest(name, keys))
        try:
            _lay(out, name, keys[name], value, given)
        except ConfigError as error:
            raise ConfigError(error.what, where=f"{path}, {name}", fix=error.fix) from None
    out.notices.extend(_unread([name for name in given if name in recipe.seed_yaml["unread"]], keys))
    return out


def _leaves(node: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key by its dotted path with its value; a section that holds nothing has none."""
    for name, value in node.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and path not in known:
            yield from _leaves(value, known, f"{path}.")
        elif value is not None or path in known:
            yield path, value


def _lay(out: SeedYaml, name: str, key: Key, value: Any, given: Mapping[str, Any]) -> None:
    """Add what one key asks for."""
    if key.only is not None and value != key.only:
        raise ConfigError(f"is always {inline(key.only)} here (got {inline(value)})", fix="leave it out")
    if key.option:
        out.options[key.option] = str(value)
    laid = _value(key, value, given) if key.to else value
    for path in key.to:
        if path in out.keys and dict(out.overrides)[path] != laid:
            raise ConfigError(f"sets {path} to {inline(laid)}, {out.keys[path]} to another value", fix="leave one out")
        out.keys[path] = name
        out.overrides.append((path, laid))
    if key.idle:
        out.notices.append(f"{name} has no effect: {key.idle}")
    if key.note:
        out.notices.append(f"{name}: {key.note.format(value=inline(value), laid=inline(laid))}")


def _value(key: Key, value: Any, given: Mapping[str, Any]) -> Any:
    """What the fields of a key get."""
    if not (key.times or key.over or key.first_of):
        return value
    factors, parts = ([given.get(name, usual) for name, usual in of.items()] for of in (key.times, key.over))
    for number in (value, *factors, *parts):
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ConfigError(f"should be reckoned from whole numbers above 0 (got {inline(number)})")
    if key.first_of:
        if value > len(key.first_of):
            raise ConfigError(f"can be {len(key.first_of)} at most (got {value})")
        return key.first_of[:value]
    if value * prod(factors) % prod(parts):
        names = ", ".join(key.over)
        raise ConfigError(f"{value} can't be divided by {prod(parts)} ({names})", fix="give a multiple of it")
    return value * prod(factors) // prod(parts)


def _unread(names: list[str], keys: Mapping[str, Key]) -> Iterator[str]:
    """What to say of keys that the document's own code never reads."""
    some = [name for name in names if keys[name].to]
    none = [name for name in names if not keys[name].to]
    if some:
        yield f"never read by the document's own code, with effect here: {', '.join(some)}"
    if none:
        yield f"never read by the document's own code: {', '.join(none)}"
