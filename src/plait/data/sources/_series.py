"""The fields all series sources share, and how they find, cut and join what they read."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from plait.core.config import Config, PartOf
from plait.core.errors import ConfigError, FileError, suggest_file
from plait.core.kinds import config_class
from plait.core.schema import Schema
from plait.data.dated_texts import FutureDates, Repeats, TextRules, TextTable, Void, read_texts
from plait.data.fitted import Fitted
from plait.data.table import Finding, SeriesTable, Texts, read_table
from plait.features.calendar import Step

if TYPE_CHECKING:
    from plait.data.questions import Question
    from plait.data.windows import ForecastData


def _usual(pool: object) -> object:
    return "mean" if pool == "avg" else pool  # as other toolkits call it


class TextConfig(Config):
    """Which texts enter a window, and as what states."""

    path: str | None = None
    """CSV file of dated texts, here or below data.root; unset: no texts (some kinds of data bring their own)."""
    content: str = "text"
    """Column of the text."""
    dates: list[str] | None = None
    """Date columns, a text is available at the latest; unset: available_at, date, start_date, end_date if there."""
    future_dates: FutureDates = "delay"
    """A text that states a later full date than its own: wait for that date, drop the text, or keep it (a leak)."""
    void: Void = "empty"
    """What is no text: empty cells, or also cells that say that nothing was found."""
    repeats: Repeats = "keep"
    """Equal texts under several dates: each counts, or they are one text at the latest date."""
    lag_days: float = Field(0.0, ge=0)
    """Days after its date before a text may be used."""
    newest: int = Field(4, ge=1)
    """How many of the newest usable texts enter a window."""
    unit: Literal["text", "sentence"] = "text"
    """What is embedded: whole texts, or each sentence."""
    sentences: int = Field(3, ge=1)
    """With unit sentence: how many first sentences of each text enter."""
    pool: Annotated[Literal["none", "mean", "max", "min", "attention"], BeforeValidator(_usual)] = "mean"
    """One state a token (none), or one a unit: over its present tokens, or by attention that the model learns."""
    max_tokens: int = Field(32, ge=1)
    """Tokens of a unit beyond these are cut."""
    embedder: Annotated[Any, PartOf("embedders")] = {"kind": "wordllama"}
    """The frozen model of the states."""
    placebo: bool = False
    """Permute the texts within each split, without a fixed point, before anything reads them."""

    def rules(self, step: Step) -> TextRules:
        """How the texts beside a series of this step are read."""
        dates = None if self.dates is None else tuple(self.dates)
        day_ends = 0 < step.seconds < 86_400
        return TextRules(self.content, dates, self.void, self.repeats, self.future_dates, day_ends)


class SeriesConfig(Config):
    """What every series source has."""

    new_table: ClassVar[dict[str, str]] = {}
    """Fields by which a user's new table of such data is read as `csv`."""
    rows_are: ClassVar[str] = "windows"
    new_names: ClassVar[tuple[str, ...]] = ("frame", "texts")
    """What a user's new series is given by."""

    rows: int | None = Field(None, ge=3)
    """Use the last rows of the series only, this many; unset: all."""
    lookback: int | None = Field(None, ge=1)
    """Steps a forecast sees; unset: usual for the step of the series."""
    horizon: int | None = Field(None, ge=1)
    """Steps to forecast; unset: usual for the step of the series."""
    splits: list[float] = Field([0.7, 0.1, 0.2], min_length=3, max_length=3)
    """Shares of the rows for train, validation and test, in the order of time."""
    percent: int = Field(100, ge=1, le=100)
    """Per cent of the train windows that are learned from, the earliest (few-shot); scaling is by all train rows."""
    zero_shot: str | None = None
    """Another file of such data, whose test windows are scored after the training."""
    text: TextConfig = TextConfig()
    """Dated texts."""

    def complete(self, table: SeriesTable, texts: list[TextTable] | Texts | None) -> SeriesTable:
        """The last `rows` of a series, with the texts beside it."""
        findings: list[Finding] = []
        if isinstance(texts, list):
            texts, findings = read_texts(texts, self.text.rules(table.step))
        if texts is not None and len(texts.contents):
            beyond = int((texts.available_at > table.times[-1]).sum())
            if beyond:
                findings.append(Finding(f"texts are dated after the last row ({str(table.times[-1])[:10]})", beyond))
        return table.completed(self.rows, texts, findings)

    def build(
        self,
        table: SeriesTable,
        seed: int = 0,
        fitted: Fitted | None = None,
        reads: frozenset[str] = frozenset({"series", "text"}),
        ahead: bool = False,
        progress: Callable[[int, int], None] | None = None,
        question: "Question | None" = None,
    ) -> "ForecastData":
        """The windows of a table, with the inputs that `reads` names, among them `series_prior`, and what a task's
        `question` asks of them.
        """
        from plait.data.windows import ForecastData

        return ForecastData(
            table, self, seed, fitted, text="text" in reads, prior="series_prior" in reads, progress=progress,
            ahead=ahead, question=question,
        )  # fmt: skip

    def read_fitted(self, tensors: dict[str, Any], record: dict[str, Any]) -> Fitted:
        """What a run of such data fitted on its train rows."""
        return Fitted.read(tensors, record)

    def of_new(
        self, schema: Schema, fitted: Fitted, reads: frozenset[str], *, frame: Any, texts: Any = None
    ) -> SeriesTable:
        """A user's new table, with the texts given beside it, as data of a run whose model reads these inputs.

        Its columns are taken by name: they may stand in any order, with others among them.
        """
        source: Any = self
        if not hasattr(self, "of_frames"):
            csv: Any = config_class("data.sources", "csv")
            source = csv(path="", text=self.text, **self.new_table)
        if texts is not None and fitted.left_out:
            print(f"the run left out the texts of {', '.join(fitted.left_out)}: give the others alone", file=sys.stderr)
        if texts is None and schema.contexts and "text" in reads:
            print("the run keeps texts and none are given: this forecast is of the series alone", file=sys.stderr)
        columns = {"targets": list(schema.variates), "covariates": list(schema.covariates)}
        made: SeriesTable = source.model_copy(update=columns).of_frames(frame, texts)
        return made

    def as_learned(self, schema: Schema) -> "SeriesConfig":
        """The same data with the lengths of a run, whatever is usual for a new table's step."""
        return self.model_copy(update={"lookback": schema.lookback, "horizon": schema.horizon})


def check_covariates(covariates: list[str], targets: list[str]) -> None:
    """Refuse a covariate that is a target too, or that is named twice, and covariates that leave no target."""
    if covariates and not targets:
        raise ConfigError(
            "every column is a covariate, none is left to forecast", where="data.covariates", fix="name fewer"
        )
    for place, name in enumerate(covariates):
        if name in targets or name in covariates[:place]:
            twice = "both a target and a covariate" if name in targets else "named twice"
            raise ConfigError(f"{name!r} is {twice}", where="data.covariates", fix="name it in one place")


def find_file(path: str, root: str = ".") -> Path:
    """The file of this path, or below the root."""
    here, below = Path(path), Path(root) / path
    found = next((p for p in (here, below) if p.exists()), None)
    if found is None:
        at = below if below.parent.is_dir() else here
        raise FileError("no such file", where=str(at), fix=suggest_file(at))
    return found


def text_tables(config: TextConfig, root: str = ".") -> list[TextTable] | None:
    """The table of `path`, or None where none is given."""
    if config.path is None:
        return None
    path = find_file(config.path, root)
    return [TextTable(read_table(path), path.stem, str(path))]
