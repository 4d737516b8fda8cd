"""Modality dropout hides whole modalities of train rows, the same however a step is cut, and never the anchor."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from plait.core.config import validate
from plait.core.errors import ConfigError
from plait.core.tokens import Batch
from plait.data.sources.planted import PlantedConfig
from plait.data.windows import ForecastData
from plait.models.chimera import ChimeraConfig
from plait.tasks.forecast import ForecastTask
from plait.training.config import StageConfig, TrainingConfig
from plait.training.loop import Trainer
from plait.training.modality_dropout import ModalityDropout

MODEL = {
    "kind": "chimera",
    "series": {"kind": "linear", "dim": 8},
    "text": {"kind": "text", "dim": 8, "hidden": 8, "depth": 0, "dropout": 0.0},
    "fusion": {"kind": "cross_attention", "heads": 2},
}


@pytest.fixture(scope="module")
def data() -> ForecastData:
    config = validate(PlantedConfig, {"kind": "planted", "weeks": 330})
    return ForecastData(config.read(), config)


def hidden(data: ForecastData, rates: Any, epoch: int = 0, stage: str = "all", seed: int = 3) -> np.ndarray:
    """Which train rows have lost their texts."""
    rows = data.rows("train")
    batch = data.batch("train", rows)
    seen = ModalityDropout(rates, data, seed)(batch, rows, stage, epoch).inputs["text_mask"]
    had, has = batch.inputs["text_mask"], seen
    assert torch.equal(has[has.any(dim=1)], had[has.any(dim=1)])  # a row keeps all of its texts or none
    return (had.any(dim=1) & ~has.any(dim=1)).numpy()


@pytest.mark.parametrize("rates", [0.3, {"text": 0.3}])
def test_the_share_of_hidden_rows_is_the_rate(data: ForecastData, rates: Any) -> None:
    with_text = data.batch("train", data.rows("train")).inputs["text_mask"].any(dim=1).numpy()
    count = with_text.sum()
    drawn = sum(hidden(data, rates, epoch).sum() for epoch in range(20))
    # Five standard deviations of a binomial count.
    assert abs(drawn - 0.3 * 20 * count) < 5 * np.sqrt(0.21 * 20 * count)


def test_rows_differ_by_epoch_stage_and_seed_and_by_nothing_else(data: ForecastData) -> None:
    first = hidden(data, 0.5)
    assert np.array_equal(first, hidden(data, {"text": 0.5}))
    for other in ({"epoch": 1}, {"stage": "fusion"}, {"seed": 4}):
        assert not np.array_equal(first, hidden(data, 0.5, **other))
    drop, rows = ModalityDropout(0.5, data, 3), data.rows("train")[::-7]
    seen = drop(data.batch("train", rows), rows, "all", 0).inputs["text_mask"].any(dim=1).numpy()
    had = data.batch("train", rows).inputs["text_mask"].any(dim=1).numpy()
    assert np.array_equal(had & ~seen, first[rows])


def test_nothing_but_the_mask_changes_and_rate_zero_changes_nothing(data: ForecastData) -> None:
    rows = data.rows("train")
    batch = data.batch("train", rows)
    for rate in (0.0, 0.9):
        seen = ModalityDropout(rate, data, 3)(batch, rows, "all", 0)
        for name, tensor in batch.inputs.items():
            assert torch.equal(seen.inputs[name], tensor) == (rate == 0 or name != "text_mask")


@pytest.mark.parametrize(
    "rates, words",
    [({"series": 0.1}, "the anchor, which is never hidden"), ({"txt": 0.1}, r"no modality.*did you mean text")],
)
def test_the_anchor_and_unknown_modalities_are_refused(data: ForecastData, rates: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ModalityDropout(rates, data, 0)


@pytest.mark.parametrize("value", [1.0, -0.1, "x", True, {"text": 1.0}, {"text": None}])
def test_a_rate_is_below_one(value: Any) -> None:
    with pytest.raises(ConfigError, match="a rate from 0 to below 1"):
        validate(TrainingConfig, {"modality_dropout": value})


@pytest.mark.parametrize("parts", [1, 5])
def test_the_gradient_of_a_step_is_that_of_the_hidden_batch(data: ForecastData, tmp_path: Path, parts: int) -> None:
    torch.manual_seed(5)
    model = validate(ChimeraConfig, MODEL).build(data.schema)
    torch.nn.init.constant_(model.fusion.attention.out.weight, 0.1)  # type: ignore[union-attr, arg-type]
    stage, rows = StageConfig(name="all"), data.rows("train")
    batch = ModalityDropout(0.5, data, 3)(data.batch("train", rows), rows, "all", 0)
    want = gradients(model, batch)
    assert not torch.allclose(want["text.up.weight"], gradients(model, data.batch("train", rows))["text.up.weight"])
    config = TrainingConfig(stages=[stage], accumulate=parts, modality_dropout=0.5, clip=0.0)
    trainer = Trainer(model, ForecastTask(), data, config, tmp_path, 3, Accelerator(cpu=True))
    trainer.optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    trainer._step(rows, stage)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, want[name], rtol=1e-4, atol=1e-7)


def gradients(model: Any, batch: Batch) -> dict[str, torch.Tensor]:
    """Of the mean squared error of a batch."""
    error = (model(batch).prediction.point - batch.targets["y"])[batch.targets["mask"]]
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad((error**2).mean(), parameters), strict=True))
