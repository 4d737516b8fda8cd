"""The SVG figures of the page: forecasts of windows and curves of a training."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[int, float]

# Stand-ins that no drawing uses otherwise: the page's style sheet gives each its colour, light or dark.
COLOURS = {
    "ink": "#010203",
    "muted": "#010204",
    "grid": "#010205",
    "forecast": "#010206",
    "anchor": "#010207",
    "band": "#010208",
}
SETTINGS: Any = {
    "svg.hashsalt": "plait",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.color": COLOURS["ink"],
    "text.parse_math": False,
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-4, 6),
    "xtick.color": COLOURS["grid"],
    "ytick.color": COLOURS["grid"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.4,
}
MANY = 60
"""More steps than this are drawn without a marker each."""


@dataclass
class Curve:
    """The history of a training: what each stage was, and the points of its losses over all epochs."""

    stages: list[dict[str, Any]] = field(default_factory=list)
    train: list[Point] = field(default_factory=list)
    val: list[Point] = field(default_factory=list)
    loss: str = ""

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take one line of metrics.jsonl."""
        stage = entry.get("stage")
        if entry.get("event") == "stage" or not self.stages or self.stages[-1]["name"] != stage:
            start = self.stages[-1]["end"] if self.stages else 0
            self.stages.append({"name": stage, "parameters": entry.get("parameters"), "start": start, "end": start})
        here = self.stages[-1]
        if entry.get("event") == "epoch":
            here["end"] = here["start"] + int(entry["epoch"])
            self.loss, value = next(iter(entry["train"].items()), (self.loss, None))
            if value is not None:
                self.train.append((here["end"], float(value)))
        if entry.get("val") is not None:
            self.val.append((here["end"], float(entry["val"])))

    @property
    def best(self) -> Point | None:
        """The first epoch of the lowest validation score, 0 the start."""
        return min(self.val, key=lambda point: point[1]) if self.val else None

    @property
    def span(self) -> tuple[float, float] | None:
        """The lowest and highest loss drawn."""
        values = [value for _, value in (*self.train, *self.val)]
        return (min(values), max(values)) if values else None


def forecast_figure(sample: Mapping[str, Any], rival: Sequence[float | None] | None, prefix: str, words: str) -> Markup:
    """History, truth and forecast of one window, and the forecast of the anchor alone where there is one.

    `prefix` begins every id, so that figures share a page; `words` is read out in the drawing's place.
    """
    import matplotlib
    import numpy as np
    from matplotlib.figure import Figure

    past_times, times = (np.array(sample[key], dtype="datetime64[s]") for key in ("past_times", "future_times"))
    past, actual, forecast = (np.array(sample[key], dtype=float) for key in ("past", "actual", "forecast"))
    dots: dict[str, Any] = {"marker": "o", "markersize": 2.8} if len(times) <= MANY else {}
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.7, 2.35), layout="constrained")
        axes = figure.add_subplot()
        axes.axvspan(past_times[-1], times[-1], color=COLOURS["band"], linewidth=0, zorder=0)
        axes.plot(past_times, past, color=COLOURS["muted"], linewidth=1.0, label="history")
        # The truth goes on from the last value seen: one line in two weights.
        join = np.array([past_times[-1], times[0]])
        axes.plot(join, [past[-1], actual[0]], color=COLOURS["ink"], linewidth=1.4)
        axes.plot(times, actual, color=COLOURS["ink"], linewidth=1.4, label="truth", **dots)
        axes.plot(times, forecast, color=COLOURS["forecast"], linewidth=2.2, label="forecast")
        if rival is not None:
            # Dashes over the forecast's broad line, so that both are seen where they agree.
            line = np.array(rival, dtype=float)
            axes.plot(times, line, "--", color=COLOURS["anchor"], linewidth=1.3, label="anchor alone")
        _date_axis(axes)
        axes.margins(x=0.01)
        _finish(figure, axes)
        return _svg(figure, prefix, words)


def training_figure(curve: Curve, limits: tuple[float, float] | None, metric: str, prefix: str, words: str) -> Markup:
    """Train loss and validation score of each epoch, over one another where they are the same quantity."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(SETTINGS):
        split = bool(curve.train) and curve.loss != metric
        figure = Figure(figsize=(4.7, 3.2 if split else 2.35), layout="constrained")
        panels = figure.subplots(2 if split else 1, 1, sharex=True, squeeze=False)[:, 0]
        below, above = panels[-1], panels[0]
        if curve.train:
            epochs, losses = zip(*curve.train, strict=True)
            label = f"train {curve.loss.upper()}"
            above.plot(epochs, losses, "--", color=COLOURS["muted"], linewidth=1.2, label=label)
        if curve.val:
            epochs, scores = zip(*curve.val, strict=True)
            label = f"validation {metric.upper()}"
            below.plot(epochs, scores, color=COLOURS["forecast"], linewidth=1.7, label=label)
        if curve.best:
            below.plot(*curve.best, "o", color=COLOURS["ink"], markersize=5, fillstyle="none", label="best")
        for axes in panels:
            for stage in curve.stages:
                if 0 < stage["start"] < curve.stages[-1]["end"]:
                    axes.axvline(stage["start"], color=COLOURS["muted"], linewidth=0.8, linestyle=":")
            if limits and not split:
                room = (limits[1] - limits[0]) * 0.06 or 0.1
                axes.set_ylim(limits[0] - room, limits[1] + room)
        below.set_xlabel("epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(figure, *panels)
        return _svg(figure, prefix, words)


def _date_axis(axes: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    formatter.zero_formats = ["", "%b\n%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
    formatter.offset_formats = ["", "%Y", "%b %Y", "%d %b %Y", "%d %b %Y", "%d %b %Y"]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)


def _finish(figure: "Figure", *panels: "Axes") -> None:
    for axes in panels:
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(length=2.5)
    figure.patch.set_visible(False)
    handles = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    figure.legend(*zip(*handles, strict=True), loc="outside upper left", ncols=4, borderpad=0)


def _svg(figure: "Figure", prefix: str, words: str) -> Markup:
    """The drawing as an element of the page: its ids begin with `prefix`, its colours are the page's."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'(\bid="|url\(#|\bhref="#)', rf"\g<1>{prefix}-", drawing).replace("xlink:href", "href")
    for name, colour in COLOURS.items():
        drawing = drawing.replace(colour, f"var(--{name})")
    box = re.search(r'viewBox="[^"]*"', drawing)
    assert box is not None
    opening = f'<svg {box[0]} role="img" aria-label="{escape(words)}">'
    body = drawing[drawing.index(">") + 1 :]
    return Markup(opening + re.sub(r"\s*\n\s*", "\n", body))
