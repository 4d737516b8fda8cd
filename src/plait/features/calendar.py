"""Calendars: the step of a time axis, its season codes, and smooth marks for a network."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

StepName = Literal["hour", "day", "week", "month", "other"]
Times = NDArray[np.datetime64]

_DAY = np.timedelta64(86_400, "s")


@dataclass(frozen=True)
class Step:
    """The step of a time axis: its length, and how many rows one season has.

    `name` is the calendar unit the rows follow; `seconds` the length of a fixed step, 0 for months; `period` the rows
    in one season (24 hours, 7 days, 52 weeks, 12 months, or 1); `lookback` and `horizon` what is usual for it.
    """

    name: StepName
    seconds: int
    period: int
    lookback: int
    horizon: int

    @property
    def words(self) -> str:
        """The step as people say it: a week, 900 s."""
        return f"{self.seconds} s" if self.name == "other" else f"a{'n' * (self.name == 'hour')} {self.name}"


_KNOWN = {
    3_600: Step("hour", 3_600, 24, 96, 96),
    86_400: Step("day", 86_400, 7, 96, 48),
    604_800: Step("week", 604_800, 52, 36, 12),
}


def infer_step(times: Times) -> Step:
    """The step of increasing time stamps, from their median distance; months are 28 to 31 days."""
    seconds = int(np.median(np.diff(times.astype("datetime64[s]").astype(np.int64))))
    if seconds in _KNOWN:
        return _KNOWN[seconds]
    if 28 * 86_400 <= seconds <= 31 * 86_400:
        return Step("month", 0, 12, 8, 6)
    day = 86_400 // seconds if 0 < seconds < 86_400 and 86_400 % seconds == 0 else 1
    return Step("other", seconds, day, 96, 48)


def steps_between(times: Times, step: Step) -> NDArray[np.float64]:
    """How many steps lie between neighbouring time stamps; 1.0 where the axis is regular. Shape: (t,) -> (t - 1,)."""
    if step.name == "month":
        months = times.astype("datetime64[M]").astype(np.int64)
        return np.diff(months).astype(np.float64)
    seconds = times.astype("datetime64[s]").astype(np.int64)
    return np.diff(seconds).astype(np.float64) / max(step.seconds, 1)


def next_times(last: np.datetime64, step: Step, count: int) -> Times:
    """The `count` time stamps after `last`; months keep a month's end where `last` is one."""
    made: Times
    if step.name != "month":
        made = last.astype("datetime64[s]") + np.arange(1, count + 1) * np.timedelta64(step.seconds, "s")
        return made
    month = last.astype("datetime64[M]")
    day = last.astype("datetime64[D]") - month.astype("datetime64[D]")
    ends = last.astype("datetime64[D]") + np.timedelta64(1, "D") == (month + 1).astype("datetime64[D]")
    months = month + np.arange(1, count + 1)
    month_ends = (months + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
    days = month_ends if ends else np.minimum(months.astype("datetime64[D]") + day, month_ends)
    made = days.astype("datetime64[s]")
    return made


def season_codes(times: Times, step: Step) -> tuple[NDArray[np.int64], int]:
    """The season of each row as a code and the number of codes.

    Months for monthly rows, ISO weeks (53 counted as 52) for weekly, week days for daily, hours for hourly rows.
    Shape: (t,) -> (t,).
    """
    days = times.astype("datetime64[D]")
    if step.name == "month":
        return times.astype("datetime64[M]").astype(np.int64) % 12, 12
    if step.name == "week":
        # The ISO week of a day is the week of the year of that week's Thursday.
        weekday = (days.astype(np.int64) + 3) % 7
        thursday = days + (3 - weekday)
        start = thursday.astype("datetime64[Y]").astype("datetime64[D]")
        return np.minimum((thursday - start).astype(np.int64) // 7, 51), 52
    if step.name == "day":
        return (days.astype(np.int64) + 3) % 7, 7
    hours = (times.astype("datetime64[s]") - days) // np.timedelta64(3_600, "s")
    return hours.astype(np.int64), 24


def calendar_marks(times: Times, step: Step) -> NDArray[np.float64]:
    """Smooth calendar channels: sine and cosine of two cycles.

    Year and half year for weekly and monthly rows; day and week for shorter steps; week and year for daily rows.
    Shape: (t,) -> (t, 4). Units: -1..1.
    """
    seconds = times.astype("datetime64[s]").astype(np.int64).astype(np.float64)
    day, week, year = 86_400.0, 604_800.0, 365.2425 * 86_400
    if step.name in ("week", "month"):
        cycles = (year, year / 2)
    elif step.name == "day":
        cycles = (week, year)
    else:
        cycles = (day, week)
    angles = [2 * np.pi * seconds / cycle for cycle in cycles]
    return np.stack([f(a) for a in angles for f in (np.sin, np.cos)], axis=1)


def days_between(later: Times, earlier: Times) -> Any:
    """The days from `earlier` to `later` as float64, elementwise."""
    return (later.astype("datetime64[s]") - earlier.astype("datetime64[s]")) / _DAY
