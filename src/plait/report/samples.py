"""The predictions of samples: truth against prediction in figures, the largest misses, confusions of classes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from plait.report.figures import Pair, scatter_figure
from plait.report.finite import finite_json, read_as
from plait.report.shading import shade
from plait.report.wording import Row, count, quantity, share

T = TypeVar("T")

WORST = 10
"""How many of the largest misses are listed."""
MOST = 1500
"""A figure has at most so many points, so that the page stays small."""


@dataclass(frozen=True)
class Point:
    """The prediction of a sample; `column` is what a column of interest says of it."""

    id: str
    actual: float | None
    prediction: float | None
    low: float | None
    high: float | None
    column: str | None

    @classmethod
    def read(cls, each: Mapping[str, Any]) -> "Point":
        """A point of page.json."""
        actual, prediction, low, high = (_number(each.get(end)) for end in ("actual", "prediction", "low", "high"))
        column = each.get("column")
        return cls(str(each["id"]), actual, prediction, low, high, None if column is None else str(column))

    @property
    def miss(self) -> float | None:
        """Prediction less truth, None where one of them is not known."""
        return None if self.actual is None or self.prediction is None else self.prediction - self.actual


@dataclass(frozen=True)
class Confusion:
    """How many samples of each class were given each class. Shape: `counts` rows of truth, columns of prediction."""

    classes: list[str]
    counts: list[list[int]]

    @classmethod
    def read(cls, page: Mapping[str, Any]) -> "Confusion":
        """The confusion of a page.json."""
        classes, counts = [str(name) for name in page["classes"]], [[int(n) for n in row] for row in page["confusion"]]
        if len(counts) != len(classes) or any(len(row) != len(classes) for row in counts):
            raise ValueError("the confusion does not fit its classes")
        return cls(classes, counts)

    @classmethod
    def joined(cls, parts: "Sequence[Confusion]") -> "Confusion":
        """Those of several test sets together; a class may be missing in some."""
        classes = list(dict.fromkeys(name for part in parts for name in part.classes))
        place = {name: number for number, name in enumerate(classes)}
        counts = [[0] * len(classes) for _ in classes]
        for part in parts:
            for truth, row in zip(part.classes, part.counts, strict=True):
                for given, number in zip(part.classes, row, strict=True):
                    counts[place[truth]][place[given]] += number
        return cls(classes, counts)

    def recall(self, name: str) -> float | None:
        """The share of a class's samples that were given it, None where there is no such sample."""
        if name not in self.classes:
            return None
        place = self.classes.index(name)
        total = sum(self.counts[place])
        return self.counts[place][place] / total if total else None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def predictions(runs: Sequence[Path], anchors: Sequence[Path], names: tuple[str, str]) -> Row | None:
    """What the page shows of the predictions of some runs, whose test samples differ, beside those of the anchor alone.

    None where their pages are of something else. Errors: FileError where one is damaged.
    """
    kinds: dict[str, Callable[[Sequence[Path], Sequence[Path], tuple[str, str]], Row]] = {
        "samples": _scattered,
        "classes": _confused,
    }
    page = next((page for page in (_page(run) for run in runs) if page), {})
    draw = kinds.get(str(page.get("kind")))
    if draw is None:
        return None
    about = {"title": str(page.get("title") or "Predictions"), "seed": None, "rejected": ""}
    return about | draw(runs, anchors, names)


def _page(run: Path) -> Row:
    page = finite_json(run / "page.json", optional=True)
    return page if isinstance(page, dict) else {}


def _read(runs: Sequence[Path], kind: str, take: Callable[[Row], T]) -> list[T]:
    """What a function takes from the pages of one kind."""
    made = []
    for run in runs:
        page = _page(run)
        with read_as("page data", run / "page.json", "train this run again"):
            if page.get("kind") == kind:
                made.append(take(page))
    return made


def _scattered(runs: Sequence[Path], anchors: Sequence[Path], names: tuple[str, str]) -> Row:
    def take(page: Row) -> tuple[str, str, list[Point]]:
        names = str(page.get("unit") or "the target"), str(page.get("column") or "column")
        return *names, [Point.read(each) for each in page["points"]]

    read = _read(runs, "samples", take)
    unit, column, _ = read[0]
    points = [point for *_, some in read for point in some]
    rivals = [point for *_, some in _read(anchors, "samples", take) for point in some]
    pairs = [pair for pair in (_pair(point) for point in (*points, *rivals)) if pair]
    values = [value for pair in pairs for value in (pair.actual, pair.prediction)]
    limits = (min(values), max(values)) if values else (0.0, 1.0)
    sides = [(names[0], points, "forecast"), (names[1], rivals, "anchor")]
    return {
        "classes": None,
        "figures": [_figure(name, some, unit, limits, colour) for name, some, colour in sides if any(map(_pair, some))],
        "misses": _misses(points, {point.id: point for point in rivals}),
        "beside": bool(rivals),
        "column": column if any(point.column is not None for point in points) else "",
        "name": names[0],
        "intervals": any(point.low is not None and point.high is not None for point in points),
        "unit": unit,
    }


def _pair(point: Point) -> Pair | None:
    if point.actual is None or point.prediction is None:
        return None
    return Pair(point.actual, point.prediction, point.low, point.high)


def _figure(name: str, points: Sequence[Point], unit: str, limits: tuple[float, float], colour: str) -> Row:
    pairs = [pair for pair in map(_pair, points) if pair]
    step = -(-len(pairs) // MOST)
    shown = pairs[::step]
    error = quantity(sum(abs(pair.prediction - pair.actual) for pair in pairs) / len(pairs))
    words = f"Mean absolute error {error} over {count(len(pairs))} samples."
    spans = [(p.low <= p.actual <= p.high) for p in pairs if p.low is not None and p.high is not None]
    if spans:
        words += f" {share(sum(spans) / len(spans))} of the truths lie within their 80\u00a0% interval."
    if len(shown) < len(pairs):
        words += f" One in {step} of them is drawn."
    if len(pairs) < len(points):
        words += f" Without a known truth or prediction, and so not drawn: {count(len(points) - len(pairs))}."
    label = f"Scatter chart of {unit} as predicted over {unit} as measured, {name}. {words}"
    return {"name": name, "words": words, "figure": scatter_figure(shown, limits, unit, colour, f"s{colour}", label)}


def _misses(points: Sequence[Point], rivals: Mapping[str, Point]) -> list[Row]:
    """The samples whose predictions are furthest off, the worst first."""
    known = [(point, point.miss) for point in points if point.miss is not None]
    known.sort(key=lambda pair: abs(pair[1]), reverse=True)
    made = []
    for point, miss in known[:WORST]:
        rival = rivals.get(point.id)
        made.append({
            "id": point.id, "column": "–" if point.column is None else point.column,
            "actual": quantity(point.actual), "prediction": quantity(point.prediction),
            "interval": "–" if None in (point.low, point.high) else f"{quantity(point.low)} to {quantity(point.high)}",
            "miss": ("+" if miss > 0 else "") + quantity(miss),
            "rival": quantity(rival.prediction if rival else None),
        })  # fmt: skip
    return made


def _confused(runs: Sequence[Path], anchors: Sequence[Path], names: tuple[str, str]) -> Row:
    whole = Confusion.joined(_read(runs, "classes", Confusion.read))
    rivals = _read(anchors, "classes", Confusion.read)
    rival = Confusion.joined(rivals) if rivals else None
    right = sum(row[place] for place, row in enumerate(whole.counts))
    recalls = [value for value in map(whole.recall, whole.classes) if value is not None]
    samples = sum(map(sum, whole.counts))
    return {
        "classes": whole.classes,
        "rows": [_confused_row(whole, rival, place) for place in range(len(whole.classes))],
        "name": names[0],
        "beside": names[1] if rival else "",
        "words": f"{share(right / samples)} of {count(samples)} samples are given their own class;"
        f" the mean recall over classes is {share(sum(recalls) / len(recalls))}."
        if samples
        else "There is no sample whose class is known.",
    }


def _confused_row(whole: Confusion, rival: Confusion | None, place: int) -> Row:
    name, counts = whole.classes[place], whole.counts[place]
    total = sum(counts)
    return {
        "name": name,
        "cells": [
            {
                "number": count(number), "level": shade(number / total, 1.0) if total else 0, "own": given == place,
                "title": f"{name} taken for {whole.classes[given]}: {share(number / total) if total else 'no sample'}",
            }
            for given, number in enumerate(counts)
        ],
        "total": count(total),
        "recall": _share(whole.recall(name)),
        "rival": _share(rival.recall(name)) if rival else "",
    }  # fmt: skip


def _share(value: float | None) -> str:
    return "–" if value is None else share(value)
