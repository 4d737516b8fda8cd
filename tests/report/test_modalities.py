"""Tests of the page of an explanation of bars: attention between modalities beside the changes of the error."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from page_parser import Page, check_whole
from plait.core.errors import FileError
from plait.report.page import write_report

METRICS = {
    "recipe": "market", "seed": 0, "metric": "brier", "unit": "squared error", "row_name": "bars",
    "modality": "topology", "drawn": "blocks of 96 rows", "accepted": True, "acceptance": "", "caveats": [],
    "baselines": {},
    "metrics": {"val": {"brier": 0.1}, "test": {"brier": 0.1}}, "raw": None, "best_baseline": {},
    "windows": {"train": 31, "val": 7, "test": 11},
}  # fmt: skip


def leaning(name: str, drop: float, permute: float) -> dict[str, Any]:
    ends = [{"value": value, "low": value - 0.01, "high": value + 0.01} for value in (drop, permute)]
    return {"modality": name, "present": 1.0, "drop": ends[0], "permute": ends[1], "gate": None, "text": ""}


def explanation(**changes: Any) -> dict[str, Any]:
    return {
        "run": "r", "recipe": "market", "split": "test", "windows": 11, "raw": False, "accepted": True,
        "fusion": "token_transformer", "metric": "brier", "unit": "u", "maps": {}, "checks": [], "row_name": "bars",
        "agreement": {"largest": 0.0, "tolerance": 1e-5, "holds": True}, "faithfulness": None,
        "no_faithfulness": "none", "contributions": [leaning("candles", 0.32, 0.11), leaning("topology", -0.05, 0.01)],
        "over_time": [{"origin": f"2025-07-0{day}", "gate": 0.5, "attention": None} for day in (1, 2)], "samples": [],
        "between": {
            "names": ["candles", "cls", "topology"], "tokens": [4, 1, 1], "even": [2 / 3, 1 / 6, 1 / 6],
            "mean": [[0.7, 0.1, 0.2], [0.5, 0.25, 0.25], [0.05, 0.9, 0.05]], "received": [0.65, 0.15, 0.2],
            "maps": {"attention.block0": [], "attention.block1": []},
        }, **changes,
    }  # fmt: skip


def write_run(folder: Path, found: dict[str, Any]) -> Path:
    (folder / "explain" / "test").mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "explain" / "test" / "explain.json").write_text(json.dumps(found))
    return folder


def table_of(html: str, label: str) -> list[str]:
    section = html[html.index(f'aria-label="{label}') :]
    body = re.search(r"<tbody>(.*?)</tbody>", section, re.DOTALL)
    assert body
    rows = re.findall(r"<tr>.*?</tr>", body[1], re.DOTALL)
    return [Page(re.sub("</t[hd]>", r"\g<0> ", row)).text.replace("\u00a0", " ") for row in rows]


def test_attention_stands_beside_the_changes_of_the_error(tmp_path: Path) -> None:
    html = write_report(write_run(tmp_path, explanation())).read_text(encoding="utf-8")
    page = check_whole(html)
    assert table_of(html, "Attention between modalities") == [
        "candles 0.700 0.100 0.200", "cls 0.500 0.250 0.250", "topology 0.050 0.900 0.050", "tokens 4 1 1",
    ]  # fmt: skip
    assert table_of(html, "Attention and changes of the error") == [
        "candles 65.0 % 66.7 % +32.0 % +11.0 %", "cls 15.0 % 16.7 % – –", "topology 20.0 % 16.7 % −5.0 % +1.0 %",
    ]  # fmt: skip
    cells = {each["title"]: each["class"] for each in page.named("td") if "looks at" in each.get("title", "")}
    # 20 shades from 0 to 1.
    assert (cells["candles looks at candles: 0.700"], cells["topology looks at cls: 0.900"]) == ("w14", "w18")
    assert "the mean over bars, heads and 2 maps" in page.text
    assert "with that of another bar" in page.text
    assert "Line chart over 2 bars" in " ".join(svg["aria-label"] for svg in page.named("svg"))
    assert "window" not in page.text


def test_an_explanation_without_such_maps_has_no_matrix(tmp_path: Path) -> None:
    made = {name: value for name, value in explanation().items() if name != "between"}
    html = write_report(write_run(tmp_path, made)).read_text(encoding="utf-8")
    assert "Attention between modalities" not in check_whole(html).text


@pytest.mark.parametrize("change", [{"mean": [[1.0]]}, {"received": [0.5]}, {"names": 3}, {"mean": [[None] * 3] * 3}])
def test_a_matrix_that_does_not_fit_is_one_clear_error(tmp_path: Path, change: dict[str, Any]) -> None:
    found = explanation()
    found["between"] |= change
    with pytest.raises(FileError, match="holds no explanation"):
        write_report(write_run(tmp_path, found))
