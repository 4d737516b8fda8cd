"""Tests of what is told of chances: calls, groups, the temperature, parts of a model, files of a run."""

import csv
import io
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from plait.tasks._moves import (
    deciles,
    parameters_of,
    precision_at,
    reliability,
    temperature,
    threshold_table,
    thresholds,
    training_results,
)
from plait.tasks.range_move import RangeMoveTask, RangeMoveTaskConfig

CHANCE = np.array([0.9, 0.1, 0.5, 0.4, 0.7, 0.2, 0.31])
EVENT = np.array([True, False, True, False, False, False, True])


def test_thresholds_count_by_hand() -> None:
    found = {round(row["threshold"] or 0, 2): row for row in thresholds(CHANCE, EVENT)}
    # 0.9, 0.7 and 0.5 are called, two of them with one of the three moves among seven rows.
    half = {"threshold": 0.5, "rows": 3, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "lift": (2 / 3) / (3 / 7)}
    assert found[0.5] == pytest.approx(half)
    nothing = {"threshold": 0.95, "rows": 0, "precision": None, "recall": 0.0, "f1": 0.0, "lift": None}
    assert found[0.95] == nothing
    assert len(found) == 19


def test_deciles_call_the_highest_first_and_all_at_last() -> None:
    found = deciles(CHANCE, EVENT)
    assert [row["rows"] for row in found] == [round(0.7 * n) for n in range(1, 11)]
    assert (found[0]["precision"], found[1]["precision"]) == (1.0, 1.0)
    assert (found[2]["precision"], found[2]["recall"]) == (0.5, 1 / 3)
    assert found[-1] == pytest.approx({"top": 1.0, "rows": 7, "precision": 3 / 7, "recall": 1.0, "f1": 0.6, "lift": 1})


def test_without_events_there_is_no_recall_and_no_lift() -> None:
    row = deciles(CHANCE, np.zeros(7, dtype=bool))[-1]
    assert (row["precision"], row["recall"], row["lift"], row["f1"]) == (0.0, None, None, 0.0)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=41))
def test_groups_hold_every_row_once_and_keep_both_means(rows: list[tuple[float, bool]]) -> None:
    chance, event = np.array([c for c, _ in rows]), np.array([e for _, e in rows])
    groups: list[Any] = reliability(chance, event)
    sizes = [group["rows"] for group in groups]
    assert sum(sizes) == len(rows)
    assert max(sizes) - min(sizes) <= 1
    assert sum(group["share"] * group["rows"] for group in groups) == pytest.approx(event.sum())
    assert sum(group["chance"] * group["rows"] for group in groups) == pytest.approx(chance.sum())
    means = [group["chance"] for group in groups]
    assert all(before <= after + 1e-12 for before, after in pairwise(means))


def test_precision_at_calls_ties_together() -> None:
    score = np.array([3.0, 2.0, 2.0, 2.0, 1.0])
    event = np.array([True, True, False, False, True])
    # Half of three moves is two: the three tied rows come together.
    assert precision_at(score, event, 0.5) == 0.5
    assert precision_at(score, event, 1 / 3) == 1.0


@pytest.mark.parametrize("true", [0.5, 3.0])
def test_the_temperature_is_the_one_that_made_the_chances(true: float) -> None:
    logit = np.linspace(-5, 5, 1009) * true
    rng = np.random.default_rng(3)
    event = rng.random((401, 1009)) < 1 / (1 + np.exp(-logit / true))
    assert temperature(np.tile(logit, 401), event.ravel()) == pytest.approx(true, rel=0.02)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.legs = nn.ModuleDict({"candles": nn.Linear(3, 5), "topology": nn.Linear(7, 2, bias=False)})
        self.head = nn.Linear(7, 1)
        for parameter in self.legs["topology"].parameters():
            parameter.requires_grad_(False)


def test_parts_are_counted_by_name_and_frozen_ones_apart() -> None:
    assert parameters_of(Two()) == {
        "candles": {"trainable": 20, "total": 20}, "topology": {"trainable": 0, "total": 14},
        "head": {"trainable": 8, "total": 8}, "total": {"trainable": 28, "total": 42},
    }  # fmt: skip


def page() -> dict[str, Any]:
    return {
        "share": 3 / 7, "reliability": reliability(CHANCE, EVENT), "deciles": deciles(CHANCE, EVENT),
        "thresholds": thresholds(CHANCE, EVENT), "parameters": parameters_of(Two()),
    }  # fmt: skip


def test_the_threshold_table_is_one_line_a_call() -> None:
    rows = list(csv.DictReader(io.StringIO(threshold_table(page()).decode())))
    assert [row["by"] for row in rows] == ["threshold"] * 19 + ["top_share"] * 10
    assert list(rows[0]) == ["by", "at", "rows", "precision", "recall", "f1", "lift"]
    assert rows[9] == {
        "by": "threshold", "at": "0.5", "rows": "3", "precision": "0.6666667", "recall": "0.6666667",
        "f1": "0.6666667", "lift": "1.555556",
    }  # fmt: skip
    assert (rows[18]["rows"], rows[18]["precision"], rows[18]["lift"]) == ("0", "", "")


def test_training_results_hold_metrics_parts_and_history() -> None:
    result = {"metrics": {"test": {"auc": 0.7}}, "recipe": "market", "total_s": 3.0}
    history = [{"epoch": 1, "val": -0.2}, {"epoch": 2, "val": -0.3}]
    made = json.loads(training_results(result, page(), history))
    assert made["metrics"] == {"test": {"auc": 0.7}}
    assert made["parameters"]["total"] == {"trainable": 28, "total": 42}
    assert made["history"] == history
    assert made["thresholds"][18]["precision"] is None
    assert "total_s" not in made


def test_a_run_gets_both_files() -> None:
    task = RangeMoveTask(RangeMoveTaskConfig(), None)  # type: ignore[arg-type]
    made = task.files({"metrics": {}}, page(), [])
    assert list(made) == ["training_results.json", "thresholds.csv"]
    assert made["thresholds.csv"] == threshold_table(page())
