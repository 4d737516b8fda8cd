"""Taxa beside columns as heat maps, the weights of a pool as bars, and what the model says of other values."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from plait.report.arms import Scale
from plait.report.shading import shade
from plait.report.wording import NOT_KNOWN, Row, between, count, quantity, weight

WIDTH, LABELS, ROW = 540, 215, 19
"""Of a heat map: its width, that of its labels, and the height of a row."""
CELL = 96
"""The widest cell."""
LETTERS = 6.1
"""About the width of a letter."""
NUMBERS = 7
"""More columns than this have no numbers in their cells."""
MOST = 80
"""Lines that the table of other values has at most."""
OPEN = 10
"""ASVs of the pool that are not folded away."""
MEAN = "mean of all"


@dataclass(frozen=True)
class Heat:
    """Rows by columns of weights, each from 0 to 1; a cell that is not known is None."""

    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]

    plain: int = 0
    """The first so many columns have numbers and no shade."""

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the shades: the largest weight, and 0, or the smallest weight where all are alike."""
        known = [value for row in self.values for value in row[self.plain :] if value is not None]
        low, high = (min(known), max(known)) if known else (0.0, 0.0)
        return (low, high) if 2 * low > high > low else (0.0, high)


def taxa_figures(taxa: Row | None) -> Row | None:
    """The heat maps of ASVs and families by columns, each with its table, and the ASVs of the pool."""
    if not taxa or not (taxa["attention"] or taxa["pool"]):
        return None
    columns = [str(name) for name in taxa["columns"]]
    drawn = [
        _looks(title, taxa[key], name, columns, taxa.get("mean"))
        for key, name, title in (("attention", "label", "ASVs"), ("families", "family", "families"))
        if taxa[key]
    ]
    return {
        "drawn": drawn, "columns": columns, "pool": _pool(taxa["pool"]) if taxa["pool"] else [],
        "least": count(taxa["least"]), "known": count(taxa["known"]),
    }  # fmt: skip


def _looks(title: str, found: Sequence[Row], name: str, columns: list[str], mean: Row | None) -> Row:
    """One heat map: a row an ASV or family, and at last the mean of all."""
    nulls = all(row["null"] is not None for row in found)
    labels = [str(row[name]) for row in found] + [MEAN] * bool(mean)
    beside = [(str(row.get("taxon") or ""), count(row["samples"])) for row in found] + [("", "")] * bool(mean)
    values = [
        [*([float(row["null"])] if nulls else []), *map(float, row["weights"])]
        for row in (*found, *([mean] if mean else []))
    ]
    heads = [*(["null"] if nulls else []), *columns]
    if any(len(row) != len(heads) for row in values):
        raise ValueError("the weights of the taxa do not fit their columns")
    heat = Heat(labels, heads, [list(row) for row in values], int(nulls))
    first = f"{labels[0]} most" if labels else ""
    words = f"Heat map of {len(found)} {title} by what they look at: {', '.join(heads)}; {first}."
    return {
        "title": title, "figure": heat_figure(heat, words), "heads": heads,
        "low": weight(heat.ends[0]), "high": weight(heat.ends[1]),
        "table": [
            {"name": label, "taxon": taxon, "samples": samples, "cells": [weight(v) for v in row]}
            for label, (taxon, samples), row in zip(labels, beside, values, strict=True)
        ],
    }  # fmt: skip


def heat_figure(heat: Heat, words: str) -> Markup:
    """A heat map as an element of the page; `words` is read out in the drawing's place."""
    count_columns = len(heat.columns)
    wide = min(CELL, (WIDTH - LABELS) / max(count_columns, 1))
    top = 24.0 if count_columns <= NUMBERS else 84.0
    low, high = heat.ends
    parts = [_head(name, LABELS + (place + 0.5) * wide, top, wide) for place, name in enumerate(heat.columns)]
    for number, (label, values) in enumerate(zip(heat.rows, heat.values, strict=True)):
        apart = 6 if label == MEAN else 0
        up = top + number * ROW + apart
        parts.append(_words(label, LABELS - 8, up + 13.5, "end", int(LABELS / LETTERS), muted=bool(apart)))
        for place, value in enumerate(values):
            level = 0 if place < heat.plain or value is None else shade(value - low, high - low)
            cell = _cell(LABELS + place * wide, up, wide, level, f"{label}, {heat.columns[place]}: {weight(value)}")
            parts.append(cell)
            if count_columns <= NUMBERS and value is not None:
                parts.append(_words(f"{value:.3f}", LABELS + (place + 0.5) * wide, up + 13.5, "middle", 9))
    height = top + len(heat.rows) * ROW + 10
    box = f"0 0 {LABELS + wide * count_columns + 2:.0f} {height:.0f}"
    limit = f"max-width:{LABELS + wide * count_columns + 2:.0f}px"
    opening = Markup('<svg viewBox="{0}" role="img" aria-label="{1}" style="{2}">').format(box, words, limit)
    return opening + Markup("\n").join(parts) + Markup("</svg>")


def _cell(left: float, up: float, wide: float, level: int, title: str) -> Markup:
    fill = f"fill:rgb(var(--heat) / {level / 20:.2f});stroke:var(--rule)"
    return Markup('<rect x="{0}" y="{1}" width="{2}" height="{3}" style="{4}"><title>{5}</title></rect>').format(
        f"{left:.1f}", f"{up:.1f}", f"{wide - 1:.1f}", ROW - 1, fill, title
    )


def _words(text: str, left: float, down: float, end: str, most: int, muted: bool = False) -> Markup:
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    style = f"fill:var(--{'muted' if muted else 'ink'});font-size:11px;text-anchor:{end}"
    return Markup('<text x="{0}" y="{1}" style="{2}">{3}</text>').format(f"{left:.1f}", f"{down:.1f}", style, shown)


def _head(name: str, middle: float, top: float, wide: float) -> Markup:
    if top < 50:
        return _words(name, middle, top - 8, "middle", max(3, int(wide / LETTERS)), muted=True)
    return Markup('<g transform="translate({0} {1}) rotate(-60)">{2}</g>').format(
        f"{middle + 4:.1f}", f"{top - 6:.0f}", _words(name, 0, 0, "start", 14, muted=True)
    )


def _pool(found: Sequence[Row]) -> list[list[Row]]:
    """A bar each, longest first, with how many times it is what it would be were all ASVs of a sample alike.

    The first ten stand in the open.
    """
    scale = Scale(0.0, max(float(row["weight"]) for row in found) or 1.0)
    bars = [
        {
            "label": str(row["label"]), "taxon": str(row["taxon"]), "samples": count(row["samples"]),
            "weight": weight(row["weight"]), "meter": scale.at(float(row["weight"])),
            "times": f"{row['weight'] / row['even']:#.3g}".rstrip(".") + " ×" if row["even"] else NOT_KNOWN,
        }
        for row in found
    ]  # fmt: skip
    return [part for part in (bars[:OPEN], bars[OPEN:]) if part]


def counterfactual_table(found: Sequence[Row]) -> Row | None:
    """A line each column, value and class: how far the answer moves, on one scale, grouped by column."""
    if not found:
        return None
    # Of very many values those that move the answer most; their order stays.
    ranked = sorted(found, key=lambda row: -abs(row["change"]["value"] or 0.0))[:MOST]
    kept = {id(row) for row in ranked}
    shown = [row for row in found if id(row) in kept]
    scale = Scale.over([row["change"][end] for row in shown for end in ("value", "low", "high")], least=1e-6)
    ticks = [(place, f"{number:+.3g}" if abs(number) > 1e-12 else "0") for place, number in scale.ticks()]
    groups: dict[str, list[Row]] = {}
    for row in shown:
        groups.setdefault(str(row["column"]), []).append(_line(row, scale))
    return {
        "unit": str(found[0]["unit"]),
        "classes": any(row["class"] is not None for row in found),
        "one": str(found[0]["class"]) if len({row["class"] for row in found}) == 1 else "",
        "axis": {"zero": scale.at(0), "ticks": [(place, words.replace("-", "−")) for place, words in ticks]},
        "groups": [{"column": column, "rows": rows} for column, rows in groups.items()],
        "left": count(len(found) - len(shown)) if len(found) > len(shown) else "",
    }


def _line(row: Row, scale: Scale) -> Row:
    change = row["change"]
    step = f" ({quantity(row['step'])})" if row["step"] is not None else ""
    return {
        "value": str(row["value"]).replace("-1 sd", "−1 sd") + step,
        "class": "" if row["class"] is None else str(row["class"]),
        "samples": count(row["samples_that_have_it"]),
        "change": signed(change["value"]),
        "interval": between(change, signed),
        "says": _says(change),
        "bar": scale.bar(change["value"], change["low"], change["high"]),
    }


def signed(value: float | None) -> str:
    """A change in the unit of the data."""
    return NOT_KNOWN if value is None else ("+" if value > 0 else "") + quantity(value)


def _says(change: Row) -> str:
    if change["low"] is None or change["high"] is None:
        return ""
    return "higher" if change["low"] > 0 else "lower" if change["high"] < 0 else "no change shown"
