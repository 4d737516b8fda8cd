"""One grammar for fields on the command line: `--a.b v`, `--a.b=v`, `a.b=v`, `--flag`, `--no-flag`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from plait.core import yaml
from plait.core.errors import ConfigError


@dataclass
class Parsed:
    """A command line taken apart: positional words, options of the verb, fields of the config in order."""

    words: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    fields: list[tuple[str, Any]] = field(default_factory=list)


def parse(tokens: Sequence[str], flags: Sequence[str], valued: Sequence[str], booleans: Sequence[str] = ()) -> Parsed:
    """Take a verb's tokens apart.

    `flags` are the verb's own switches, `valued` its own options with a value; all other names are fields of the
    config, of which `booleans` (last names) may stand without a value. Values are YAML scalars or flow lists.
    """
    out = Parsed()
    waiting = list(tokens)
    while waiting:
        token = waiting.pop(0)
        if not token.startswith("--"):
            if "=" in token and not token.startswith(("/", "./", "../")) and not token.startswith("-"):
                name, text = token.split("=", 1)
                out.fields.append((name, value_of(text, name)))
            elif token.startswith("-") and len(token) > 1:
                raise ConfigError(f"no option {token}", fix="options are written with two dashes")
            else:
                out.words.append(token)
            continue
        name, equals, text = token[2:].partition("=")
        plain = name.replace("_", "-")
        if plain in flags:
            if equals:
                raise ConfigError(f"--{plain} takes no value")
            out.options[plain] = True
        elif plain in valued:
            out.options[plain] = text if equals else _next(waiting, plain)
        elif plain.startswith("no-") and not equals and _is_boolean(plain[3:], booleans):
            out.fields.append((plain[3:], False))
        elif not equals and _is_boolean(plain, booleans) and (not waiting or waiting[0] not in ("true", "false")):
            out.fields.append((name, True))
        else:
            raw = text if equals else _next(waiting, name)
            out.fields.append((name, value_of(raw, name)))
    return out


def _is_boolean(name: str, booleans: Sequence[str]) -> bool:
    wanted = name.replace("-", "_")
    return wanted in booleans or wanted.rsplit(".", 1)[-1] in booleans


def _next(waiting: list[str], name: str) -> str:
    # A negative number is a value, another option is not.
    if not waiting or (waiting[0].startswith("--") and len(waiting[0]) > 2):
        raise ConfigError(f"--{name} needs a value")
    return waiting.pop(0)


def value_of(text: str, name: str) -> Any:
    """A value as YAML reads it."""
    return yaml.parse(text, f"--{name}") if text else ""
