"""Typed errors: what was wrong, where, and how to mend it."""

from collections.abc import Iterable
from difflib import get_close_matches


class PlaitError(Exception):
    """An error the user can act on; the command line prints it in one line, without a traceback.

    `what` states the fault, `where` names file, row, column or field, `fix` says what to do.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
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
    """Say which of `names` lies nearest to a misspelt `name`, and what names there are."""
    known = sorted(set(names))
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]}?"
    return "there is " + ", ".join(known) if known else "there are none"
