"""Stated dates: which calendar days, months and years a text names."""

import re
from collections.abc import Iterable
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

_SHORT = r"(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)"
_LONG = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
# Beside a day and a year a month's name is one in any case. A dot only after a short name: "It rained in May. 2010 was
# dry." names a year.
_MONTH = rf"(?:(?ai:{_LONG})\b|(?ai:{_SHORT})\b\.?)"
# Without a day it needs its capital: "prices may 2010" and "they march 2000 miles" name no month.
_CAPITAL = rf"(?:(?:{_LONG}|{_LONG.upper()})\b|(?:{_SHORT}|{_SHORT.upper()})\b\.?)"
_DAY = r"[0-3]?[0-9](?ai:st|nd|rd|th)?"
_YEAR = r"(?:1[5-9]|2[0-9])[0-9]{2}(?![\w%]|[.,][0-9])"
_TO = r"\s*(?:[-–—]|\b(?ai:to|through|until|and)\b)\s*"
_SINGLE = r"(?<![\w.,$/-])"
_NO_MORE = r"(?![\w%/]|[.,][0-9])"

_WORDED = (
    re.compile(
        rf"\b(?=[ADFJMNOSadfjmnos])(?:{_MONTH}\s*{_DAY}{_TO}(?={_MONTH}))?(?P<month>{_MONTH})\s*(?:(?i:the)\s+)?"
        rf"(?:{_DAY}{_TO})?(?P<day>{_DAY})(?:\s*,\s*|\.\s+|\s+(?:(?i:of)\s+)?)(?P<year>{_YEAR})"
    ),
    re.compile(
        rf"{_SINGLE}(?:{_DAY}{_TO})?(?P<day>{_DAY})(?:\s+(?:(?i:day)\s+)?(?:(?i:of)\s+)?|-)(?P<month>{_MONTH})"
        rf"(?:\s*,\s*|\s+(?:(?i:of)\s+)?|-)(?P<year>{_YEAR})"
    ),
)
# Two digits are a year after slashes alone: "5-4-15" may be a score. Behind "5/4/15-" a range ends.
_EITHER_ORDER = re.compile(
    rf"(?:{_SINGLE}|(?<=/[0-9]{{4}}-)|(?<=/[0-9]{{2}}-))(?P<first>[0-9]{{1,2}})(?P<mark>[/-])(?P<second>[0-9]{{1,2}})"
    rf"(?P=mark)(?P<year>[0-9]{{4}}|(?<=/)[0-9]{{2}})(?!(?P=mark)[0-9]){_NO_MORE}"
)
_NUMERIC = (
    # After a slash, too, where no digit stands before it: web addresses hold dates.
    re.compile(
        r"(?:(?<![^\W_])(?<![.,$-])(?<![0-9]/)|(?<=[/._][0-9]{2}-))(?P<year>[12][0-9]{3})(?P<mark>[-/._])"
        r"(?P<month>[0-9]{1,2})(?P=mark)(?P<day>[0-9]{1,2})(?![0-9%]|(?P=mark)[0-9])"
    ),
    _EITHER_ORDER,
    re.compile(
        rf"(?:{_SINGLE}|(?<=\.[0-9]{{4}}-))(?P<day>[0-9]{{1,2}})\.(?P<month>[0-9]{{1,2}})\.(?P<year>[12][0-9]{{3}})"
        rf"{_NO_MORE}"
    ),
    re.compile(
        r"(?<![\w.,$€£¥#/-])(?<![$€£¥]\s)(?P<year>(?:19|20)[0-9]{2}|2100)(?P<month>[01][0-9])(?P<day>[0-3][0-9])"
        rf"(?!\s?%|-[0-9]){_NO_MORE}"
    ),
)
_COARSE: tuple[tuple[Level, re.Pattern[str]], ...] = (
    ("month", re.compile(rf"\b(?P<month>{_CAPITAL})(?:,?\s(?:of\s)?|-)(?P<year>{_YEAR})")),
    # No price, decimal, larger number or decade ("1990's"), and on neither side of a range: "1895-2014", "2013/14".
    (
        "year",
        re.compile(
            r"(?<![\w.,$€£¥#])(?<![0-9][-–—/])(?<![0-9]\s[-–—]\s)(?P<year>(?:19|20)[0-9]{2})"
            r"(?![\w%]|[.,][0-9]|(?<=0)['’]s\b|\s?[-–—]\s?[0-9]|/[0-9])"
        ),
    ),
)

_PLAIN_FORMS: tuple[tuple[Level, re.Pattern[str]], ...] = (*(("day", form) for form in _WORDED), *_COARSE)
_FORMS: tuple[tuple[Level, re.Pattern[str]], ...] = (*(("day", form) for form in (*_WORDED, *_NUMERIC)), *_COARSE)
_EMPTY_LINE = re.compile(r"\n\s*\n")

# What every date has; most sentences have none of it.
_DIGITS = re.compile(r"[12][0-9]{3}|/[0-9]{2}")
_THREE_NUMBERS = re.compile(r"[0-9][-/._][0-9]{1,2}[-/._][0-9]|[0-9]{8}")
_FORWARD = re.compile(
    r"\b(?:by|until|till|will|would|could|should|(?-i:may)|expect(?:s|ed|ations?)?|forecast(?:s|ed)?|"
    r"project(?:s|ed|ions?)|predict(?:s|ed|ions?)?|anticipate[sd]?|estimate[sd]?|plan(?:s|ned|ning)?|targets?|goals?|"
    r"aim(?:s|ed)?|hope[sd]?|intend(?:s|ed)?|propose[sd]?|proposals?|schedule[sd]?|next|upcoming|coming|future|"
    r"from|through|beyond|starting|beginning|effective|fiscal|budgets?|outlook|horizon|likely|potential|"
    r"due|set to|set a|long-term|design year)\b",
    re.IGNORECASE,
)


def stated_dates(text: str, day_first: bool = False) -> list[StatedDate]:
    """The dates a text names, in order of appearance; impossible ones (February 30) and years above 2100 are none.

    A day may stand as "May 14, 2018", "September 12-16, 2011", "Dec. 26th, 2011", "January 30 to February 5, 2011",
    "14 May 2018", 14-May-2018, "the 14th day of May, 2018", 2018-05-14 (or with slashes, dots, underscores), 20180514,
    14.05.2018, 5/14/18 or 05-14-2018; a month as "May 2018"; a year as four digits from 1900 on. Of slashes and hyphens
    the number above 12 is the day; where there is none, `day_first` says whether the first is, else the second.
    """
    joined = _joined(text)
    found: list[StatedDate] = []
    place = 0
    for sentence in sentences(joined):
        place = joined.index(sentence, place)
        for start, end, stated in _in_sentence(sentence, day_first):
            found.append(stated._replace(written=text[place + start : place + end]))
        place += len(sentence)
    return found


def writes_day_first(texts: Iterable[str]) -> bool:
    """Whether some date with slashes or hyphens in the texts can only be day/month, and none only month/day."""
    seen = False
    for text in texts:
        for match in _EITHER_ORDER.finditer(text):
            if _read(match, False) is None:
                continue
            if int(match["second"]) > 12:
                return False
            seen = seen or int(match["first"]) > 12
    return seen


def _joined(text: str) -> str:
    """The text, as long as before, without the line breaks within its worded days; an empty line parts them still."""
    if "\n" in text:
        for form in _WORDED:
            text = form.sub(_one_line, text)
    return text


def _one_line(match: re.Match[str]) -> str:
    return match[0] if _EMPTY_LINE.search(match[0]) else match[0].replace("\n", " ")


def _in_sentence(sentence: str, day_first: bool) -> list[tuple[int, int, StatedDate]]:
    """The dates of a sentence, each with where it starts and ends."""
    if _DIGITS.search(sentence) is None:
        return []
    forward = _FORWARD.search(sentence) is not None
    found: list[tuple[int, int, StatedDate]] = []
    rest = sentence
    # The order matters: what one form has read is hidden from those after it.
    for level, form in _FORMS if _THREE_NUMBERS.search(sentence) else _PLAIN_FORMS:
        matches = list(form.finditer(rest))
        for match in matches:
            day = _read(match, day_first)
            if day is not None:
                stated = StatedDate(np.datetime64(day, "D"), level, match[0], forward)
                found.append((*match.span(), stated))
        if matches:
            rest = form.sub(_hidden, rest)
    return sorted(found, key=lambda each: each[0])


def _read(match: re.Match[str], day_first: bool) -> date | None:
    """The date a match states; None where the calendar has no such day."""
    parts = match.groupdict()
    year = int(parts["year"])
    if len(parts["year"]) == 2:
        year += 1900 if year >= _PIVOT else 2000
    if "first" in parts:
        first, second = int(parts["first"]), int(parts["second"])
        month, number = (second, first) if first > 12 or (day_first and second <= 12) else (first, second)
    else:
        name = parts.get("month") or "1"
        month = int(name) if name.isdigit() else _MONTHS.index(name[:3].lower()) + 1
        number = int(re.sub(r"\D", "", parts.get("day") or "1"))
    try:
        day = date(year, month, number)
    except ValueError:
        return None
    return day if year <= _LATEST_YEAR else None


def _hidden(match: re.Match[str]) -> str:
    return "\x00" * len(match[0])
