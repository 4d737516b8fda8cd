"""`candles`: the bars of one market, with what their windows show and whether, and how far, it moves next."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from plait.core.config import Config
from plait.core.errors import ConfigError
from plait.core.processes import cores
from plait.core.schema import Schema
from plait.data.candle_fitted import CandleFitted
from plait.data.candle_table import CandleTable, candle_table
from plait.data.sources._series import find_file
from plait.data.table import as_frame, read_table
from plait.data.topology_cache import TopologyCache, WindowConfig
from plait.features.range_labels import Direction, future_bars

if TYPE_CHECKING:
    from plait.data.candles import CandleData


class TopologyConfig(WindowConfig):
    """The features of the path of closes."""

    bins: int = Field(100, ge=1)
    """Distances at which the Betti curves are read."""
    layers: int = Field(5, ge=1)
    """Layers of the landscapes whose norms enter."""
    spread: bool = True
    """Also the range and the volatility of the window, which standardising it takes away."""


class CandlesConfig(Config):
    """Candles in a CSV file, and the question: will their range reach a threshold soon, and how far does it go?"""

    rows_are: ClassVar[str] = "bars"
    new_names: ClassVar[tuple[str, ...]] = ("frame",)
    """What new data are given by."""

    kind: Literal["candles"] = "candles"
    root: str = "."
    """Folder of the file."""
    path: str
    """CSV or Parquet file with open_time, open, high, low, close, volume, and the volume's sides if there are any."""
    names: dict[str, str] = {}
    """What the file calls a column that is called otherwise here: {open_time: date}."""
    gaps: Literal["error", "as_filed"] = "error"
    """Absent bars: refuse, or take the rows as they stand."""
    labels: Literal["computed", "columns"] = "computed"
    """From the bars, or the file's own columns Trigger and Max_Pct; differences between them are counted."""
    horizon: int = Field(8, ge=1)
    """Bars of a coming window."""
    lead: int = Field(3, ge=1)
    """How many coming windows count: those that begin 1, 2, ... bars ahead."""
    threshold: float = Field(0.02, gt=0)
    """The range of a window, as a share of its low, that counts as a move."""
    direction: Direction = "both"
    """Which moves count."""
    lookback: int = Field(96, ge=2)
    """Bars of the channels that the model sees."""
    channels: Literal[4, 5, 14] | None = None
    """Preset of channels: prices, with volume, with both sides and technical ones; unset: the widest there is."""
    topology: TopologyConfig = TopologyConfig()
    """The features of a window's topology."""
    cache: str | None = None
    """Folder of computed features; unset: a folder of plait's own."""
    jobs: int | None = Field(None, ge=1)
    """Processes that compute features; unset: as many as there are cores."""
    splits: list[float] = Field([0.7, 0.1, 0.2], min_length=3, max_length=3)
    """Shares of the bars for train, validation and test, in the order of time."""
    folds: int | None = Field(None, ge=1)
    """Walk-forward tests, one after the other; unset: one division by `splits`."""
    fold: int = Field(0, ge=0)
    """Which of them."""
    tested: float = Field(0.5, gt=0, lt=1)
    """The last share of the bars, which walk-forward tests."""
    purge: int | None = Field(None, ge=0)
    """Bars between two splits that no label may reach over; unset: as many as a label reads."""
    embargo: int | None = Field(None, ge=0)
    """Bars more between two splits that no window may reach over; unset: the longest window."""
    sampling: Literal["none", "balanced"] = "none"
    """Train rows as they are, or drawn so that half of them move."""
    placebo: bool = False
    """Permute topology and complexity within each split, before anything reads them."""

    def read(self) -> CandleTable:
        """The checked bars."""
        path = find_file(self.path, self.root)
        return candle_table(read_table(path), self.names, str(path), self.gaps)

    def of_new(self, schema: Schema, fitted: CandleFitted, reads: frozenset[str], *, frame: Any) -> CandleTable:
        """A user's new bars, as data of a run."""
        return candle_table(as_frame(frame), self.names, "frame", self.gaps)

    def build(
        self,
        table: CandleTable,
        seed: int = 0,
        fitted: CandleFitted | None = None,
        reads: frozenset[str] = frozenset({"candles", "topology", "complexity"}),
        ahead: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> "CandleData":
        """The rows of a table, with the inputs that `reads` names."""
        from plait.data.candles import CandleData

        return CandleData(table, self, seed, fitted, reads, ahead)

    @property
    def processes(self) -> int:
        """How many processes compute features."""
        return self.jobs or cores()

    def features(self, table: CandleTable) -> TopologyCache:
        """The persistence diagrams of all windows, which are computed once."""
        windows = WindowConfig(**self.topology.model_dump(include=set(WindowConfig.model_fields)))
        return TopologyCache(table.columns["close"], windows, Path(self.cache) if self.cache else None)

    def gap(self, before: int) -> int:
        """Bars between two splits; `before` counts the bars that the first channel of a window reads before it."""
        least = future_bars(self.horizon, self.lead)
        purge = least if self.purge is None else self.purge
        if purge < least:
            raise ConfigError(f"a label reads {least} bars ahead", where="data.purge", fix=f"give {least} or more")
        window = max(before + self.lookback, self.topology.window)
        return purge + (window if self.embargo is None else self.embargo)

    @staticmethod
    def read_fitted(tensors: dict[str, Any], record: dict[str, Any]) -> CandleFitted:
        """What a run of such data fitted on its train rows."""
        return CandleFitted.read(tensors, record)

    def as_learned(self, schema: Schema) -> "CandlesConfig":
        """The same data with the channels of a run."""
        return self.model_copy(update={"channels": len(schema.variates)})
