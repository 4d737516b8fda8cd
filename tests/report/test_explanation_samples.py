"""Tests of the page's section on samples: taxa beside columns, the pool, and what the model says of other values."""

import re
from pathlib import Path
from typing import Any

import pytest

from page_parser import Page
from plait.core.errors import FileError
from plait.report.page import write_report
from plait.report.taxa import Heat, counterfactual_table, heat_figure, signed
from report.test_explanation import HOSTILE, explanation, page_of, run_folder


def asv(name: str, weights: list[float], null: float | None = 0.25, **more: Any) -> dict[str, Any]:
    return {"id": name, "label": f"Genus {name}", "taxon": f"k__K; g__{name}", "family": "Fam", "samples": 1207,
            "null": null, "weights": weights} | more  # fmt: skip


def family(name: str, weights: list[float]) -> dict[str, Any]:
    return {"family": name, "asvs": 3, "samples": 8, "null": 0.5, "weights": weights}


def line(column: str, value: str, change: tuple[float | None, ...], **more: Any) -> dict[str, Any]:
    ends = dict(zip(("value", "low", "high"), change, strict=True))
    return {"column": column, "value": value, "step": None, "class": None, "unit": "age_years",
            "samples_that_have_it": 42, "change": ends} | more  # fmt: skip


def of_samples(**changes: Any) -> dict[str, Any]:
    taxa = {
        "columns": ["country", "sex"], "least": 5, "known": 1235, "mean": {"null": 0.5, "weights": [0.3, 0.2]},
        "attention": [asv("one", [0.4, 0.1]), asv("two", [0.0, 0.2])], "families": [family("Blue", [0.3, 0.2])],
        "pool": [asv("three", [], weight=0.2, even=0.005), asv("four", [], weight=0.05, even=0.1)],
    }  # fmt: skip
    found = [
        line("country", "USA", (0.0172, 0.004, 0.03)), line("country", "Peru", (-1.5, -2.5, 0.5)),
        line("ph", "+1 sd", (0.25, None, None), step=1.25), line("ph", "-1 sd", (-0.5, -0.75, -0.25), step=1.25),
    ]  # fmt: skip
    made = explanation(row_name="samples", over_time=[], samples=[], taxa=taxa, counterfactuals=found)
    return made | changes


def test_samples_are_called_samples(tmp_path: Path) -> None:
    page, text = page_of(run_folder(tmp_path, test=of_samples()))
    assert "window" not in text
    assert "forecast" not in text
    assert "1,237 samples, fusion latent_gate." in text
    assert "the prediction moves more without the most attended token" in text
    assert "with that of another sample" in text
    assert "in 93.7 % of samples" in text
    assert "all the prediction with maps is that without 1,237" in text
    assert [data for tag, data in page.pieces if tag == "h3" and "Test" in data] == ["Test samples"]


def test_windows_stay_windows(tmp_path: Path) -> None:
    _, text = page_of(run_folder(tmp_path, test=explanation()))
    assert "sample" not in text
    assert "prediction" not in text
    assert "How far the forecast moves when one token of text is removed: mean absolute change, standardised," in text


def test_taxa_are_a_heat_map_and_a_table(tmp_path: Path) -> None:
    page, text = page_of(run_folder(tmp_path, test=of_samples()))
    labels = [svg["aria-label"] for svg in page.named("svg")]
    asvs = "Heat map of 2 ASVs by what they look at: null, country, sex; Genus one most."
    assert asvs in labels
    assert "Heat map of 1 families by what they look at: null, country, sex; Blue most." in labels
    assert "ASV samples null country sex Genus one 1,207 0.2500 0.4000 0.1000 Genus two 1,207 0.2500 0 0.2000" in text
    assert "mean of all 0.5000 0.3000 0.2000" in text
    assert "of 1,235 ASVs that at least 5 samples have" in text


def test_the_pool_is_a_bar_each(tmp_path: Path) -> None:
    page, text = page_of(run_folder(tmp_path, test=of_samples()))
    assert "Genus three 1,207 0.2000 40.0 × Genus four 1,207 0.0500 0.500 ×" in text
    widths = [each["style"] for name, each in page.tags if name == "i" and each.get("style", "").startswith("width")]
    assert widths[-2:] == ["width:100.0%", "width:25.0%"]


def test_other_values_are_told_with_their_intervals(tmp_path: Path) -> None:
    page, text = page_of(run_folder(tmp_path, test=of_samples()))
    assert "These are what the model says, not effects" in text
    assert "in the unit of age_years" in text
    assert "country USA higher 42 +0.0172 +0.00400 to +0.0300" in text
    assert "Peru no change shown 42 −1.50 −2.50 to +0.500" in text
    assert "ph +1 sd (1.25) 42 +0.250 not enough data" in text
    assert "−1 sd (1.25) lower 42 −0.500 −0.750 to −0.250" in text
    dots = [float(each["style"][5:-1]) for _, each in page.tags if each.get("class") == "dot"][-4:]
    assert dots[1] < dots[3] < dots[0] < dots[2]


def test_changes_of_classes_name_the_class(tmp_path: Path) -> None:
    found = [line("site", "gut", (0.1, 0.05, 0.2), unit="probability", **{"class": name}) for name in ("ill", "well")]
    _, text = page_of(run_folder(tmp_path, test=of_samples(counterfactuals=found)))
    assert "changes of the probability." in text
    assert "site gut higher ill 42 +0.100 +0.0500 to +0.200" in text
    _, text = page_of(run_folder(tmp_path, test=of_samples(counterfactuals=found[1:])))
    assert "changes of the probability of well." in text


def test_what_is_not_there_has_no_heading(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {
        "attention": [],
        "families": [],
        "pool": [],
        "mean": None,
        "columns": [],
        "least": 5,
        "known": 0,
    }
    _, text = page_of(run_folder(tmp_path, test=of_samples(taxa=nothing, counterfactuals=[])))
    assert "Which taxa" not in text
    assert "another value" not in text
    _, text = page_of(
        run_folder(tmp_path, test=of_samples(taxa=of_samples()["taxa"] | {"attention": [], "families": []}))
    )
    assert "Which taxa look" not in text
    assert "Which taxa weigh most" in text


def test_shades_go_from_0_unless_all_weights_are_alike() -> None:
    assert Heat(["a"], ["null", "x"], [[0.9, 0.1], [0.0, 0.4]], 1).ends == (0.0, 0.4)
    assert Heat(["a"], ["x"], [[0.3], [0.4]]).ends == (0.3, 0.4)
    assert Heat(["a"], ["x"], [[0.4], [0.4]]).ends == (0.0, 0.4)
    assert Heat([], [], []).ends == (0.0, 0.0)
    figure = heat_figure(Heat(["a", "b"], ["null", "x"], [[0.9, 0.1], [0.0, 0.4]], 1), "words")
    assert re.findall(r"--heat\) / ([0-9.]+)", figure) == ["0.00", "0.25", "0.00", "1.00"]
    assert re.findall(r"<title>(.*?)</title>", figure) == [
        "a, null: 0.9000",
        "a, x: 0.1000",
        "b, null: 0",
        "b, x: 0.4000",
    ]


def test_many_columns_have_no_numbers_in_their_cells() -> None:
    names = [f"a_long_name_of_column_{n}" for n in range(23)]
    page = Page(heat_figure(Heat(["one"], names, [[n / 23 for n in range(23)]]), "words"))
    assert not page.wrong
    shown = [data for tag, data in page.pieces if tag == "text"]
    assert shown == [*(f"{name[:13]}…" for name in names), "one"]


def test_of_very_many_values_those_that_move_most_are_shown() -> None:
    found = [line("site", f"s{n}", (n / 1000, None, None)) for n in range(207)]
    table = counterfactual_table(found)
    assert table is not None
    assert [row["value"] for row in table["groups"][0]["rows"]] == [f"s{n}" for n in range(127, 207)]
    assert table["left"] == "127"
    assert counterfactual_table([]) is None
    assert [signed(value) for value in (None, 0.0, -0.5, 2000.0)] == ["not enough data", "0", "−0.500", "+2,000"]


def test_markup_in_names_is_text(tmp_path: Path) -> None:
    made = of_samples()
    made["taxa"]["columns"][0] = made["taxa"]["attention"][0]["label"] = made["taxa"]["pool"][0]["taxon"] = HOSTILE
    made["counterfactuals"][0] |= {"value": HOSTILE, "column": HOSTILE}
    page, text = page_of(run_folder(tmp_path, test=made))
    assert not page.named("script")[1:]
    assert not [each for each in page.named("img") if "onerror" in each]
    assert text.count("alert(1)") >= 5


@pytest.mark.parametrize(
    "damage",
    [
        {"taxa": {"attention": 3}},
        {"taxa": of_samples()["taxa"] | {"columns": ["one"]}},
        {"counterfactuals": [{"column": "x"}]},
    ],
)
def test_a_damaged_explanation_is_named(tmp_path: Path, damage: dict[str, Any]) -> None:
    folder = run_folder(tmp_path, test=of_samples(**damage))
    with pytest.raises(FileError, match=re.escape("explain.json")):
        write_report(folder)
