"""Tests of the dates that a text names: every way of writing them, look-alikes, properties, and real files."""

from calendar import month_name
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.features.facts import read_fact
from plait.features.stated_dates import Level, StatedDate, stated_dates, writes_day_first


def found(text: str) -> list[tuple[str, Level]]:
    return [(str(stated.day), stated.level) for stated in stated_dates(text)]


@pytest.mark.parametrize(
    "written, day",
    [
        ("May 14, 2018", "2018-05-14"),
        ("May 14,2018", "2018-05-14"),
        ("May 14 2018", "2018-05-14"),
        ("MAY 14, 2018", "2018-05-14"),
        ("May 14th, 2018", "2018-05-14"),
        ("May 14th of 2018", "2018-05-14"),
        ("Dec. 26, 2011", "2011-12-26"),
        ("Sept 5, 2010", "2010-09-05"),
        ("July 4, 1776", "1776-07-04"),
        ("February 29, 2016", "2016-02-29"),
        ("September 12-16, 2011", "2011-09-16"),
        ("April 17 - 23, 2015", "2015-04-23"),
        ("May 9 and 10, 1991", "1991-05-10"),
        ("December 28-January 3, 2021", "2021-01-03"),
        ("January 10 to January 30, 2010", "2010-01-30"),
        ("Oct. 28–Nov. 3, 2007", "2007-11-03"),
        ("10 April 2010", "2010-04-10"),
        ("the 5th of May 2010", "2010-05-05"),
        ("3-5 June, 2010", "2010-06-05"),
        ("2018-05-14", "2018-05-14"),
        ("6/13/22", "2022-06-13"),
        ("06/07/2019", "2019-06-07"),
        ("12/31/99", "1999-12-31"),
        ("1/1/50", "1950-01-01"),
        ("1/1/49", "2049-01-01"),
    ],
)
def test_a_day_in_each_way_of_writing(written: str, day: str) -> None:
    [stated] = stated_dates(f"In the U.S. prices stood at $2.10 as of {written}, down 3.5 percent.")
    assert (str(stated.day), stated.level) == (day, "day")
    assert stated.written == written.removeprefix("the ")
    assert stated.day.dtype == np.dtype("datetime64[D]")


@pytest.mark.parametrize(
    "written, day",
    [
        ("May 2018", "2018-05-01"),
        ("March, 2018", "2018-03-01"),
        ("March of 2024", "2024-03-01"),
        ("Sep-2019", "2019-09-01"),
        ("Sept. 2019", "2019-09-01"),
        ("mid-June 2019", "2019-06-01"),
        ("July through September 2015", "2015-09-01"),
        ("December 20th", ""),
        ("May", ""),
        ("May 14", ""),
    ],
)
def test_a_month_is_its_first_day(written: str, day: str) -> None:
    assert found(f"The rains of {written} were heavy.") == ([(day, "month")] if day else [])


@pytest.mark.parametrize(
    "text, years",
    [
        ("Output peaked in 2008.", [2008]),
        ("Output peaked in mid-2008, in Q1 2009 and (again) in 2010, 300 miles away.", [2008, 2009, 2010]),
        ("In 2012's heat, corn withered.", [2012]),
        ("It rained in May. 2010 was dry.", [2010]),
        ("Chained 2012 dollars rose.", [2012]),
        ("The 1990s and the 1990's were decades.", []),
        ("The 1895-2014 record, the 1901–2000 mean and the 2000 - 2010 boom.", []),
        ("The seasons 2013/14, 1997/1998 and 2018-19 and Act 93/1996.", []),
        ("It cost $2010, US$2011, €2012 or £2013.", []),
        ("It sold 2010.5 tons, 12,2010 tons, 2010,300 tons, 120100 tons and .2010 tons.", []),
        ("ZIP 20101, grant AI-20963, AEO2013, 2020% and #2001.", []),
        ("By 1850 or 2150 or 3000.", []),
    ],
)
def test_bare_years(text: str, years: list[int]) -> None:
    assert found(text) == [(f"{year}-01-01", "year") for year in years]


@pytest.mark.parametrize(
    "text",
    [
        "February 30, 2020 and June 31, 2021 and 30 February 2022.",
        "On 2019-02-29, 2020-13-01 and 2/30/2020 and 13/13/2020 and 31/04/99.",
        "It may 2.5 or march 5 miles; in May, 54 inches; 24/7 and 1/2/3 and 1/2/345 and 10/1/2/20.",
        "On May 5, 2150, in May 2150 and on 2150-01-01.",
        "prices may 20, 30 or 40 cents",
        "we may 4 times a day, march 2 miles; they march 2000.5 or 20000 miles in may and sat for 4 hours",
        "20150504.5 and 20150504,5 and 120150504 and 201505041 and 0.20150504 and A20150504 and 20150504b",
        "$20150504 and $ 20150504 and €20150504 and 20150504% and 20150504 % and #20150504 and 20150504-1",
        "20151304 and 20150230 and 18991231 and 21010101 and 99999999",
        "version 2015.05 and 1.2015.05.04 and 2015.05.04.1 and 2015-05-04-1 and 2015/05/04/1 and 1/2015/05/04",
        "call 555-04-2015 or 04-05-2015-77 or 1-800-2015 or +04-05-20155; 5-4-15, 10.12.13 and 10.12.1.2015",
        "2015/05-04 and 2015-05/04 and 05/04-2015 and 05.04/2015",
        "32.01.2015 and 04.13.2015 and 31-11-2015 and 32-May-2015 and the 31st day of June 2015",
    ],
)
def test_what_is_no_date(text: str) -> None:
    assert found(text) == []


OTHER_WAYS = ["2015/05/04", "2015-5-4", "2015/5/4", "2015_05_04", "2015.05.04", "04.05.2015", "20150504"]
OTHER_WAYS += ["04-May-2015", "4-MAY-2015", "4 may 2015", "may 04, 2015", "MAY 4, 2015", "May  04, 2015"]
OTHER_WAYS += ["May 04. 2015", "May the 4th, 2015", "may The 4TH 2015", "the 4th of May, 2015", "4th day of May 2015"]
OTHER_WAYS += ["4th day of may, 2015", "May 4 , 2015", "May\t4,\u00a02015", "1-4 MAY 2015", "may 1 TO 4, 2015"]
OTHER_WAYS += ["May 04,\n2015", "May\n  04, 2015", "May 4,\r\n2015", "the 4th\nof May\n2015", "may the\n4th,\n2015"]
OTHER_WAYS += ["05-04-2015", "5-4-2015"]


@pytest.mark.parametrize("written", OTHER_WAYS)
def test_a_day_in_each_other_way_of_writing(written: str) -> None:
    for frame in ("It stood at $2.10 as of {}, down 3.5 percent.", "{}", "U.S. rain ({}).\nIt fell.", "Rain\n{}\nfell"):
        [stated] = stated_dates(frame.format(written))
        assert (str(stated.day), stated.level) == ("2015-05-04", "day")
        assert stated.written == written.removeprefix("the ")


def test_an_empty_line_parts_what_a_line_break_joins() -> None:
    assert found("Rain of May 4,\n2015") == [("2015-05-04", "day")]
    assert found("Rain of May 4\n\n2015 was dry.") == [("2015-01-01", "year")]


@pytest.mark.parametrize(
    "text, days",
    [
        ("https://news.org/2015/05/04/rain.html", ["2015-05-04"]),
        ("rain_2015-05-04.csv and 2015-05-04-rain.md and rain_2015_05_04", ["2015-05-04"] * 3),
        ("2015-05-04T12:30 and 2015-05-04.", ["2015-05-04"] * 2),
        ("5/4/2015-5/6/2015 and 5/4/15-5/6/15", ["2015-05-04", "2015-05-06"] * 2),
        ("04.05.2015-06.05.2015 and 2015/05/04-2015/05/06", ["2015-05-04", "2015-05-06"] * 2),
    ],
)
def test_addresses_files_and_ranges(text: str, days: list[str]) -> None:
    assert found(text) == [(day, "day") for day in days]


@pytest.mark.parametrize(
    "written, day, day_first",
    [
        ("05/04/2015", "2015-05-04", "2015-04-05"),
        ("5-4-2015", "2015-05-04", "2015-04-05"),
        ("5/4/15", "2015-05-04", "2015-04-05"),
        ("13/4/2015", "2015-04-13", "2015-04-13"),
        ("13-04-2015", "2015-04-13", "2015-04-13"),
        ("25/12/99", "1999-12-25", "1999-12-25"),
        ("4/13/2015", "2015-04-13", "2015-04-13"),
        ("04-13-2015", "2015-04-13", "2015-04-13"),
        ("05.04.2015", "2015-04-05", "2015-04-05"),
        ("2015/05/04", "2015-05-04", "2015-05-04"),
        ("May 4, 2015", "2015-05-04", "2015-05-04"),
    ],
)
def test_day_or_month_first(written: str, day: str, day_first: str) -> None:
    assert found(f"On {written}, it rained.") == [(day, "day")]
    assert [str(stated.day) for stated in stated_dates(f"On {written}, it rained.", day_first=True)] == [day_first]


@pytest.mark.parametrize(
    "texts, answer",
    [
        ([], False),
        (["On 5/4/2015."], False),
        (["On 5/4/2015.", "On 25/4/2015."], True),
        (["On 25-04-2015."], True),
        (["On 25/4/2015.", "On 4/25/2015."], False),
        (["On 4-25-2015 and 25/4/15."], False),
        (["On 25.04.2015 and 25 April 2015."], False),
        (["On 25/13/2015 and 31/04/2015."], False),
        (["On 25/4/2015 and 13/25/2015 and 2/30/2015."], True),
    ],
)
def test_texts_that_write_the_day_first(texts: list[str], answer: bool) -> None:
    assert writes_day_first(iter(texts)) is answer


def test_a_day_hides_its_month_and_year_and_order_is_that_of_the_text() -> None:
    text = "From 2004 to May 16, 2023, unlike June 2009.\nOn 1/2/03 and 4 July 2011 too, in 1999 and March 2021."
    assert found(text) == [
        ("2004-01-01", "year"),
        ("2023-05-16", "day"),
        ("2009-06-01", "month"),
        ("2003-01-02", "day"),
        ("2011-07-04", "day"),
        ("1999-01-01", "year"),
        ("2021-03-01", "month"),
    ]


def test_forward_is_the_sentence_of_the_date() -> None:
    text = "Output will double by 2035 in the U.S. Midwest. It grew in May 2020. The F.Y. Plan of 2021 is out."
    assert [(stated.written, stated.forward) for stated in stated_dates(text)] == [
        ("2035", True),
        ("May 2020", False),
        ("2021", True),
    ]


MONTHS = month_name[1:]


PIECES = [
    "May",
    "March",
    "Jan.",
    " ",
    " ",
    ",",
    "/",
    "-",
    "–",
    ".",
    "$",
    "of",
    "to",
    "th",
    "\n",
    "\x00",
    *"0123459",
    "20",
    "19",
]


def spoken(day: date) -> list[str]:
    """The day in every supported way, written without the module's own tables."""
    name = MONTHS[day.month - 1]
    last = day.day % 10 if day.day not in (11, 12, 13) else 0
    ordinal = f"{day.day}{('th', 'st', 'nd', 'rd')[last] if last < 4 else 'th'}"
    short = f"{name[:3]}{'' if name == 'May' else '.'}"
    ways = [f"{name} {day.day}, {day.year}", f"{name} {ordinal}, {day.year}", f"{short} {day.day}, {day.year}"]
    ways += [f"{name[:3]} {day.day}, {day.year}", f"{day.day} {name} {day.year}", f"{ordinal} of {name} {day.year}"]
    ways += [day.isoformat(), f"{day.month}/{day.day}/{day.year}", f"{day.month:02d}/{day.day:02d}/{day.year}"]
    if date(1950, 1, 1) <= day <= date(2049, 12, 31):
        ways.append(f"{day.month}/{day.day}/{day.year % 100:02d}")
    before = day - timedelta(days=1)
    if before.month == day.month:
        ways += [f"{name} {before.day}-{day.day}, {day.year}", f"{name} {before.day} to {name} {day.day}, {day.year}"]
    return ways


@settings(deadline=None)
@given(
    st.dates(date(1900, 1, 1), date(2100, 12, 31)), st.sampled_from(["{}", "({}).", "As of {}, it rained.", "{} - x"])
)
def test_any_day_is_found_in_each_way(day: date, frame: str) -> None:
    for written in spoken(day):
        [stated] = stated_dates(frame.format(written))
        assert stated == StatedDate(np.datetime64(day, "D"), "day", written, False), written


def numbered(day: date, day_first: bool) -> list[str]:
    """The day in every supported way with numbers alone, and with names in other cases and places."""
    name, year = MONTHS[day.month - 1], day.year
    ways = [f"{day:%Y}{mark}{day:%m}{mark}{day:%d}" for mark in "-/._"]
    ways += [f"{year}{mark}{day.month}{mark}{day.day}" for mark in "-/"]
    ways += [f"{day:%Y%m%d}", f"{day:%d.%m.%Y}", f"{day.day}.{day.month}.{year}"]
    for mark in "/-":
        ways += [f"{day:%d}{mark}{day:%m}{mark}{year}"] if day_first or day.day > 12 else []
        ways += [f"{day:%m}{mark}{day:%d}{mark}{year}"] if not day_first or day.day > 12 else []
    for word in {name, name.lower(), name.upper(), name[:3], name[:3].lower(), name[:3].upper()}:
        ways += [f"{day.day:02d}-{word}-{year}", f"{day.day} {word} {year}", f"{word}  {day.day:02d},\n{year}"]
        ways += [
            f"{word} {day.day:02d}. {year}",
            f"{day.day}th day of {word}, {year}",
            f"{word} the {day.day}th, {year}",
        ]
    return ways


@settings(deadline=None)
@given(
    st.dates(date(1900, 1, 1), date(2100, 12, 31)),
    st.booleans(),
    st.sampled_from(["{}", "({}).", "As of {}, it rained.", "{} - x", "Rain:\n{}\nMay was wet.", "On {} 4 fell."]),
)
def test_any_day_is_found_in_each_other_way(day: date, day_first: bool, frame: str) -> None:
    for written in numbered(day, day_first):
        [stated] = stated_dates(frame.format(written), day_first=day_first)
        assert stated[:3] == (np.datetime64(day, "D"), "day", written), written


@settings(deadline=None)
@given(st.integers(1900, 2099), st.integers(1, 12))
def test_any_month_and_year_is_found(year: int, month: int) -> None:
    written = f"{MONTHS[month - 1]} {year}"
    assert found(f"Rain in {written} was 2.5 inches.") == [(f"{year}-{month:02d}-01", "month")]
    assert found(f"Rain in {year} was 2.5 inches.") == [(f"{year}-01-01", "year")]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_any_text_is_read_and_what_is_written_stands_in_it(text: str) -> None:
    place = 0
    for stated in stated_dates(text):
        place = text.index(stated.written, place) + len(stated.written)
        assert stated.day.astype("datetime64[Y]") <= np.datetime64("2100")


def rows(shared: Path, domain: str, source: str) -> pd.DataFrame:
    path = shared / "data" / "time_mmd" / "textual" / domain / f"{domain}_{source}.csv"
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def late(fact: str, end: str) -> list[StatedDate]:
    return [stated for stated in stated_dates(fact) if stated.day > np.datetime64(end[:10])]


# Usable facts that name a later day, else a later month, else a later year, and of these last the ones whose sentence
# does not look forward; then all that are flagged.
REFERENCE = {
    ("Agriculture", "report"): (0, 0, 0, 0, 0),
    ("Agriculture", "search"): (0, 0, 18, 3, 3),
    ("Climate", "report"): (1, 0, 0, 0, 1),
    ("Climate", "search"): (2, 6, 4, 1, 9),
    ("Economy", "report"): (0, 6, 0, 0, 6),
    ("Economy", "search"): (2, 6, 63, 23, 31),
    ("Energy", "report"): (351, 0, 0, 0, 351),
    ("Energy", "search"): (6, 6, 42, 11, 23),
    ("Health_US", "report"): (3, 0, 0, 0, 3),
    ("Health_US", "search"): (6, 2, 19, 11, 19),
    ("Traffic", "report"): (1, 0, 1, 1, 2),
    ("Traffic", "search"): (3, 6, 75, 23, 32),
}
# "Dec 28, 2020 - Jan 3, 2021" is read as days here, and as a year there.
ABBREVIATED = {("Traffic", "report"): (2, 0, 0, 0, 2)}


@pytest.mark.parametrize("domain", ["Agriculture", "Climate", "Economy", "Energy", "Health_US", "Traffic"])
def test_facts_that_name_a_later_date(domain: str, shared: Path) -> None:
    for source in ("report", "search"):
        table = rows(shared, domain, source)
        counts = dict.fromkeys(("day", "month", "year", "unannounced year", "flagged"), 0)
        for fact, end in zip(table["fact"], table["end_date"], strict=True):
            hits = [] if read_fact(fact).void else late(fact, end)
            if hits:
                finest = min((stated.level for stated in hits), key=("day", "month", "year").index)
                unannounced = finest == "year" and not all(stated.forward for stated in hits)
                counts[finest] += 1
                counts["unannounced year"] += unannounced
                counts["flagged"] += finest != "year" or unannounced
        expected = ABBREVIATED.get((domain, source), REFERENCE[domain, source])
        got = tuple(counts.values())
        assert got[:2] == expected[:2], source
        assert max(abs(ours - theirs) for ours, theirs in zip(got, expected, strict=True)) <= 2, (source, counts)


@pytest.mark.parametrize(
    "domain, source, row, end, written",
    [
        ("Energy", "report", 15, "2011-09-09", "September 12, 2011"),
        ("Energy", "search", 1066, "2007-07-22", "May 20, 2024"),
        ("Economy", "search", 1174, "2002-07-07", "December 5, 2023"),
        ("Health_US", "search", 216, "1986-02-09", "October 13, 2020"),
        ("Health_US", "report", 441, "2011-01-01", "April 16, 2011"),
        ("Climate", "search", 2053, "1996-01-07", "February 1996"),
        ("Climate", "report", 260, "2022-02-28", "March 1, 2022"),
        ("Traffic", "search", 2223, "2022-09-18", "December 31, 2022"),
        ("Agriculture", "search", 1001, "2011-11-13", "2022"),
        ("Economy", "report", 14, "2001-03-31", "March 2021"),
    ],
)
def test_known_late_facts(domain: str, source: str, row: int, end: str, written: str, shared: Path) -> None:
    cells = rows(shared, domain, source).loc[row]
    assert cells["end_date"].startswith(end)
    assert not read_fact(cells["fact"]).void
    assert written in [stated.written for stated in late(str(cells["fact"]), end)]
