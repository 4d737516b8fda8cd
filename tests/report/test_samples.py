"""Tests of the page of runs and comparisons of samples: words, caveats, splits, folds, predictions, baselines."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from page_parser import Page, check_whole, rows_of
from plait.core.errors import FileError
from plait.report.page import write_report
from plait.report.samples import MOST

HOSTILE = "<script>alert(1)</script>\"><img src=x onerror=alert(2)></svg>'<b>$x_$ & {{ 7 * 7 }}"
CAVEAT = "run_lane alone predicts age_years with mae 2.05, the model with 2.41: it may read the study"


def put(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")


def point(
    name: str, actual: float | None, prediction: float, spread: float | None = 1.0, **more: Any
) -> dict[str, Any]:
    low, high = (None, None) if spread is None else (prediction - spread, prediction + spread)
    return {"id": name, "actual": actual, "prediction": prediction, "low": low, "high": high, "column": None, **more}


def samples(points: list[dict[str, Any]]) -> dict[str, Any]:
    return {"kind": "samples", "title": "Predictions of test samples", "unit": "age_years", "points": points}


def classes(names: list[str], confusion: list[list[int]]) -> dict[str, Any]:
    return {"kind": "classes", "title": "Classes of test samples", "classes": names, "confusion": confusion}


def metrics(**changes: Any) -> dict[str, Any]:
    """What metrics.json holds of a run of samples."""
    final = {
        "val": {"mae": 2.3, "rmse": 3.1, "log_loss": 0.61},
        "test": {"mae": 2.41, "rmse": 3.25, "log_loss": 0.62, "mae_low": 2.2, "mae_high": 2.7},
    }
    return {
        "recipe": "aam", "seed": 0, "metric": "mae", "unit": "age_years", "row_name": "samples",
        "drawn": "184 groups of rows", "modality": "metadata", "metrics": final, "raw": final, "accepted": False,
        "acceptance": "mae +1.0%", "caveats": [CAVEAT], "windows": {"train": 200, "val": 50, "test": 1305},
        "baselines": {
            "constant": {"mae": 6.14, "rmse": 7.0, "val_mae": 6.2, "meaning": "the median"},
            "forest": {"mae": 1.9, "rmse": 2.5, "val_mae": 2.35, "meaning": "a random forest"},
            "column:run_lane": {"mae": 2.05, "rmse": 3.0, "val_mae": 1.86, "meaning": "run_lane alone"},
            "knn_median": {"mae": 2.5, "rmse": 3.4, "val_mae": 2.2, "meaning": "neighbours"},
        },
        "best_baseline": {"name": "forest", "change": 0.268, "low": 0.1, "high": 0.4},
        **changes,
    }  # fmt: skip


SPLITS = {
    "train": {"samples": 1200, "groups": 101, "known": 1190, "median": 7.0, "max": 18.25},
    "test": {"samples": 305, "groups": 40, "known": 305, "median": 6.5, "max": 17.0},
}


def write_run(folder: Path, page: Any, **changes: Any) -> Path:
    put(folder / "metrics.json", metrics(**changes))
    put(folder / "page.json", page)
    put(folder / "splits.json", {"splits": SPLITS, "findings": []})
    entries = [{"event": "stage", "stage": "all", "parameters": 4, "val": 9.0}]
    entries += [
        {"event": "epoch", "stage": "all", "epoch": n, "train": {"crps": 3.0 / n}, "val": 2 / n} for n in (1, 2)
    ]
    put(folder / "metrics.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


def arm(name: str, mean: float, parameters: int = 0, ends: bool = True) -> dict[str, Any]:
    low, high = (mean * 0.9, mean * 1.1) if ends else (None, None)
    return {"name": name, "mean": mean, "low": low, "high": high, "seeds": 2, "parameters": parameters, "meaning": ""}


def comparison(found: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """What compare.json holds of samples in 2 folds and 2 seeds where metadata does not help."""
    change = {"value": 0.01, "low": -0.02, "high": 0.04}
    verdict = {
        "modality": "metadata", "effect": 0.01, "low": -0.02, "high": 0.04, "placebo_effect": 0.0, "placebo_low": 0.0,
        "placebo_high": 0.0, "placebo_gains": False, "against_placebo": change, "against_calendar": None,
        "helps": False, "beyond_calendar": None, "text": "metadata does not help",
        "accepted": [True, False, False, False], "placebo_accepted": [False] * 4,
    }  # fmt: skip
    return {
        "metric": "mae", "unit": "age_years", "row_name": "samples", "recipe": "aam", "seeds": [3, 5], "folds": 2,
        "windows": 305, "block": 1, "drawn": "184 groups of rows", "lacking": "",
        "arms": [arm("anchor", 2.4, 7), arm("fused", 2.5, 9), arm("forest", 2.6), arm("column:run_lane", 2.1)],
        "verdicts": [verdict | (found or {})],
        "best_baseline": {
            "name": "forest", "chosen_on": "val", "change": -0.04, "low": -0.1, "high": 0.02, "fused_is_worse": False,
        },
    } | changes  # fmt: skip


def write_comparison(folder: Path, result: dict[str, Any], pages: dict[tuple[str, int], Any]) -> Path:
    """A comparison folder with two folds; `pages` by arm and fold are those of the first seed, 3."""
    put(folder / "compare.json", result)
    put(folder / "splits.json", {"splits": SPLITS, "findings": []})
    for name in ("fused", "anchor", "placebo"):
        for fold in (0, 1):
            for seed in (3, 5):
                page = pages.get((name, fold), {"kind": "none"}) if seed == 3 else samples([point("late", 1.0, 99.0)])
                kept = None if name == "anchor" else fold == 0
                said = [CAVEAT, f"only fold {fold}"] if name == "fused" else []
                where = folder / "arms" / f"{name}-fold{fold}-seed{seed}"
                write_run(where, page, seed=seed, accepted=kept, caveats=said)
    return folder


def page_of(folder: Path) -> tuple[Page, str, str]:
    """The page, checked, its text with plain spaces, and its source."""
    html = write_report(folder).read_text(encoding="utf-8")
    spaced = re.sub(r"(</(?:td|th|li|p|summary)>)", r"\1 ", html)
    return check_whole(html), Page(spaced).text.replace("\u00a0", " "), html


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str, str]:
    points = [point(f"s{n}", float(n), n + 0.1 * n, 1.06) for n in range(13)]
    points += [point("low", 9.0, 2.0, None, column="lane 2"), point("blank", None, 4.0)]
    made = samples(points) | {"column": "study"}
    return page_of(write_run(tmp_path_factory.mktemp("made") / "run", made))


@pytest.fixture(scope="module")
def compared_page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str, str]:
    pages = {
        ("fused", 0): samples([point("a", 1.0, 2.0), point("b", 5.0, 4.0)]),
        ("fused", 1): samples([point("c", 3.0, 7.0)]),
        ("anchor", 0): samples([point("a", 1.0, 1.5), point("b", 5.0, 5.5)]),
        ("anchor", 1): samples([point("c", 3.0, 9.0)]),
    }
    return page_of(write_comparison(tmp_path_factory.mktemp("made") / "compared", comparison(), pages))


def test_a_run_of_samples_speaks_of_samples(run_page: tuple[Page, str, str]) -> None:
    page, text, _ = run_page
    assert "".join(data for tag, data in page.pieces if tag == "h1") == "Test MAE 2.4100"
    assert "95 % interval 2.2000 to 2.7000, over 1,305 test samples, age_years." in text
    assert "Test MAE, age_years, over 1,305 samples; lower is better." in text
    assert "bootstrap of 184 groups of rows." in text
    assert "○ Metadata was not kept: mae +1.0%." in text
    assert "window" not in text
    assert "origin" not in text


def test_caveats_stand_right_under_the_headline(run_page: tuple[Page, str, str], tmp_path: Path) -> None:
    page, text, html = run_page
    assert re.search(r'</h1>\s*<div class="caveats" role="note"', html)
    assert text.index("Test MAE 2.4100") < text.index(CAVEAT) < text.index("95 % interval 2.2000")
    _, plain, _ = page_of(write_run(tmp_path / "plain", samples([]), caveats=[]))
    assert "Read this first" not in plain


def test_all_other_metrics_of_a_run_are_shown(run_page: tuple[Page, str, str]) -> None:
    _, _, html = run_page
    heads = re.findall(r'<th scope="col" class="number">(.*?)</th>', html)
    assert heads[:5] == ["MAE", "95&nbsp;% interval", "test RMSE", "test log loss", "validation MAE"]
    own = next(row for row in rows_of(html) if row.startswith("this run"))
    assert own.endswith("2.4100 2.2000 to 2.7000 3.2500 0.6200 2.3000")


def test_the_best_baseline_is_the_one_the_run_names(run_page: tuple[Page, str, str], tmp_path: Path) -> None:
    _, text, html = run_page
    # On validation knn_median is lower than forest, and a column lower still: the file's choice stands.
    starts = ["forest best baseline", "run_lane column alone", "this run", "knn_median baseline", "constant baseline"]
    assert [row[: len(start)] for row, start in zip(rows_of(html), starts, strict=True)] == starts
    assert "26.8 % higher than the best baseline, forest (1.9000, chosen on validation)" in text
    _, _, older = page_of(write_run(tmp_path / "older", samples([]), best_baseline={"low": None, "high": None}))
    assert [row.split()[0] for row in rows_of(older) if "best baseline" in row] == ["run_lane"]


def test_the_splits_show_what_is_told_of_them(run_page: tuple[Page, str, str]) -> None:
    _, text, _ = run_page
    assert "split samples groups known median max" in text
    assert "training 1,200 101 1,190 7 18.2500 test 305 40 305 6.5000 17" in text


def test_predictions_are_drawn_over_truths(run_page: tuple[Page, str, str]) -> None:
    page, text, html = run_page
    # 13 misses of 0.1 n and one of 7, over 14 samples; 0.1 n is within 1.06 up to n = 10.
    assert "Mean absolute error 1.06 over 14 samples." in text
    assert "84.6 % of the truths lie within their 80 % interval." in text
    assert "Without a known truth or prediction, and so not drawn: 1." in text
    section = html[html.index('<section id="predictions">') :]
    drawing = section[section.index("<svg") : section.index("</svg>")]
    label = Page(section).named("svg")[0]["aria-label"]
    assert label.startswith("Scatter chart of age_years as predicted over age_years as measured, this run.")
    for words in ("prediction = truth", "80 % interval", "age_years, truth", "age_years, prediction"):
        assert f">{words}</text>" in drawing
    # A mark each for 14 samples, beside that of the legend.
    marks = [each for each in Page(drawing + "</svg>").named("use") if "--forecast" in each.get("style", "")]
    assert len(marks) == 15
    assert [link for link in page.named("a") if link["href"] == "#predictions"]


def test_the_largest_misses_stand_by_size(run_page: tuple[Page, str, str]) -> None:
    _, _, html = run_page
    table = re.search(r'<table class="misses">.*?</table>', html, re.DOTALL)
    assert table
    spaced = re.sub("</t[hd]>", r"\g<0> ", table[0])
    rows = [Page(row).text for row in re.findall(r"<tr>.*?</tr>", spaced, re.DOTALL)]
    assert len(rows) == 11
    assert rows[0] == "sample study truth prediction 80 % interval off by"
    assert rows[1] == "low lane 2 9.00 2.00 – −7.00"
    assert rows[2] == "s12 – 12.0 13.2 12.1 to 14.3 +1.20"
    assert [row.split()[0] for row in rows[3:]] == [f"s{n}" for n in range(11, 3, -1)]


def test_the_folds_of_the_first_seed_are_drawn_together(compared_page: tuple[Page, str, str]) -> None:
    page, text, html = compared_page
    assert "Seed 3, the 2 folds together." in text
    # Misses of 1, 1 and 4 beside those of the anchor alone, 0.5, 0.5 and 6.
    section = html[html.index('<section id="predictions">') :]
    labels = [svg["aria-label"] for svg in Page(section).named("svg") if "Scatter" in svg["aria-label"]]
    assert [label.split(". ")[0].rpartition(", ")[2] for label in labels] == ["with metadata", "anchor alone"]
    assert "Mean absolute error 2.00 over 3 samples." in labels[0]
    assert "Mean absolute error 2.33 over 3 samples." in labels[1]
    assert "The largest misses with metadata" in text
    assert "c 3.00 7.00 6.00 to 8.00 +4.00 9.00" in text
    words = (
        "Validation did not keep metadata in 1 of 2 folds of this seed: there the predictions are those of the anchor"
    )
    assert words in text
    assert "late" not in text
    assert "The first seed and the first of its 2 folds, on one scale." in text
    assert len([svg for svg in page.named("svg") if "training of" in svg["aria-label"]]) == 2
    assert "As the first of 2 folds divides the data." in text


def test_a_comparison_in_folds_counts_trainings(compared_page: tuple[Page, str, str]) -> None:
    _, text, html = compared_page
    assert "with metadata: 1 of 4 trainings (2 seeds × 2 folds) ◐ seed 3: 1 of 2 kept ○ seed 5: 0 of 2 kept" in text
    assert "bootstrap of 184 groups of rows, crossed with seeds." in text
    assert "Of 2 folds each is tested once, by a training that held it out." in text
    assert "over 305 samples; lower is better." in text
    assert [row.split()[0] for row in rows_of(html) if "column alone" in row] == ["run_lane"]
    assert "window" not in text


def test_the_caveats_of_a_comparison_are_those_of_its_folds(
    compared_page: tuple[Page, str, str], tmp_path: Path
) -> None:
    _, text, _ = compared_page
    assert text.index("Metadata does not help.") < text.index(CAVEAT) < text.index("Fold 0: only fold 0")
    assert text.count(CAVEAT) == 1
    assert "Fold 1: only fold 1" in text
    put(tmp_path / "compare.json", comparison(caveats=["its own words"]))
    _, own, _ = page_of(tmp_path)
    assert "Read this first its own words" in own


def test_too_few_groups_are_said_as_the_file_says_it(tmp_path: Path) -> None:
    result = comparison({"helps": None, "low": None, "high": None}, lacking="12 groups are fewer than 20")
    result["arms"] = [arm("anchor", 2.4, 7, ends=False), arm("fused", 2.5, 9, ends=False)]
    put(tmp_path / "compare.json", result)
    _, text, _ = page_of(tmp_path)
    assert "There are 305 test samples, too few for an interval: 12 groups are fewer than 20." in text
    assert "There is not enough data for intervals: 12 groups are fewer than 20." in text
    assert "Lines are" not in text


def test_no_training_kept_is_said_of_trainings(tmp_path: Path) -> None:
    put(tmp_path / "compare.json", comparison({"accepted": [False] * 4}))
    _, text, _ = page_of(tmp_path)
    assert "Validation kept metadata in no training" in text


def confusion_rows(html: str) -> list[str]:
    table = re.search(r'<table class="heat confusion">.*?</table>', html, re.DOTALL)
    assert table
    return [Page(re.sub("</t[hd]>", r"\g<0> ", row)).text for row in re.findall(r"<tr>.*?</tr>", table[0], re.DOTALL)]


def test_a_confusion_is_a_shaded_table_with_recalls(tmp_path: Path) -> None:
    page, text, html = page_of(
        write_run(tmp_path, classes(["ill", "well", "rare"], [[3, 1, 0], [2, 14, 0], [0, 0, 0]]))
    )
    assert confusion_rows(html) == [
        "truth ill well rare samples recall", "ill 3 1 0 4 75.0 %", "well 2 14 0 16 87.5 %", "rare 0 0 0 0 –",
    ]  # fmt: skip
    assert "85.0 % of 20 samples are given their own class; the mean recall over classes is 81.2 %." in text
    cells = {
        each["title"].replace("\u00a0", " "): each["class"]
        for each in page.named("td")
        if "taken for" in each.get("title", "")
    }
    # 20 shades of the share of the row.
    assert cells["ill taken for ill: 75.0 %"] == "w15 own"
    assert cells["ill taken for well: 25.0 %"] == "w5"
    assert cells["well taken for ill: 12.5 %"] == "w2"
    assert cells["rare taken for ill: no sample"] == "w0"


def test_confusions_of_folds_add_up_beside_the_anchors(tmp_path: Path) -> None:
    pages = {
        ("fused", 0): classes(["ill", "well"], [[3, 1], [0, 5]]),
        ("fused", 1): classes(["well", "ill"], [[4, 1], [2, 3]]),
        ("anchor", 0): classes(["ill", "well"], [[1, 3], [0, 5]]),
    }
    _, text, html = page_of(write_comparison(tmp_path, comparison(metric="log_loss"), pages))
    assert confusion_rows(html) == [
        "truth ill well samples recall recall, anchor alone", "ill 6 3 9 66.7 % 25.0 %", "well 1 9 10 90.0 % 100.0 %",
    ]  # fmt: skip
    assert "Test log loss with metadata" in text
    assert "With metadata, the test log loss is 1.0 % higher" in text


def test_many_samples_stay_a_small_page(tmp_path: Path) -> None:
    points = [point(f"sample_{n}", n % 89 / 7, n % 97 / 7) for n in range(3 * MOST - 1)]
    _, text, html = page_of(write_run(tmp_path, samples(points)))
    assert f"over {3 * MOST - 1:,} samples." in text
    assert "One in 3 of them is drawn." in text
    assert len(html) < 1_000_000


@pytest.mark.parametrize("truths", [[None, None], [3.0, 3.0]])
def test_samples_without_truths_or_of_one_truth_are_a_page(tmp_path: Path, truths: list[float | None]) -> None:
    points = [point("one", truths[0], 3.0, None), point("two", truths[1], 3.0, None)]
    _, text, _ = page_of(write_run(tmp_path, samples(points)))
    assert ("The truth is not known for any of them." in text) == (truths[0] is None)
    assert "80 % interval" not in text


def test_markup_in_samples_is_text(tmp_path: Path) -> None:
    page_data = samples([point(HOSTILE, 1.0, 2.0, column=HOSTILE)]) | {"title": HOSTILE, "unit": HOSTILE}
    result = comparison({"modality": HOSTILE}, row_name=HOSTILE, drawn=HOSTILE, caveats=[HOSTILE])
    folder = write_comparison(
        tmp_path, result, {("fused", 0): page_data, ("fused", 1): page_data, ("anchor", 0): page_data}
    )
    put(folder / "splits.json", {"splits": {HOSTILE: {HOSTILE: {HOSTILE: 3}}}, "findings": []})
    page, text, _ = page_of(folder)
    assert text.count(HOSTILE) > 20
    run = write_run(
        tmp_path / "run", classes([HOSTILE, "b"], [[1, 2], [3, 4]]), caveats=[HOSTILE] * 6, modality=HOSTILE
    )
    _, text, _ = page_of(run)
    assert text.count(HOSTILE) > 8
    assert "2 more" in text
    assert "49" not in re.findall(r"& (\d+)", page.text + text)


@pytest.mark.parametrize(
    "damaged",
    [
        samples([{"id": "a", "actual": "much", "prediction": 1.0}]), {"kind": "samples", "points": [{}]},
        {"kind": "samples"}, classes(["a"], [[1, 2]]), classes(["a", "b"], [[1, 2]]), {"kind": "classes"},
    ],
)  # fmt: skip
def test_damaged_predictions_are_named(tmp_path: Path, damaged: dict[str, Any]) -> None:
    write_run(tmp_path, damaged)
    with pytest.raises(FileError, match=re.escape("page.json")):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_ranking_of_fusions_speaks_of_samples_and_trainings(tmp_path: Path) -> None:
    made = json.loads((Path(__file__).parent / "fusions.json").read_text(encoding="utf-8"))
    facts = {"row_name": "samples", "drawn": "184 groups of rows", "lacking": "", "folds": 5, "metric": "log_loss"}
    put(tmp_path / "fusions.json", made | facts)
    for fold in (0, 1):
        write_run(tmp_path / "arms" / f"latent_gate-fold{fold}-seed0", samples([]))
    _, text, _ = page_of(tmp_path)
    assert "over 589 samples; lower is better." in text
    assert "bootstrap of 184 groups of rows, crossed with seeds. Of 5 folds each is tested once" in text
    assert "the same samples and seeds on both sides" in text
    assert "kept, trainings" in text
    assert "low_rank has the lowest test log loss" in text
    assert f"Read this first {CAVEAT}" in text
    assert "window" not in text
