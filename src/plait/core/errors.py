"""Typed errors: what was wrong, where, and how to mend it."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

MOST_NAMES = 24


class PlaitError(Exception):
    """An error the user can act on; the command line prints it in one line, without a traceback.

    `what` states the fault, `where` names file, row, column or field, `fix` says what to do.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        mend = f" ({self.fix})" if self.fix else ""
        return f"{place}{self.what}{mend}"


class ConfigError(PlaitError):
    """A usage or configuration fault: a misspelt field, kind or flag, widths that do not fit."""

    exit_code = 2


class DataError(PlaitError):
    """The data are not what the recipe needs, or they leak."""

    exit_code = 3


class NumericsError(PlaitError):
    """A loss or a prediction is not a number."""

    exit_code = 4


class FileError(PlaitError):
    """A file or folder is missing, unreadable, damaged or in the way."""

    exit_code = 5


class Terminated(PlaitError):
    """The process was asked to stop; what was done so far is saved."""

    exit_code = 143


def suggest(name: str, names: Iterable[str]) -> str:
    """Say which of `names` lies nearest to a misspelt `name`, or where none is near, what names there are."""
    known = sorted(set(names))
    lowered = {other.lower(): other for other in known}
    near = get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    if near:
        return f"did you mean {lowered[near[0]]}?"
    more = f" and {len(known) - MOST_NAMES} more" if len(known) > MOST_NAMES else ""
    return f"there is {', '.join(known[:MOST_NAMES])}{more}" if known else "there are none"


def suggest_file(path: Path) -> str:
    """Say which file beside an absent `path` has the nearest name, or that its folder is absent too."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    return suggest(path.name, (other.name for other in path.parent.iterdir()))
