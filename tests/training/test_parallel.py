"""A training that is shared out is the training of one device, and a mode that is asked for is in force or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn

from plait.core.config import validate
from plait.core.errors import ConfigError
from plait.core.tokens import Output
from plait.data.windows import ForecastData
from plait.training.config import TrainingConfig
from plait.training.data_parallel import BatchParallel, join_outputs, split_batch
from plait.training.evaluate import evaluate
from plait.training.parallel import check_in_force, mode_of, without_rows
from training.launched import launch
from training.two_processes import (
    ALL,
    FROZEN,
    STAGES,
    TASKS,
    aam,
    chimera,
    forecasts,
    of_samples,
    steps,
    stopped,
    trainer,
    whole_run,
)

WORKER = Path(__file__).with_name("two_processes.py")
SHARED = ("distributed", "fsdp")


@pytest.fixture(scope="module")
def data() -> ForecastData:
    return forecasts()


@pytest.mark.parametrize(
    "asked, dropped",
    [
        (("data_parallel", "distributed"), "data_parallel"),
        (("data_parallel", "fsdp"), "data_parallel"),
        (("distributed", "fsdp"), "distributed"),
        (("data_parallel", "distributed", "fsdp"), "data_parallel and distributed"),
    ],
)
def test_two_modes_at_once_are_refused_by_name(asked: tuple[str, ...], dropped: str) -> None:
    for name in asked:
        validate(TrainingConfig, {name: True})
    with pytest.raises(ConfigError, match=rf"{' and '.join(asked)} are set.*drop {dropped}( |$)"):
        validate(TrainingConfig, dict.fromkeys(asked, True))


def test_fsdp_scales_no_loss_of_half_precision() -> None:
    with pytest.raises(ConfigError, match="fsdp and precision fp16"):
        validate(TrainingConfig, {"fsdp": True, "precision": "fp16"})


@pytest.mark.parametrize("mode", SHARED)
def test_a_mode_of_several_processes_says_how_to_start_them(mode: str) -> None:
    config = validate(TrainingConfig, {mode: True})
    with pytest.raises(
        ConfigError, match=rf"training\.{mode}.*only one.*torchrun --standalone --nproc_per_node 2 -m plait"
    ):
        mode_of(config, 1)
    assert mode_of(config, 2) == mode


def test_what_is_not_asked_for_follows_from_the_launch() -> None:
    assert mode_of(TrainingConfig(), 1) == "one device"
    assert mode_of(TrainingConfig(), 3) == "distributed"
    assert mode_of(TrainingConfig(data_parallel=True), 1) == "data_parallel"
    with pytest.raises(ConfigError, match=r"data_parallel is of one process, this is one of 3.*without torchrun"):
        mode_of(TrainingConfig(data_parallel=True), 3)


@pytest.mark.parametrize(
    "mode, words",
    [
        ("fsdp", "2 of 2 parameters are not sharded"),
        ("distributed", "a Linear that no DistributedDataParallel holds"),
        ("data_parallel", "a Linear that no DataParallel holds"),
    ],
)
def test_a_mode_that_is_not_in_force_is_an_error(mode: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"{mode} is not in force: .*{words}"):
        check_in_force(mode, nn.Linear(3, 2))
    check_in_force("one device", nn.Linear(3, 2))


def test_data_parallel_without_gpus_runs_and_says_that_it_is_not_exercised(
    data: ForecastData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = trainer(data, tmp_path / "asked", chimera(data), [ALL], data_parallel=True)
    assert "data_parallel is not exercised" in capsys.readouterr().out
    alike(steps(made), steps(trainer(data, tmp_path / "plain", chimera(data), [ALL])), 0.0)
    assert made.parallel.record(made.model)["exercised"] is False
    assert "exercised" not in capsys.readouterr().out


@pytest.mark.parametrize("count", [2, 3])
def test_parts_of_a_batch_give_the_answer_and_the_losses_of_the_whole(data: ForecastData, count: int) -> None:
    model, batch = chimera(data).eval(), data.batch("train", data.rows("train")[:11])
    with torch.no_grad():
        whole: Output = model(batch, explain=True)
        parts = split_batch(batch, count)
        joined = join_outputs([model(part, explain=True) for part in parts], torch.device("cpu"))
    assert [len(part.info["row"]) for part in parts] == ([6, 5] if count == 2 else [4, 4, 3])
    same_outputs(joined, whole)
    assert whole.losses
    assert whole.maps


def test_parts_of_a_batch_of_samples_keep_every_part_of_the_prediction(tmp_path: Path) -> None:
    model, batch = samples(tmp_path)
    with torch.no_grad():
        whole: Output = model(batch)
        halves = [model(part) for part in split_batch(batch, 2)]
    assert set(whole.prediction.parts) >= {"logits", "pooled"}
    same_outputs(join_outputs(halves, torch.device("cpu")), whole)


def samples(folder: Path) -> Any:
    """A model of samples in evaluation, and a batch whose rows have different numbers of ASVs."""
    made = of_samples(folder, TASKS["regression"])
    batch = made.data.batch("train", made.data.rows("train")[:7])
    assert len(set(batch.inputs["asv_mask"].sum(dim=1).tolist())) > 1
    return made.bare.eval(), batch


def same_outputs(one: Output, other: Output) -> None:
    """Check answers, parts and maps row by row, and the sums of losses."""
    pairs = [(one.prediction.point, other.prediction.point)]
    assert set(one.prediction.parts) == set(other.prediction.parts)
    pairs += [(one.prediction.parts[name], part) for name, part in other.prediction.parts.items()]
    assert set(one.losses) == set(other.losses)
    pairs += [pair for name in other.losses for pair in zip(one.losses[name], other.losses[name], strict=True)]
    assert set(one.maps) == set(other.maps)
    for name, found in other.maps.items():
        assert one.maps[name][1:] == found[1:]
        pairs.append((one.maps[name].values, found.values))
    for left, right in pairs:
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-6)


def test_a_batch_has_no_more_parts_than_rows(data: ForecastData) -> None:
    batch = data.batch("train", data.rows("train")[:2])
    assert [len(part.info["row"]) for part in split_batch(batch, 4)] == [1, 1]
    wrapper = BatchParallel(nn.Linear(3, 2), Accelerator(cpu=True).autocast)
    check_in_force("data_parallel", wrapper)


def test_a_row_that_stands_in_adds_nothing_and_leaves_gradients_of_zero(data: ForecastData, tmp_path: Path) -> None:
    made = trainer(data, tmp_path, chimera(data), [ALL])
    batch = data.batch("train", data.rows("train")[:1])
    losses = made.task.losses(without_rows(made.model(batch)), batch.rows(slice(0)))
    assert {name: (total.item(), weight.item()) for name, (total, weight) in losses.items()} == {
        "mse": (0, 0), "gate_l1": (0, 0), "gate_entropy": (0, 0),
    }  # fmt: skip
    torch.stack([total for total, _ in losses.values()]).sum().backward()
    grads = [parameter.grad for parameter in made.bare.parameters() if parameter.grad is not None]
    assert grads
    assert not any(grad.any() for grad in grads)


def alike(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float, relative: float = 0.0) -> None:
    """Check two groups of tensors name by name."""
    assert set(one) == set(other)
    for name, value in other.items():
        torch.testing.assert_close(
            one[name], value, rtol=relative, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.slow
def test_two_processes_are_one(data: ForecastData, tmp_path: Path) -> None:
    """One launch of two processes for all of it: a start takes longer than what is asked of them."""
    root, out = tmp_path / "two", tmp_path / "out"
    out.mkdir()
    noted = stopped(data, root / "one", 0)
    assert noted.startswith("Terminated: stopped as asked")
    launch(WORKER, root, out, timeout=250)
    facts = [json.loads((out / f"facts{rank}.json").read_text()) for rank in (0, 1)]
    assert facts[0]["world"] == 2
    check_agreement(facts)
    accelerator = Accelerator(cpu=True)
    made = trainer(data, tmp_path / "steps", chimera(data), [ALL], accumulate=3, clip=0.05)
    stepped = steps(made)
    scores = evaluate(made.model, made.task, data, "val", 3, accelerator)
    best, lines = whole_run(data, tmp_path / "run", STAGES)
    frozen, _ = whole_run(data, tmp_path / "frozen", FROZEN)
    samples = {name: aam(tmp_path, chosen) for name, chosen in TASKS.items()}
    for mode in SHARED:
        check_in_force_there(mode, facts)

        def found(name: str, mode: str = mode) -> dict[str, Tensor]:
            return load_file(out / f"{mode}.{name}.safetensors")

        # Gradients, weights and losses of steps of 37, 1 and 8 rows, in 3 parts: several leave a process without a row.
        alike(found("steps"), stepped, 1e-6, 1e-6)
        for name, expected in samples.items():
            alike(found(name), expected, 1e-6, 1e-5)
        alike(found("scores"), {name: torch.from_numpy(value) for name, value in scores.items()}, 1e-6, 1e-6)
        alike(found("run"), best, 1e-5)
        alike(found("frozen"), frozen, 1e-5)
        check_lines(facts[0][f"{mode}.lines"], lines)
        # Stopped after four steps: gone on with as it was, by one process, and from what one process wrote.
        alike(found("resumed"), found("run"), 0.0)
        alike(found("taken_over"), best, 1e-5)
        alike(whole_run(data, root / f"moved-{mode}", STAGES, log_steps=0)[0], best, 1e-5)
    # With dropout each process draws its own, and goes on with it.
    alike(load_file(out / "noisy.resumed.safetensors"), load_file(out / "noisy.whole.safetensors"), 0.0)
    assert facts[0]["draws"] != facts[1]["draws"]


def check_agreement(facts: list[dict[str, Any]]) -> None:
    """What one process decides or meets, both leave by."""
    for own in facts:
        assert own["made"] == "by 0"
        assert own["refused"] == "FileError: here: is in the way (move it)"
        assert own["unasked"] == "distributed"
        assert "data_parallel is of one process, this is one of 2" in own["data_parallel"]
        for name in ("distributed.stopped", "fsdp.stopped", "noisy"):
            assert own[name].startswith("Terminated: stopped as asked; go on with: plait train --resume")
        assert own["late"] == 5
    assert "another process met a loss that is no number" in facts[0]["nan"]
    assert "the loss is nan at step 0, rows [0, 1, 2" in facts[1]["nan"]


def check_in_force_there(mode: str, facts: list[dict[str, Any]]) -> None:
    """The wrapper or the shards, by what each process holds."""
    records = [own[f"{mode}.record"] for own in facts]
    whole = sum(parameter.numel() for parameter in chimera(forecasts()).parameters())
    for own, record in zip(facts, records, strict=True):
        assert (record["mode"], record["processes"], record["exercised"]) == (mode, 2, True)
        assert own[f"{mode}.wrapper"] == ("FSDPChimera" if mode == "fsdp" else "DistributedDataParallel")
        assert record["sharded_parameters"] == (whole if mode == "fsdp" else 0)
        if mode == "fsdp":
            assert 0.3 * whole < record["held_here"] < 0.7 * whole
        assert len(own[f"{mode}.one_row"]["se"]) == 1
        assert own[f"{mode}.one_row"] == facts[0][f"{mode}.one_row"]
        assert own[f"{mode}.lines"][0]["parallel"] == records[0]
    assert sum(record["held_here"] for record in records) == (whole if mode == "fsdp" else 0)


def check_lines(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """The losses and validation scores of every line are those of the whole batch, not of one process's share."""
    for line, own in zip(found, expected, strict=True):
        assert line["event"] == own["event"]
        for name in {"val", "best"} & set(own):
            assert line[name] == pytest.approx(own[name], rel=1e-5)
        assert line.get("train", {}) == pytest.approx(own.get("train", {}), rel=1e-5)
