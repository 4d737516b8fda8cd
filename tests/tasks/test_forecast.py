"""The weight of the task's loss beside a model's own."""

import torch

from plait.core.tokens import Batch, Output, Prediction
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
