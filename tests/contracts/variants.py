"""The forms a kind can take, read from its config class: every field that chooses what is built, turned."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from plait.core.config import Config, part_room
from plait.core.kinds import config_class, kinds
from plait.nn.patches import PatchShape


def variants(cls: type[Config]) -> dict[str, Config]:
    """Configs by name: `default`; every choice of a `Literal`, flag, stage or loss that may be left out, one at a time;
    `everything on`, the last other choice of all of them together.
    """
    default = cls()
    found, together = {"default": default}, {}
    for name, field in cls.model_fields.items():
        for value in alternatives(name, getattr(default, name), field):
            # A choice that does not go with the other defaults is no form; its refusal is tested with the config.
            with suppress(ValidationError):
                found[f"{name}={shown(value)}"] = cls(**{name: value})
                if value != 0 and name != "kind":  # the other fields belong to the usual kind
                    together[name] = value
    if len(together) > 1:
        with suppress(ValidationError):
            found["everything on"] = cls(**together)
    return found


def shown(value: Any) -> str:
    """A value in a variant's name; of a config its kind and what it changes, for pytest shows no long name."""
    if not isinstance(value, Config):
        return str(value)
    usual = type(value)()
    changed = [name for name in type(value).model_fields if getattr(value, name) != getattr(usual, name)]
    return " ".join(
        f"{name}={getattr(value, name)}" for name in dict.fromkeys(["kind", *changed]) if hasattr(value, name)
    )


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
    elif isinstance(value, Config) and part_room(field.annotation, field.metadata) is None:
        yield from (form for form in variants(type(value)).values() if form != value)


def room_variants(room: str) -> dict[str, Config]:
    """Every variant of every kind of a room, by `kind` or `kind, field=value`."""
    found = {}
    for kind in kinds(room):
        for name, config in variants(config_class(room, kind)).items():
            found[kind if name == "default" else f"{kind}, {name}"] = fitting(config)
    return found


def fitting(config: Any) -> Any:
    """The form with patches that fit into the 11 steps of the suites."""
    cut = getattr(config, "patch", None)
    return config.model_copy(update={"patch": PatchShape(length=4, stride=3)}) if cut == PatchShape() else config


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
                    found[f"{name}={kind}"] = cls(**{name: fitting(part)})
    return found


def _single(part: Any) -> bool:
    """Whether an encoder gives one token a row."""
    return bool(getattr(part, "single", False))
