"""Every field of a config tree by its dotted path: for the command line, its help, and commented YAML."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic_core import PydanticUndefined

from plait.core.config import Config, PartOf, config_of, part_of
from plait.core.kinds import config_class, kind_named, kinds


@dataclass(frozen=True)
class FieldInfo:
    """One field: where it stands, its type in words, its default, what it means."""

    path: str
    type: str
    default: Any
    meaning: str
    choices: tuple[str, ...] = ()
    boolean: bool = False
    required: bool = False
    items: "tuple[FieldInfo, ...]" = ()
    """Of a list or a mapping of configs, the fields of each."""
    keyed: bool = False
    """Whether it is a mapping whose keys the user names, with a mapping below each."""
    usual: str | None = None
    """Of a `kind`: the one meant where another field of its part is named alone."""

    @property
    def leaf(self) -> str:
        """The last name of the path."""
        return self.path.rsplit(".", 1)[-1]


def walk(cls: type[Config], given: Any, prefix: str = "") -> Iterator[FieldInfo]:
    """The fields of a config class, those of parts as the kinds in the mapping `given` choose them."""
    raw = given if isinstance(given, Mapping) else {}
    for name, field in cls.model_fields.items():
        path = f"{prefix}{name}"
        default = raw[name] if name in raw else field.get_default(call_default_factory=True)
        part = part_of(field.annotation, field.metadata)
        meaning = " ".join((field.description or "").split())
        if part:
            yield from _part(path, part, default, meaning)
        elif (inner := config_of(field.annotation)) is not None and get_origin(field.annotation) not in (list, dict):
            if isinstance(default, Config):
                inner, default = type(default), default.model_dump(mode="json")
            yield from walk(inner, default, f"{path}.")
        elif name != "kind" or len(get_args(field.annotation)) > 1:  # the one kind of a part is told above it
            if isinstance(default, list):
                default = [_plain(v) for v in default]
            if isinstance(default, dict):
                default = {key: _plain(v) for key, v in default.items()}
            items = tuple(walk(inner, {})) if inner is not None else ()
            required = default is PydanticUndefined
            yield FieldInfo(
                path, type_words(field.annotation), None if required else default, meaning, _choices(field.annotation),
                bool in (field.annotation, *get_args(field.annotation)), required, items,
                keyed=_is_keyed(field.annotation),
            )  # fmt: skip


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Config) else value


def _part(path: str, part: PartOf, default: Any, meaning: str) -> Iterator[FieldInfo]:
    if isinstance(default, Config):
        default = default.model_dump(mode="json")
    if isinstance(default, str):
        default = {"kind": default}
    known = tuple(kinds(part.room))
    kind = default.get("kind") if isinstance(default, Mapping) else None
    kind = kind_named(kind, known) if isinstance(kind, str) else None
    shown = kind or part.usual
    yield FieldInfo(f"{path}.kind", "one of " + ", ".join(known), kind, meaning, known, usual=shown)
    if shown in known:
        yield from walk(config_class(part.room, shown), default, f"{path}.")


def _is_keyed(annotation: Any) -> bool:
    """Whether it is `dict[str, C]` of a config, or `dict[str, dict[...]]`."""
    if get_origin(annotation) is not dict:
        return False
    inner = get_args(annotation)[1]
    return get_origin(inner) is dict or config_of(inner) is not None


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(str(v) for v in get_args(annotation))
    return ()


def type_words(annotation: Any) -> str:
    """A type as a reader of help would say it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " or ".join(type_words(a) for a in inner if a is not type(None)) + (
            " or null" if type(None) in inner else ""
        )
    if origin is list:
        return f"list of {type_words(inner[0])}"
    if origin is dict:
        return f"mapping to {type_words(inner[1])}"
    if config_of(annotation):
        return "mappings"
    names = {int: "integer", float: "number", str: "text", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))
