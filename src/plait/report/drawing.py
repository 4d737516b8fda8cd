"""What all drawings of the page share: colours that its style sheet gives, their setting, and SVG as a part of it."""

import io
import re
import warnings
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


def finish(figure: "Figure", *panels: "Axes") -> None:
    """Give the panels of a drawing their grid, and the drawing one legend above them."""
    for axes in panels:
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(length=2.5)
    figure.patch.set_visible(False)
    handles = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    if handles:
        # Two long labels side by side are wider than a figure.
        columns = 4 if sum(len(label) for _, label in handles) < 60 else 1
        figure.legend(*zip(*handles, strict=True), loc="outside upper left", ncols=columns, borderpad=0)


def svg(figure: "Figure", prefix: str, words: str) -> Markup:
    """The drawing as an element of the page: its ids begin with `prefix`, its colours are the page's."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # The reader's browser draws the text, whatever letters the font here lacks.
        warnings.filterwarnings("ignore", message="Glyph")
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
