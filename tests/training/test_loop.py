"""One step is the true mean however it is cut; stages learn what they name; scores do not depend on batches."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from plait.core.config import validate
from plait.core.errors import ConfigError, NumericsError
from plait.core.tokens import Batch
from plait.data.sources.planted import PlantedConfig
from plait.data.windows import ForecastData
from plait.models.chimera import Chimera, ChimeraConfig
from plait.tasks.forecast import ForecastTask
from plait.training.config import StageConfig, TrainingConfig
from plait.training.evaluate import evaluate
from plait.training.loop import Trainer
from plait.training.stages import build_optimizer, learning_rate, select
from plait.training.state import Trained

MODEL = {
    "kind": "chimera",
    "series": {"kind": "itransformer", "dim": 8, "depth": 1, "heads": 2, "hidden": 12, "dropout": 0.0},
    "text": {"kind": "text", "dim": 8, "hidden": 8, "depth": 1, "heads": 2, "dropout": 0.0},
}
SERIES = StageConfig(name="series", present=["series"], epochs=2)
FUSION = StageConfig(name="fusion", train=["text*", "fusion.*"], epochs=2)


@pytest.fixture(scope="module")
def data() -> ForecastData:
    config = validate(PlantedConfig, {"kind": "planted", "weeks": 330})
    table = config.read()
    values = table.values.copy()
    values[np.random.default_rng(0).random(values.shape) < 0.2] = np.nan
    table.values[:] = values
    return ForecastData(table, config)


def _model(data: ForecastData, **fields: Any) -> Chimera:
    torch.manual_seed(5)
    return validate(ChimeraConfig, {**MODEL, **fields}).build(data.schema)


def _train(data: ForecastData, folder: Path, model: Chimera, stages: list[StageConfig], **fields: Any) -> Trained:
    config = TrainingConfig(stages=stages, **{"batch_size": 64, "checkpoint_seconds": 1e9, **fields})
    folder.mkdir(parents=True, exist_ok=True)
    return Trainer(model, ForecastTask(), data, config, folder, 3, Accelerator(cpu=True)).run()


def _same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], tolerance: float = 0.0) -> bool:
    return all(torch.allclose(one[k], two[k], rtol=0, atol=tolerance) for k in one)


@pytest.mark.parametrize("parts", [2, 3, 64])
def test_accumulation_is_the_whole_batch(data: ForecastData, tmp_path: Path, parts: int) -> None:
    stage = [StageConfig(name="all", epochs=1)]
    fields = {"lr": 1e-3, "schedule": "constant", "clip": 0.0}
    whole = _train(data, tmp_path / "whole", _model(data), stage, **fields)
    cut = _train(data, tmp_path / "cut", _model(data), stage, accumulate=parts, **fields)
    losses = [json.loads((tmp_path / n / "metrics.jsonl").read_text().splitlines()[-1]) for n in ("whole", "cut")]
    assert losses[0]["train"]["mse"] == pytest.approx(losses[1]["train"]["mse"], rel=1e-5)
    assert losses[0]["val"] == pytest.approx(losses[1]["val"], rel=1e-4)
    assert _same(whole.best, cut.best, 2e-4)


def test_the_gradient_of_a_step_is_the_mean_over_known_targets(data: ForecastData, tmp_path: Path) -> None:
    rows = data.rows("train")
    model = _model(data)
    batch = data.batch("train", rows)
    error = (model(batch).prediction.point - batch.targets["y"])[batch.targets["mask"]]
    (error**2).mean().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    cut = _model(data)
    config = TrainingConfig(stages=[StageConfig(name="all")], batch_size=len(rows), accumulate=5, clip=0.0)
    trainer = Trainer(cut, ForecastTask(), data, config, tmp_path, 3, Accelerator(cpu=True))
    trainer.optimizer = torch.optim.SGD(cut.parameters(), lr=0.0)
    trainer._step(rows, config.stages[0])
    for name, parameter in cut.named_parameters():
        if name in expected:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-7)


GATED = {"kind": "latent_gate", "heads": 2, "gate_l1": 3.0, "gate_entropy": 2.0}


@pytest.mark.parametrize("parts, count", [(1, 64), (3, 64), (3, 37), (5, 7)])
def test_own_losses_of_a_model_are_means_over_the_rows_of_a_step(
    data: ForecastData, tmp_path: Path, parts: int, count: int
) -> None:
    rows = data.rows("train")[:count]
    batch = data.batch("train", rows)
    batch.inputs["text_mask"][::3] = False
    data = _Fixed(data, batch)  # type: ignore[assignment]
    whole, cut = _model(data, fusion=GATED), _model(data, fusion=GATED)
    for model in (whole, cut):
        torch.nn.init.constant_(model.fusion.down.weight, 0.1)  # type: ignore[union-attr, arg-type]
    output = whole(batch)
    error = (output.prediction.point - batch.targets["y"])[batch.targets["mask"]]
    own = {name: total / count for name, (total, _) in output.losses.items()}
    assert set(own) == {"gate_l1", "gate_entropy"}
    ((error**2).mean() + sum(own.values())).backward()
    config = TrainingConfig(stages=[StageConfig(name="all")], batch_size=count, accumulate=parts, clip=0.0)
    trainer = Trainer(cut, ForecastTask(), data, config, tmp_path, 3, Accelerator(cpu=True))
    trainer.optimizer = torch.optim.SGD(cut.parameters(), lr=0.1)
    losses = trainer._step(rows, config.stages[0])
    for (name, want), got in zip(whole.named_parameters(), cut.parameters(), strict=True):
        moved = want if want.grad is None else want - 0.1 * want.grad
        torch.testing.assert_close(got, moved, rtol=0, atol=1e-6, msg=name)
    for name, loss in own.items():
        assert losses[name] == pytest.approx(loss.item(), rel=1e-5)
        assert trainer.position.sums[name] == pytest.approx([loss.item() * count, count], rel=1e-5)


class _Fixed:
    """A data set whose train rows are those of one batch."""

    def __init__(self, data: ForecastData, batch: Batch) -> None:
        self.schema, self._batch = data.schema, batch

    def batch(self, split: str, index: np.ndarray) -> Batch:
        return self._batch.rows(torch.as_tensor(index))

    def training_batch(self, index: np.ndarray, *key: object) -> Batch:
        return self.batch("train", index)


def test_own_losses_of_an_epoch_do_not_depend_on_accumulation(data: ForecastData, tmp_path: Path) -> None:
    stage = [StageConfig(name="all", epochs=1)]
    for parts in (1, 3):
        folder = tmp_path / str(parts)
        _train(data, folder, _model(data, fusion=GATED), stage, lr=1e-4, clip=0.0, accumulate=parts)
    one, three = (
        json.loads((tmp_path / n / "metrics.jsonl").read_text().splitlines()[-1])["train"] for n in ("1", "3")
    )
    assert list(one) == ["mse", "gate_l1", "gate_entropy"]
    assert three == pytest.approx(one, rel=1e-4)


def test_stage_one_equals_a_model_that_has_no_text_at_all(data: ForecastData, tmp_path: Path) -> None:
    staged = _train(data, tmp_path / "staged", _model(data), [SERIES, FUSION])
    alone = _train(data, tmp_path / "alone", _model(data, fusion={"kind": "none"}), [SERIES])
    assert staged.anchor is not None
    for name, value in alone.best.items():
        assert torch.equal(value, staged.anchor[name]), name


def test_a_stage_moves_what_it_names_and_nothing_else(data: ForecastData, tmp_path: Path) -> None:
    model = _model(data)
    first = {k: v.clone() for k, v in model.state_dict().items()}
    config = TrainingConfig(stages=[FUSION])
    trainer = Trainer(model, ForecastTask(), data, config, tmp_path, 3, Accelerator(cpu=True))
    learning = select(model, FUSION)
    trainer.optimizer = build_optimizer(model, FUSION, config)
    for rows in np.array_split(data.rows("train"), 3):
        trainer._step(rows, FUSION)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, first[name])}
    named = dict(model.named_parameters())
    assert learning == sum(p.numel() for name, p in named.items() if name.startswith(("text", "fusion")))
    assert {name.split(".")[0] for name in moved} == {"text", "fusion"}


def test_a_glob_that_matches_nothing_is_an_error(data: ForecastData) -> None:
    with pytest.raises(ConfigError, match=r"'fusoin\.\*' matches no parameter.*did you mean fusion"):
        select(_model(data), StageConfig(name="x", train=["series.*", "fusoin.*"]))


def test_the_best_epoch_is_kept_and_the_start_is_a_candidate(data: ForecastData, tmp_path: Path) -> None:
    model = _model(data)
    first = {k: v.clone() for k, v in model.state_dict().items()}
    wild = _train(data, tmp_path / "wild", model, [StageConfig(name="all", epochs=2)], lr=3.0, schedule="constant")
    scores = [json.loads(line)["val"] for line in (tmp_path / "wild" / "metrics.jsonl").read_text().splitlines()]
    assert min(scores) == scores[0]
    assert _same(wild.best, first)


def test_patience_ends_a_stage(data: ForecastData, tmp_path: Path) -> None:
    _train(data, tmp_path, _model(data), [StageConfig(name="all", epochs=50)], lr=3.0, schedule="constant", patience=2)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1 + 2


def test_averaged_weights_are_what_is_scored_and_kept(data: ForecastData, tmp_path: Path) -> None:
    model = _model(data)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    config = TrainingConfig(stages=[StageConfig(name="all")], ema=0.9)
    trainer = Trainer(model, ForecastTask(), data, config, tmp_path, 3, Accelerator(cpu=True))
    trainer.optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    trainer.weights["ema"] = {k: v.clone() for k, v in before.items()}
    expected = {k: v.clone() for k, v in before.items()}
    for rows in np.array_split(data.rows("train"), 3):
        trainer._step(rows, config.stages[0])
        for name, parameter in model.named_parameters():
            expected[name] = 0.9 * expected[name] + 0.1 * parameter.detach()
    own = {k: v.clone() for k, v in model.state_dict().items()}
    with trainer._averaged():
        assert _same(dict(model.state_dict()), expected, 1e-6)
    assert _same(dict(model.state_dict()), own)


def test_metrics_do_not_depend_on_the_batch_size(data: ForecastData) -> None:
    model, task, accelerator = _model(data), ForecastTask(), Accelerator(cpu=True)
    found = [task.metrics(evaluate(model, task, data, "test", size, accelerator)) for size in (1, 7, 64, 1000)]
    for metrics in found[1:]:
        assert metrics == pytest.approx(found[0], rel=1e-6)


def test_a_loss_that_is_no_number_stops_with_step_and_rows(data: ForecastData, tmp_path: Path) -> None:
    model = _model(data)
    with torch.no_grad():
        model.head.project.bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    config = TrainingConfig(stages=[StageConfig(name="all")])
    trainer = Trainer(model, ForecastTask(), data, config, tmp_path, 3, Accelerator(cpu=True))
    trainer.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(NumericsError, match=r"loss is nan at step 0, rows \[0, 1, 2"):
        trainer._step(data.rows("train")[:7], config.stages[0])
    with pytest.raises(NumericsError, match="row 0 of the val split"):
        trainer._validate(config.stages[0])


def test_schedules_are_what_they_are_called() -> None:
    stage = StageConfig(name="s", lr=2.0)

    def rates(schedule: str, **fields: Any) -> list[float]:
        config = TrainingConfig.model_validate({"schedule": schedule, **fields})
        return [learning_rate(step, 100, 25, stage, config) for step in range(100)]

    assert set(rates("constant")) == {2.0}
    assert rates("halving")[::25] == [2.0, 1.0, 0.5, 0.25]
    cosine = rates("cosine", warmup=0.1)
    assert cosine[0] == pytest.approx(0.2)
    assert max(cosine) == 2.0
    assert cosine[55] == pytest.approx(1.0)
    one = rates("one_cycle")
    assert one[0] == pytest.approx(2.0 / 25)
    assert np.argmax(one) == 30
    assert one[-1] < 0.01


def test_choose_last_ends_with_the_last_weights_and_never_early(data: ForecastData, tmp_path: Path) -> None:
    stage = [StageConfig(name="all", epochs=4)]
    worse = {"lr": 0.3, "schedule": "constant", "patience": 1}
    best = _train(data, tmp_path / "best", _model(data), stage, **worse)
    last = _train(data, tmp_path / "last", _model(data), stage, **worse, choose="last")
    lines = [json.loads(line) for line in (tmp_path / "last" / "metrics.jsonl").read_text().splitlines()]
    scores = [line["val"] for line in lines if line["event"] == "epoch"]
    assert len(scores) == 4
    assert last.position.best == scores[-1] > min(scores)
    assert best.position.best == min(line["val"] for line in lines[: best.position.best_epoch + 1] if "val" in line)


def test_plateau_halves_the_rate_where_validation_stands_still(data: ForecastData, tmp_path: Path) -> None:
    stage = [StageConfig(name="all", epochs=9)]
    fields = {"lr": 0.05, "schedule": "plateau", "plateau": 2, "patience": 100, "log_steps": 1}
    _train(data, tmp_path, _model(data), stage, **fields)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    best, stale, rate = lines[0]["val"], 0, 0.05
    for line in lines[1:]:
        if line["event"] == "step":
            assert line["lr"] == rate
        else:
            best, stale = (line["val"], 0) if line["val"] < best else (best, stale + 1)
            rate *= 0.5 if stale and stale % 2 == 0 else 1.0
    assert 0 < rate < 0.05
    with pytest.raises(ValueError, match="plateau waits"):
        TrainingConfig(schedule="plateau", choose="last")


def test_rates_and_decays_of_parts_are_the_first_that_a_name_matches(data: ForecastData) -> None:
    model = _model(data)
    config = TrainingConfig(
        lr=1e-3, lr_of={"fusion.*": 5e-4, "*": 1e-3}, weight_decay=0.1,
        weight_decay_of={"fusion.*": 0.03, "head.*": 0.0},
    )  # fmt: skip
    select(model, StageConfig(name="all"))
    optimizer = build_optimizer(model, StageConfig(name="all"), config)
    found = {
        id(p): (group["factor"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        decay = {"fusion": 0.03, "head": 0.0}.get(part, 0.1) if parameter.dim() == 2 else 0.0
        assert found[id(parameter)] == (0.5 if part == "fusion" else 1.0, decay), name


@pytest.mark.parametrize("field", ["lr_of", "weight_decay_of"])
def test_a_glob_that_matches_nothing_is_told(data: ForecastData, field: str) -> None:
    with pytest.raises(ConfigError, match=rf"training\.{field}: the glob 'nothing\.\*' matches no parameter"):
        build_optimizer(_model(data), StageConfig(name="all"), TrainingConfig(**{field: {"nothing.*": 0.1}}))


@pytest.mark.soak
def test_a_compiled_training_learns_the_same(data: ForecastData, tmp_path: Path) -> None:
    stage = [StageConfig(name="all", epochs=1)]
    plain = _train(data, tmp_path / "plain", _model(data), stage)
    model = _model(data)
    compiled = _train(data, tmp_path / "compiled", model, stage, compile=True)
    assert list(compiled.best) == list(plain.best) == list(model.state_dict())
    assert _same(plain.best, compiled.best, 1e-4)
