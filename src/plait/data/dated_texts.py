"""Tables of dated texts: which cells are texts, and from when each may be used."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.core.errors import DataError
from plait.data.table import MISSING, Finding, Texts, columns_named, parse_times
from plait.features.calendar import Times
from plait.features.facts import read_fact
from plait.features.stated_dates import stated_dates, writes_day_first

FutureDates = Literal["delay", "drop", "keep"]
Void = Literal["empty", "nothing_found"]
Repeats = Literal["keep", "merge"]

DATE_COLUMNS = ("available_at", "date", "start_date", "end_date")
"""Columns that tell when a text was written, if a table has them."""

NEVER = np.datetime64("0000-01-01", "s")
_DAY = np.timedelta64(86_400, "s")


@dataclass(frozen=True)
class TextRules:
    """How texts are read.

    `content` names their column and `dates` their date columns (None: those of DATE_COLUMNS there are); `void` says
    what is no text; `repeats` whether equal texts under several dates are one text at the latest of them;
    `future_dates` what becomes of a text that states a later full date than its own; with `day_ends` (series with steps
    shorter than a day) a date without a time of day counts to the end of that day.
    """

    content: str = "text"
    dates: tuple[str, ...] | None = None
    void: Void = "empty"
    repeats: Repeats = "keep"
    future_dates: FutureDates = "delay"
    day_ends: bool = False


@dataclass(frozen=True, eq=False)
class TextTable:
    """A frame of text cells, the name of its source, and where it was read."""

    frame: pd.DataFrame
    source: str
    where: str


def latest_stated(texts: Sequence[str]) -> Times:
    """The latest full date that each text states, NEVER where it states none. Shape: (n,).

    Numeric dates are month/day, unless the texts together show that they write the day first.
    """
    day_first = writes_day_first(texts)
    latest = np.full(len(texts), NEVER)
    for row, text in enumerate(texts):
        days = [date.day for date in stated_dates(text, day_first) if date.level == "day"]
        if days:
            latest[row] = max(days)
    return latest


def read_texts(tables: list[TextTable], rules: TextRules) -> tuple[Texts, list[Finding]]:
    """The texts of all tables, in the order from which they may be used, with what was found on the way.

    available_at = the latest of a text's dates and, under `delay`, of the full dates that it states itself. Rows that
    repeat text and dates count once; under `merge` equal texts become one at the latest of their dates, because a copy
    under an earlier date proves nothing.
    Errors: DataError names a missing column, or the first row whose date can't be read.
    """
    findings: list[Finding] = []
    parts = [_read(table, rules, findings) for table in tables]
    frame = pd.concat(parts, ignore_index=True)
    same = ["content"] if rules.repeats == "merge" else ["content", "at", "dated"]
    merged = frame.sort_values("at", kind="stable").drop_duplicates(same, keep="last").sort_index()
    if len(merged) < len(frame):
        words = (
            "another and were merged, at the later date"
            if rules.repeats == "merge"
            else "the text and dates of another"
        )
        findings.append(Finding(f"texts repeat {words}", len(frame) - len(merged)))
    contents = merged["content"].to_numpy(dtype=object)
    at, dated = (merged[name].to_numpy(dtype="datetime64[s]") for name in ("at", "dated"))
    places = merged["place"].to_numpy(dtype=object)
    stated = merged["stated"].to_numpy(dtype="datetime64[s]")
    kept, at = _settle_future(stated, at, dated, places, rules, findings)
    order = kept[np.argsort(at[kept], kind="stable")]
    sources, whole_day = merged["source"].to_numpy(dtype=object), merged["whole_day"].to_numpy(dtype=bool)
    texts = Texts(
        tuple(contents[order]), at[order], dated[order], whole_day[order], tuple(sources[order]), tuple(places[order])
    )
    return texts, findings


def _settle_future(
    stated: Times,
    at: Times,
    dated: Times,
    places: NDArray[np.object_],
    rules: TextRules,
    findings: list[Finding],
) -> tuple[NDArray[np.int64], Times]:
    """Which texts are kept, and from when, given the full dates that they state."""
    late = stated > dated.astype("datetime64[D]")
    every = np.arange(len(stated))
    if rules.future_dates == "delay":
        # Also where only some of a table's dates were chosen, and a text states one between them.
        waits = late | (stated > at.astype("datetime64[D]"))
        at = np.where(waits, np.maximum(at, stated + _DAY * int(rules.day_ends)), at)
    if not late.any():
        return every, at
    rows = np.flatnonzero(late)
    shown = tuple(f"{places[r]} states {str(stated[r])[:10]}" for r in rows[:3])
    words = {"delay": "wait for it", "drop": "were left out", "keep": "are used before it"}[rules.future_dates]
    findings.append(Finding(f"texts state a full date after their own and {words}", len(rows), shown))
    if rules.future_dates == "drop":
        return every[~late], at
    return every, at


def _read(table: TextTable, rules: TextRules, findings: list[Finding]) -> pd.DataFrame:
    """One table's texts: content, at, dated, stated, whole_day, source, place."""
    frame, where = table.frame, table.where
    columns_named(frame, [rules.content], where, "data.text.content")
    known = [name for name in DATE_COLUMNS if name in frame.columns]
    chosen = list(rules.dates) if rules.dates is not None else known
    if not chosen:
        raise DataError(
            "the text table has no dates", where=where,
            fix=f"name its date columns in data.text.dates; columns: {', '.join(map(str, frame.columns))}",
        )  # fmt: skip
    columns_named(frame, chosen, where, "data.text.dates")
    contents, rows = _contents(frame[rules.content], table, rules.void, findings)
    stamps = {name: parse_times(frame[name].iloc[rows], where) for name in chosen}
    for name in (name for name in known if name not in chosen):
        try:
            stamps[name] = parse_times(frame[name].iloc[rows], where)
        except DataError as error:
            findings.append(Finding(f"column {name} of {table.source} is no date and is not read: {error.what}", 1))
    days = {name: _whole_days(frame[name].iloc[rows], stamps[name]) for name in stamps}
    at = np.stack([stamps[name] + days[name] * rules.day_ends * _DAY for name in chosen]).max(axis=0)
    dated = np.stack(list(stamps.values())).max(axis=0)
    whole_day = np.stack([days[name] & (stamps[name] == dated) for name in stamps]).any(axis=0)
    _report_backwards(stamps, rows, table, findings)
    spans = [str(day)[:10] for day in dated]
    if {"start_date", "end_date"} <= set(stamps):
        spans = [f"{str(a)[:10]}..{str(b)[:10]}" for a, b in zip(stamps["start_date"], stamps["end_date"], strict=True)]
    name = Path(where).name
    places = [f"{name} row {r + 1} ({span})" for r, span in zip(rows, spans, strict=True)]
    return pd.DataFrame({
        "content": contents, "at": at, "dated": dated, "stated": latest_stated(contents), "whole_day": whole_day,
        "source": table.source, "place": places,
    })  # fmt: skip


def _contents(
    cells: pd.Series, table: TextTable, void: Void, findings: list[Finding]
) -> tuple[list[str], NDArray[np.int64]]:
    """The texts of a column and the rows they stand in; what is left out is counted."""
    if void == "empty":
        stripped = cells.astype(str).str.strip()
        kept = np.flatnonzero(~stripped.isin(MISSING).to_numpy())
        if len(kept) < len(cells):
            findings.append(Finding(f"texts of {table.source} are empty and count as missing", len(cells) - len(kept)))
        return list(stripped.iloc[kept]), kept.astype(np.int64)
    readings = [read_fact(str(cell)) for cell in cells]
    for reason in ("empty", "not available", "nothing found"):
        rows = [i for i, reading in enumerate(readings) if reading.void == reason]
        if rows:
            shown = tuple(f"row {r + 1}" for r in rows[:3])
            findings.append(
                Finding(f"texts of {table.source} are void ({reason}) and count as missing", len(rows), shown)
            )
    cut = sum(reading.cut > 0 for reading in readings if not reading.void)
    if cut:
        findings.append(Finding(f"texts of {table.source} have sentences that found nothing, which were cut", cut))
    rows = [i for i, reading in enumerate(readings) if not reading.void]
    return [readings[i].text for i in rows], np.array(rows, dtype=np.int64)


def _whole_days(cells: pd.Series, moments: Times) -> NDArray[np.bool_]:
    """Which dates have no time of day: none is written, or the column has none but midnight (dates of a frame)."""
    if (moments == moments.astype("datetime64[D]")).all():
        return np.ones(len(moments), dtype=bool)
    return ~cells.str.contains(":").to_numpy(dtype=bool)


def _report_backwards(
    stamps: dict[str, Times], rows: NDArray[np.int64], table: TextTable, findings: list[Finding]
) -> None:
    if "start_date" in stamps and "end_date" in stamps:
        backwards = np.flatnonzero(stamps["end_date"] < stamps["start_date"])
        if len(backwards):
            shown = tuple(f"row {rows[b] + 1}" for b in backwards[:3])
            words = f"texts of {table.source} end before they start and are available from the later date"
            findings.append(Finding(words, len(backwards), shown))
