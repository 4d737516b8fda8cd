"""What each way to share a training out is asked to do; run as a script by torchrun, it writes what came of it.

A test runs the same in its own process, with one process, and compares.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from data.sample_study import data_of
from plait.core import signals
from plait.core.config import validate
from plait.core.errors import FileError, NumericsError, PlaitError, Terminated
from plait.data.sources.planted import PlantedConfig
from plait.data.windows import ForecastData
from plait.models.aam import Aam, AamConfig
from plait.models.chimera import Chimera, ChimeraConfig
from plait.objectives.auxiliary import AuxiliaryConfig
from plait.tasks.forecast import ForecastTask
from plait.tasks.pretrain import PretrainTaskConfig
from plait.tasks.regression import RegressionTaskConfig
from plait.training.config import StageConfig, TrainingConfig
from plait.training.evaluate import evaluate
from plait.training.launch import from_main
from plait.training.loop import Trainer

SERIES = {"kind": "itransformer", "dim": 8, "depth": 1, "heads": 2, "hidden": 12, "dropout": 0.0}
TEXT = {"kind": "text", "dim": 8, "hidden": 8, "depth": 1, "heads": 2, "dropout": 0.0}
GATED = {"kind": "latent_gate", "heads": 2, "gate_l1": 0.3, "gate_entropy": 0.2}
ALL = StageConfig(name="all", epochs=2)
STAGES = [StageConfig(name="series", present=["series"], epochs=1), StageConfig(name="rest", train=["*"], epochs=2)]
FROZEN = [STAGES[0], StageConfig(name="rest", train=["text*", "fusion.*"], epochs=2)]
STEPS = (37, 1, 8)
"""Rows of three steps: of the second no part has a row for every process."""


def forecasts() -> ForecastData:
    """Planted windows with a fifth of the values missing."""
    config = validate(PlantedConfig, {"kind": "planted", "weeks": 330})
    table = config.read()
    values = table.values.copy()
    values[np.random.default_rng(0).random(values.shape) < 0.2] = np.nan
    table.values[:] = values
    return ForecastData(table, config)


def chimera(data: ForecastData, dropout: float = 0.0) -> Chimera:
    """A small model with losses of its own."""
    torch.manual_seed(5)
    text = {**TEXT, "dropout": dropout}
    return validate(ChimeraConfig, {"kind": "chimera", "series": SERIES, "text": text, "fusion": GATED}).build(
        data.schema
    )


def trainer(data: Any, folder: Path, model: Any, stages: list[StageConfig], **fields: Any) -> Trainer:
    """A trainer of a model of forecasts."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"batch_size": 45, "checkpoint_seconds": 1e9, "trackers": [], "keep": 9, **fields}
    task = fields.pop("task", None) or ForecastTask()
    given.pop("task", None)
    return Trainer(model, task, data, TrainingConfig(stages=stages, **given), folder, 3, Accelerator(cpu=True))


def steps(made: Trainer, rate: float = 0.1) -> dict[str, Tensor]:
    """Three steps of plain gradient descent: the weights after them, the gradients and losses of the last."""
    made.model, made.live = made.parallel.wrap(made.bare)
    made.model.train()
    made.optimizer = torch.optim.SGD(made.live.parameters(), lr=rate)
    rows, found = made.data.rows("train"), {}
    for number, count in enumerate(STEPS):
        losses = made._step(np.take(rows, np.arange(count) + 37 * number, mode="wrap"), ALL)
        found |= {f"loss.{number}.{name}": torch.tensor(value) for name, value in losses.items()}
    found |= {f"sums.{name}": torch.tensor(pair) for name, pair in made.position.sums.items()}
    for name, parameter in made.live.named_parameters():
        grad = parameter.grad
        found[f"grad.{name}"] = torch.zeros(()) if grad is None else as_whole(grad)
        found[f"weight.{name}"] = as_whole(parameter.detach())
    return found


def as_whole(value: Tensor) -> Tensor:
    """A tensor from its shards."""
    whole: Tensor = value.full_tensor() if isinstance(value, DTensor) else value
    return whole.clone()


def aam(folder: Path, chosen: Any, **fields: Any) -> dict[str, Tensor]:
    """Three steps of a small model of samples, whose rows of ASVs are ragged, on a task."""
    return steps(of_samples(folder, chosen, **fields), rate=1e-3)


def of_samples(folder: Path, chosen: Any, **fields: Any) -> Trainer:
    """The trainer of a small model of samples."""
    data = data_of(folder / f"study{Accelerator(cpu=True).process_index}", unifrac="unweighted")
    torch.manual_seed(5)
    stack = {"depth": 1, "heads": 2, "hidden": 12, "dropout": 0.0}
    config = validate(AamConfig, {"kind": "aam", "asv": {"kind": "asv"}, "sample": stack, "target": stack})
    auxiliary = getattr(chosen, "auxiliary", None)
    model = _still(config.build(data.schema, auxiliary=auxiliary) if auxiliary else config.build(data.schema))
    model.start(data)
    return trainer(data, folder / "aam", model, [ALL], task=chosen.build(data), clip=0.0, **fields)


TASKS = {
    "regression": RegressionTaskConfig(auxiliary=AuxiliaryConfig()),
    "pretrain": PretrainTaskConfig(auxiliary=AuxiliaryConfig(unifrac=2.0, faith=1.0)),
}


def _still(model: Aam) -> Aam:
    """A model without dropout of any kind."""
    for module in model.modules():
        for name in ("dropout", "p", "rate", "token_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


def whole_run(
    data: Any, folder: Path, stages: list[StageConfig], dropout: float = 0.0, **fields: Any
) -> tuple[dict[str, Tensor], Any]:
    """A run to its end: the best weights, and the lines it wrote."""
    fields = {"ema": 0.5, "lr": 1e-3, "accumulate": 2, **fields}
    trained = trainer(data, folder, chimera(data, dropout), stages, **fields).run()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return trained.best, lines


def stopped(data: Any, folder: Path, rank: int, at: int = 4, dropout: float = 0.0, **fields: Any) -> str:
    """A run in which process `rank` alone is asked to end at step `at`: what every process says."""
    made = trainer(data, folder, chimera(data, dropout), STAGES, ema=0.5, accumulate=2, log_steps=0, **fields)
    take, seen = made._step, [0]

    def step(*given: Any) -> Any:
        seen[0] += 1
        signals._asked[0] = seen[0] == at and made.parallel.rank == rank
        return take(*given)

    made._step = step  # type: ignore[method-assign]
    try:
        return _fault(made.run, Terminated)
    finally:
        signals._asked[0] = False


def _fault(call: Callable[[], Any], kind: type[PlaitError]) -> str:
    try:
        call()
    except kind as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def _end_of_time(data: Any, folder: Path) -> int:
    """The epochs of a run whose time is over on the first process alone, and never on the second."""
    made = trainer(data, folder, chimera(data), [StageConfig(name="all", epochs=9)])
    made.deadline = -1.0 if made.main else 1e18
    return made.run().position.step


def _not_a_number(data: Any, folder: Path, rank: int) -> str:
    """What a process says of a loss that is no number on process `rank` alone."""
    made = trainer(data, folder, chimera(data), [ALL])
    made.model, made.live = made.parallel.wrap(made.bare)
    made.optimizer = torch.optim.SGD(made.live.parameters(), lr=0.1)
    take = made._losses

    def losses(*given: Any) -> Any:
        found = take(*given)
        return {
            name: (total * (float("nan") if made.parallel.rank == rank else 1), w) for name, (total, w) in found.items()
        }

    made._losses = losses  # type: ignore[method-assign]
    return _fault(lambda: made._step(made.data.rows("train")[:8], ALL), NumericsError)


def _copy(accelerator: Any, one: Path, other: Path) -> None:
    """A copy of a folder that all processes have left off writing, there when any goes on."""
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.copytree(one, other)
    accelerator.wait_for_everyone()


def _refused() -> None:
    raise FileError("is in the way", where="here", fix="move it")


def main(root: Path, out: Path) -> None:
    """All of it, in each of several processes; each writes what it found, the first also the tensors."""
    accelerator = Accelerator(cpu=True)
    rank = accelerator.process_index
    data = forecasts()
    tensors: dict[str, dict[str, Tensor]] = {}
    facts: dict[str, Any] = {"world": accelerator.num_processes}
    facts["made"] = from_main(lambda: f"by {rank}", cpu=True)
    facts["refused"] = _fault(lambda: from_main(_refused, cpu=True), FileError)
    for mode in ("distributed", "fsdp"):
        fields = {mode: True}
        made = trainer(data, root / f"steps-{mode}", chimera(data), [ALL], accumulate=3, clip=0.05, **fields)
        tensors[f"{mode}.steps"] = steps(made)
        facts[f"{mode}.record"] = made.parallel.record(made.model)
        facts[f"{mode}.wrapper"] = type(made.model).__name__
        scores = evaluate(made.model, made.task, data, "val", 3, accelerator)
        tensors[f"{mode}.scores"] = {name: torch.from_numpy(value) for name, value in scores.items()}
        short = _Short(data, 1)
        facts[f"{mode}.one_row"] = {
            k: v.tolist() for k, v in evaluate(made.model, made.task, short, "val", 3, accelerator).items()
        }
        for name, chosen in TASKS.items():
            tensors[f"{mode}.{name}"] = aam(root, chosen, **fields)
        best, facts[f"{mode}.lines"] = whole_run(data, root / f"run-{mode}", STAGES, **fields)
        tensors[f"{mode}.run"] = best
        tensors[f"{mode}.frozen"], _ = whole_run(data, root / f"frozen-{mode}", FROZEN, **fields)
        facts[f"{mode}.stopped"] = stopped(data, root / f"stopped-{mode}", 1, **fields)
        _copy(accelerator, root / f"stopped-{mode}", root / f"moved-{mode}")
        best, _ = whole_run(data, root / f"stopped-{mode}", STAGES, log_steps=0, **fields)
        tensors[f"{mode}.resumed"] = best
        _copy(accelerator, root / "one", root / f"one-{mode}")
        tensors[f"{mode}.taken_over"], _ = whole_run(data, root / f"one-{mode}", STAGES, log_steps=0, **fields)
    noisy = {"dropout": 0.3, "log_steps": 0}
    tensors["noisy.whole"], _ = whole_run(data, root / "noisy", STAGES, **noisy)
    # The second stage has begun, in which the leg with dropout is passed.
    facts["noisy"] = stopped(data, root / "noisy-stopped", 0, at=8, dropout=0.3)
    tensors["noisy.resumed"], _ = whole_run(data, root / "noisy-stopped", STAGES, **noisy)
    facts["draws"] = torch.rand(1).item()
    made = trainer(data, root / "unasked", chimera(data), [ALL])
    facts["unasked"] = made.parallel.mode
    facts["data_parallel"] = _fault(
        lambda: trainer(data, root / "dp", chimera(data), [ALL], data_parallel=True), PlaitError
    )
    facts["late"] = _end_of_time(data, root / "late")
    facts["nan"] = _not_a_number(data, root / "nan", 1)
    (out / f"facts{rank}.json").write_text(json.dumps(facts))
    if rank == 0:
        for name, group in tensors.items():
            save_file({key: value.detach().contiguous() for key, value in group.items()}, out / f"{name}.safetensors")
    accelerator.end_training()


class _Short:
    """The first rows of a data set."""

    def __init__(self, data: Any, count: int) -> None:
        self.schema, self.data, self.count = data.schema, data, count

    def rows(self, split: str) -> Any:
        return self.data.rows(split)[: self.count]

    def batch(self, split: str, index: Any) -> Any:
        return self.data.batch(split, index)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
