"""Tests of the report page on small folders in the schema of real runs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from page_parser import Page, check_whole, rows_of
from plait.core.errors import FileError
from plait.report.page import write_report

HOSTILE = "<script>alert(1)</script>\"><img src=x onerror=alert(2)></svg>'<b>$x_$ & {{ 7 * 7 }}"


def put(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")


def sample(forecast: float = 1.0, texts: list[str] | None = None, variate: str = "demand") -> dict[str, Any]:
    return {
        "origin": "2021-01-31T00:00:00",
        "variate": variate,
        "past_times": [f"2021-01-{day:02d}T00:00:00" for day in (3, 10, 17, 24, 31)],
        "past": [1.0, None, 3.0, 2.0, 2.5],
        "future_times": [f"2021-02-{day:02d}T00:00:00" for day in (7, 14, 21)],
        "actual": [3.0, None, 5.0],
        "forecast": [3.0 + forecast, 4.0, 5.0 + forecast],
        "texts": [{"date": f"2021-01-{30 - n:02d}", "text": text} for n, text in enumerate(texts or [])],
    }


def write_run(
    folder: Path, *, seed: int = 0, accepted: bool | None = True, samples: list[dict[str, Any]] | None = None
) -> None:
    """A run folder."""
    final = {"val": {"mse": 0.5, "mae": 0.4}, "test": {"mse": 0.25, "mae": 0.3, "mse_low": 0.21, "mse_high": 0.29}}
    raw = final if accepted else {**final, "test": {"mse": 0.33, "mae": 0.35, "mse_low": 0.31, "mse_high": 0.36}}
    naive = {
        "last_value": {"mse": 0.5, "mae": 0.5, "val_mse": 0.6},
        "ridge_prior": {"mse": 0.2, "mae": 0.25, "val_mse": 0.7},
    }
    put(folder / "metrics.json", {
        "run": "runs/x", "recipe": "chimera", "seed": seed, "unit": "standardised by the train rows",
        "metrics": final, "raw": raw, "accepted": accepted, "acceptance": "" if accepted is None else "mse +1.0%",
        "baselines": naive, "windows": {"train": 50, "val": 13, "test": 1237}, "parameters": 1234, "total_s": 1.5,
    })  # fmt: skip
    epochs = [(1, 0.9, 0.8), (2, 0.7, 0.6), (3, 0.5, 0.65)]
    entries = [{"event": "stage", "stage": "series", "parameters": 4, "val": 1.0}]
    entries += [{"event": "stage", "stage": "fusion", "parameters": 36, "val": 1.0}]
    entries += [
        {"event": "epoch", "stage": "fusion", "epoch": n, "step": n, "train": {"mse": t}, "val": v, "best": v}
        for n, t, v in epochs
    ]
    put(folder / "metrics.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries) + '{"event": "epo')
    put(folder / "page.json", {"kind": "forecasts", "title": "Forecasts of test windows", "samples": samples or []})
    put(folder / "config.yaml", f"recipe: chimera\nseed: {seed}\n")
    put(folder / "environment.json", {"python": "3.11.7", "cuda": None, "packages": {"torch": "2.13.0"}})
    train = {"rows": 2100, "windows": 50, "first": "1964-01-05T00:00:00", "last": "2004-03-28T13:30:00"}
    put(folder / "splits.json", {"splits": {"train": train}, "findings": []})


def arm(name: str, mean: float, *, parameters: int = 0, meaning: str = "", wide: bool = False) -> dict[str, Any]:
    return {
        "name": name, "mean": mean, "low": mean * 0.9, "high": mean * 1.2, "seeds": 2 if parameters else 1,
        "parameters": parameters, "weak": wide, "meaning": meaning,
    }  # fmt: skip


def comparison(**changes: Any) -> dict[str, Any]:
    """What compare.json holds where text helps."""
    found = {
        "modality": "text", "effect": -0.4378, "low": -0.4939, "high": -0.3750,
        "placebo_effect": 0.013, "placebo_low": -0.021, "placebo_high": 0.034, "placebo_gains": False,
        "against_placebo": {"value": -0.4444, "low": -0.4999, "high": -0.3888},
        "against_calendar": {"value": -0.4189, "low": -0.4726, "high": -0.3551},
        "helps": True, "beyond_calendar": True, "text": "text helps: the whole line of it",
        "accepted": [True, False], "placebo_accepted": [False, False],
    }  # fmt: skip
    return {
        "metric": "mse", "unit": "standardised by the train rows", "recipe": "chimera", "windows": 589, "block": 24,
        "arms": [
            arm("anchor", 0.18554, parameters=1708, meaning="the series alone", wide=True),
            arm("fused", 0.10432, parameters=34604, meaning="with texts", wide=True),
            arm("fused_raw", 0.10777, parameters=34604, meaning="fused before acceptance"),
            arm("placebo", 0.18666, parameters=1708), arm("last_value", 0.32536), arm("ridge_prior", 0.18317),
            arm("hopeless", 71.5), arm("oracle", 0.09021, meaning="ridge that knows the steps"),
        ],
        "verdicts": [found | changes.pop("found", {})],
        "best_baseline": {
            "name": "ridge_prior", "chosen_on": "val", "change": -0.4305, "low": -0.4894, "high": -0.3649,
            "fused_is_worse": False,
        },
        "recovery": {"value": 0.852, "low": 0.8006, "high": 0.8933},
    } | changes  # fmt: skip


NOTHING = {
    "effect": 0.0, "low": 0.0, "high": 0.0, "helps": False, "beyond_calendar": False, "text": "text does not help",
    "accepted": [False, False], "against_placebo": {"value": 0.0, "low": 0.0, "high": 0.0},
}  # fmt: skip


def write_comparison(folder: Path, result: dict[str, Any], **run: Any) -> Path:
    """A comparison folder with the arms' runs, seeds 3 and 5."""
    put(folder / "compare.json", result)
    put(folder / "config.yaml", "recipe: chimera\n")
    put(folder / "environment.json", {"python": "3.11.7", "packages": {"torch": "2.13.0"}})
    texts = run.pop("texts", ["An older text.", "The oldest text."])
    for seed in (3, 5):
        write_run(folder / "arms" / f"fused-seed{seed}", seed=seed, samples=[sample(0.5, texts)], **run)
        write_run(folder / "arms" / f"anchor-seed{seed}", seed=seed, accepted=None, samples=[sample(-1.5, texts)])
        write_run(folder / "arms" / f"placebo-seed{seed}", seed=seed, accepted=False, samples=[sample(2.0, texts)])
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = comparison() | {"control": comparison(found=NOTHING)}
    return write_comparison(tmp_path_factory.mktemp("made") / "demo", result)


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def test_the_page_is_whole_and_needs_nothing_else(html: str) -> None:
    page = check_whole(html)
    policy = [meta for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0]["content"].startswith("default-src 'none'")
    assert len(html) < 2_000_000
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in page.named("svg"))


def test_a_second_page_of_the_same_folder_is_the_same(folder: Path, html: str) -> None:
    assert write_report(folder) == folder / "report.html"
    assert (folder / "report.html").read_text(encoding="utf-8") == html


def test_the_verdict_stands_first_and_is_complete(html: str) -> None:
    page = Page(html)
    main, control = re.findall(r"<article class=\"verdict.*?</article>", html, re.DOTALL)
    assert re.search(r"<h1>.*Text helps\.</h1>", main)
    assert re.search(r"<h2>.*Text does not help\.</h2>", control)
    words = Page(main).text.replace("\u00a0", " ")
    for pair in (
        "43.8 % lower than without it", "−49.4 % to −37.5 %",  # the effect
        "−44.4 %", "−50.0 % to −38.9 %",  # against the placebo
        "−41.9 %", "−47.3 % to −35.5 %", "beyond the calendar",
        "+1.3 %", "−2.1 % to +3.4 %", "gains nothing",  # the placebo itself
        "85.2 % (80.1 % to 89.3 %)", "better than the best baseline, ridge_prior (chosen on validation)",
        "with text: 1 of 2 seeds ✓ seed 3 kept ○ seed 5 not kept",
        "text helps: the whole line of it",
    ):  # fmt: skip
        assert pair in words
    assert "Validation kept text in no seed" in Page(control).text
    assert page.text.index("Text helps.") < page.text.index("All arms") < page.text.index("Forecasts of test windows")


def test_the_arms_stand_by_error_with_the_figures_of_the_json(html: str) -> None:
    arms = {each["name"]: each for each in comparison()["arms"]}
    rows = rows_of(html)
    names = [row.split()[0] for row in rows]
    order = ["oracle", "fused", "fused_raw", "ridge_prior", "anchor", "placebo", "last_value", "hopeless"]
    assert names == order
    for name, row in zip(names, rows, strict=True):
        assert f"{arms[name]['mean']:.4f} {arms[name]['low']:.4f} to {arms[name]['high']:.4f}" in row
        parameters = f"{arms[name]['parameters']:,}" if arms[name]["parameters"] else "–"
        assert row.endswith(f"{arms[name]['seeds']} {parameters}")
    assert [name for name, row in zip(names, rows, strict=True) if " weak" in row] == ["fused", "anchor"]
    assert "the series alone" in rows[4]
    assert "best baseline" in rows[3]
    assert re.findall(r'<tr class="below', html[: html.index("Arms of the control")]) == ['<tr class="below']


def test_the_texts_stand_beside_their_window_newest_first(html: str) -> None:
    page = Page(html)
    assert page.text.index("30 Jan 2021 An older text.") < page.text.index("29 Jan 2021 The oldest text.")
    assert "demand from 31 Jan 2021" in page.text


def test_a_window_shows_the_forecast_and_the_anchor_alone(html: str) -> None:
    # The truth of the second step is missing: two steps count. Offsets 0.5 and -1.5 are the errors.
    assert "Mean absolute error over 3 steps: 0.500 (forecast) and 1.50 (anchor alone)." in Page(html).text
    figure = re.search(r"<svg.*?</svg>", html, re.DOTALL)
    assert figure
    assert Page(figure[0]).text.count("anchor alone") == 1


def test_the_curves_are_those_of_the_first_seed(html: str) -> None:
    page = Page(html)
    words = "Lowest validation MSE: 0.6000 at epoch 2 of 3."
    assert page.text.count(words) == 2
    assert page.text.count("stage 2, fusion, epochs 1 to 3, 36 parameters trained.") == 2
    labels = [svg["aria-label"] for svg in page.named("svg")]
    assert [label for label in labels if "training of with shuffled text" in label]


def test_markup_in_the_data_is_text(tmp_path: Path) -> None:
    result = comparison(found={"modality": HOSTILE, "text": HOSTILE}, recipe=HOSTILE, unit=HOSTILE)
    result["arms"] += [arm(HOSTILE, 0.2, parameters=7, meaning=HOSTILE)]
    result["best_baseline"]["name"] = HOSTILE
    folder = write_comparison(tmp_path / "hostile", result, texts=[HOSTILE, HOSTILE * 20])
    run = folder / "arms" / "fused-seed3"
    put(folder / "config.yaml", f"recipe: {HOSTILE}\n")
    put(folder / "environment.json", {HOSTILE: HOSTILE, "packages": {HOSTILE: HOSTILE}})
    put(run / "page.json", {"kind": "forecasts", "title": HOSTILE, "samples": [
        sample(0.5, [HOSTILE], HOSTILE), sample(0.5, [HOSTILE * 20], "$a_{b$"),
    ]})  # fmt: skip
    facts = {"rows": 3, "windows": 2, "first": HOSTILE, "last": HOSTILE}
    put(run / "splits.json", {"splits": {HOSTILE: facts}, "findings": [HOSTILE]})
    entry = {"event": "epoch", "stage": HOSTILE, "epoch": 1, "train": {HOSTILE: 0.5}, "val": 0.4}
    put(run / "metrics.jsonl", json.dumps(entry) + "\n" + json.dumps(entry | {"epoch": 2}))
    html = write_report(folder).read_text(encoding="utf-8")
    page = check_whole(html)
    assert len(page.named("svg")) == 4
    assert page.text.count(HOSTILE) > 30
    assert "49" not in re.findall(r"& (\d+)", page.text)


def test_an_audit_is_counted_and_listed(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    write_run(folder)
    finding = {"severity": "suspect", "check": "text availability", "what": "texts state a year", "count": 2}
    put(folder / "audit.json", {
        "leaks": 0, "suspects": 2, "findings": [{**finding, "rows": ["row 7 states 2031", HOSTILE]}],
        "checks": [{"check": "splits", "did": "13 windows compared", "leaks": 0}],
    })  # fmt: skip
    page = check_whole(write_report(folder).read_text(encoding="utf-8"))
    assert "0 leaks, 2 suspects: no check found a leak" in page.text
    assert "splits: 13 windows compared" in page.text
    assert "row 7 states 2031" in page.text
    assert HOSTILE in page.text


@pytest.mark.parametrize(
    "found, words",
    [
        ({"beyond_calendar": False}, "Text helps, but not beyond the calendar."),
        ({"beyond_calendar": None, "against_calendar": None}, "Text helps."),
        ({"helps": False, "high": 0.0123}, "Text does not help."),
        (NOTHING, "Text does not help."),
    ],
)
def test_the_headline_says_what_the_verdict_says(tmp_path: Path, found: dict[str, Any], words: str) -> None:
    folder = tmp_path / "made"
    put(folder / "compare.json", comparison(found=found))
    page = check_whole(write_report(folder).read_text(encoding="utf-8"))
    assert "".join(data for tag, data in page.pieces if tag == "h1") == words


def test_not_enough_data_is_said_in_words(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    result = comparison(windows=31)
    for each in result["arms"]:
        each |= {"low": None, "high": None, "weak": False}
    result["verdicts"] = [{
        "modality": "text", "helps": None, "beyond_calendar": None, "effect": -0.1234, "low": None, "high": None,
        "placebo_effect": None, "text": "text: not enough data for a verdict", "accepted": [], "placebo_accepted": [],
    }]  # fmt: skip
    result["best_baseline"] |= {"change": None, "low": None, "high": None, "fused_is_worse": None}
    del result["recovery"]
    put(folder / "compare.json", result)
    page = check_whole(write_report(folder).read_text(encoding="utf-8"))
    text = page.text.replace("\u00a0", " ")
    assert "Not enough data to say whether text helps." in text
    assert "There are 31 test windows, and an interval needs 96" in text
    assert "12.3 % lower than without it" in text
    assert "better than the best baseline, ridge_prior (chosen on validation) can't be said: not enough data" in text
    assert text.count("no interval") == len(result["arms"])


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.02, 0.03, "the interval of the change is −2.0 % to +3.0 %: no difference is shown."),
        (-0.6, -0.4, "the interval of the change is −60.0 % to −40.0 %."),
    ],
)
def test_a_difference_to_the_best_baseline_has_its_interval(
    tmp_path: Path, low: float, high: float, words: str
) -> None:
    write_run(tmp_path / "run", accepted=False, samples=[sample(0.5, ["A text."])])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    put(tmp_path / "run" / "metrics.json", {**metrics, "best_baseline": {"low": low, "high": high}})
    page = check_whole(write_report(tmp_path / "run").read_text(encoding="utf-8"))
    assert words in page.text.replace("\u00a0", " ")


def test_a_control_that_finds_help_is_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    put(folder / "compare.json", comparison())
    put(folder / "control" / "compare.json", comparison())
    assert "distrust the verdict" in Page(write_report(folder).read_text(encoding="utf-8")).text


def test_a_forecast_that_is_the_anchors_says_so(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "made", comparison(), accepted=False)
    page = check_whole(write_report(folder).read_text(encoding="utf-8"))
    assert "Validation did not keep text in this seed, so the forecast is that of the anchor alone." in page.text


def test_the_windows_of_all_folds_stand_beside_their_own_anchors(tmp_path: Path) -> None:
    put(tmp_path / "compare.json", comparison(folds=2))
    for fold, name in ((0, "one"), (1, "two")):
        write_run(
            tmp_path / f"arms/fused-fold{fold}-seed3", accepted=not fold, samples=[sample(0.5 + fold, variate=name)]
        )
        write_run(tmp_path / f"arms/anchor-fold{fold}-seed3", samples=[sample(2.0 + fold, variate=name)])
    text = check_whole(write_report(tmp_path).read_text(encoding="utf-8")).text
    assert "in 1 of 2 folds of this seed: there the forecast is that of the anchor alone." in text
    assert text.index("0.500 (forecast) and 2.00 (anchor") < text.index("1.50 (forecast) and 3.00 (anchor")


def test_a_run_is_set_beside_its_baselines(tmp_path: Path) -> None:
    write_run(tmp_path / "run", accepted=False, samples=[sample(0.5, ["A text."])])
    html = write_report(tmp_path / "run").read_text(encoding="utf-8")
    page = check_whole(html)
    text = page.text.replace("\u00a0", " ")
    rows = rows_of(html)
    starts = ["ridge_prior baseline", "this run the model that was kept", "this run, raw", "last_value best baseline"]
    assert [row[: len(start)] for row, start in zip(rows, starts, strict=True)] == starts
    assert "0.2500 0.2100 to 0.2900 0.3000 0.5000" in rows[1]
    assert "0.3300 0.3100 to 0.3600" in rows[2]
    # The best baseline is chosen on validation: on test another one is better.
    assert "50.0 % lower than the best baseline, last_value (0.5000, chosen on validation)" in text
    assert "over 1,237 test windows" in text
    assert "The added modality was not kept: mse +1.0%." in text
    assert "28 Mar 2004 13:30" in text
    assert "cuda not in use" in text


def test_a_run_without_texts_has_no_column_for_them(tmp_path: Path) -> None:
    write_run(tmp_path / "run", accepted=None, samples=[sample(), sample(0.1)])
    page = check_whole(write_report(tmp_path / "run").read_text(encoding="utf-8"))
    assert "Texts" not in page.text
    assert "texts" not in page.text
    assert "kept" not in page.text.replace("the model that was kept", "")
    assert len(page.named("figure")) == 3


def test_an_origin_without_texts_among_others_says_so(tmp_path: Path) -> None:
    write_run(tmp_path / "run", samples=[sample(0.5, ["A text."]), sample(0.1)])
    assert "There was none." in Page(write_report(tmp_path / "run").read_text(encoding="utf-8")).text


def test_what_is_optional_may_be_absent(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    for name in ("page.json", "metrics.jsonl", "splits.json", "environment.json", "config.yaml"):
        (tmp_path / "run" / name).unlink()
    page = check_whole(write_report(tmp_path / "run").read_text(encoding="utf-8"))
    assert not page.named("figure")
    assert "Test MSE 0.2500" in page.text


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "run", samples=[{**sample(), "actual": [None] * 3, "forecast": [float("nan")] * 3}])
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().replace("0.65", "NaN")
    put(tmp_path / "run" / "metrics.jsonl", lines)
    page = check_whole(write_report(tmp_path / "run").read_text(encoding="utf-8"))
    assert "The truth is not known here." in page.text


def test_twenty_arms_with_long_names_are_all_there(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    names = [f"{'a_rather_long_name_of_an_arm_' * 3}{number}" for number in range(20)]
    result = comparison()
    result["arms"] += [arm(name, 0.2 + 0.01 * n, parameters=n + 1) for n, name in enumerate(names)]
    put(folder / "compare.json", result)
    html = write_report(folder).read_text(encoding="utf-8")
    check_whole(html)
    rows = rows_of(html)
    assert len(rows) == 28
    assert [row.split()[0] for row in rows if row.startswith("a_rather")] == names
    table = html.index('<table class="arms">')
    assert html[:table].rstrip().endswith('tabindex="0">')
    assert 'class="scroll"' in html[table - 200 : table]


def test_a_folder_without_results_is_named_with_what_to_do(tmp_path: Path) -> None:
    cases = {
        "absent": "no such folder",
        "empty": "holds neither",
        "run": "the run has not ended",
        "arms": "comparison has",
    }
    (tmp_path / "empty").mkdir()
    put(tmp_path / "run" / "config.yaml", "seed: 0")
    (tmp_path / "arms" / "arms").mkdir(parents=True)
    for name, words in cases.items():
        with pytest.raises(FileError, match=words) as caught:
            write_report(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert caught.value.fix


@pytest.mark.parametrize("name", ["metrics.json", "page.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "run", samples=[sample()])
    put(tmp_path / "run" / name, '{"kind": "forecasts", "samples": [{"origin": 3' + ("" if name[0] == "m" else "}]}"))
    with pytest.raises(FileError, match=re.escape(name)):
        write_report(tmp_path / "run")
    assert not (tmp_path / "run" / "report.html").exists()
