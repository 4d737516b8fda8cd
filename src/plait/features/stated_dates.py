"""Stated dates: which calendar days, months and years a text names."""

import re
from datetime import date
from typing import Literal, NamedTuple

import numpy as np

from plait.features.facts import sentences

Level = Literal["day", "month", "year"]


class StatedDate(NamedTuple):
    """A date that a text names.

    `day` is the day itself, the last one of a range, the first of a month, or 1 January of a year; `written` is how it
    stands in the text; `forward` says that its sentence looks ahead, so that a later date may be an announcement.
    """

    day: np.datetime64
    level: Level
    written: str
    forward: bool


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LATEST_YEAR = 2100
# Of years written with two digits, 50 to 99 belong to the last century.
_PIVOT = 50

# With a capital: "prices may 2010" and "they march 2000 miles" name no month. A dot only after a short name: "It
# rained in May. 2010 was dry." names a year.
_MONTH = (
    r"(?:(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|JANUARY|FEBRUARY|MARCH|APRIL|MAY|JUNE|JULY|AUGUST|SEPTEMBER|OCTOBER|NOVEMBER|DECEMBER)\b"
    r"|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|JAN|FEB|MAR|APR|JUN|JUL|AUG|SEPT?|OCT|NOV|DEC)\b\.?)"
)
_DAY = r"[0-3]?[0-9](?:st|nd|rd|th)?"
_YEAR = r"(?:1[5-9]|2[0-9])[0-9]{2}(?![\w%]|[.,][0-9])"
_TO = r"\s?(?:[-–—]|\b(?:to|through|until|and)\b)\s?"
_SINGLE = r"(?<![\w.,$/-])"

# The order matters: what one form has read is hidden from those below it.
_FORMS: tuple[tuple[Level, re.Pattern[str]], ...] = (
    (
        "day",
        re.compile(
            rf"\b(?:{_MONTH}\s?{_DAY}{_TO}(?={_MONTH}))?(?P<month>{_MONTH})\s?(?:{_DAY}{_TO})?(?P<day>{_DAY})"
            rf"(?:,\s?|\s(?:of\s)?)(?P<year>{_YEAR})"
        ),
    ),
    (
        "day",
        re.compile(rf"{_SINGLE}(?:{_DAY}{_TO})?(?P<day>{_DAY})\s(?:of\s)?(?P<month>{_MONTH}),?\s(?P<year>{_YEAR})"),
    ),
    ("day", re.compile(rf"{_SINGLE}(?P<year>[12][0-9]{{3}})-(?P<month>[0-9]{{2}})-(?P<day>[0-9]{{2}})(?![0-9-])")),
    (
        "day",
        re.compile(
            rf"{_SINGLE}(?P<month>[0-9]{{1,2}})/(?P<day>[0-9]{{1,2}})/(?P<year>[0-9]{{4}}|[0-9]{{2}})"
            r"(?![\w%/]|[.,][0-9])"
        ),
    ),
    ("month", re.compile(rf"\b(?P<month>{_MONTH})(?:,?\s(?:of\s)?|-)(?P<year>{_YEAR})")),
    # No price, decimal, larger number or decade ("1990's"), and on neither side of a range: "1895-2014", "2013/14".
    (
        "year",
        re.compile(
            r"(?<![\w.,$€£¥#])(?<![0-9][-–—/])(?<![0-9]\s[-–—]\s)(?P<year>(?:19|20)[0-9]{2})"
            r"(?![\w%]|[.,][0-9]|(?<=0)['’]s\b|\s?[-–—]\s?[0-9]|/[0-9])"
        ),
    ),
)

# What every date has; most sentences have none of it.
_DIGITS = re.compile(r"[12][0-9]{3}|/[0-9]{2}")
_FORWARD = re.compile(
    r"\b(?:by|until|till|will|would|could|should|(?-i:may)|expect(?:s|ed|ations?)?|forecast(?:s|ed)?|"
    r"project(?:s|ed|ions?)|predict(?:s|ed|ions?)?|anticipate[sd]?|estimate[sd]?|plan(?:s|ned|ning)?|targets?|goals?|"
    r"aim(?:s|ed)?|hope[sd]?|intend(?:s|ed)?|propose[sd]?|proposals?|schedule[sd]?|next|upcoming|coming|future|"
    r"from|through|beyond|starting|beginning|effective|fiscal|budgets?|outlook|horizon|likely|potential|"
    r"due|set to|set a|long-term|design year)\b",
    re.IGNORECASE,
)


def stated_dates(text: str) -> list[StatedDate]:
    """The dates a text names, in order of appearance; impossible ones (February 30) and years above 2100 are none.

    A day may stand as "May 14, 2018", "September 12-16, 2011", "Dec. 26th, 2011", "January 30 to February 5, 2011",
    "14 May 2018", 2018-05-14 or 5/14/18; a month as "May 2018"; a year as four digits from 1900 on.
    """
    return [stated for sentence in sentences(text) for stated in _in_sentence(sentence)]


def _in_sentence(sentence: str) -> list[StatedDate]:
    if _DIGITS.search(sentence) is None:
        return []
    forward = _FORWARD.search(sentence) is not None
    found: list[tuple[int, StatedDate]] = []
    rest = sentence
    for level, form in _FORMS:
        for match in form.finditer(rest):
            day = _read(match)
            if day is not None:
                found.append((match.start(), StatedDate(np.datetime64(day, "D"), level, match[0], forward)))
        rest = form.sub(_hidden, rest)
    return [stated for _, stated in sorted(found, key=lambda pair: pair[0])]


def _read(match: re.Match[str]) -> date | None:
    """The date a match states; None where the calendar has no such day."""
    parts = match.groupdict()
    year = int(parts["year"])
    if len(parts["year"]) == 2:
        year += 1900 if year >= _PIVOT else 2000
    month = parts.get("month") or "1"
    number = int(month) if month.isdigit() else _MONTHS.index(month[:3].lower()) + 1
    try:
        day = date(year, number, int(re.sub(r"\D", "", parts.get("day") or "1")))
    except ValueError:
        return None
    return day if year <= _LATEST_YEAR else None


def _hidden(match: re.Match[str]) -> str:
    return "\x00" * len(match[0])
