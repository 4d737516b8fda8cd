"""Tests of the page of a run of moves: words, reliability, lift, thresholds, parts, rivals, training, damage."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from page_parser import Page, check_whole, rows_of
from plait.core.errors import FileError
from plait.report.page import write_report
from plait.tasks._moves import deciles, reliability, thresholds

ROWS = 53
CHANCES = (np.arange(ROWS) + 0.5) / 97
EVENTS = np.arange(ROWS) % 7 == 3


def put(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")


def metrics(**changes: Any) -> dict[str, Any]:
    """What metrics.json holds of a run of moves."""
    test = {
        "brier": 0.0824, "log_loss": 0.29, "auc": 0.69, "average_precision": 0.179, "precision_at_half": 0.17,
        "size_mae": 1.21, "brier_low": 0.06, "brier_high": 0.108, "auc_low": 0.61, "auc_high": 0.77,
        "average_precision_low": 0.11, "average_precision_high": 0.28,
    }  # fmt: skip
    least = {"brier": 0.0805, "log_loss": 0.3, "auc": 0.737, "average_precision": 0.26, "precision_at_half": 0.22}
    return {
        "recipe": "market", "seed": 0, "metric": "brier", "unit": "squared error", "row_name": "bars",
        "drawn": "blocks of 96 rows", "modality": "topology", "metrics": {"val": test, "test": test},
        "raw": {"val": test, "test": test}, "accepted": True, "acceptance": "", "caveats": [],
        "windows": {"train": 211, "val": 31, "test": ROWS}, "chosen_by": "average_precision",
        "baselines": {"last_bar_range": {**least, "val_brier": 0.11, "meaning": "the last bar's range"}},
        "best_baseline": {"name": "last_bar_range", "change": 0.02, "low": -0.1, "high": 0.2}, **changes,
    }  # fmt: skip


def moves(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "moves", "title": "Chances of test bars", "share": float(EVENTS.mean()),
        "reliability": reliability(CHANCES, EVENTS), "deciles": deciles(CHANCES, EVENTS),
        "thresholds": thresholds(CHANCES, EVENTS),
        "parameters": {"candles": {"trainable": 0, "total": 1031}, "total": {"trainable": 977, "total": 2008}},
        **changes,
    }  # fmt: skip


def write_run(folder: Path, page: Any = None, **changes: Any) -> Path:
    put(folder / "metrics.json", metrics(**changes))
    put(folder / "page.json", moves() if page is None else page)
    entries = [
        {"event": "epoch", "stage": "all", "epoch": n, "train": {"focal": 1 / n}, "val": val}
        for n, val in enumerate((-0.13, -0.31, -0.22), start=1)
    ]
    put(folder / "metrics.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


def page_of(folder: Path) -> tuple[Page, str, str]:
    """The page, checked, its text with plain spaces, and its source."""
    html = write_report(folder).read_text(encoding="utf-8")
    spaced = re.sub(r"(</(?:td|th|li|p|summary)>)", r"\1 ", html)
    return check_whole(html), Page(spaced).text.replace("\u00a0", " "), html


def table_of(html: str, label: str) -> list[str]:
    """The text of each row of the table in a region."""
    section = html[html.index(f'aria-label="{label}"') :]
    body = re.search(r"<tbody>(.*?)</tbody>", section, re.DOTALL)
    assert body
    rows = re.findall(r"<tr>.*?</tr>", body[1], re.DOTALL)
    return [Page(re.sub("</t[hd]>", r"\g<0> ", row)).text.replace("\u00a0", " ") for row in rows]


def test_a_plain_sentence_comes_first(tmp_path: Path) -> None:
    page, text, _ = page_of(write_run(tmp_path))
    words = (
        "Chances of test bars A move follows 15.1 % of the 53 test bars. Of a bar with a move and one without, the"
        " model gives the first the higher chance in 69.0 % of all pairs (AUC 0.690, 95 % interval 0.610 to 0.770; by"
        " chance 0.500). Its average precision is 0.179, 95 % interval 0.110 to 0.280, that of an order by chance"
        " 0.151. The range of the last bar alone has AUC 0.737: on these bars the model ranks no better."
    )
    assert words in text
    assert [link for link in page.named("a") if link["href"] == "#moves"]


def test_a_better_order_is_said_to_be_one_and_no_interval_is_made_up(tmp_path: Path) -> None:
    test = {"brier": 0.08, "auc": 0.75, "average_precision": 0.3}
    _, text, _ = page_of(write_run(tmp_path, metrics={"val": test, "test": test}, raw=None))
    assert "(AUC 0.750; by chance 0.500). Its average precision is 0.300, that" in text
    assert "AUC 0.737: on these bars the model ranks better." in text


def test_the_reliability_is_drawn_with_its_diagonal_and_told_in_numbers(tmp_path: Path) -> None:
    page, text, html = page_of(write_run(tmp_path))
    assert "in 10 groups of 5 or 6 bars" in text
    # The first of 53 rows in tenths holds 6: chances (0.5 .. 5.5) / 97, row 3 alone with a move.
    rows = table_of(html, "Groups of bars by chance")
    assert rows[0] == "0.031 0.167 6"
    assert len(rows) == 10
    drawing = next(svg for svg in page.named("svg") if "observed share" in svg["aria-label"])
    assert "10 groups of 5 or 6 bars: 0.031 said and 0.167 seen, " in drawing["aria-label"]
    section = html[html.index('id="moves"') :]
    figure = section[section.index("<svg") : section.index("</svg>")]
    assert len([use for use in Page(figure).named("use") if "--forecast" in use.get("style", "")]) == 11
    for words in ("share = chance", "predicted chance", "observed share"):
        assert f">{words}</text>" in figure


def test_lift_is_told_and_drawn_by_share(tmp_path: Path) -> None:
    _, _, html = page_of(write_run(tmp_path))
    rows = table_of(html, "Precision, recall and lift by share of the bars")
    # Of the five highest, 48 to 52, row 52 alone is 3 above a multiple of 7; there are 8 in all.
    assert rows[0].startswith("top 10 % 5 0.200 0.125 0.154 1.3")
    assert rows[-1].startswith("top 100 % 53 0.151 1.000 0.262 1.00")
    drawn = html[html.index("by share of the bars") :]
    dots = [float(place) for place in re.findall(r'class="dot" style="left:([\d.]+)%', drawn)][:10]
    assert dots[0] > dots[-1] == float(re.findall(r'class="reference" style="left:([\d.]+)%', drawn)[0])


def test_thresholds_end_where_no_bar_is_called(tmp_path: Path) -> None:
    _, text, html = page_of(write_run(tmp_path))
    rows = table_of(html, "Precision, recall and lift by threshold")
    # The highest chance is 52.5 / 97 = 0.541: the last threshold is 0.50, reached from row 48 on.
    assert [row.split()[0] for row in rows] == [f"{n / 20:.2f}" for n in range(1, 11)]
    assert rows[-1].startswith("0.50 5 0.200 0.125 0.154 1.3")
    assert "No test bar has a chance of 0.55 or more." in text


def test_a_run_without_moves_or_calls_is_a_page(tmp_path: Path) -> None:
    none, low = np.zeros(ROWS, dtype=bool), np.full(ROWS, 0.01)
    page = moves(
        share=0.0, reliability=reliability(low, none), deciles=deciles(low, none), thresholds=thresholds(low, none)
    )
    _, text, html = page_of(write_run(tmp_path, page))
    assert "No test bar has a chance of 0.05 or more." in text
    assert 'aria-label="Precision, recall and lift by threshold"' not in html
    rows = table_of(html, "Precision, recall and lift by share of the bars")
    assert rows[0].startswith("top 10 % 5 0.000 – 0.000 –")


def test_the_parts_of_the_model_are_counted(tmp_path: Path) -> None:
    _, _, html = page_of(write_run(tmp_path))
    assert table_of(html, "Parameters by part") == ["candles 0 1,031", "total 977 2,008"]
    _, text, _ = page_of(write_run(tmp_path / "older", {k: v for k, v in moves().items() if k != "parameters"}))
    assert "Parameters of the model" not in text


def test_the_rivals_stand_with_their_ranks_and_intervals(tmp_path: Path) -> None:
    page, text, html = page_of(write_run(tmp_path))
    assert "".join(data for tag, data in page.pieces if tag == "h1") == "Test Brier score 0.0824"
    assert "over 53 bars; lower is better, but higher in a column with ↑." in text
    heads = re.findall(r'<th scope="col" class="number">(.*?)</th>', html)
    assert heads[2:7] == [
        "test log loss", "test AUC ↑", "test average precision ↑", "test precision at recall 0.5 ↑", "test size MAE",
    ]  # fmt: skip
    own = next(row for row in rows_of(html) if row.startswith("this run"))
    assert "0.2900 0.6900 0.6100 to 0.7700 0.1790 0.1100 to 0.2800 0.1700 1.2100" in own
    rival = next(row for row in rows_of(html) if row.startswith("last_bar_range"))
    assert "0.3000 0.7370 0.2600 0.2200 not known" in rival


def test_the_training_is_told_by_what_chose_its_epoch(tmp_path: Path) -> None:
    page, text, _ = page_of(write_run(tmp_path))
    assert "Highest validation average precision: 0.3100 at epoch 2 of 3." in text
    assert [svg for svg in page.named("svg") if "highest validation average precision 0.3100" in svg["aria-label"]]
    _, text, _ = page_of(write_run(tmp_path / "brier", chosen_by="brier"))
    assert "Lowest validation Brier score: −0.3100 at epoch 2 of 3." in text


@pytest.mark.parametrize(
    "change",
    [
        {"reliability": []},
        {"reliability": [{"chance": 1.5, "share": 0.1, "rows": 3}]},
        {"reliability": [{"chance": float("nan"), "share": 0.1, "rows": 3}]},
        {"reliability": None},
        {"deciles": [{"top": 0.1, "rows": 3}]},
        {"thresholds": [3]},
        {"share": "many"},
        {"parameters": {"candles": 3}},
    ],
)
def test_damaged_page_data_are_one_clear_error(tmp_path: Path, change: dict[str, Any]) -> None:
    write_run(tmp_path, moves(**change))
    with pytest.raises(FileError, match="holds no page data") as caught:
        write_report(tmp_path)
    assert "page.json" in str(caught.value)
    assert "train this run again" in str(caught.value)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    hostile = '<script>alert(1)</script>"><b>'
    page = moves(title=hostile, parameters={hostile: {"trainable": 1, "total": 1}})
    _, text, _ = page_of(write_run(tmp_path, page))
    assert text.count(hostile) == 2
