"""Files of labelled series (`.ts`), as the UCR and UEA archives have them: a header, then a case a line."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plait.core.errors import DataError, FileError, suggest, suggest_file

FloatArray = NDArray[np.float64]

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
COMMENT = ("#", "%")
MISSING = ("?", "nan")
UNKNOWN = "?"
"""What stands for a value that was not measured, and for a class that is not known."""


@dataclass(frozen=True, eq=False)
class SeriesFile:
    """The cases of a file, in its order.

    `labels` are names of `classes`, None where a class is not known; without `classes` the file has no labels.
    Shape: each of `cases` (t, v), all of one v.  Mask: NaN = missing.
    """

    where: str
    classes: tuple[str, ...]
    labels: tuple[str | None, ...]
    cases: tuple[FloatArray, ...]

    @property
    def dimensions(self) -> int:
        """Variates of a case."""
        return int(self.cases[0].shape[1])


@dataclass(frozen=True)
class Header:
    """What a header says: the classes (None: a case ends without one), and lengths that every case has, if any."""

    classes: tuple[str, ...] | None
    dimensions: int | None
    length: int | None


def read_ts(path: Path) -> SeriesFile:
    """The cases of a file, checked against its header.

    Errors: FileError where it can't be read; DataError, with the line and the dimension, for a header that does not say
    whether there are classes, for time stamps and targets that are numbers, an unknown class or none, another number
    of dimensions or steps, what is no finite number, and a file without a case.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        raise FileError("no such file", where=str(path), fix=suggest_file(path)) from None
    except OSError as error:
        raise FileError(f"can't be read: {error.strerror}", where=str(path)) from None
    where = str(path)
    header, begin = _header(lines, where)
    labels, cases, dimensions = [], [], header.dimensions
    for number, line in enumerate(lines[begin:], begin + 1):
        text, here = line.strip(), f"{where}, line {number}"
        if not text or text.startswith(COMMENT):
            continue
        label, parts = _parted(text, header.classes, here)
        dimensions = dimensions or len(parts)
        if len(parts) != dimensions:
            raise DataError(
                f"{len(parts)} dimensions, {dimensions} are expected", where=here,
                fix="part dimensions by `:`, values by `,`",
            )  # fmt: skip
        labels.append(label)
        cases.append(_stacked(parts, header.length, here))
    if not cases:
        raise DataError("there is no case behind @data", where=where, fix="give a case a line")
    return SeriesFile(where, header.classes or (), tuple(labels), tuple(cases))


def _header(lines: list[str], where: str) -> tuple[Header, int]:
    """What the tags say, and how many lines they take, that of @data with them."""
    tags: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith(COMMENT):
            continue
        if not words[0].startswith("@"):
            raise DataError(
                "neither a comment nor a tag stands before @data", where=f"{where}, line {number}",
                fix="give a file with a header: @classLabel, @data",
            )  # fmt: skip
        tag = words[0][1:].lower()
        if tag == "data":
            return _said(tags, where), number
        tags[tag] = words[1:]
    raise DataError("has no line @data", where=where, fix="give a .ts file: a header, @data, a case a line")


def _said(tags: dict[str, list[str]], where: str) -> Header:
    if _flag(tags, "timestamps", where):
        raise DataError("time stamps are not read", where=f"{where}, @timeStamps", fix="give the values alone")
    if _flag(tags, "targetlabel", where):
        raise DataError("its targets are numbers", where=f"{where}, @targetLabel", fix="give a file of classes")
    if "classlabel" not in tags:
        raise DataError(
            "does not say whether a case ends in its class", where=f"{where}, @classLabel",
            fix="@classLabel true and the names, or @classLabel false",
        )  # fmt: skip
    labelled = _flag(tags, "classlabel", where)
    classes = tuple(tags["classlabel"][1:])
    if labelled and (len(classes) < 2 or len(set(classes)) < len(classes)):
        raise DataError(
            f"{', '.join(classes) or 'no names'}: not two classes or more, each once", where=f"{where}, @classLabel",
            fix="@classLabel true and the names",
        )  # fmt: skip
    single = _flag(tags, "univariate", where)
    dimensions = 1 if single else _count(tags, "dimensions", where)
    length = _count(tags, "serieslength", where) if _flag(tags, "equallength", where) else None
    return Header(classes if labelled else None, dimensions, length)


def _flag(tags: dict[str, list[str]], tag: str, where: str) -> bool | None:
    """Whether a tag is true; None where it is absent."""
    if tag not in tags:
        return None
    word = "".join(tags[tag][:1]).lower()
    if word not in ("true", "false"):
        raise DataError(f"{word!r} is neither true nor false", where=f"{where}, @{tag}")
    return word == "true"


def _count(tags: dict[str, list[str]], tag: str, where: str) -> int | None:
    """The number behind a tag; None where it is absent."""
    if tag not in tags:
        return None
    word = "".join(tags[tag][:1])
    if re.fullmatch("[1-9][0-9]*", word) is None:
        raise DataError(f"{word!r} is no count", where=f"{where}, @{tag}")
    return int(word)


def _parted(text: str, classes: tuple[str, ...] | None, where: str) -> tuple[str | None, list[str]]:
    """The class of a case, None where it is not known, and its dimensions."""
    parts = text.split(":")
    if classes is None:
        return None, parts
    label = parts.pop().strip()
    if not parts or not label:
        raise DataError("has no class behind its last `:`", where=where, fix=f"one of {', '.join(classes)}")
    if label == UNKNOWN:
        return None, parts
    if label not in classes:
        raise DataError(f"no class {label!r} in the header", where=where, fix=suggest(label, classes))
    return label, parts


def _stacked(parts: list[str], length: int | None, where: str) -> FloatArray:
    """The dimensions of a case side by side. Shape: (t, v)."""
    columns: list[list[float]] = []
    for number, part in enumerate(parts, 1):
        here = f"{where}, dimension {number}"
        values = [_value(cell.strip(), f"{here}, value {place}") for place, cell in enumerate(part.split(","), 1)]
        expected, of = (length, "@seriesLength") if length else (len(columns[0]) if columns else None, "dimension 1")
        if expected not in (None, len(values)):
            raise DataError(f"{len(values)} steps, {of} has {expected}", where=here, fix="write ? for what is missing")
        columns.append(values)
    return np.array(columns, dtype=np.float64).T


def _value(cell: str, where: str) -> float:
    if cell.lower() in MISSING:
        return np.nan
    value = float(cell) if NUMBER.fullmatch(cell) else None
    if value is None and cell.lower().lstrip("+-") not in ("inf", "infinity"):
        raise DataError(f"{cell!r} is no number", where=where, fix="write ? for what is missing")
    if value is None or np.isinf(value):
        raise DataError(f"{cell} is infinite", where=where, fix="write ? for what is missing")
    return value
