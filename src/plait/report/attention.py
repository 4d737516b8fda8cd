"""How attention fades with distance, beside what its bias alone would give."""

from pathlib import Path

from plait.report.figures import decay_figure
from plait.report.finite import finite_json, read_as
from plait.report.wording import Row


def fading(run: Path) -> Row | None:
    """The figure of a run's attention by distance; None for a run that kept none."""
    path = run / "page.json"
    found = (finite_json(path, optional=True) or {}).get("attention")
    if not found:
        return None
    with read_as("page data", path, "train this run again"):
        blocks = found["blocks"]
        words = f"Line chart of the mean attention weight of {len(blocks)} blocks over the distance of a key in steps."
        return {
            "figure": decay_figure(blocks, found["bias"], int(found["step"]), words),
            "name": str(found["name"]),
            "nearest": sum(each.index(max(each)) == 0 for each in blocks),
            "blocks": len(blocks),
        }
