"""Tests of the page of a comparison of fusion kinds, and of the labels in its figure."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from page_parser import Page, check_whole, rows_of
from plait.core.errors import FileError
from plait.report.labels import Box, placed
from plait.report.page import write_report

HOSTILE = "<script>alert(1)</script>\"><img src=x onerror=alert(2)></svg>'<b>$x_$ & {{ 7 * 7 }} \u202eمرحبا"


def result(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((Path(__file__).parent / "fusions.json").read_text(encoding="utf-8"))
    return made | changes


def page_of(folder: Path, data: Any) -> tuple[Page, str, str]:
    """The page, its text with plain spaces, and its source."""
    (folder / "fusions.json").write_text(json.dumps(data), encoding="utf-8")
    html = write_report(folder).read_text(encoding="utf-8")
    page = check_whole(html)
    spaced = re.sub(r"(</(?:td|th|li|p)>)", r"\1 ", html)
    return page, Page(spaced).text.replace("\u00a0", " "), html


def test_the_kinds_stand_by_error_with_the_anchor_among_them(tmp_path: Path) -> None:
    page, text, html = page_of(tmp_path, result())
    assert rows_of(html) == [
        "low_rank 0.6804 0.5804 to 0.7804", "latent_gate the recipe’s own 0.7002 0.6002 to 0.8002",
        "add 0.7503 0.6503 to 0.8503", "anchor alone 0.8001 0.7001 to 0.9001",
    ]  # fmt: skip
    assert "".join(data for tag, data in page.pieces if tag == "h1") == "low_rank has the lowest test MSE"
    assert "Of 3 kinds, low_rank has the lowest test MSE, 0.6804." in text
    words = "2.8 % lower than the recipe’s own fusion, latent_gate (95 % interval −6.1 % to +0.5 %): no difference"
    assert words in text
    assert "15.0 % lower than the anchor alone (95 % interval −18.1 % to −11.8 %)." in text
    assert "so its lead is a little too good" in text
    # The dashed line of every row is where the anchor's dot is.
    table = re.search(r'<table class="arms">.*?</table>', html, re.DOTALL)
    assert table
    drawn = Page(table[0]).tags
    marks = {each["style"] for name, each in drawn if each.get("class") == "reference"}
    dots = [each["style"] for name, each in drawn if each.get("class") == "dot"]
    assert marks == {dots[-1]}


def test_changes_stand_against_the_anchor_and_against_the_default(tmp_path: Path) -> None:
    _, text, html = page_of(tmp_path, result())
    alone, own = re.findall(r'<ul class="effects">.*?</ul>', html, re.DOTALL)
    first, second = (Page(each).text.replace("\u00a0", " ") for each in (alone, own))
    assert first == (
        "low_rank less error −15.0 % −18.1 % to −11.8 % latent_gate less error −12.5 % −15.5 % to −9.5 % "
        "add no difference shown −6.2 % −13.1 % to +1.1 %"
    )
    assert second == "low_rank no difference shown −2.8 % −6.1 % to +0.5 % add more error +7.2 % +4.1 % to +10.2 %"
    assert "against latent_gate" in text


def test_the_cost_of_each_kind_is_listed(tmp_path: Path) -> None:
    _, text, _ = page_of(tmp_path, result())
    assert "the 15,808 parameters of the recipe’s own fusion, latent_gate" in text
    for row in (
        "low_rank 15,800 matched rank 152 46,180 21.9 2.8 3 of 3",
        "latent_gate the recipe’s own 15,808 matched latent_dim unset, gate_hidden unset 46,188 25.3 2.8 2 of 3",
        "add 2,112 smaller, ×0.13 – 32,492 21.5 2.7 0 of 3",
        "anchor alone 0 – – 12,492 9.7 1.0 –",
    ):
        assert row in text
    assert "Left out chain: it needs two contexts" in text


def test_the_figure_sets_error_against_time(tmp_path: Path) -> None:
    page, _, html = page_of(tmp_path, result())
    (svg,) = page.named("svg")
    assert "low_rank 0.6804 at 21.9 ms; latent_gate 0.7002 at 25.3 ms" in svg["aria-label"]
    assert "anchor alone 0.8001 at 9.7 ms" in svg["aria-label"]
    drawing = html[html.index("<svg") : html.index("</svg>")]
    for name in ("low_rank", "latent_gate", "add", "anchor alone", "milliseconds a training step", "test MSE"):
        assert f">{name}</text>" in drawing


def test_missing_numbers_are_said_in_words(tmp_path: Path) -> None:
    made = result(left_out=[])
    made["fusions"][0] |= {"train_ms": None, "peak_mib": None, "total_parameters": None}
    made["fusions"][1]["error"] = {"mean": float("nan"), "low": None, "high": None}
    made["fusions"][1]["against_anchor"] = {"value": None, "low": None, "high": None}
    made["fusions"][2]["against_default"] = {"value": -0.0282, "low": None, "high": None}
    for name in ("ratio", "inner", "label", "accepted"):
        del made["fusions"][2][name]
    _, text, html = page_of(tmp_path, made)
    assert rows_of(html)[-1] == "add not enough data no interval"
    assert (
        "latent_gate the recipe’s own 15,808 matched latent_dim unset, gate_hidden unset "
        "not enough data not enough data not enough data" in text
    )
    assert "add not enough data for an interval not enough data" in text
    assert "latent_gate; there is not enough data for an interval." in text
    assert "low_rank 15,800 – – 46,180 21.9 2.8 –" in text
    assert "2 without both numbers are not drawn." in text
    assert "Left out" not in text


def test_nothing_known_is_still_a_page(tmp_path: Path) -> None:
    made = result(fusions=[], anchor=None, budget=None)
    page, text, _ = page_of(tmp_path, made)
    assert "There is not enough data to say which kind has the lowest error." in text
    assert not page.named("svg")


def test_markup_in_the_kinds_is_text(tmp_path: Path) -> None:
    made = result(default=HOSTILE, recipe=HOSTILE, unit=HOSTILE, left_out=[{"kind": HOSTILE, "reason": HOSTILE}])
    for each in made["fusions"]:
        each |= {"kind": HOSTILE, "label": HOSTILE, "inner": {HOSTILE: HOSTILE}}
    page, text, _ = page_of(tmp_path, made)
    assert text.count(HOSTILE) > 20
    assert "49" not in re.findall(r"& (\d+)", page.text)


@pytest.mark.parametrize("damage", [{"fusions": 3}, {"fusions": [{}]}, {"left_out": None}])
def test_a_damaged_file_is_named(tmp_path: Path, damage: dict[str, Any]) -> None:
    (tmp_path / "fusions.json").write_text(json.dumps(result(**damage)), encoding="utf-8")
    with pytest.raises(FileError, match=re.escape("fusions.json")):
        write_report(tmp_path)


def test_labels_cover_neither_points_nor_each_other() -> None:
    points = [(100.0 + n % 4 * 3, 90.0 + n // 4 * 5) for n in range(12)]
    frame, line = Box(0, 0, 320, 200), Box(0, 101, 320, 102)
    labels = [each.box for each in placed(points, [(50.0, 10.0)] * len(points), frame, [line])]
    dots = [Box(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    for number, label in enumerate(labels):
        assert label.common(frame) == pytest.approx(label.area)
        assert not [box for box in (*dots, *labels[:number], line) if label.common(box) > 1e-6]


def test_a_label_alone_stands_right_of_its_point_without_a_line() -> None:
    (label,) = placed([(50.0, 50.0)], [(30.0, 10.0)], Box(0, 0, 200, 100))
    assert (label.box.left, label.box.low, label.far) == (56.0, 45.0, False)
    (label,) = placed([(190.0, 50.0)], [(30.0, 10.0)], Box(0, 0, 200, 100))
    assert label.box.right == pytest.approx(184.0)
