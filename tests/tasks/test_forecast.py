"""The weight of the task's loss beside a model's own, and the levels it may be asked for."""

import pytest
import torch

from plait.core.config import validate
from plait.core.errors import ConfigError
from plait.core.tokens import Batch, Output, Prediction
from plait.heads._answers import QUANTILES
from plait.tasks.forecast import ForecastTaskConfig


def test_the_weight_scales_the_loss_and_neither_its_count_nor_the_scores() -> None:
    maker = torch.Generator().manual_seed(0)
    y, point = (torch.randn(5, 7, 2, generator=maker) for _ in range(2))
    mask = torch.rand(5, 7, 2, generator=maker) < 0.7
    batch = Batch({}, {"y": y, "mask": mask}, {})
    output = Output(Prediction(point), {"own": (torch.tensor(3.0), torch.tensor(5.0))}, {})
    plain, heavy = (ForecastTaskConfig(loss="mae", weight=weight).build() for weight in (1.0, 2.5))
    total, count = heavy.losses(output, batch)["mae"]
    torch.testing.assert_close(total / count, 2.5 * (point - y).abs()[mask].mean())
    assert torch.equal(count, plain.losses(output, batch)["mae"][1])
    assert heavy.losses(output, batch)["own"] == output.losses["own"]
    for name, values in plain.scores(output, batch).items():
        assert torch.equal(heavy.scores(output, batch)[name], values)


@pytest.mark.parametrize(
    "levels, words",
    [
        ([0.05, 0.5], "one pair"),
        ([0.1, 0.9], "hold 0.5"),
        ([0.5], "at least one pair"),
        ([], "at least one pair"),
        ([0.0, 0.5, 1.0], "between 0 and 1"),
        ([0.5, 0.1, 0.9], "in order"),
        ([0.1, 0.1, 0.5, 0.9, 0.9], "each once"),
        ([0.1, 0.5, 0.95], "in pairs"),
    ],
)
def test_levels_that_are_no_pairs_around_the_median_are_refused(levels: list[float], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"quantiles.*{words}"):
        validate(ForecastTaskConfig, {"quantiles": levels})


def test_with_quantiles_the_pinball_loss_trains_and_chooses_and_the_errors_stay_those_of_the_point() -> None:
    maker = torch.Generator().manual_seed(1)
    y, point = (torch.randn(5, 7, 2, generator=maker) for _ in range(2))
    mask = torch.rand(5, 7, 2, generator=maker) < 0.7
    batch = Batch({}, {"y": y, "mask": mask}, {})
    quantiles = point[..., None] + torch.tensor([-1.0, 0.0, 1.5])
    task = ForecastTaskConfig(quantiles=[0.1, 0.5, 0.9], weight=2.0).build()
    output = Output(Prediction(point, {QUANTILES: quantiles}), {}, {})
    error = (y[..., None] - quantiles)[mask]
    level = torch.tensor([0.1, 0.5, 0.9])
    want = torch.where(error > 0, level * error, (level - 1) * error).mean()
    total, count = task.losses(output, batch)["pinball"]
    torch.testing.assert_close(total / count, 2 * want)
    assert torch.equal(count, task.weights(batch)["pinball"])
    scores = {name: values.numpy() for name, values in task.scores(output, batch).items()}
    assert task.selection(scores) == pytest.approx(float(want))
    plain = ForecastTaskConfig().build()
    alone = {name: values.numpy() for name, values in plain.scores(output, batch).items()}
    assert {n: v for n, v in task.metrics(scores).items() if n != "pinball"} == plain.metrics(alone)
    with pytest.raises(ConfigError, match="gives no quantiles"):
        task.losses(Output(Prediction(point), {}, {}), batch)
