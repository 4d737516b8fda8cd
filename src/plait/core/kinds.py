"""The registry of kinds: a room's own files, then the entry points of installed packages."""

import importlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, cast

from plait.core.errors import ConfigError, suggest

if TYPE_CHECKING:
    from plait.core.config import Config

OPEN_ROOMS = ("encoders", "fusion", "heads")


@cache
def kinds(room: str) -> dict[str, str]:
    """The kinds of a room and the module each is found in; nothing is imported but the room itself.

    A kind is the name of a file of the room that does not begin with an underscore; installed packages add kinds
    to the open rooms by entry points of the group `plait.<room>`, named as the kind, that load its Config class.
    """
    package = importlib.import_module(f"plait.{room}")
    found = {m.name: f"plait.{room}.{m.name}" for m in iter_modules(package.__path__) if not m.name.startswith("_")}
    if room in OPEN_ROOMS:
        for point in entry_points(group=f"plait.{room}"):
            found.setdefault(point.name, point.value)
    return dict(sorted(found.items()))


def same_kind(one: str, other: str) -> bool:
    """Whether two spellings name one kind: `-` and `_` are the same, as in the names of fields."""
    return one.replace("-", "_") == other.replace("-", "_")


def kind_named(written: str, known: Iterable[str]) -> str:
    """The kind among the known ones that is meant, or what was written where there is none."""
    return next((kind for kind in known if same_kind(kind, written)), written)


@cache
def config_class(room: str, kind: str) -> "type[Config]":
    """The Config class of a kind, imported now."""
    known = kinds(room)
    if kind not in known:
        raise ConfigError(f"no {room} of kind {kind!r}", where="kind", fix=suggest(kind, known))
    module_name, _, attribute = known[kind].partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{room} of kind {kind!r} can't be imported: {error}", where="kind") from error
    if attribute:
        found = getattr(module, attribute, None)
        if not _has_kind(found):
            raise ConfigError(
                f"{known[kind]} is no Config class with a `kind`", where=f"entry point {kind!r} of {room}"
            )
        return cast("type[Config]", found)
    classes = [value for value in vars(module).values() if _has_kind(value) and value.__module__ == module_name]
    if len(classes) != 1:
        raise TypeError(f"{module_name} must define exactly one Config with a `kind`, it defines {len(classes)}")
    return cast("type[Config]", classes[0])


def _has_kind(value: Any) -> bool:
    return isinstance(value, type) and "kind" in getattr(value, "model_fields", ())
