"""Tests of the page's section on what a model looked at, from made-up explanations."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from page_parser import Page, check_whole
from plait.core.errors import FileError
from plait.report.page import write_report
from plait.report.shading import Room, folded, shade, shaded_pieces

HOSTILE = "<script>alert(1)</script>\"><img src=x onerror=alert(2)></svg>'<b>$x_$ & {{ 7 * 7 }} \u202eمرحبا"


def explanation(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((Path(__file__).parent / "explain.json").read_text(encoding="utf-8"))
    return made | changes


def put(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


def run_folder(folder: Path, **found: dict[str, Any]) -> Path:
    """A run with an explanation in each named folder, `test_raw` for test-raw."""
    final = {"val": {"mse": 0.5}, "test": {"mse": 0.25, "mse_low": 0.21, "mse_high": 0.29}}
    put(folder / "metrics.json", {
        "recipe": "chimera", "unit": "standardised", "metrics": final, "accepted": True, "acceptance": "",
        "baselines": {}, "windows": {"train": 50, "val": 13, "test": 1237},
    })  # fmt: skip
    for name, data in found.items():
        put(folder / "explain" / name.replace("_", "-") / "explain.json", data)
    return folder


def page_of(folder: Path) -> tuple[Page, str]:
    """The page of a folder, checked, and the text of its section with plain spaces."""
    html = write_report(folder).read_text(encoding="utf-8")
    page = check_whole(html)
    section = re.search(r'<section id="explanation">.*?</section>', html, re.DOTALL)
    return page, Page(apart(section[0])).text.replace("\u00a0", " ") if section else ""


def apart(html: str) -> str:
    """The same with a space after each cell and item, as a reader sees them."""
    return re.sub(r"(</(?:td|th|li|p)>)", r"\1 ", html)


def test_a_page_has_no_section_without_the_file(tmp_path: Path) -> None:
    page, text = page_of(run_folder(tmp_path))
    assert text == ""
    assert not [link for link in page.named("a") if link["href"] == "#explanation"]


def test_faithfulness_and_checks_are_said_in_a_sentence(tmp_path: Path) -> None:
    page, text = page_of(run_folder(tmp_path, test=explanation()))
    assert "The attention on text is faithful: the forecast moves more without the most attended token" in text
    assert "All 3 checks of the maps hold." in text
    assert "attention of each query sums to 1 over its keys 1,237 1.1e−07 yes" in text
    assert "attention: 1,237 × 4 × 2 × 6 (row, head, series token, null + text token); keys: 1 null, 5 text" in text
    assert [link for link in page.named("a") if link["href"] == "#explanation"]


def test_a_failing_check_is_named_first(tmp_path: Path) -> None:
    made = explanation()
    made["checks"][1] |= {"holds": False, "largest": None}
    _, text = page_of(run_folder(tmp_path, test=made))
    assert "Do not trust these maps: 1 check fails (gate: gates lie between 0 and 1)." in text
    assert "gates lie between 0 and 1 1,237 no number no" in text
    made["agreement"] = {"largest": 0.3, "tolerance": 1e-5, "holds": False}
    _, text = page_of(run_folder(tmp_path, test=made))
    assert "2 checks fail (gate: gates lie between 0 and 1; all: the forecast with maps is that without)" in text


def test_each_contribution_has_its_interval_and_its_place(tmp_path: Path) -> None:
    page, text = page_of(run_folder(tmp_path, test=explanation()))
    assert "text in 93.7 % of windows without it more error +21.1 % +15.1 % to +27.1 %" in text
    assert "with that of another window no difference shown +3.2 % −1.2 % to +7.2 %" in text
    assert "its gate is open by 23.3 % 22.3 % to 24.3 %" in text
    assert "events in 25.0 % of windows without it less error −4.4 % −6.4 % to −2.4 %" in text
    # Its interval lies below 0.05 % on both sides: that is said, not an effect without a size.
    assert "with that of another window below 0.05 % either way 0.0 % 0.0 % to 0.0 %" in text
    bars = [
        (each["class"], float(each["style"][5:-1])) for name, each in page.tags if each.get("class") in ("zero", "dot")
    ]
    start = next(number for number, (kind, _) in enumerate(bars) if kind == "zero")
    (_, zero), *_ = bars[start:]
    dots = [place for kind, place in bars[start:] if kind == "dot"]
    assert dots[0] > dots[1] > zero
    assert dots[2] < zero
    assert [each["style"] for name, each in page.tags if name == "i" and each.get("style") == "width:23.33%"]


def test_the_movements_are_bars_and_their_changes_words(tmp_path: Path) -> None:
    page, text = page_of(run_folder(tmp_path, test=explanation()))
    assert "over 1,100 windows with two tokens or more" in text
    assert "the most attended token 0.0412 one of the others at random 0.0206 the least attended token 0.0103" in text
    widths = [each["style"] for name, each in page.tags if name == "i" and each.get("style", "").startswith("width")]
    assert widths[-3:] == ["width:100.0%", "width:50.0%", "width:25.0%"]
    words = "Without the most attended token the forecast moves 100.0 % more than without a random one"
    assert f"{words} (95 % interval +77.1 % to +123.4 %)." in text
    assert "1.3 % less than without the least attended one (95 % interval −4.6 % to +2.1 %): no difference" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"faithful": False}, "The attention on text is not shown to be faithful"),
        ({"faithful": None}, "There is not enough data to say whether the attention on text is faithful."),
        (None, "Faithfulness was not measured: the fusion add has no attention."),
    ],
)
def test_what_is_not_faithful_is_not_called_so(tmp_path: Path, changes: Any, words: str) -> None:
    made = explanation()
    made["faithfulness"] = changes and made["faithfulness"] | changes
    made["no_faithfulness"] = None if changes else "the fusion add has no attention"
    _, text = page_of(run_folder(tmp_path, test=made))
    assert words in text
    assert ("Is the attention faithful?" in text) == bool(changes)


def test_gates_and_attention_are_drawn_over_dates(tmp_path: Path) -> None:
    page, text = page_of(run_folder(tmp_path, test=explanation()))
    assert "How far gates open from 0.210 to 0.310 and attention that is not on null from 0.400 to 0.750." in text
    labels = [svg["aria-label"] for svg in page.named("svg")]
    assert [label for label in labels if label.startswith("Line chart over 3 windows, 27 Dec 2009 to 10 Jan 2010")]
    made = explanation(over_time=[{"origin": str(n), "gate": n / 9, "attention": None} for n in range(3)])
    _, text = page_of(run_folder(tmp_path, test=made))
    assert "How far gates open from 0.000 to 0.222." in text
    made["over_time"] = [{"origin": "0", "gate": None, "attention": None}]
    page, text = page_of(run_folder(tmp_path, test=made))
    assert "Over time" not in text
    assert not page.named("svg")


def test_pieces_are_shaded_by_their_weight_and_say_it(tmp_path: Path) -> None:
    page, text = page_of(run_folder(tmp_path, test=explanation()))
    marks = [
        (each.get("class"), each["title"]) for name, each in page.tags if name in ("mark", "span") and "title" in each
    ]
    assert marks == [
        ("w1", "0.0100"), ("w20", "0.2000"), ("w10", "0.1000"), (None, "0"), ("w5", "0.0500"), (None, "0"),
    ]  # fmt: skip
    # Word pieces join to the text; each text has its date, its place and the sum of its weights.
    assert "1 26 Dec 2009 reports row 7 weight 0.3100 The harvest fails." in text
    assert "2 19 Dec 2009 reports row 5 weight 0.0500 Rainfall" in text
    assert "Heaviest: “harvest” 0.2000, “fails” 0.1000, “Rain” 0.0500, “The” 0.0100." in text
    assert "0 0.2000, the largest here" in text


def test_the_heat_map_is_a_table_whose_null_has_no_shade(tmp_path: Path) -> None:
    page, text = page_of(run_folder(tmp_path, test=explanation()))
    assert "variate null 1 2 demand 0.6123 0.3377 0.0500 price 0.7211 0.2789 0" in text
    cells = [(each.get("class"), each["title"]) for each in page.named("td") if "title" in each]
    # The scale ends at the largest weight on a text, 0.3377; 0.2789 is 16.5 of its 20 shades.
    assert cells == [
        ("w20", "text 1: 0.3377"),
        ("w3", "text 2: 0.0500"),
        ("w17", "text 1: 0.2789"),
        (None, "text 2: 0"),
    ]
    heads = [each for each in page.named("th") if each.get("title")]
    assert heads[0] == {"scope": "col", "title": "text 1, 26 Dec 2009: reports row 7"}


def test_missing_numbers_are_said_in_words(tmp_path: Path) -> None:
    unknown = {"value": None, "low": None, "high": None}
    made = explanation()
    made["contributions"] = [{
        "modality": "text", "present": None, "drop": {"value": 0.1, "low": None, "high": None}, "permute": unknown,
        "gate": unknown, "text": "",
    }]  # fmt: skip
    made["faithfulness"] |= {"most": None, "faithful": None, "most_against_random": unknown}
    made["faithfulness"]["most_against_least"] = {"value": 0.5, "low": None, "high": None}
    made["samples"][0]["items"][0]["pieces"][1][1] = float("nan")
    made["samples"][0]["heat"]["values"][0] = [None, None, 0.1]
    _, text = page_of(run_folder(tmp_path, test=made))
    assert "text in not enough data of windows without it +10.0 % not enough data" in text
    assert "with that of another window not enough data not enough data" in text
    assert "its gate is open by not enough data not enough data" in text
    assert "the most attended token not enough data" in text
    assert "The most attended token beside a random one: not enough data." in text
    assert "moves 50.0 % more than without the least attended one; there is not enough data for an interval." in text
    assert "demand not enough data not enough data 0.1000" in text


def test_markup_in_an_explanation_is_text(tmp_path: Path) -> None:
    def poisoned(data: Any) -> Any:
        if isinstance(data, dict):
            return {name: poisoned(value) for name, value in data.items()}
        if isinstance(data, list):
            return [poisoned(value) for value in data]
        return HOSTILE if isinstance(data, str) else data

    made = poisoned(explanation())
    made["maps"] = {HOSTILE: next(iter(made["maps"].values()))}
    made["samples"][0]["items"][0]["pieces"].append([HOSTILE, None])
    page, text = page_of(run_folder(tmp_path, test=made))
    assert text.count(HOSTILE) > 20
    # The mark that turns the direction of writing ends with the word that holds it.
    assert f"The attention on {HOSTILE}\u202c is faithful" in text
    assert "49" not in re.findall(r"& (\d+)", page.text)
    assert [each for each in page.named("th") if HOSTILE in each.get("title", "")]


def test_test_stands_first_and_before_acceptance_last(tmp_path: Path) -> None:
    raw = explanation(raw=True, accepted=False)
    folder = run_folder(tmp_path, a_raw=raw, val=explanation(split="val"), test=explanation())
    # Half written, and half taken away.
    put(folder / "explain" / ".test.part" / "explain.json", {"samples": 3})
    put(folder / "explain" / ".test.old" / "explain.json", {"samples": 3})
    page, text = page_of(folder)
    heads = [data for tag, data in page.pieces if tag == "h3" and "windows" in data]
    assert heads == ["Test windows", "Validation windows", "Test windows, before acceptance"]
    assert "The model as it was trained, which validation did not keep." in text
    assert "Change of the validation MSE" in text


def test_a_comparison_shows_its_first_fused_seed(tmp_path: Path) -> None:
    for seed in (3, 5):
        run_folder(tmp_path / "arms" / f"fused-seed{seed}", test=explanation(windows=1000 + seed))
    run_folder(tmp_path / "arms" / "placebo-seed3", test=explanation(windows=7777))
    change = {"value": -0.1, "low": -0.2, "high": -0.05}
    put(tmp_path / "compare.json", {
        "metric": "mse", "unit": "standardised", "recipe": "chimera", "windows": 589, "block": 24, "arms": [],
        "verdicts": [{"modality": "text", "effect": -0.1, "low": -0.2, "high": -0.05, "helps": True, "text": "",
                      "beyond_calendar": None, "against_placebo": change, "accepted": [True, True]}],
        "best_baseline": {"name": "ridge", "chosen_on": "val", "change": -0.1, "low": None, "high": None,
                          "fused_is_worse": False},
    })  # fmt: skip
    _, text = page_of(tmp_path)
    assert "The run with text, seed 3." in text
    assert "1,003 windows, fusion latent_gate." in text
    assert "1,005" not in text
    assert "7,777" not in text


@pytest.mark.parametrize("damage", [{"samples": 3}, {"checks": None}, {"over_time": [{}]}, {"contributions": ["x"]}])
def test_a_damaged_explanation_is_named(tmp_path: Path, damage: dict[str, Any]) -> None:
    folder = run_folder(tmp_path, test=explanation(**damage))
    with pytest.raises(FileError, match=re.escape("explain.json")):
        write_report(folder)
    assert not (folder / "report.html").exists()


def large(samples: int, texts: int, pieces: int, variates: int) -> dict[str, Any]:
    """An explanation larger than a page can show."""
    made = explanation()
    items = [
        {"date": "2009-12-26", "place": f"row {t}", "pieces": [[f" word{p}", (p % 97) / 970] for p in range(pieces)]}
        for t in range(texts)
    ]
    heat = {
        "rows": [f"variate_{v}_{'with_a_long_name' * 3}" for v in range(variates)],
        "columns": ["null", *(item["place"] for item in items)],
        "values": [[0.5] + [(v * 7 + t) % 101 / 101 for t in range(texts)] for v in range(variates)],
    }
    made["samples"] = [{**made["samples"][0], "items": items, "heat": heat} for _ in range(samples)]
    return made


def test_eight_samples_of_long_texts_stay_a_small_page(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, test=large(8, 60, 128, 321))
    page, text = page_of(folder)
    assert (folder / "report.html").stat().st_size < 2_000_000
    assert "only the heaviest pieces are shaded" in text
    assert "The 24 rows with the largest weights; 297 are left out." in text
    # Every text is whole, folded or not: 60 texts of words 0 to 127, 8 times.
    assert len(re.findall(r"\bword127\b", text)) == 480
    assert len(page.named("summary")) > 480


@pytest.mark.parametrize("most", [1, 5, 9, 30])
def test_folding_loses_no_letter(most: int) -> None:
    pieces = [("One", 0.1), (" two", 0.2), (" a piece that is longer than the others" * 3, 0.3), (" end", None)]
    head, rest = folded(pieces, most)
    assert "".join(words for words, _ in head + rest) == "".join(words for words, _ in pieces)
    assert rest
    assert sum(len(words) for words, _ in head) <= most
    assert {value for _, value in head + rest} == {0.1, 0.2, 0.3, None}
    assert folded(pieces, 400) == (pieces, [])


def test_sentences_get_a_space_and_word_pieces_none(tmp_path: Path) -> None:
    made = explanation()
    made["samples"][0]["items"][0]["pieces"] = [["The first one.", 0.2], ["The second one.", 0.1]]
    made["samples"][0]["items"][1]["pieces"] = [
        ["Pri", 0.2],
        ["ces", 0.1],
        [" rise.", 0.1],
        ["It", 0.1],
        [" is 3.", 0.1],
        ["5", 0],
    ]
    _, text = page_of(run_folder(tmp_path, test=made))
    assert "The first one. The second one." in text
    assert "Prices rise. It is 3.5" in text


def test_a_shade_is_relative_to_the_largest() -> None:
    assert [shade(value, 0.4) for value in (None, -0.1, 0.0, 0.004, 0.2, 0.4, 9.0)] == [0, 0, 0, 0, 10, 20, 20]
    assert shade(0.1, 0.0) == 0
    light = shaded_pieces([("a", 0.1), ("b", 0.4)], 0.4, 0.2)
    assert light == 'a<mark class="w20" title="0.4000">b</mark>'
    assert Room.shared(8).pieces * 8 <= 9000
