"""Dated texts: which cells count, from when each may be used, and what a later stated date does to it."""

from typing import Any

import numpy as np
import pytest

from plait.core.errors import DataError
from plait.data.dated_texts import TextRules, TextTable, latest_stated, read_texts
from plait.data.table import Texts, as_frame


def _table(source: str = "texts", **columns: list[str]) -> TextTable:
    return TextTable(as_frame(columns), source, f"{source}.csv")


def _read(*tables: TextTable, **rules: Any) -> tuple[Texts, dict[str, int]]:
    texts, findings = read_texts(list(tables), TextRules(**rules))
    return texts, {finding.what: finding.count for finding in findings}


def _dates(texts: Texts) -> list[str]:
    return [str(moment)[:10] for moment in texts.available_at]


def test_a_text_is_available_at_the_latest_of_its_dates_and_empty_ones_are_absent() -> None:
    table = _table(
        text=["late", "", "NA", "early"],
        start_date=["2024-01-05", "2024-01-01", "2024-01-01", "2024-01-02"],
        end_date=["2024-01-03", "2024-01-02", "2024-01-02", "2024-01-03"],
    )
    texts, found = _read(table)
    assert texts.contents == ("early", "late")
    assert _dates(texts) == ["2024-01-03", "2024-01-05"]
    assert found["texts of texts are empty and count as missing"] == 2
    assert found["texts of texts end before they start and are available from the later date"] == 1
    assert texts.places[1] == "texts.csv row 1 (2024-01-05..2024-01-03)"


def test_a_table_without_dates_or_without_its_column_is_refused() -> None:
    with pytest.raises(DataError, match=r"no dates.*data\.text\.dates"):
        _read(_table(text=["a"], when=["2024"]))
    with pytest.raises(DataError, match=r"no column 'text'.*set data\.text\.content"):
        _read(_table(txt=["a"], date=["2024-01-01"]))
    with pytest.raises(DataError, match=r"column date, row 3"):
        _read(_table(text=["a", "", "c"], date=["2024-01-01", "never", "soon"]))


PRICE = "The price rose to $3.258 on December 26, 2011."


@pytest.mark.parametrize(
    ("future", "dates"),
    [
        ("delay", ["2011-12-20", "2011-12-26"]),
        ("drop", ["2011-12-20"]),
        ("keep", ["2011-12-20", "2011-12-23"]),
    ],
)
def test_a_text_that_states_a_later_date_waits_is_dropped_or_kept(future: str, dates: list[str]) -> None:
    table = _table(text=[PRICE, "As of December 19, 2011 it fell."], end_date=["2011-12-23", "2011-12-20"])
    texts, found = _read(table, future_dates=future)
    assert _dates(texts) == dates
    assert [str(day)[:10] for day in texts.dated] == ["2011-12-20", "2011-12-23"][: len(dates)]
    words = {"delay": "wait for it", "drop": "were left out", "keep": "are used before it"}[future]
    assert found[f"texts state a full date after their own and {words}"] == 1
    assert [str(day)[:10] for day in latest_stated([PRICE, "It rose."])] == ["2011-12-26", "0000-01-01"]


def test_tables_that_write_the_day_first_are_read_so() -> None:
    american = _table(text=["On 3/4/2015 it rose.", "On 3/14/2015 it fell."], date=["2015-03-04"] * 2)
    european = _table(text=["On 3/4/2015 it rose.", "On 14/3/2015 it fell."], date=["2015-04-03"] * 2)
    assert _dates(_read(american)[0]) == ["2015-03-04", "2015-03-14"]
    assert _dates(_read(european)[0]) == ["2015-04-03", "2015-04-03"]


def test_equal_texts_of_both_tables_become_one_at_the_later_date() -> None:
    one = _table("report", text=["same", "only here"], end_date=["2024-01-03", "2024-01-04"])
    two = _table("search", text=["other", "same"], end_date=["2024-01-01", "2024-02-01"])
    texts, found = _read(one, two, repeats="merge")
    assert texts.contents == ("other", "only here", "same")
    assert _dates(texts) == ["2024-01-01", "2024-01-04", "2024-02-01"]
    assert texts.sources == ("search", "report", "search")
    assert texts.places[2] == "search.csv row 2 (2024-02-01)"
    assert found["texts repeat another and were merged, at the later date"] == 1


def test_a_text_that_comes_again_counts_again_unless_its_dates_repeat_too() -> None:
    table = _table(
        text=["storm", "storm", "calm", "storm"], date=["2024-01-01", "2024-02-01", "2024-01-05", "2024-02-01"]
    )
    texts, found = _read(table)
    assert texts.contents == ("storm", "calm", "storm")
    assert _dates(texts) == ["2024-01-01", "2024-01-05", "2024-02-01"]
    assert found == {"texts repeat the text and dates of another": 1}


def test_days_count_to_their_end_where_steps_are_shorter_than_a_day() -> None:
    days = _table(text=["a", "b"], date=["2024-01-03", "2024-01-04"])
    assert _dates(_read(days)[0]) == ["2024-01-03", "2024-01-04"]
    assert _dates(_read(days, day_ends=True)[0]) == ["2024-01-04", "2024-01-05"]
    mixed = _table(text=["a", "b", "c"], date=["2024-01-03 07:00", "2024-01-04", "2024-01-05 00:00"])
    texts, _ = _read(mixed, day_ends=True)
    assert [str(t)[:13] for t in texts.available_at] == ["2024-01-03T07", "2024-01-05T00", "2024-01-05T00"]
    assert texts.whole_day.tolist() == [False, True, False]


def test_a_text_that_states_its_own_day_is_not_late() -> None:
    table = _table(text=["On 2024-01-04 it rose.", "On 2024-01-05 it rose."], date=["2024-01-04 06:00"] * 2)
    texts, found = _read(table, day_ends=True)
    assert [str(t)[:13] for t in texts.available_at] == ["2024-01-04T06", "2024-01-06T00"]
    assert found["texts state a full date after their own and wait for it"] == 1


def test_cells_that_say_that_nothing_was_found_are_no_texts() -> None:
    cells = ["NA", "No relevant information was found in the search results.", "Prices rose in the U.S. last week."]
    table = _table(fact=cells, end_date=["2024-01-01"] * 3)
    texts, found = _read(table, content="fact", void="nothing_found")
    assert texts.contents == (cells[2],)
    assert found["texts of texts are void (not available) and count as missing"] == 1
    assert found["texts of texts are void (nothing found) and count as missing"] == 1


def test_a_table_without_any_text_is_read() -> None:
    texts, _ = _read(_table(text=["", "NA"], date=["2024-01-01", "2024-01-02"]))
    assert texts.contents == ()
    assert texts.available_at.dtype == np.dtype("datetime64[s]")


def test_each_table_shows_for_itself_which_way_it_writes_dates() -> None:
    day_first = _table("report", text=["On 03/04/2010 it rose.", "On 25/02/2010 it fell."], date=["2010-03-20"] * 2)
    month_first = _table("search", text=["On 05/25/2009 it rose."], date=["2009-06-01"])
    texts, _ = _read(day_first, month_first)
    assert dict(zip(texts.contents, _dates(texts), strict=True))["On 03/04/2010 it rose."] == "2010-04-03"


def test_a_date_between_the_chosen_and_the_latest_column_is_waited_for() -> None:
    table = _table(text=["As of January 20, 2020."], start_date=["2020-01-01"], end_date=["2020-01-31"])
    assert _dates(_read(table, dates=("start_date",))[0]) == ["2020-01-20"]
    assert _dates(_read(table, dates=("start_date",), future_dates="keep")[0]) == ["2020-01-01"]


def test_a_date_column_that_was_not_chosen_may_hold_anything() -> None:
    table = _table(text=["a"], available_at=["2020-02-01"], date=["Jan 2020"])
    texts, found = _read(table, dates=("available_at",))
    assert _dates(texts) == ["2020-02-01"]
    assert any("column date of texts is no date" in what for what in found)
