"""Schema: what the data say about widths, names and lengths, so that no width is written twice."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from plait.core.errors import ConfigError

SPLITS = ("train", "val", "test")
SCORED = ("val", "test")
"""The splits that scores are of."""


@dataclass(frozen=True)
class Schema:
    """Facts of a data set that parts are built from.

    `variates` names the target variates, `lookback` and `horizon` count steps, `marks` counts calendar channels a
    step, `seasons` counts the codes of the season of the origin, `streams` maps each modality to its width, the
    anchor first. `stream_tokens` is the largest number of tokens of a context stream in one row, as the data give
    them. `grouped` is the number of neighbouring tokens of a context stream that its encoder pools into one, by
    stream; a stream that is not named is not pooled.

    Of samples: `features` counts the rows of the feature table that the ids of the anchor point into, `blocks` names
    the blocks of its columns with their widths, `letters` is the length of its longest sequence (0: without any).
    `columns` maps the columns of metadata to the number of their known categories, 0 for a column of numbers.
    `outputs` counts the numbers, or the classes, of the target, `bins` the thresholds of its distribution.
    `covariates` names the columns of the series that are read after the variates and not forecast.
    `quantiles` are the levels that a forecast is asked for, none where it is of a point. `about` names the one variate
    that an answer is of, where it is not of all of them.
    """

    anchor: str
    streams: dict[str, int]
    variates: tuple[str, ...] = ()
    lookback: int = 0
    horizon: int = 0
    marks: int = 0
    seasons: int = 0
    stream_tokens: dict[str, int] = field(default_factory=dict)
    grouped: dict[str, int] = field(default_factory=dict)
    features: int = 0
    blocks: dict[str, int] = field(default_factory=dict)
    letters: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    outputs: int = 0
    bins: int = 0
    quantiles: tuple[float, ...] = ()
    covariates: tuple[str, ...] = ()
    about: str = ""

    def __post_init__(self) -> None:
        # Inputs of a modality are named `<name>` and `<name>_...`, so `text` would take the inputs of `text_b` too.
        for one in self.streams:
            for other in self.streams:
                if other.startswith(f"{one}_"):
                    raise ConfigError(f"the stream {other!r} begins with the name of {one!r}", fix="rename one of them")

    @property
    def contexts(self) -> tuple[str, ...]:
        """The modalities beside the anchor."""
        return tuple(name for name in self.streams if name != self.anchor)

    @property
    def answered(self) -> slice:
        """Which of the columns of the series an answer is of: all but the covariates, or the one that is asked for."""
        if self.about:
            place = self.variates.index(self.about)
            return slice(place, place + 1)
        return slice(None, -len(self.covariates) or None)

    def with_widths(self, widths: dict[str, int]) -> "Schema":
        """The same facts with the streams' widths as encoders give them."""
        return replace(self, streams=widths)

    def to_json(self) -> dict[str, Any]:
        """Plain data for a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Schema":
        """The schema that `to_json` wrote; a field that an older file lacks has its default."""
        return cls(**{**data, **{name: tuple(data.get(name, ())) for name in ("variates", "quantiles", "covariates")}})
