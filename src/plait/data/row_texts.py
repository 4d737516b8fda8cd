"""A sentence for every row of a table, from a template with the names of its columns."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from plait.core.errors import ConfigError, DataError
from plait.data.photo_files import placeholders
from plait.data.sample_files import listed
from plait.data.table import MISSING, columns_named, read_table


@dataclass(frozen=True)
class RowTexts:
    """The sorted ids of a table, and the sentence of each; `partly` counts those with a cell missing.

    A sentence is empty where all cells that the template names are missing.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    partly: int


def row_texts(path: Path, id_column: str, template: str) -> RowTexts:
    """Fill a template such as `A house with {bedrooms} bedrooms.` with the cells of each row, as they are written.

    Errors: those of `read_table`; ConfigError for a template that names no column; DataError for a column that the
    table lacks (the nearest), ids that are missing (the rows) or stand more than once (which).
    """
    parts = placeholders(template, "--text")
    used = [name for _, name in parts if name is not None]
    if not used:
        fix = "give a text such as 'A house with {bedrooms} bedrooms.'"
        raise ConfigError(f"{template!r} names no column, so every row has one text", where="--text", fix=fix)
    frame = read_table(path)
    columns_named(frame, [id_column], str(path), "--id")
    columns_named(frame, used, str(path), "--text")
    ids = frame[id_column].astype(str).str.strip().tolist()
    _check_ids(ids, f"{path}, column {id_column}")
    cells = {name: [_plain(cell) for cell in frame[name]] for name in used}
    found: dict[str, str] = {}
    partly = 0
    for row, each in enumerate(ids):
        present = [bool(cells[name][row]) for name in used]
        partly += any(present) and not all(present)
        sentence = "".join(before + (cells[name][row] if name is not None else "") for before, name in parts)
        found[each] = sentence if any(present) else ""
    names = tuple(sorted(found))
    return RowTexts(names, tuple(found[each] for each in names), partly)


def _plain(cell: object) -> str:
    text = str(cell).strip()
    return "" if text in MISSING else text


def _check_ids(ids: list[str], where: str) -> None:
    if not ids:
        raise DataError("the table has no row", where=where)
    absent = [str(row + 1) for row, each in enumerate(ids) if each in MISSING]
    repeated = [each for each, count in Counter(ids).items() if count > 1]
    if absent:
        raise DataError(f"{len(absent)} rows have no id: rows {listed(absent)}", where=where, fix="give each an id")
    if repeated:
        raise DataError(f"{len(repeated)} ids stand more than once: {listed(repeated)}", where=where, fix="see --id")
