"""YAML without surprises: no tags, no aliases, no duplicate keys, `1e-3` is a number, dates and `on` stay text."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml as pyyaml

from plait.core.errors import ConfigError, FileError, suggest_file

MAX_DEPTH = 64
_Base: Any = getattr(pyyaml, "CSafeLoader", pyyaml.SafeLoader)


class Written(str):
    """A value as it stands on a command line; the field it is meant for decides how it is read."""


class _Loader(_Base):  # type: ignore[misc]
    """The safe loader with decimal numbers, true, false and null; every other scalar is text."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _fault(f"the key {key!r} is no text (quote it)", key_node.start_mark)
            if key in seen:
                raise _fault(f"the key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)  # type: ignore[no-any-return]

    def construct_yaml_int(self, node: Any) -> int:
        try:
            return int(self.construct_scalar(node))
        except ValueError:
            raise _fault("the number has too many digits", node.start_mark) from None


_Loader.add_constructor("tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node, deep=True))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})\Z"), list(_first))


def _fault(problem: str, mark: Any) -> pyyaml.MarkedYAMLError:
    return pyyaml.constructor.ConstructorError(None, None, problem, mark)


def _refuse(text: str) -> None:
    # Before anything is built: a tag could name a class, and a few nested aliases grow to gigabytes.
    depth = 0
    for event in pyyaml.parse(text, Loader=_Base):
        if isinstance(event, pyyaml.AliasEvent):
            raise _fault(f"the alias *{event.anchor} is not taken (write the value out)", event.start_mark)
        if (tag := getattr(event, "tag", None)) is not None:
            raise _fault(f"the tag {tag} is not taken", event.start_mark)
        depth += isinstance(event, pyyaml.CollectionStartEvent) - isinstance(event, pyyaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _fault(f"more than {MAX_DEPTH} levels are not taken", event.start_mark)


def parse(text: str, where: str = "value") -> Any:
    """One YAML document as plain data: dicts with text keys, lists, texts, numbers, true, false and null."""
    try:
        _refuse(text)
        return pyyaml.load(text, Loader=_Loader)
    except pyyaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where
        words = ", ".join(filter(None, (getattr(error, name, None) for name in ("context", "problem", "reason"))))
        raise ConfigError(f"not readable as YAML: {words}", where=place) from None
    except UnicodeEncodeError:
        raise ConfigError("not readable as YAML: it holds bytes that are no UTF-8", where=where) from None


def read(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise FileError("no such file", where=str(path), fix=suggest_file(path)) from None
    except IsADirectoryError:
        raise FileError("is a folder, a YAML file was expected", where=str(path)) from None
    except UnicodeDecodeError:
        raise FileError("is no text in UTF-8", where=str(path)) from None
    except OSError as error:
        raise FileError(f"can't be read: {error.strerror}", where=str(path)) from None
    data = parse(text, str(path))
    if not isinstance(data, dict):
        raise ConfigError("holds no mapping of fields", where=str(path))
    return data


class _Dumper(pyyaml.SafeDumper):
    """Writes plain data, and quotes the texts that `_Loader` would read as something else."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers
    one_line = False

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> Any:
        # Python and C disagree on which characters break a line: whatever might is written as an escape.
        plain = text if self.one_line else text.replace("\n", "")
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain.isprintable() else '"')


class _OneLine(_Dumper):
    one_line = True


_Dumper.add_representer(str, _Dumper.represent_text)
_OneLine.add_representer(str, _Dumper.represent_text)


def dump(data: Any) -> str:
    """Plain data as YAML that `parse` reads back to the same data."""
    return pyyaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def inline(data: Any) -> str:
    """Plain data as one line of YAML in flow style."""
    # A list around it: outside of one, a text may hold what would part it inside of one.
    text = pyyaml.dump(
        [data], Dumper=_OneLine, sort_keys=False, allow_unicode=True, width=2**31, default_flow_style=True
    )
    return text.strip().removeprefix("[").removesuffix("]")
