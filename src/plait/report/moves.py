"""The chances of moves: whether they are true, how they rank bars, what each threshold calls, and the model's parts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plait.report.arms import Scale
from plait.report.figures import reliability_figure
from plait.report.finite import page_data, read_as
from plait.report.wording import Row, count, share

LEAST_RANGE = "last_bar_range"
"""The rival that a model has to outrank to be of use."""
NO_VALUE = "–"


def moves(folder: Path, result: Row) -> Row | None:
    """What the page shows of a run's chances of moves; None where its page data are of something else.

    Errors: FileError where they are damaged.
    """
    page = page_data(folder, "moves")
    if page is None:
        return None
    with read_as("page data", folder / "page.json", "train this run again"):
        groups = [(_chance(each["chance"]), _chance(each["share"]), int(each["rows"])) for each in page["reliability"]]
        if not groups:
            raise ValueError("no group of rows")
        return {
            "title": str(page.get("title") or "Chances"),
            "words": _words(_chance(page["share"]), result),
            "figure": reliability_figure([group[:2] for group in groups], "reliability", _label(groups)),
            "groups": [[_three(chance), _three(seen), count(rows)] for chance, seen, rows in groups],
            "rows_each": _spread([rows for *_, rows in groups]),
            **_called(page),
            "parameters": [
                {"name": str(name), "trainable": count(int(each["trainable"])), "total": count(int(each["total"]))}
                for name, each in (page.get("parameters") or {}).items()
            ],
        }  # fmt: skip


def _chance(value: Any) -> float:
    number = float(value)
    if not 0 <= number <= 1:
        raise ValueError(f"{number} is no share")
    return number


def _words(events: float, result: Row) -> list[str]:
    """What a reader should know first: how rare moves are, how bars are ranked, and what a plain rival does."""
    test, rows = result["metrics"]["test"], count(result["windows"]["test"])
    words = [f"A move follows {share(events)} of the {rows} test bars."]
    auc = test.get("auc")
    if auc is not None:
        words.append(
            f"Of a bar with a move and one without, the model gives the first the higher chance in {share(auc)} of all"
            f" pairs (AUC {_with_ends(test, 'auc')}; by chance 0.500)."
        )
    if test.get("average_precision") is not None:
        ranked = _with_ends(test, "average_precision")
        words.append(f"Its average precision is {ranked}, that of an order by chance {_three(events)}.")
    rival = (result["baselines"].get(LEAST_RANGE) or {}).get("auc")
    if auc is not None and rival is not None:
        told = "ranks better" if auc > rival else "ranks no better"
        words.append(f"The range of the last bar alone has AUC {_three(rival)}: on these bars the model {told}.")
    return words


def _with_ends(scores: Mapping[str, Any], name: str) -> str:
    low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
    ends = "" if low is None or high is None else f", 95\u00a0% interval {_three(low)} to {_three(high)}"
    return f"{_three(scores[name])}{ends}"


def _label(groups: Sequence[tuple[float, float, int]]) -> str:
    """The drawing in words."""
    points = ", ".join(f"{_three(chance)} said and {_three(seen)} seen" for chance, seen, _ in groups)
    rows = _spread([rows for *_, rows in groups])
    what = "the observed share of moves over the predicted chance"
    return f"Line chart of {what}, {len(groups)} groups of {rows}: {points}."


def _spread(rows: Sequence[int]) -> str:
    """How many rows each group has."""
    low, high = min(rows), max(rows)
    return f"{count(low)} bars" if low == high else f"{count(low)} or {count(high)} bars"


def _called(page: Row) -> Row:
    """The tables of what is called: by threshold, as far as a bar reaches it, and by the share of the bars."""
    steps = [_row(each, f"{float(each['threshold']):.2f}") for each in page["thresholds"]]
    tops = [_row(each, f"top {float(each['top']):.0%}".replace("%", "\u00a0%")) for each in page["deciles"]]
    reached = [row for row in steps if row["called"]]
    scale = Scale.over([row["value"] for row in tops], least=0.0)
    beyond = steps[len(reached)]["at"] if len(reached) < len(steps) else ""
    return {
        "thresholds": reached,
        "beyond": f"No test bar has a chance of {beyond} or more." if beyond else "",
        "tops": [row | {"bar": scale.bar(row["value"], None, row["value"])} for row in tops],
        "ticks": [(place, f"{number:g}") for place, number in scale.ticks()],
        "mark": scale.at(1.0),
    }


def _row(each: Mapping[str, Any], at: str) -> Row:
    rows, lift = int(each["rows"]), each["lift"]
    return {
        "at": at, "called": rows, "rows": count(rows), "value": None if lift is None else float(lift),
        "cells": [_three(each[name]) for name in ("precision", "recall", "f1")],
        "lift": NO_VALUE if lift is None else f"{float(lift):.2f}",
    }  # fmt: skip


def _three(value: Any) -> str:
    return NO_VALUE if value is None else f"{float(value):.3f}"
