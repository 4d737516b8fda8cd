"""The report page."""

from pathlib import Path


def write_report(folder: Path) -> Path:
    """Write report.html."""
    return folder / "report.html"
