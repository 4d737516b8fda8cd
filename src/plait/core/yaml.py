"""YAML without surprises: no tags, no duplicate keys, `1e-3` is a number, dates and `on` stay text."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml as pyyaml

from plait.core.errors import ConfigError, FileError

_Base: Any = getattr(pyyaml, "CSafeLoader", pyyaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """The safe loader with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise pyyaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)  # type: ignore[no-any-return]


_Loader.add_constructor(
    "tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node, deep=True)
)
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9_]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor(
    "tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node).replace("_", ""))
)


def parse(text: str, where: str = "value") -> Any:
    """One YAML document as plain data."""
    try:
        return pyyaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except pyyaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where
        problem = getattr(error, "problem", None) or getattr(error, "context", None) or "is no YAML"
        raise ConfigError(f"not readable as YAML: {problem}", where=place) from None


def read(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileError("no such file", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"can't be read: {error}", where=str(path)) from None
    data = parse(text, str(path))
    if not isinstance(data, dict):
        raise ConfigError("holds no mapping of fields", where=str(path))
    return data


class _Dumper(pyyaml.SafeDumper):
    """Writes plain data, and quotes the texts that `_Loader` would read as something else."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def dump(data: Any) -> str:
    """Plain data as YAML that `parse` reads back to the same data."""
    return pyyaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
