"""The forms a kind can take, read from its config class: every field that chooses what is built, turned."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from plait.core.config import Config, part_room
from plait.core.kinds import config_class, kinds


def variants(cls: type[Config]) -> dict[str, Config]:
    """Configs by name: `default`; every choice of a `Literal`, flag, stage or loss that may be left out, one at a time;
    `everything on`, the last other choice of all of them together.
    """
    default = cls()
    found, together = {"default": default}, {}
    for name, field in cls.model_fields.items():
        for value in alternatives(name, getattr(default, name), field):
            found[f"{name}={value}"] = cls(**{name: value})
            if value != 0:
                together[name] = value
    if len(together) > 1:
        found["everything on"] = cls(**together)
    return found


def alternatives(name: str, value: Any, field: Any) -> Iterator[Any]:
    """The other values of a field that change what is built, and not only its size."""
    given = (field.annotation, *get_args(field.annotation))  # a choice, or a choice or None
    if choices := [each for each in given if get_origin(each) is Literal]:
        yield from (choice for choice in get_args(choices[0]) if choice != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int) and any(getattr(rule, "ge", None) == 0 for rule in field.metadata):
        yield 0 if value else 32 if name == "hidden" else 1
    elif value == 0.0 and isinstance(value, float) and [getattr(rule, "ge", None) for rule in field.metadata] == [0]:
        yield 0.1  # the weight of a loss: unlike a dropout it has no upper bound
    elif isinstance(value, Config) and "kind" not in type(value).model_fields:
        yield from list(variants(type(value)).values())[1:]


def room_variants(room: str) -> dict[str, Config]:
    """Every variant of every kind of a room, by `kind` or `kind, field=value`."""
    found = {}
    for kind in kinds(room):
        for name, config in variants(config_class(room, kind)).items():
            found[kind if name == "default" else f"{kind}, {name}"] = config
    return found


def ends(forms: Iterable[str]) -> set[str]:
    """The plain and the fullest form of each kind, of names `kind` and `kind, field=value`."""
    last = {name.split(",")[0]: name for name in forms}
    return {*last, *last.values()}


def with_every_part(cls: type[Config]) -> dict[str, Config]:
    """A model with every form of every fusion, wherever it can stand, and with every encoder that reads what its
    default one reads and gives as many tokens.
    """
    found, default = {}, cls()
    places = [""] if "fuse_at" not in cls.model_fields else ["tokens", "pooled"]
    for name, field in cls.model_fields.items():
        room = part_room(field.annotation, field.metadata)
        if room == "fusion":
            for at in places:
                for form, part in room_variants(room).items():
                    kind, more = form.split(",")[0], form.partition(",")[1:]
                    fields = {name: part, **({"fuse_at": at} if at else {})}
                    # What a model refuses as a whole is tested with the model.
                    with suppress(ValidationError):
                        found["".join((name, "=", kind, f" at {at}" if at else "", *more))] = cls(**fields)
        elif room == "encoders":
            for kind in kinds(room):
                part, usual = config_class(room, kind)(), getattr(default, name)
                if part.modality == usual.modality and _single(part) == _single(usual):
                    found[f"{name}={kind}"] = cls(**{name: part})
    return found


def _single(part: Any) -> bool:
    """Whether an encoder gives one token a row."""
    return bool(getattr(part, "single", False))
