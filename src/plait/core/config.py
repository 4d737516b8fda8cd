"""The Config base, fields that hold a part chosen by `kind`, and errors in the user's words."""

from collections.abc import Mapping
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from plait.core.errors import ConfigError, suggest
from plait.core.kinds import config_class, kind_named, kinds


class Config(BaseModel):
    """A frozen, strict set of fields. A part's config has `kind` and a `build` that returns the part."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


C = TypeVar("C", bound=Config)


class PartOf:
    """Marks a field whose value is a part of `room`, chosen by its `kind`: `Annotated[Any, PartOf("fusion")]`.

    `usual` is the kind of a part that may be left unset, where a field of it is named without its kind.
    """

    def __init__(self, room: str, usual: str | None = None) -> None:
        self.room, self.usual = room, usual

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda part: part.model_dump(mode="json") if isinstance(part, Config) else part
            ),
        )

    def _validate(self, value: Any) -> Config:
        if isinstance(value, Config):
            return value
        if isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
            raise PydanticCustomError("kind_missing", f"expects a `kind`, one of {', '.join(kinds(self.room))}")
        kind = kind_named(value["kind"], kinds(self.room))
        try:
            chosen = config_class(self.room, kind)
        except ConfigError as error:
            problem = PydanticCustomError("kind_unknown", f"{error.what} ({error.fix})" if error.fix else error.what)
            raise ValidationError.from_exception_data(
                "kind", [InitErrorDetails(type=problem, loc=("kind",), input=value["kind"])]
            ) from None
        return chosen.model_validate({**value, "kind": kind})


def part_of(annotation: Any, metadata: list[Any]) -> PartOf | None:
    """The mark of a field that holds a part, or None for a plain field."""
    for item in metadata:
        if isinstance(item, PartOf):
            return item
    # `part | None` is a part; a list or a mapping of parts is a value.
    inside = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    marks = (part_of(inner, list(get_args(inner)[1:])) for inner in inside)
    return next(filter(None, marks), None)


def part_room(annotation: Any, metadata: list[Any]) -> str | None:
    """The room a field's part comes from, or None for a plain field."""
    mark = part_of(annotation, metadata)
    return mark.room if mark else None


def config_of(annotation: Any) -> "type[Config] | None":
    """The Config class inside an annotation (`C`, `C | None`, `list[C]`, `dict[str, C]`), or None."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation
    return next((found for inner in get_args(annotation) if (found := config_of(inner))), None)


def validate(cls: type[C], data: Mapping[str, Any], where: str = "config") -> C:
    """Build a config from plain data; every fault becomes one ConfigError that names its field."""
    try:
        return cls.model_validate(dict(data))
    except ValidationError as error:
        lines = [_line(cls, data, item) for item in error.errors(include_url=False)]
        raise ConfigError("; ".join(lines), where=where) from None


def _line(cls: type[Config], data: Mapping[str, Any], item: Any) -> str:
    path = ".".join(str(step) for step in item["loc"])
    if item["type"] == "extra_forbidden":
        owner = class_at(cls, data, item["loc"][:-1])
        names = list(owner.model_fields) if owner else []
        return f"no field {path!r}: {suggest(str(item['loc'][-1]), names)}"
    if item["type"] == "missing":
        return f"field {path!r} must be given"
    shown = repr(item["input"]) if not isinstance(item["input"], dict) else "a mapping"
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if item["type"] == "kind_unknown":
        return f"{path}: {item['msg']}"
    # What a validator says of a whole part names its fields; the part itself is no value to show.
    got = "" if item["type"] == "value_error" and isinstance(item["input"], dict) else f" (got {shown})"
    return f"{path or 'value'}: {message}{got}"


def class_at(cls: type[Config], data: Any, steps: tuple[Any, ...]) -> "type[Config] | None":
    """The Config class that holds the field reached by `steps` from `cls`, looking up kinds in `data`."""
    owner: type[Config] | None = cls
    keyed = False
    for step in steps:
        data = data.get(step) if isinstance(data, Mapping) else data[step] if isinstance(data, list) else None
        if isinstance(step, int) or keyed:
            keyed = False
            continue
        field = owner.model_fields.get(step) if owner else None
        if field is None:
            return None
        room = part_room(field.annotation, field.metadata)
        keyed = get_origin(field.annotation) is dict
        kind = data.get("kind") if isinstance(data, Mapping) else data
        if room:
            kind = kind_named(kind, kinds(room)) if isinstance(kind, str) else None
            owner = config_class(room, kind) if kind in kinds(room) else None
        else:
            owner = config_of(field.annotation)
    return owner
