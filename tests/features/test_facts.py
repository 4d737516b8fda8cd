"""Tests of which cells say something: the traps of model-written cells, properties, and the counts of real files."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.features.facts import Reading, read_fact, sentences

RESULTS = "The search results do not provide any objective facts about the broiler market."
PRICE = "Broiler prices rose to 97 cents a pound."


def voided(cell: str) -> str:
    reading = read_fact(cell)
    assert (reading.text, reading.cut) == ("", 0) or not reading.void
    return reading.void


@pytest.mark.parametrize("cell", ["", " ", "\n\t \n"])
def test_a_cell_of_blanks_is_empty(cell: str) -> None:
    assert read_fact(cell) == Reading("", "empty", 0)


@pytest.mark.parametrize(
    "cell",
    [
        "NA",
        ": NA",
        "**NA**",
        "N/A.",
        "None",
        "Not available",
        "Nothing was reported in these weeks.",
        "NA (No relevant information found about the broiler market)",
        "NA, however broiler prices rose to 97 cents a pound.",
        "Objective facts about the broiler market situation:",
        "** \nObjective Facts about the Monthly Contiguous U.S. Precipitation situation:\n\n**",
        "Objective facts about the Monthly Contiguous U.S. Precipitation situation\nNA",
        "The objective facts about the broiler market situation are:\n\n* NA (No relevant information found)",
    ],
)
def test_na_and_headers_alone_are_not_available(cell: str) -> None:
    assert voided(cell) == "not available"


@pytest.mark.parametrize(
    "cell",
    [
        "NASA launched two weather satellites.",
        "Nationwide rainfall was near normal.",
        "Nonetheless the rains were heavy there.",
        "nothing but corn was planted in May.",
        "The HA and NA proteins of influenza differ.",
        "The objective fact is that rain varies in Greenland.",
        "The objective facts about prices are scarce in the text. However, oil fell in 1995.",
        "There is no evidence that the vaccine causes flu.",
        "No cases of human infection have been reported in Texas.",
        "A plague vaccine is not currently available for use in Texas.",
        "The width of the road is not related to its traffic.",
        "The retail price does not include the state fuel tax.",
        "The article mentions acid rain in a dozen towns of the eastern states, but does not provide numbers.",
        "Diesel is not stated in the report, but regular gasoline is at 5.006 dollars as of 6/13/22.",
    ],
)
def test_facts_that_look_like_denials_stay_as_they_are(cell: str) -> None:
    assert read_fact(cell) == Reading(cell, "", 0)


@pytest.mark.parametrize(
    "cell",
    [
        RESULTS,
        "There is no relevant information about traffic in the provided search results. NA",
        "There is no specific data or statistics about traffic.",
        "There are no objective facts about Monthly Contiguous U.S. Precipitation.",
        "The search results do not provide direct information about Monthly Contiguous U.S. Precipitation.",
        "The broiler market is not directly mentioned in the search results, but it is known that people eat chicken.",
        "Diesel is not stated in the report, but no data on the 12 states is provided.",
        "The broiler market is not mentioned in the text. However, there are mentions of 12 pet foods.",
        "The dataset does not contain rainfall. The results appear to cover laws and armies.",
        "All other search results are irrelevant to rainfall. Therefore, I will fill in the rest.",
        "Monthly Retail broiler Composite situation:\nThe report does not give its price. However, it gives insights.",
        "Objective facts about the broiler market situation**\n\n* No direct data on the market is provided.\n\n**",
        "Prices rose sharply.",
        f"{RESULTS} Prices rose sharply.",
    ],
)
def test_cells_that_only_deny_hold_nothing(cell: str) -> None:
    assert voided(cell) == "nothing found"


@pytest.mark.parametrize(
    "cell, cut",
    [
        (f"Objective facts about the broiler market situation: {PRICE}", 0),
        (f"** Objective Facts**\n\n* {PRICE} \n\n**", 0),
        (f"The following are objective facts about the market:\n- {PRICE}", 0),
        (f"{PRICE} \n\nAll other search results are irrelevant to broilers. Therefore, the rest is 'NA'.", 2),
        (f"{RESULTS} However, some facts can be found:\n- {PRICE}", 2),
        (f"{PRICE}\n\nNo other results are relevant, so I will fill in the rest.\n\nHere is the output:", 2),
        (f"{PRICE}\nNA (no other facts found)", 1),
    ],
)
def test_marks_headers_and_void_sentences_are_cut(cell: str, cut: int) -> None:
    assert read_fact(cell) == Reading(PRICE, "", cut)


def test_kept_sentences_stand_one_space_apart() -> None:
    cell = f"Objective facts about the U.S. situation**\n\n* {PRICE} \n* {RESULTS}\n* Demand  is\tlight.\n\n**"
    assert read_fact(cell) == Reading(f"{PRICE} Demand is light.", "", 1)


def test_however_is_void_only_right_after_a_void_sentence() -> None:
    however = "However, demand was light to moderate."
    assert read_fact(f"{PRICE} {however}").text == f"{PRICE} {however}"
    assert read_fact(f"{RESULTS} {however} {however} {PRICE}") == Reading(PRICE, "", 3)
    assert read_fact(f"{RESULTS} {PRICE} {however}") == Reading(f"{PRICE} {however}", "", 1)


def test_initials_part_no_sentence() -> None:
    text = "Rain fell in the U.S. Midwest. H. K. Orr measured 2.5 inches! It rained\nA lot."
    assert sentences(text) == [
        "Rain fell in the U.S. Midwest.",
        "H. K. Orr measured 2.5 inches!",
        "It rained",
        "A lot.",
    ]


PIECES = st.sampled_from(
    [PRICE, RESULTS, "NA", "Objective facts about rain:", "- rain", "**", "\n", "However, it rained.", "U.S.", ":", "4"]
)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=9).map(" ".join)))
@settings(deadline=None, max_examples=400)
def test_any_cell_is_read_and_a_usable_text_reads_as_itself(cell: str) -> None:
    reading = read_fact(cell)
    assert (reading.void == "empty") == (not cell.strip())
    if reading.void:
        assert reading == Reading("", reading.void, 0)
    else:
        assert len(reading.text.split()) >= 4
        assert "\n" not in reading.text
        assert read_fact(reading.text) == Reading(reading.text, "", 0)


COLUMNS = ("empty", "not available", "nothing found", "usable", "distinct", "partly void")
REFERENCE = {
    ("Agriculture", "report"): (0, 0, 164, 726, 579, 1),
    ("Agriculture", "search"): (0, 457, 90, 1106, 1098, 13),
    ("Climate", "report"): (2, 6, 0, 582, 582, 0),
    ("Climate", "search"): (1, 406, 139, 1715, 1586, 16),
    ("Economy", "report"): (0, 0, 0, 435, 435, 0),
    ("Economy", "search"): (0, 1, 0, 2313, 2308, 1),
    ("Energy", "report"): (0, 0, 0, 354, 354, 0),
    ("Energy", "search"): (2, 18, 21, 2273, 2250, 1),
    ("Health_US", "report"): (0, 378, 0, 486, 455, 0),
    ("Health_US", "search"): (2, 129, 40, 1916, 1908, 7),
    ("Traffic", "report"): (0, 9, 0, 358, 358, 0),
    ("Traffic", "search"): (0, 35, 162, 2112, 2102, 9),
}
# Row 293 keeps nothing but "Monthly Retail broiler Composite situation:"; four cells that begin "The (only) objective
# fact ... is that ..." state one, and are no header.
OURS = {
    ("Agriculture", "report"): (0, 0, 165, 725, 578, 0),
    ("Climate", "search"): (1, 404, 139, 1717, 1588, 16),
    ("Traffic", "search"): (0, 33, 162, 2114, 2104, 9),
}


@pytest.mark.parametrize("domain", ["Agriculture", "Climate", "Economy", "Energy", "Health_US", "Traffic"])
def test_the_counts_of_the_real_files(domain: str, shared: Path) -> None:
    for source in ("report", "search"):
        path = shared / "data" / "time_mmd" / "textual" / domain / f"{domain}_{source}.csv"
        cells = pd.read_csv(path, dtype=str, keep_default_na=False)["fact"]
        readings = [read_fact(cell) for cell in cells]
        voids = [reading.void for reading in readings]
        usable = [cell for cell, void in zip(cells, voids, strict=True) if not void]
        counts = [voids.count(void) for void in ("empty", "not available", "nothing found", "")]
        counts += [len(set(usable)), sum(reading.cut > 0 for reading in readings)]
        reference = REFERENCE[domain, source]
        expected = OURS.get((domain, source), reference)
        assert dict(zip(COLUMNS, counts, strict=True)) == dict(zip(COLUMNS, expected, strict=True)), source
        assert max(abs(ours - theirs) for ours, theirs in zip(counts, reference, strict=True)) <= 2
        assert [read_fact(r.text) for r in readings if not r.void] == [
            Reading(r.text, "", 0) for r in readings if r.text
        ]


def test_real_cells_at_the_edges(shared: Path) -> None:
    def cell(domain: str, source: str, row: int) -> str:
        path = shared / "data" / "time_mmd" / "textual" / domain / f"{domain}_{source}.csv"
        return str(pd.read_csv(path, dtype=str, keep_default_na=False)["fact"][row])

    assert voided(cell("Agriculture", "report", 293)) == "nothing found"
    assert voided(cell("Climate", "search", 1744)) == "nothing found"
    assert not voided(cell("Climate", "search", 2186))
    assert not voided(cell("Health_US", "search", 1784))
    assert not voided(cell("Energy", "report", 311))
    assert read_fact(cell("Traffic", "search", 308)) == Reading(
        "The cookies allow us to count visits and traffic sources", "", 3
    )
