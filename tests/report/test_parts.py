"""Tests of the report's parts: curves, scales, splits, folds, numbers and dates."""

from pathlib import Path

import pytest

from plait.report.arms import Scale, arm_table
from plait.report.figures import Curve
from plait.report.finite import finite
from plait.report.samples import Confusion
from plait.report.splits import split_table
from plait.report.trainings import of_first_seed, trainings
from plait.report.wording import change, date, error, headline, metric_name


def test_a_curve_counts_its_epochs_over_stages() -> None:
    curve = Curve()
    for entry in (
        {"event": "stage", "stage": "one", "parameters": 3, "val": 0.9},
        {"event": "epoch", "stage": "one", "epoch": 1, "train": {"mae": 0.8, "own": 7.0}, "val": 0.7},
        {"event": "epoch", "stage": "one", "epoch": 2, "train": {"mae": 0.6, "own": 7.0}, "val": 0.75},
        {"event": "stage", "stage": "two", "parameters": 5, "val": 0.7},
        {"event": "epoch", "stage": "two", "epoch": 1, "train": {"mae": 0.5, "own": 7.0}, "val": 0.7},
    ):
        curve.add(entry)
    assert curve.train == [(1, 0.8), (2, 0.6), (3, 0.5)]
    assert curve.val == [(0, 0.9), (1, 0.7), (2, 0.75), (2, 0.7), (3, 0.7)]
    assert [(stage["name"], stage["start"], stage["end"]) for stage in curve.stages] == [("one", 0, 2), ("two", 2, 3)]
    assert curve.best == (1, 0.7)
    assert curve.loss == "mae"


def test_a_scale_places_values_and_cuts_what_lies_outside() -> None:
    scale = Scale(-0.5, 1.5)
    assert [scale.at(value) for value in (-0.5, 0.0, 0.5, 1.5, 9.0)] == [0.0, 25.0, 50.0, 100.0, 100.0]
    bar = scale.bar(0.5, 0.0, 2.0)
    assert bar == {"dot": 50.0, "left": 25.0, "width": 75.0, "beyond": False, "cut": True}
    assert scale.bar(None, None, None) is None
    assert [round(number, 9) for _, number in scale.ticks()] == [-0.5, 0.0, 0.5, 1.0, 1.5]
    assert Scale.over([0.0, 0.0]).high > 0


@pytest.mark.parametrize(
    "made, words",
    [
        (change(-0.4378), "−43.8\u00a0%"),
        (change(0.0004), "0.0\u00a0%"),
        (change(-0.0004), "0.0\u00a0%"),
        (change(12.5), "+1,250.0\u00a0%"),
        (change(None), "not known"),
        (error(0.10432), "0.1043"),
        (error(0.0), "0.0000"),
        (error(0.000123), "1.23e−04"),
        (error(12345.6), "12,346"),
        (date("2021-01-03T00:00:00"), "3 Jan 2021"),
        (date("2021-12-31T23:05:00"), "31 Dec 2021 23:05"),
        (date("some day"), "some day"),
    ],
)
def test_numbers_and_dates_are_written_for_people(made: str, words: str) -> None:
    assert made == words


def test_data_are_read_without_numbers_that_are_none_and_without_open_turns() -> None:
    data = {"a\u202e": [1.5, float("nan"), float("inf"), 2, True, None, "plain", "\u2067\u202bx\u202ey"]}
    closed = {"a\u202e\u202c": [1.5, None, None, 2, True, None, "plain", "\u2067\u202bx\u202ey\u2069\u202c\u202c"]}
    assert finite(data) == closed


def test_split_facts_are_numbers_dates_and_counts_by_name() -> None:
    table = split_table({
        "train": {"first": "2004-03-28T13:30:00", "with_text": 3100, "classes": {"ill": 1200, "well": 7}},
        "rest": {"first": "some day", "with_text": None},
    })  # fmt: skip
    assert [(column["name"], column["kind"]) for column in table["columns"]] == [
        ("first", ""), ("with text", "number"), ("classes", "words"),
    ]  # fmt: skip
    assert table["rows"] == [
        ("training", ["28 Mar 2004 13:30", "3,100", "ill 1,200, well 7"]),
        ("rest", ["some day", "not known", "–"]),
    ]


def test_classes_that_only_one_fold_knows_keep_their_place() -> None:
    whole = Confusion.joined([Confusion(["a", "b"], [[1, 2], [3, 4]]), Confusion(["c", "a"], [[5, 6], [7, 8]])])
    assert whole == Confusion(["a", "b", "c"], [[9, 2, 7], [3, 4, 0], [6, 0, 5]])
    assert [whole.recall(name) for name in ("a", "c", "z")] == [0.5, 5 / 11, None]


def test_trainings_are_found_by_arm_seed_and_fold(tmp_path: Path) -> None:
    for name in ("fused-fold10-seed2", "fused-fold9-seed2", "fused-fold0-seed11", "fused_raw-seed1", "x-fused-seed0"):
        (tmp_path / "arms" / name).mkdir(parents=True)
    found = [(each.seed, each.fold) for each in trainings(tmp_path, "fused")]
    assert found == [(2, 9), (2, 10), (11, 0)]
    assert [each.folder.name for each in of_first_seed(tmp_path, "fused")] == [
        "fused-fold9-seed2",
        "fused-fold10-seed2",
    ]
    assert [each.words for each in trainings(tmp_path, "fused_raw")] == ["seed 1"]
    assert of_first_seed(tmp_path, "absent") == []


@pytest.mark.parametrize(
    ("name", "words"), [("mae", "MAE"), ("rmse", "RMSE"), ("log_loss", "log loss"), ("accuracy", "accuracy")]
)
def test_metrics_are_named_for_people(name: str, words: str) -> None:
    assert metric_name(name) == words


def test_numbers_beside_the_error_of_arms_have_columns_of_their_own() -> None:
    found = {"auc": {"value": 0.7, "low": 0.6, "high": 0.8}}
    arms = [
        {"name": "anchor", "mean": 0.2, "low": 0.1, "high": 0.3, "seeds": 3, "parameters": 7, "also": found},
        {"name": "rival", "mean": 0.3, "low": None, "high": None, "seeds": 1},
    ]
    result = {
        "arms": arms, "unit": "u", "windows": 11, "row_name": "bars", "metric": "brier", "seeds": [0], "folds": 1,
        "best_baseline": {"name": "rival"}, "drawn": "blocks", "lacking": "",
    }  # fmt: skip
    table = arm_table("All arms", result)
    assert table["columns"] == ["test AUC ↑", "seeds", "parameters"]
    assert table["rising"]
    assert [row["more"] for row in table["rows"]] == [["0.7000\n0.6000 to 0.8000", "3", "7"], ["not known", "1", "–"]]
    without = arm_table("All arms", {**result, "arms": [{**arm, "also": {}} for arm in arms]})
    assert without["columns"] == ["seeds", "parameters"]
    assert not without["rising"]


@pytest.mark.parametrize("modality, helps, words", [
    ("text", False, "Text does not help."), ("text", True, "Text helps."),
    ("topology and complexity", False, "Topology and complexity do not help."),
    ("topology and complexity", True, "Topology and complexity help."),
])  # fmt: skip
def test_two_modalities_help_in_the_plural(modality: str, helps: bool, words: str) -> None:
    assert headline({"modality": modality, "helps": helps, "beyond_calendar": None}) == words
