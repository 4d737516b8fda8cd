"""The fields all series sources share, and how they select and read their texts."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from plait.core.config import Config, PartOf
from plait.data.table import Finding, Texts, read_csv, texts_from_frame


class TextConfig(Config):
    """Which texts enter a window, and as what states."""

    path: str | None = None
    """CSV file of dated texts; unset: no texts (the planted data bring their own)."""
    content: str = "text"
    """Column of the text."""
    dates: list[str] | None = None
    """Date columns, a text is available at the latest; unset: available_at, date, start_date, end_date if there."""
    lag_days: float = Field(0.0, ge=0)
    """Days after its date before a text may be used."""
    newest: int = Field(4, ge=1)
    """How many of the newest usable texts enter a window."""
    unit: Literal["text", "sentence"] = "text"
    """What is embedded: whole texts, or each sentence."""
    sentences: int = Field(3, ge=1)
    """With unit sentence: how many first sentences of each text enter."""
    pool: Literal["none", "mean", "max", "min"] = "mean"
    """One state a unit (over its present tokens), or one a token."""
    max_tokens: int = Field(32, ge=1)
    """Tokens of a unit beyond these are cut."""
    embedder: Annotated[Any, PartOf("embedders")] = {"kind": "wordllama"}
    """The frozen model of the states."""
    placebo: bool = False
    """Permute the texts within each split, without a fixed point, before anything reads them."""

    def read(self, base: Path | None = None) -> tuple[Texts | None, list[Finding]]:
        """The texts of `path`, or None where none is given."""
        if self.path is None:
            return None, []
        return texts_from_frame(read_csv(Path(self.path)), self.content, self.dates, self.path)


class SeriesConfig(Config):
    """What every series source has."""

    lookback: int | None = Field(None, ge=1)
    """Steps a forecast sees; unset: usual for the step of the series."""
    horizon: int | None = Field(None, ge=1)
    """Steps to forecast; unset: usual for the step of the series."""
    splits: list[float] = Field([0.7, 0.1, 0.2], min_length=3, max_length=3)
    """Shares of the rows for train, validation and test, in the order of time."""
    text: TextConfig = TextConfig()
    """Dated texts."""
