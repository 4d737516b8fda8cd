"""The task of moves: losses, scores, calibration, tables."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torch import Tensor

from data.market_files import small_data
from plait.core.tokens import Batch, Output, Prediction
from plait.data.candles import CandleData
from plait.models.market import MarketConfig
from plait.objectives.bootstrap import Units
from plait.objectives.ranking import roc_auc
from plait.runs.scores import summarise
from plait.tasks.range_move import RangeMoveTaskConfig


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CandleData:
    return small_data(tmp_path_factory.mktemp("market"))


def answered(
    point: list[list[float]], trigger: list[float], size: list[float], known: list[bool]
) -> tuple[Output, Batch]:
    targets = {"trigger": torch.tensor(trigger), "max_pct": torch.tensor(size), "mask": torch.tensor(known)}
    return Output(Prediction(torch.tensor(point)), {}, {}), Batch({}, targets, {})


def test_the_losses_in_closed_form(data: CandleData) -> None:
    task = RangeMoveTaskConfig(gamma=2.0, alpha=0.25, size_loss="huber", size_weight=0.5).build(data)
    output, batch = answered(
        [[0.3, 1.0], [-0.5, 9.0], [2.0, 9.0], [1.0, -4.0]], [1, 0, 0, 1], [1.5, 9, 0, 2.0], [True, True, False, True]
    )
    found = task.losses(output, batch)

    def row(logit: float, event: bool) -> float:
        chance = 1 / (1 + math.exp(-logit))
        given, weight = (chance, 0.25) if event else (1 - chance, 0.75)
        return -weight * (1 - given) ** 2 * math.log(given)

    total, count = found["focal"]
    assert float(total) == pytest.approx(row(0.3, True) + row(-0.5, False) + row(1.0, True), rel=1e-5)
    assert int(count) == 3
    # Huber of 0.5 and of 6, where the row with a move alone counts.
    total, count = found["size"]
    assert float(total) == pytest.approx(0.5 * (0.125 + 5.5), rel=1e-6)
    assert int(count) == 2
    assert {name: int(weight) for name, weight in task.weights(batch).items()} == {"focal": 3, "size": 2}


def test_without_a_weight_the_size_has_no_loss(data: CandleData) -> None:
    task = RangeMoveTaskConfig(size_weight=0, loss="cross_entropy").build(data)
    output, batch = answered([[0.0, 1.0]], [1], [1.0], [True])
    found = task.losses(output, batch)
    assert list(found) == ["cross_entropy"]
    assert float(found["cross_entropy"][0]) == pytest.approx(math.log(2))


def rows(count: int = 211, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    event = rng.random(count) < 0.2
    logit = rng.standard_normal(count) + 1.5 * event - 2
    chance = 1 / (1 + np.exp(-logit))
    given = np.where(event, chance, 1 - chance)
    return {
        "brier": (chance - event) ** 2, "log_loss": -np.log(given), "n": np.ones(count), "logit": logit,
        "event": event.astype(float), "size_error": np.where(event, 1.25, 0.0),
    }  # fmt: skip


def test_metrics_equal_scikit_learn_s(data: CandleData) -> None:
    task, scores = RangeMoveTaskConfig().build(data), rows()
    found = task.metrics(scores)
    event, logit = scores["event"] > 0, scores["logit"]
    assert found["auc"] == pytest.approx(roc_auc_score(event, logit))
    assert found["average_precision"] == pytest.approx(average_precision_score(event, logit))
    precision, recall, _ = precision_recall_curve(event, logit)
    assert found["precision_at_half"] == pytest.approx(precision[:-1][recall[:-1] >= 0.5][-1])
    assert found["size_mae"] == pytest.approx(1.25)
    assert task.selection(scores) == -found["average_precision"]
    assert RangeMoveTaskConfig(choose="brier").build(data).selection(scores) == found["brier"]


def test_scores_of_rows_that_are_not_known_count_nowhere(data: CandleData) -> None:
    task = RangeMoveTaskConfig().build(data)
    output, batch = answered([[0.3, 1.0], [-0.5, 2.0], [9.0, 5.0]], [1, 0, 1], [1.5, 0, 7.0], [True, True, False])
    whole = {name: value.numpy() for name, value in task.scores(output, batch).items()}
    part = {name: value[:2] for name, value in whole.items()}
    assert task.metrics(whole) == task.metrics(part)
    assert whole["brier"][2] == whole["log_loss"][2] == whole["size_error"][2] == 0
    assert whole["size_error"].tolist() == pytest.approx([0.5, 0, 0])


def test_ranks_have_intervals_by_the_same_draws_as_the_error(data: CandleData) -> None:
    task, scores, units = RangeMoveTaskConfig().build(data), rows(), Units(211, 11)
    found = summarise(task, scores, units)
    draws = Units(211, 11).weights(np.random.default_rng(0), 2000)
    some = roc_auc(scores["logit"], scores["event"] > 0, draws)
    low, high = np.quantile(some, [0.025, 0.975])
    assert found["auc_low"] == pytest.approx(low)
    assert found["auc_high"] == pytest.approx(high)
    assert found["auc_low"] < found["auc"] < found["auc_high"]


def chances(shift: float, temperature: float) -> tuple[dict[str, np.ndarray], Any]:
    """Rows whose true chances are known, and logits that are off by a shift and a factor."""
    rng = np.random.default_rng(0)
    logit = rng.standard_normal(40_001) * 2 - 2
    event = rng.random(len(logit)) < 1 / (1 + np.exp(-logit))
    return {"logit": logit * temperature + shift, "event": event.astype(float), "n": np.ones(len(logit))}, logit


def test_calibration_finds_the_temperature_that_was_put_in(data: CandleData) -> None:
    task, model = RangeMoveTaskConfig().build(data), MarketConfig().build(data.schema)
    scores, true = chances(0.0, 3.0)
    task.calibrate(model, scores)
    assert float(model.temperature) == pytest.approx(3.0, rel=0.03)
    assert float(model.shift) == 0
    # What is calibrated asks for nothing more.
    task.calibrate(model, {**scores, "logit": scores["logit"] / float(model.temperature)})
    assert float(model.temperature) == pytest.approx(3.0, rel=0.03)
    untouched = MarketConfig().build(data.schema)
    RangeMoveTaskConfig(calibrate=False).build(data).calibrate(untouched, scores)
    assert float(untouched.temperature) == 1


@pytest.mark.parametrize("alpha, balanced", [(None, True), (0.25, False), (0.8, True)])
def test_what_weighing_rare_moves_adds_is_taken_away(
    tmp_path: Path, data: CandleData, alpha: float | None, balanced: bool
) -> None:
    own = small_data(tmp_path, sampling="balanced") if balanced else data
    share = own.labels.trigger[own.rows_of["train"]].mean()
    shift = np.log((1 - share) / share) * balanced + (np.log(alpha / (1 - alpha)) if alpha else 0.0)
    task, model = RangeMoveTaskConfig(alpha=alpha).build(own), MarketConfig().build(own.schema)
    scores, true = chances(shift, 1.0)
    task.calibrate(model, scores)
    assert float(model.shift) == pytest.approx(shift, rel=1e-5)
    assert float(model.temperature) == pytest.approx(1.0, rel=0.03)
    mended = (scores["logit"] - float(model.shift)) / float(model.temperature)
    assert np.mean(1 / (1 + np.exp(-mended))) == pytest.approx(scores["event"].mean(), abs=0.01)
    # And again, from the scores of the model as it is now.
    task.calibrate(model, {**scores, "logit": mended})
    assert float(model.shift) == pytest.approx(shift, rel=1e-5)


class Chances(torch.nn.Module):
    """Gives each bar a chance of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.at = torch.nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch) -> Output:
        row: Tensor = batch.info["row"].float()
        return Output(Prediction(torch.stack([row / 1000 - 1, row], dim=1)), {}, {})


def test_the_table_says_when_how_likely_and_how_far(data: CandleData) -> None:
    task = RangeMoveTaskConfig().build(data)
    table = task.table(data, Chances(), "test", data.rows("test"), 17, "cpu")
    bars = data.rows_of["test"]
    assert list(table) == ["open_time", "trigger_prob", "max_pct", "trigger", "actual_max_pct"]
    assert table["open_time"].iloc[0] == str(data.table.times[bars[0]])
    np.testing.assert_allclose(table["trigger_prob"], 1 / (1 + np.exp(-(bars / 1000 - 1))), rtol=1e-5)
    np.testing.assert_allclose(table["max_pct"], bars)
    moved = data.labels.trigger[bars]
    assert table["trigger"].tolist() == moved.tolist()
    np.testing.assert_array_equal(table["actual_max_pct"].isna(), ~moved)


def test_rivals_are_scored_on_the_same_rows_as_a_model(data: CandleData) -> None:
    task = RangeMoveTaskConfig().build(data)
    found = task.rivals(data)
    assert {"base_rate", "last_bar_range", "time_of_week", "logistic_numbers", "logistic_topology",
            "gradient_boosting"} == set(found)  # fmt: skip
    for scores in found.values():
        for split in ("val", "test"):
            assert len(scores[split]["n"]) == len(data.rows(split))
            np.testing.assert_array_equal(scores[split]["event"] > 0, data.labels.trigger[data.rows_of[split]])
    share = data.labels.trigger[data.rows_of["train"]].mean()
    event = data.labels.trigger[data.rows_of["test"]]
    assert task.metrics(found["base_rate"]["test"])["brier"] == pytest.approx(((share - event) ** 2).mean())


@pytest.mark.parametrize("own, told", [(0.71, 2), (0.75, 2), (0.76, 1), (0.8, 1), (0.81, 0)])
def test_a_model_that_does_not_beat_the_last_bar_or_a_linear_one_is_flagged(
    data: CandleData, own: float, told: int
) -> None:
    task = RangeMoveTaskConfig().build(data)
    baselines = {"last_bar_range": {"auc": 0.75}, "logistic_numbers": {"auc": 0.8}}
    for kept in ("metrics", "raw"):
        assert len(task.caveats({kept: {"test": {"auc": own}}, "baselines": baselines})) == told
