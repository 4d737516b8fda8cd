"""One grammar for fields on the command line: `--a.b v`, `--a.b=v`, `a.b=v`, `--flag`, `--no-flag`."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from plait.core.errors import ConfigError
from plait.core.yaml import Written


@dataclass
class Parsed:
    """A command line taken apart: positional words, options of the verb, fields of the config in order.

    The value of a field is what was written, True where its name stood alone, False where it began with `no-`.
    """

    words: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    fields: list[tuple[str, bool | Written]] = field(default_factory=list)


def parse(tokens: Sequence[str], valued: Container[str] = (), switches: Container[str] = ()) -> Parsed:
    """Take a verb's tokens apart.

    `valued` are the verb's own options (with `-`), each with a value; all other names are fields of the config, of
    which `switches` (with `_`) stand without a value, as `--a` or `--no-a`, unless true or false follows.
    """
    out = Parsed()
    waiting = list(tokens)
    while waiting:
        token = waiting.pop(0)
        name, equals, text = token.removeprefix("--").partition("=")
        plain, field_name = name.replace("_", "-"), name.replace("-", "_")
        if not token.startswith("--") and not (equals and not token.startswith(("/", "./", "../", "-"))):
            if token.startswith("-") and len(token) > 1:
                raise ConfigError(f"no option {token}", fix="options are written with two dashes")
            out.words.append(token)
        elif not name:
            raise ConfigError(f"no field has the empty name of {token!r}")
        elif plain in valued and token.startswith("--"):
            value = text if equals else "" if _stands_alone(waiting) else waiting.pop(0)
            if not value:
                raise ConfigError(f"--{plain} needs a value")
            out.options[plain] = value
        elif equals:
            out.fields.append((name, Written(text)))
        elif plain.startswith("no-") and field_name[3:] in switches:
            out.fields.append((name[3:], False))
        elif _stands_alone(waiting) or (field_name in switches and waiting[0].lower() not in ("true", "false")):
            out.fields.append((name, True))
        else:
            out.fields.append((name, Written(waiting.pop(0))))
    return out


def _stands_alone(waiting: list[str]) -> bool:
    # A negative number is a value, another option is not.
    return not waiting or (waiting[0].startswith("--") and len(waiting[0]) > 2)
