"""Pieces of text and cells of a heat map, each shaded by its weight, as elements of the page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from plait.report.wording import Row, count, date, weight

LEVELS = 20
"""Shades beside none."""
FOLD = 420
"""Letters of a text that stand in the open; the others are folded."""
HEAVIEST = 5
"""Pieces that are named below the texts, for those who see no shades."""
WIDEST = 120
"""Columns that a heat map has at most."""

WHOLE = 0.999
"""A row of weights that sums to less has the rest on tokens that are not shown."""

END = re.compile(r"\w\w[.!?][\"'”’)]*$")

Piece = tuple[str, float | None]


@dataclass(frozen=True)
class Room:
    """How many pieces and cells each sample of a page may mark by themselves, so that the page stays small."""

    pieces: int
    cells: int

    @classmethod
    def shared(cls, samples: int) -> "Room":
        """The room of a page, in equal parts."""
        return cls(max(100, 9000 // max(samples, 1)), max(200, 12000 // max(samples, 1)))


def shade(value: float | None, largest: float) -> int:
    """The shade of a weight beside the largest one; 0 is no shade."""
    if value is None or value <= 0 or largest <= 0:
        return 0
    return min(LEVELS, round(LEVELS * value / largest))


def shaded_sample(sample: Row, room: Room) -> Row:
    """The texts of a window with their pieces shaded, the heaviest of them by name, and the heat map."""
    items = [[_piece(piece) for piece in item["pieces"]] for item in sample["items"]]
    weights = sorted((value for pieces in items for _, value in pieces if value is not None), reverse=True)
    largest = max(weights[0], 0.0) if weights else 0.0
    # Where a sample has more pieces than there is room for, the light ones stay plain text.
    least = weights[room.pieces] if len(weights) > room.pieces else 0.0
    texts = [
        _text(item, pieces, number, largest, least)
        for number, (item, pieces) in enumerate(zip(sample["items"], items, strict=True), 1)
    ]
    return {
        "origin": str(sample["origin"]),
        "texts": texts,
        "largest": weight(largest) if weights else None,
        "plain": least > 0,
        "heaviest": _heaviest([piece for pieces in items for piece in pieces]),
        "heat": _heat(sample, room),
    }


def _piece(piece: Sequence[Any]) -> Piece:
    words, value = piece
    return str(words), None if value is None else float(value)


def _text(item: Row, pieces: list[Piece], number: int, largest: float, least: float) -> Row:
    spaced = _spaced(pieces)
    head, rest = folded(spaced, FOLD)
    left = sum(len(words) for words, _ in rest)
    return {
        "number": number,
        "date": str(item["date"]),
        "place": str(item.get("place") or ""),
        "head": shaded_pieces(head, largest, least),
        "rest": shaded_pieces(rest, largest, least) if rest else None,
        "left": count(left),
        "sum": weight(sum(value for _, value in pieces if value is not None)),
    }


def _spaced(pieces: list[Piece]) -> list[Piece]:
    """A space between pieces that hold none, which are sentences, and where one sentence meets the next."""
    own = any(words[:1].isspace() or words[-1:].isspace() for words, _ in pieces)
    sentences = not own and any(" " in words for words, _ in pieces)
    made: list[Piece] = []
    tail = ""
    for words, value in pieces:
        apart = sentences or (END.search(tail) and words[:1].isupper())
        made.append((f" {words}" if made and apart else words, value))
        tail = (tail + words)[-8:]
    return made


def folded(pieces: Sequence[Piece], most: int) -> tuple[list[Piece], list[Piece]]:
    """The first pieces, of about `most` letters, and the others; a long piece is parted at a space.

    A little more than `most` is not folded at all.
    """
    if sum(len(words) for words, _ in pieces) <= most + 60:
        return list(pieces), []
    head: list[Piece] = []
    left = most
    for number, (words, value) in enumerate(pieces):
        if len(words) > left:
            cut = words.rfind(" ", 0, left + 1)
            cut = cut if cut > 0 else left if len(words) > 60 else 0
            parts = [(words[:cut], value)] * bool(cut), [(words[cut:], value), *pieces[number + 1 :]]
            return head + parts[0], parts[1]
        head.append((words, value))
        left -= len(words)
    return head, []


def shaded_pieces(pieces: Sequence[Piece], largest: float, least: float) -> Markup:
    """Each piece as an element with its weight as title and its shade as class."""
    made = []
    for words, value in pieces:
        if value is None or value < least or (least and not shade(value, largest)):
            made.append(escape(words))
        else:
            made.append(
                _element("mark" if shade(value, largest) else "span", shade(value, largest), weight(value), words)
            )
    return Markup("").join(made)


def _element(tag: str, level: int, title: str, words: str) -> Markup:
    kind = Markup(f' class="w{level}"') if level else Markup("")
    return Markup('<{0}{1} title="{2}">{3}</{0}>').format(Markup(tag), kind, title, words)


def _heaviest(pieces: list[Piece]) -> list[tuple[str, str]]:
    known = [(words.strip(), value) for words, value in pieces if value and words.strip()]
    if len(known) < 2:
        return []
    known.sort(key=lambda piece: piece[1], reverse=True)
    return [(_short(words, 40), weight(value)) for words, value in known[:HEAVIEST]]


def _short(words: str, most: int) -> str:
    return words if len(words) <= most else f"{words[: most - 2].rstrip()} …"


def _heat(sample: Row, room: Room) -> Row | None:
    """The heat map as rows of cells; shades are of the texts' weights, the column of null has numbers alone."""
    heat = sample["heat"]
    names, columns = [str(name) for name in heat["rows"]], [str(name) for name in heat["columns"]]
    values: list[list[float | None]] = [[None if v is None else float(v) for v in row] for row in heat["values"]]
    if not names or not columns or any(len(row) != len(columns) for row in values) or len(values) != len(names):
        if not names or not columns:
            return None
        raise ValueError("the heat map's values do not fit its rows and columns")
    null = columns[0] == "null"
    shown = _most([max((row[place] or 0.0) for row in values) for place in range(null, len(columns))], WIDEST, null)
    rows = _most(
        [max((row[place] or 0.0 for place in shown), default=0.0) for row in values], room.cells // (len(shown) + 1)
    )
    largest = max((values[row][place] or 0.0 for row in rows for place in shown), default=0.0)
    heads = {place: _column(place, columns[place], sample["items"], null) for place in shown}
    return {
        "null": null,
        "rest": any(sum(weight or 0.0 for weight in row) < WHOLE for row in values),
        "heads": list(heads.values()),
        "rows": [
            {
                "name": names[row],
                "null": weight(values[row][0]) if null else None,
                "cells": _cells([(f"text {heads[place]['label']}", values[row][place]) for place in shown], largest),
            }
            for row in rows
        ],
        "largest": weight(largest),
        "wide": len(shown) > 8,
        "all": names == ["all queries"],
        "left_rows": len(names) - len(rows),
        "left_columns": len(columns) - null - len(shown),
    }


def _most(values: list[float], most: int, start: int = 0) -> list[int]:
    """The places of the largest values, in order, counted from `start`."""
    ranked = sorted(range(len(values)), key=lambda place: values[place], reverse=True)[: max(most, 1)]
    return [place + start for place in sorted(ranked)]


def _column(place: int, name: str, items: list[Row], null: bool) -> Row:
    """A text's column bears its number in the list of texts, and its date and place as a title."""
    number = place - null
    known = number < len(items) and str(items[number].get("place") or "") == name
    when = f", {date(str(items[number]['date']))}" if known else ""
    return {"label": str(number + 1), "title": f"text {number + 1}{when}: {name}"}


def _cells(cells: list[tuple[str, float | None]], largest: float) -> Markup:
    made = [_element("td", shade(value, largest), f"{label}: {weight(value)}", weight(value)) for label, value in cells]
    return Markup("").join(made)
