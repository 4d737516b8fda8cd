"""Candles of one market, checked: in order, one bar a step, prices within their bar."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

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
VOLUME = "volume"
SIDES = ("buy_volume", "sell_volume")
TAKER = "taker_buy_volume"
LABELS = ("Trigger", "Max_Pct")
"""The columns of labels that a file may bring."""
EXAMPLES = 3
TOLERANCE = 1e-6
"""Of volumes, which files round."""


@dataclass(frozen=True, eq=False)
class CandleTable:
    """Bars at equal steps.

    Shape: `times` (T,) datetime64[s], the beginning of each bar; `columns` (T,) float64 each, by name: open, high, low,
    close, and where the file has them volume, buy and sell. `trigger` (T,) bool and `max_pct` (T,) in percent
    where the file brings labels.
    """

    times: Times
    columns: Mapping[str, FloatArray]
    findings: tuple[Finding, ...] = ()
    trigger: NDArray[np.bool_] | None = None
    max_pct: FloatArray | None = None

    @property
    def seconds(self) -> int:
        """The length of a bar, the commonest step between two."""
        return int(_step(self.times) / np.timedelta64(1, "s"))

    @property
    def volume(self) -> FloatArray:
        """The volume of each bar, 0 where the file tells none."""
        return self.columns.get(VOLUME, np.zeros(len(self.times)))

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

    Without volume the table has none, without both of its sides it has neither, and a finding says so.
    Errors: DataError with the first rows (counted from 1 below the header) for a column that is missing, cells that are
    no numbers, prices not above 0, negative volumes, times that repeat, go back or lie between two steps, a bar whose
    open or close lies outside its low and high, sides that are more than the volume. Absent bars come back as a finding
    that `data.gaps` must decide.
    """
    of = {name: names.get(name, name) for name in (TIME, *PRICES, VOLUME, *SIDES, TAKER)}
    columns_named(frame, [of[name] for name in (TIME, *PRICES)], where, "data.names")
    volume = [VOLUME] if of[VOLUME] in frame.columns else []
    both = volume and all(of[name] in frame.columns for name in SIDES)
    sides = list(SIDES) if both else [TAKER] if volume and of[TAKER] in frame.columns else []
    times = parse_times(frame[of[TIME]], where)
    wanted = [*PRICES, *volume, *sides]
    values, findings = parse_numbers(frame[[of[name] for name in wanted]])
    if findings:
        raise DataError("; ".join(map(str, findings)), where=where, fix="mend these cells, or take their bars out")
    if len(times) < 3:
        raise DataError(f"{len(times)} rows are no candles", where=where)
    given = {name: values[:, column] for column, name in enumerate(wanted)}
    _check_times(times, where)
    _check_bracket(given, where)
    with _rows_of(where, {**of, "taker_buy": of[TAKER]}):
        read_candles({name: given[name] for name in PRICES}, {name: given[name] for name in [*volume, *sides]})
        columns = {name: given[name] for name in [*PRICES, *volume]} | _sides(given)
    lacking = () if sides else SIDES if volume else (VOLUME, *SIDES)
    what = "columns are not there, so fewer channels can be built"
    found = [Finding(what, len(lacking), lacking)] if lacking else []
    trigger, max_pct = _labels(frame, where)
    return CandleTable(times, columns, (*found, *_absent(times, gaps)), trigger, max_pct)


@contextmanager
def _rows_of(where: str, of: Mapping[str, str]) -> Iterator[None]:
    """Says of an array's fault in which row and column of the file it is."""
    try:
        yield
    except DataError as error:
        named = re.sub(r"column (\w+)", lambda found: f"column {of.get(found[1], found[1])}", error.where)
        counted = re.sub(r"row (\d+)", lambda found: f"row {int(found[1]) + 1}", named)
        raise DataError(error.what, where=f"{where}, {counted}", fix=error.fix) from None


def _sides(given: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """What was bought and what was sold, where the file tells."""
    if TAKER in given:
        buy, sell = sides_of_taker(given[VOLUME], given[TAKER])
        return {"buy": buy, "sell": sell}
    if any(name not in given for name in SIDES):
        return {}
    buy, sell = (given[name] for name in SIDES)
    over = np.flatnonzero(buy + sell > given[VOLUME] * (1 + TOLERANCE) + TOLERANCE)
    if len(over):
        raise DataError(
            f"{len(over)} bars have sides that are more than their volume, first {buy[over[0]]:g} and"
            f" {sell[over[0]]:g} of {given[VOLUME][over[0]]:g}", where=f"column volume, row {over[0]}",
            fix="give all three in the same unit",
        )  # fmt: skip
    return {"buy": buy, "sell": sell}


def _step(times: Times) -> np.timedelta64:
    """The commonest step."""
    steps, counts = np.unique(np.diff(times), return_counts=True)
    common: np.timedelta64 = steps[counts.argmax()]
    return common


def _check_times(times: Times, where: str) -> None:
    steps = np.diff(times)
    back = np.flatnonzero(steps <= np.timedelta64(0, "s"))
    if len(back):
        raise DataError(
            f"{len(back)} bars do not begin after the one before them: {_rows(times, back + 1)}", where=where,
            fix="sort the file by time and leave each bar once",
        )  # fmt: skip
    step = _step(times)
    between = np.flatnonzero(steps % step != np.timedelta64(0, "s"))
    if len(between):
        raise DataError(
            f"{len(between)} bars do not begin whole steps of {step} after the one before: {_rows(times, between + 1)}",
            where=where, fix="give bars of one length",
        )  # fmt: skip


def _rows(times: Times, rows: NDArray[np.int64]) -> str:
    return ", ".join(f"row {row + 1} ({times[row]})" for row in rows[:EXAMPLES])


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
    steps, step = np.diff(times), _step(times)
    holes = np.flatnonzero(steps > step)
    if not len(holes):
        return []
    absent = int((steps[holes] // step).sum()) - len(holes)
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
    told, moved = frame[[LABELS[1]]].copy(), words.isin(["true", "1"]).to_numpy()
    told.loc[~moved, LABELS[1]] = "0"
    moves, found = parse_numbers(told)
    if found:
        raise DataError("; ".join(map(str, found)), where=where, fix="give a number wherever Trigger is True")
    return moved, moves[:, 0]
