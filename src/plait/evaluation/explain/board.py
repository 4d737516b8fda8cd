"""Heat maps and gates of an explanation in the TensorBoard folder of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.core.schema import Schema
from plait.evaluation.explain.look import Look
from plait.evaluation.explain.timeline import evenly
from plait.evaluation.explain.weights import gate_share, over_queries, present_queries

ROWS = 64
"""Rows of a heat map of gates."""

Image = NDArray[np.uint8]
Cells = NDArray[np.float64]


class Gates:
    """The mean gate of each batch, and of some rows, evenly spaced, how far each feature opens in each map."""

    def __init__(self, schema: Schema, rows: int) -> None:
        self.schema = schema
        self.batches: list[float] = []
        self.cells: dict[str, list[Cells]] = {}
        self._shown = evenly(np.arange(rows, dtype=np.int64), ROWS)

    def add(self, look: Look) -> None:
        """Note some rows."""
        mean = gate_share(look.maps, look.batch.inputs, self.schema)
        if mean is None:
            return
        self.batches.append(float(mean.double().mean()))
        places = np.flatnonzero(np.isin(look.rows, self._shown))
        for name, each in look.maps.items():
            if name.split(".")[0] == "gate" and len(places):
                queries = present_queries(each, 1, look.batch.inputs, self.schema)
                found = over_queries(each.values.flatten(2), queries)[places]
                self.cells.setdefault(name, []).append(found.double().cpu().numpy())


def write_board(folder: Path, name: str, result: dict[str, Any], gates: Gates) -> None:
    """Write into a folder of TensorBoard events, in a file of its own, what there is to see; one of before is replaced.

    Images `explain/taxa`, `explain/families` and `explain/<map of gates>`, scalars `explain/gate`, a step a batch.
    Of another split than test the tags begin with `explain-<name>`.
    """
    images = _images(result, gates)
    if not images and not gates.batches:
        return
    from torch.utils.tensorboard import SummaryWriter

    suffix = f".explain-{name}"
    for path in folder.glob(f"events.out.tfevents.*{suffix}"):
        path.unlink(missing_ok=True)
    tag = "explain" if name == "test" else f"explain-{name}"
    with SummaryWriter(str(folder), filename_suffix=suffix) as writer:
        for words, image in images.items():
            writer.add_image(f"{tag}/{words}", image, 0, dataformats="HWC")
        for step, value in enumerate(gates.batches):
            writer.add_scalar(f"{tag}/gate", value, step)


def _images(result: dict[str, Any], gates: Gates) -> dict[str, Image]:
    taxa = result.get("taxa") or {}
    images = {}
    for words, rows, key in (("taxa", taxa.get("attention"), "label"), ("families", taxa.get("families"), "family")):
        if rows:
            cells = np.array([row["weights"] for row in rows])
            title = "mean attention on each column"
            images[words] = heat_image(cells, [str(row[key]) for row in rows], taxa["columns"], title)
    for name, parts in gates.cells.items():
        images[name] = heat_image(np.concatenate(parts), (), (), f"{name}: rows of the split by features", (0.0, 1.0))
    return images


def heat_image(
    cells: Cells, rows: Sequence[str], columns: Sequence[str], title: str, ends: tuple[float, float] | None = None
) -> Image:
    """A heat map as pixels, from 0 to its largest cell, or where all are alike from its smallest; or between `ends`.

    Shape: (r, c) -> (height, width, 3).
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = cells.shape
    least, most = float(cells.min()), float(cells.max())
    low, high = ends or (least if 2 * least > most > least else 0.0, most or 1.0)
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(
            figsize=(min(4 + 0.35 * width, 12), min(1.4 + 0.22 * height, 12)), dpi=100, layout="constrained"
        )
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        drawn = axes.imshow(cells, aspect="auto", cmap="viridis", vmin=low, vmax=high)
        axes.set_title(title, fontsize=9)
        if rows:
            axes.set_yticks(range(height), rows, fontsize=7)
        if columns:
            axes.set_xticks(range(width), columns, fontsize=7, rotation=30, ha="right")
        figure.colorbar(drawn, ax=axes)
        canvas.draw()  # type: ignore[no-untyped-call]
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
