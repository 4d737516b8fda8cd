"""Candles of one market, checked: in order, one bar a step, prices within their bar."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.core.errors import DataError
from plait.data.table import Finding, columns_named, parse_numbers, parse_times
from plait.features.calendar import Times
from plait.features.candle_arrays import read_candles
from plait.features.candle_channels import sides_of_taker

FloatArray = NDArray[np.float64]

TIME = "open_time"
PRICES = ("open", "high", "low", "close")
SIDES = ("buy_volume", "sell_volume")
TAKER = "taker_buy_volume"
LABELS = ("Trigger", "Max_Pct")
"""The columns of labels that a file may bring."""
EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class CandleTable:
    """Bars at equal steps.

    Shape: `times` (T,) datetime64[s], the beginning of each bar; `columns` (T,) float64 each, by name: open, high, low,
    close, volume, and where the file has both sides buy and sell. `trigger` (T,) bool and `max_pct` (T,) in percent
    where the file brings labels.
    """

    times: Times
    columns: Mapping[str, FloatArray]
    findings: tuple[Finding, ...] = ()
    trigger: NDArray[np.bool_] | None = None
    max_pct: FloatArray | None = None

    @property
    def seconds(self) -> int:
        """The length of a bar."""
        return int((self.times[1] - self.times[0]) / np.timedelta64(1, "s"))

    def fingerprint(self) -> str:
        """A digest of the bars and labels: whether data are still those a run began with."""
        digest = hashlib.sha256("\0".join(self.columns).encode())
        digest.update(self.times.astype(np.int64).tobytes())
        for values in (*self.columns.values(), self.trigger, self.max_pct):
            digest.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()[:16]


def candle_table(
    frame: pd.DataFrame, names: Mapping[str, str], where: str, gaps: Literal["error", "as_filed"] = "error"
) -> CandleTable:
    """The checked bars of a frame of text cells; `names` gives the file's name of a column that is called otherwise.

    Errors: DataError with the first rows (counted from 1 below the header) for a column that is missing, cells that are
    no numbers, prices not above 0, negative volumes, times that repeat or go back, a bar whose open or close lies
    outside its low and high, sides that are more than the volume. Absent bars come back as a finding that
    `data.gaps` must decide.
    """
    of = {name: names.get(name, name) for name in (TIME, *PRICES, "volume", *SIDES, TAKER)}
    columns_named(frame, [of[name] for name in (TIME, *PRICES, "volume")], where, "data.names")
    sides = SIDES if all(of[name] in frame.columns for name in SIDES) else ()
    taker = (TAKER,) if not sides and of[TAKER] in frame.columns else ()
    times = parse_times(frame[of[TIME]], where)
    wanted = [*PRICES, "volume", *sides, *taker]
    values, findings = parse_numbers(frame[[of[name] for name in wanted]])
    if len(times) < 3:
        raise DataError(f"{len(times)} rows are no candles", where=where)
    given = {name: values[:, column] for column, name in enumerate(wanted)}
    _check_times(times, where)
    _check_numbers(given, where, findings)
    _check_bracket(given, where)
    columns = {name: given[name] for name in (*PRICES, "volume")}
    if sides:
        columns |= {"buy": given[SIDES[0]], "sell": given[SIDES[1]]}
    elif taker:
        columns["buy"], columns["sell"] = sides_of_taker(given["volume"], given[TAKER])
    found = [] if sides or taker else [Finding("the volume has no sides: channels of both sides can't be built", 1)]
    found += _absent(times, gaps)
    trigger, max_pct = _labels(frame, where)
    return CandleTable(times, columns, tuple(found), trigger, max_pct)


def _check_times(times: Times, where: str) -> None:
    back = np.flatnonzero(np.diff(times) <= np.timedelta64(0, "s"))
    if len(back):
        rows = ", ".join(f"row {row + 2} ({times[row + 1]})" for row in back[:EXAMPLES])
        raise DataError(
            f"{len(back)} bars do not begin after the one before them: {rows}", where=where,
            fix="sort the file by time and leave each bar once",
        )  # fmt: skip


def _check_numbers(given: Mapping[str, FloatArray], where: str, findings: list[Finding]) -> None:
    if findings:
        raise DataError("; ".join(map(str, findings)), where=where, fix="mend these cells, or take their bars out")
    try:
        prices, volumes = {n: given[n] for n in PRICES}, {n: v for n, v in given.items() if n not in PRICES}
        read_candles(prices, volumes)
    except DataError as error:
        raise DataError(error.what, where=f"{where}, {error.where}", fix=error.fix) from None


def _check_bracket(given: Mapping[str, FloatArray], where: str) -> None:
    low, high = given["low"], given["high"]
    body = np.stack([given["open"], given["close"]])
    outside = np.flatnonzero((body.min(axis=0) < low) | (body.max(axis=0) > high))
    if len(outside):
        rows = ", ".join(f"row {row + 1}" for row in outside[:EXAMPLES])
        raise DataError(
            f"{len(outside)} bars open or close outside their low and high: {rows}", where=where,
            fix="are the columns named rightly (data.names)?",
        )  # fmt: skip


def _absent(times: Times, gaps: str) -> list[Finding]:
    steps = np.diff(times)
    step = np.min(steps)
    holes = np.flatnonzero(steps != step)
    if not len(holes):
        return []
    absent = int(np.round(steps[holes] / step).sum()) - len(holes)
    shown = tuple(f"after {times[hole]}" for hole in holes[:EXAMPLES])
    return [Finding("bars are absent", absent, shown, "data.gaps" if gaps == "error" else "")]


def _labels(frame: pd.DataFrame, where: str) -> tuple[NDArray[np.bool_] | None, FloatArray | None]:
    """The labels that a file brings, where it has both columns."""
    if any(name not in frame.columns for name in LABELS):
        return None, None
    words = frame[LABELS[0]].astype(str).str.strip().str.lower()
    odd = np.flatnonzero(~words.isin(["true", "false", "1", "0"]))
    if len(odd):
        raise DataError(
            f"{frame[LABELS[0]].iloc[odd[0]]!r} is neither True nor False", where=f"{where}, column {LABELS[0]}, row"
            f" {odd[0] + 1}",
        )  # fmt: skip
    moves: Any
    moves, found = parse_numbers(frame[[LABELS[1]]])
    if found:
        raise DataError("; ".join(map(str, found)), where=where)
    return words.isin(["true", "1"]).to_numpy(), moves[:, 0]
