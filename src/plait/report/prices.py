"""The prices of products: truth against prediction on logarithmic axes, errors by price, the use of experts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from plait.report.arms import Scale
from plait.report.drawing import COLOURS, SETTINGS, finish, svg
from plait.report.figures import Pair
from plait.report.finite import page_data, read_as
from plait.report.shading import shade
from plait.report.wording import Row, count, quantity, share

MOST = 1500
"""A figure has at most so many points, so that the page stays small."""
NO_VALUE = "–"


def prices(folder: Path) -> Row | None:
    """What the page shows of a run's prices; None where its page data are of something else.

    Errors: FileError where they are damaged.
    """
    page = page_data(folder, "prices")
    if page is None:
        return None
    with read_as("page data", folder / "page.json", "train this run again"):
        pairs = [_pair(each) for each in page["points"] if each.get("actual") is not None]
        coverage = page.get("coverage")
        words = _words(pairs, len(page["points"]), None if coverage is None else float(coverage))
        return {
            "title": str(page.get("title") or "Predictions"),
            "words": words,
            "figure": price_figure(pairs, words) if pairs else "",
            **_errors(page["groups"]),
            "gates": _gates(page["groups"]),
        }


def _pair(each: Mapping[str, Any]) -> Pair:
    ends = [None if each.get(end) is None else float(each[end]) for end in ("low", "high")]
    pair = Pair(float(each["actual"]), float(each["prediction"]), *ends)
    if not (pair.actual > 0 and pair.prediction > 0):
        raise ValueError(f"{pair} holds no price")
    return pair


def _words(pairs: Sequence[Pair], rows: int, coverage: float | None) -> str:
    """How many products there are, and how often their interval holds the price."""
    words = [f"{count(len(pairs))} test products."]
    spans = [p.low <= p.actual <= p.high for p in pairs if p.low is not None and p.high is not None]
    if spans and coverage is not None:
        held = share(sum(spans) / len(spans))
        words.append(
            f"{held} of the prices lie within their {100 * coverage:g}\u00a0% interval, whose reach is set on"
            " validation products."
        )
    if len(pairs) > MOST:
        words.append(f"One in {-(-len(pairs) // MOST)} of them is drawn.")
    if len(pairs) < rows:
        words.append(f"Without a known price, and so not drawn: {count(rows - len(pairs))}.")
    return " ".join(words)


def price_figure(pairs: Sequence[Pair], words: str) -> Markup:
    """Predictions over truths on logarithmic axes, their intervals, and the line on which the two are the same."""
    import matplotlib
    from matplotlib.figure import Figure

    values = [value for pair in pairs for value in (pair.actual, pair.prediction)]
    ends = (min(values) / 1.2, max(values) * 1.2)
    shown = pairs[:: -(-len(pairs) // MOST)]
    with matplotlib.rc_context({**SETTINGS, "path.simplify": False}):
        figure = Figure(figsize=(4.7, 4.4), layout="constrained")
        axes = figure.add_subplot(xscale="log", yscale="log")
        axes.plot(ends, ends, "--", color=COLOURS["muted"], linewidth=0.9, label="prediction = truth")
        spans = [(pair.actual, pair.low, pair.high) for pair in shown if pair.low is not None and pair.high is not None]
        if spans:
            # One line with gaps: a figure of a thousand products stays small.
            across = [x for actual, _, _ in spans for x in (actual, actual, float("nan"))]
            up = [y for _, low, high in spans for y in (low, high, float("nan"))]
            axes.plot(across, up, color=COLOURS["forecast"], linewidth=0.6, alpha=0.3, label="interval")
        along, above = [pair.actual for pair in shown], [pair.prediction for pair in shown]
        axes.plot(along, above, "o", color=COLOURS["forecast"], markersize=3.4, markeredgewidth=0, alpha=0.7)
        axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="price, truth", ylabel="price, prediction")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: quantity(value))
            axis.set_minor_formatter(lambda value, _: "")
        axes.grid(axis="x")
        finish(figure, axes)
        label = f"Scatter chart of predicted over true prices, both axes logarithmic. {words}"
        return svg(figure, "prices", label)


def _errors(groups: Sequence[Mapping[str, Any]]) -> Row:
    """The errors of each bin of prices, with the SMAPE drawn."""
    scale = Scale.over([_number(each[name]) for each in groups for name in ("smape", "smape_high")])
    rows = []
    for each in groups:
        value, low, high = (_number(each[name]) for name in ("smape", "smape_low", "smape_high"))
        rows.append({
            "label": str(each["label"]), "rows": count(int(each["count"])), "smape": _one(value),
            "interval": NO_VALUE if low is None else f"{_one(low)} to {_one(high)}", "mae": _amount(each["mae"]),
            "value": value, "bar": scale.bar(value, low, high),
        })  # fmt: skip
    return {"groups": rows, "ticks": [(place, f"{number:g}") for place, number in scale.ticks()]}


def _gates(groups: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Of each net, how much its experts are heard in each bin of prices; none without more than one expert."""
    known = [each for each in groups if each.get("gate")]
    nets = len(known[0]["gate"]) if known else 0
    made = []
    for net in range(nets):
        rows = [{"label": str(each["label"]), "cells": [_cell(s) for s in each["gate"][net]]} for each in known]
        experts = len(rows[0]["cells"])
        if experts > 1:
            title = f"Net {net + 1} of {nets}" if nets > 1 else ""
            made.append({"title": title, "experts": list(range(1, experts + 1)), "rows": rows})
    return made


def _cell(value: Any) -> Row:
    number = float(value)
    return {"share": share(number), "level": shade(number, 1.0)}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _one(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:.1f}"


def _amount(value: Any) -> str:
    return NO_VALUE if value is None else quantity(float(value))
