"""The page of a run of prices: words, the drawing, errors by price, the experts, damage."""

import json
from pathlib import Path
from typing import Any

import pytest

from page_parser import Page
from plait.core.errors import FileError
from plait.report.prices import prices

POINTS = [
    {"id": f"p{n}", "actual": 3.0 * n, "prediction": 3.0 * n * (1 + n / 10), "low": 2.5 * n, "high": 3.5 * n}
    for n in range(1, 8)
]
GROUP = {
    "by": "quantiles", "label": "0-9", "low": 0.0, "high": 9.0, "count": 1013, "smape": 31.44, "smape_low": 28.06,
    "smape_high": 35.01, "mae": 1234.5, "mae_low": 1.0, "mae_high": 2.0, "gate": [[0.25, 0.75], [0.013, 0.987]],
}  # fmt: skip
EMPTY = {
    **GROUP, "label": "9-inf", "high": None, "count": 0, "gate": None,
    **dict.fromkeys(("smape", "smape_low", "smape_high", "mae", "mae_low", "mae_high")),
}  # fmt: skip


def drawn(folder: Path, **changes: Any) -> Any:
    page = {"kind": "prices", "title": "Prices", "coverage": 0.8, "points": POINTS, "groups": [GROUP, EMPTY], **changes}
    (folder / "page.json").write_text(json.dumps(page), encoding="utf-8")
    return prices(folder)


def test_words_count_products_and_what_their_intervals_hold(tmp_path: Path) -> None:
    points = [*POINTS, {"id": "q", "actual": None, "prediction": 3.0}, {**POINTS[0], "low": 3.1}]
    words = drawn(tmp_path, points=points)["words"].replace("\u00a0", " ")
    assert words.startswith("8 test products. 87.5 % of the prices lie within their 80 % interval")
    assert words.endswith("Without a known price, and so not drawn: 1.")
    assert "interval" not in drawn(tmp_path, coverage=None)["words"]


def test_the_drawing_has_logarithmic_axes(tmp_path: Path) -> None:
    figure = str(drawn(tmp_path)["figure"])
    (svg,) = Page(figure).named("svg")
    assert "both axes logarithmic. 7 test products." in svg["aria-label"]
    for words in ("prediction = truth", "price, truth", "price, prediction"):
        assert f">{words}</text>" in figure
    assert drawn(tmp_path, points=[])["figure"] == ""


def test_errors_by_price_and_the_experts(tmp_path: Path) -> None:
    found = drawn(tmp_path)
    first, second = found["groups"]
    assert [first[name] for name in ("label", "rows", "smape", "interval", "mae")] == [
        "0-9", "1,013", "31.4", "28.1 to 35.0", "1,234",
    ]  # fmt: skip
    assert 0 < first["bar"]["left"] < first["bar"]["dot"] < 100
    assert (second["smape"], second["interval"], second["mae"], second["bar"]) == ("–", "–", "–", None)
    assert [gate["title"] for gate in found["gates"]] == ["Net 1 of 2", "Net 2 of 2"]
    cells = found["gates"][1]["rows"][0]["cells"]
    assert [cell["share"].replace("\u00a0", " ") for cell in cells] == ["1.3 %", "98.7 %"]
    assert cells[1]["level"] > cells[0]["level"]
    assert drawn(tmp_path, groups=[{**GROUP, "gate": [[1.0]]}])["gates"] == []


def test_other_pages_are_left_alone(tmp_path: Path) -> None:
    assert prices(tmp_path) is None
    assert drawn(tmp_path, kind="moves") is None


@pytest.mark.parametrize(
    "change",
    [{"points": 3}, {"points": [{"actual": 1.0}]}, {"points": [{"actual": -1.0, "prediction": 2.0}]},
     {"groups": [{"label": "a"}]}, {"groups": None}, {"coverage": "most"}],
)  # fmt: skip
def test_damaged_page_data_are_one_clear_error(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(FileError, match="holds no page data"):
        drawn(tmp_path, **change)
