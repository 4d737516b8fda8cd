"""How attention fades with distance, beside what its bias alone would give."""

from pathlib import Path

from plait.core.errors import FileError
from plait.report.figures import decay_figure
from plait.report.finite import finite_json
from plait.report.wording import Row


def fading(run: Path) -> Row | None:
    """The figure of a run's attention by distance; None for a run that kept none."""
    page = finite_json(run / "page.json", optional=True)
    found = (page or {}).get("attention")
    if not found:
        return None
    try:
        blocks, alone, step = found["blocks"], found["bias"], int(found["step"])
        far = [sum(max(range(len(each)), key=each.__getitem__) == 0 for each in blocks), len(blocks)]
        words = f"Line chart of the mean attention weight of {len(blocks)} blocks over the distance of a key in steps."
        return {
            "figure": decay_figure(blocks, alone, step, words), "name": str(found["name"]), "nearest": far[0],
            "blocks": far[1],
        }  # fmt: skip
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as fault:
        raise FileError(
            f"holds no page data: {fault!r}", where=str(run / "page.json"), fix="train this run again"
        ) from None
