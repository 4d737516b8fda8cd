"""What rows and answers are called: windows and forecasts, or samples and predictions."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Words:
    """What is said of a row of the data, of several, and of what the model answers to one."""

    row: str = "window"
    rows: str = "windows"
    answer: str = "forecast"

    @classmethod
    def of(cls, task: Any) -> "Words":
        """The words of a task, by the name of its rows."""
        rows = str(getattr(task, "row_name", cls.rows))
        return cls() if rows == cls.rows else cls(rows.removesuffix("s"), rows, "prediction")
