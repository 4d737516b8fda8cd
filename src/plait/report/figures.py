"""The SVG figures of the page: forecasts, curves of a training, weights over time, predictions over truths, cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from plait.report.drawing import COLOURS, SETTINGS, finish, svg
from plait.report.labels import Box, placed
from plait.report.wording import metric_name

if TYPE_CHECKING:
    from datetime import datetime

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[int, float]

MANY = 60
"""More steps than this are drawn without a marker each."""


@dataclass
class Curve:
    """The history of a training: what each stage was, and the points of its losses over all epochs.

    `sign` is -1 where a higher score is better: the file holds its negative.
    """

    sign: int = 1
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
            self.val.append((here["end"], self.sign * float(entry["val"])))

    @property
    def best(self) -> Point | None:
        """The first epoch of the best validation score, 0 the start."""
        return min(self.val, key=lambda point: self.sign * point[1]) if self.val else None

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
        if "low" in sample:
            low, high = (np.array(sample[end], dtype=float) for end in ("low", "high"))
            axes.fill_between(times, low, high, color=COLOURS["forecast"], alpha=0.2, linewidth=0, label="interval")
        if rival is not None:
            # Dashes over the forecast's broad line, so that both are seen where they agree.
            line = np.array(rival, dtype=float)
            axes.plot(times, line, "--", color=COLOURS["anchor"], linewidth=1.3, label="anchor alone")
        _date_axis(axes)
        axes.margins(x=0.01)
        finish(figure, axes)
        return svg(figure, prefix, words)


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
            label = f"train {metric_name(curve.loss)}"
            above.plot(epochs, losses, "--", color=COLOURS["muted"], linewidth=1.2, label=label)
        if curve.val:
            epochs, scores = zip(*curve.val, strict=True)
            label = f"validation {metric_name(metric)}"
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
        finish(figure, *panels)
        return svg(figure, prefix, words)


@dataclass(frozen=True)
class Line:
    """A line of a figure: its words, its values (NaN where there is none), and what it is of: gate or attention."""

    label: str
    values: list[float]
    kind: str

    @property
    def known(self) -> list[float]:
        """The values that are numbers."""
        return [value for value in self.values if value == value]


def time_figure(origins: Sequence[str], lines: Sequence[Line], prefix: str, words: str) -> Markup:
    """Lines over the origins of windows, each on a scale of its own; over their places where they are no dates."""
    import matplotlib
    import numpy as np
    from matplotlib.figure import Figure

    moments = _moments(origins)
    along: Any = np.arange(len(origins)) if moments is None else np.array(moments, dtype="datetime64[s]")
    colours = {"gate": COLOURS["anchor"], "attention": COLOURS["forecast"]}
    dots: dict[str, Any] = {"marker": "o", "markersize": 2.8} if len(origins) <= MANY else {}
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.7, 1.2 + 1.15 * len(lines)), layout="constrained")
        panels = figure.subplots(len(lines), 1, sharex=True, squeeze=False)[:, 0]
        for axes, line in zip(panels, lines, strict=True):
            axes.plot(along, np.array(line.values), color=colours[line.kind], linewidth=1.3, label=line.label, **dots)
            axes.margins(x=0.01)
        if moments is None:
            panels[-1].set_xlabel("window")
        else:
            _date_axis(panels[-1])
        finish(figure, *panels)
        return svg(figure, prefix, words)


def _moments(origins: Sequence[str]) -> "list[datetime] | None":
    from datetime import datetime

    try:
        found = [datetime.fromisoformat(origin) for origin in origins]
    except ValueError:
        return None
    return [moment.replace(tzinfo=None) for moment in found]


def decay_figure(blocks: Sequence[Sequence[float]], alone: Sequence[float], step: int, words: str) -> Markup:
    """The mean weight of each block over the distance of a key in steps, and dashed what the bias alone gives."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(6.4, 2.8))
        axes = figure.add_subplot()
        away = [step * back for back in range(len(alone))]
        for number, weights in enumerate(blocks):
            label = "a block each" if not number else "_"
            axes.plot(away, weights, color=COLOURS["forecast"], linewidth=1.2, marker="o", markersize=2.5, label=label)
        axes.plot(away, alone, color=COLOURS["ink"], linewidth=1.2, linestyle=(0, (4, 2)), label="the bias alone")
        axes.set_xlabel("steps between a patch and the one that it looks at")
        axes.set_ylabel("mean weight")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper right")
        axes.grid(axis="y")
        finish(figure, axes)
        return svg(figure, "d", words)


def cost_figure(points: Sequence["Spot"], mark: float | None, axes_words: tuple[str, str], words: str) -> Markup:
    """A labelled point each, across its cost and up its error; `mark` is a line over the whole width."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.7, 3.4), layout="constrained")
        axes = figure.add_subplot()
        if mark is not None:
            axes.axhline(mark, color=COLOURS["muted"], linewidth=0.9, linestyle="--", label="anchor alone")
        for spot in points:
            colour = COLOURS[spot.colour]
            axes.plot(spot.across, spot.up, "o", color=colour, markersize=6, fillstyle="none" if spot.open else "full")
        axes.margins(x=0.12, y=0.16)
        axes.set_xlabel(axes_words[0])
        axes.set_ylabel(axes_words[1])
        finish(figure, axes)
        _name_points(figure, axes, points, mark)
        return svg(figure, "cost", words)


@dataclass(frozen=True)
class Pair:
    """The truth of a sample, its prediction, and the ends of its interval where it has one."""

    actual: float
    prediction: float
    low: float | None = None
    high: float | None = None


def scatter_figure(
    pairs: Sequence[Pair], limits: tuple[float, float], unit: str, colour: str, prefix: str, words: str
) -> Markup:
    """Predictions over truths, with their intervals as thin lines, and the line on which the two are the same.

    Both axes go over `limits`, so that figures of one page compare.
    """
    import matplotlib
    from matplotlib.figure import Figure

    room = (limits[1] - limits[0]) * 0.05 or 0.5
    ends = (limits[0] - room, limits[1] + room)
    with matplotlib.rc_context({**SETTINGS, "path.simplify": False}):
        figure = Figure(figsize=(4.7, 4.4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(ends, ends, "--", color=COLOURS["muted"], linewidth=0.9, label="prediction = truth")
        spans = [(pair.actual, pair.low, pair.high) for pair in pairs if pair.low is not None and pair.high is not None]
        if spans:
            # One line with gaps: a figure of a thousand samples stays small.
            across = [x for actual, _, _ in spans for x in (actual, actual, float("nan"))]
            up = [y for _, low, high in spans for y in (low, high, float("nan"))]
            axes.plot(across, up, color=COLOURS[colour], linewidth=0.6, alpha=0.45, label="80 % interval")
        along, above = [pair.actual for pair in pairs], [pair.prediction for pair in pairs]
        axes.plot(
            along, above, "o", color=COLOURS[colour], markersize=3.4, markeredgewidth=0, alpha=0.7, label="sample"
        )
        axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"{unit}, truth", ylabel=f"{unit}, prediction")
        axes.grid(axis="x")
        finish(figure, axes)
        return svg(figure, prefix, words)


def reliability_figure(groups: Sequence[tuple[float, float]], prefix: str, words: str) -> Markup:
    """The observed share of each group over its mean predicted chance, and the line on which the two are the same."""
    import matplotlib
    from matplotlib.figure import Figure

    end = 1.06 * max(0.02, *(value for group in groups for value in group))
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.7, 4.4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot((0, end), (0, end), "--", color=COLOURS["muted"], linewidth=0.9, label="share = chance")
        said, seen = zip(*groups, strict=True)
        axes.plot(said, seen, "-o", color=COLOURS["forecast"], linewidth=1.3, markersize=4.5, label="group of bars")
        axes.set(xlim=(0, end), ylim=(0, end), aspect="equal", xlabel="predicted chance", ylabel="observed share")
        axes.grid(axis="x")
        finish(figure, axes)
        return svg(figure, prefix, words)


@dataclass(frozen=True)
class Spot:
    """A labelled point of a figure."""

    label: str
    across: float
    up: float
    colour: str = "forecast"
    open: bool = False


def _name_points(figure: "Figure", axes: "Axes", points: Sequence[Spot], mark: float | None) -> None:
    """Write each point's label where it covers nothing, nor the line at `mark`, with a line to the point if far."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    scale = 72 / figure.dpi
    places = [tuple(scale * axes.transData.transform((spot.across, spot.up))) for spot in points]
    # Names that are alike at the start may differ at the end.
    names = [n if len(n) <= 24 else f"{n[:13]}…{n[-9:]}" for n in (spot.label for spot in points)]
    around = axes.get_window_extent()
    frame = Box(*(scale * float(end) for end in (around.x0, around.y0, around.x1, around.y1)))
    size = float(SETTINGS["font.size"])
    level = None if mark is None else scale * float(axes.transData.transform((points[0].across, mark))[1])
    lines = [] if level is None else [Box(frame.left, level - 1, frame.right, level + 1)]
    found = placed(places, [(0.58 * size * len(name), 1.15 * size) for name in names], frame, lines)
    for name, spot, (x, y), label in zip(names, points, places, found, strict=True):
        middle = (label.box.left + label.box.right) / 2, (label.box.low + label.box.high) / 2
        side, across = "left", label.box.left
        if middle[0] < x - 1:
            side, across = ("right", label.box.right) if label.box.right < x else ("center", middle[0])
        elif label.box.left < x:
            side, across = "center", middle[0]
        leader = {"arrowstyle": "-", "color": COLOURS["muted"], "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(
            name, (spot.across, spot.up), (across - x, middle[1] - y), textcoords="offset points", ha=side,
            va="center", arrowprops=leader if label.far else None, annotation_clip=False,
        )  # fmt: skip


def _date_axis(axes: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    formatter.zero_formats = ["", "%b\n%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
    formatter.offset_formats = ["", "%Y", "%b %Y", "%d %b %Y", "%d %b %Y", "%d %b %Y"]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
