"""JSON files as plain values: None for every number that is none, and no text that turns what stands after it."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plait.core.errors import FileError
from plait.runs.folder import read_json

TURNS = re.compile("[\u202a\u202b\u202d\u202e]")
ISOLATES = re.compile("[\u2066-\u2068]")


def finite_json(path: Path, *, optional: bool = False) -> Any:
    """What a JSON file holds; None for an optional one that is not there."""
    if optional and not path.is_file():
        return None
    return finite(read_json(path))


def page_data(folder: Path, kind: str) -> dict[str, Any] | None:
    """What a run's page.json holds; None where there is none, or one of another kind."""
    page = finite_json(folder / "page.json", optional=True)
    return page if isinstance(page, dict) and page.get("kind") == kind else None


@contextmanager
def read_as(what: str, path: Path, fix: str) -> Iterator[None]:
    """Says of a file that lacks what is drawn from it, or has it in another form, that it holds no `what`."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as fault:
        raise FileError(f"holds no {what}: {fault!r}", where=str(path), fix=fix) from None


def finite(data: Any) -> Any:
    """The same data, with None for numbers that are not finite, and with every text closed."""
    if isinstance(data, dict):
        return {closed(name): finite(value) for name, value in data.items()}
    if isinstance(data, list):
        return [finite(value) for value in data]
    if isinstance(data, str):
        return closed(data)
    return None if isinstance(data, float) and not math.isfinite(data) else data


def closed(text: str) -> str:
    """The text with an end for each mark in it that turns the direction of writing, up to its last character."""
    return text + "\u2069" * len(ISOLATES.findall(text)) + "\u202c" * len(TURNS.findall(text))
