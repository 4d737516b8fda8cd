"""A training with gradient checkpointing ends in the weights of one without, bit for bit, or says that it has none."""

from pathlib import Path
from typing import Any

import pytest
import torch

from data.sample_study import planted
from plait.runs.assemble import accelerator_for, build_data, build_model, is_fused, stages_for, start
from plait.runs.config import RunConfig
from plait.runs.recipe import load_recipe, resolve
from plait.training.loop import Trainer
from plait.training.state import Trained

USUAL: list[tuple[str, Any]] = [("device", "cpu"), ("training.trackers", []), ("epochs", 1)]
SERIES: list[tuple[str, Any]] = [*USUAL, ("data.kind", "planted"), ("data.weeks", 330)]
DROPPED: list[tuple[str, Any]] = [("model.series.dropout", 0.2), ("final-layers", 1), ("fusion", "latent_gate")]


def configured(recipe: str, folder: Path, again: bool, *more: tuple[str, Any]) -> RunConfig:
    fields = list(SERIES)
    if recipe == "chimera":
        fields += DROPPED
    if recipe == "calf":
        fields += [("model.gpt_layers", 2), ("model.dim", 12), ("model.heads", 3), ("model.words", 7)]
    if recipe == "aam":
        files = [(f"data.{name}", path) for name, path in planted().write(folder / "files").items()]
        fields = [*USUAL, *files, ("target", "age"), ("numeric-columns", "ph"), ("data.bins", 11)]
        letters = {"dim": 8, "depth": 1, "heads": 2, "hidden": 12, "checkpoint": False}
        fields += [(f"model.asv.nucleotides.{name}", value) for name, value in letters.items()]
        fields += [("model.sample.depth", 2), ("model.sample.heads", 2)]
    return resolve(load_recipe(recipe), "tiny", [*fields, ("gradient-checkpointing", again), *more])


def train(config: RunConfig, folder: Path) -> tuple[Trained, torch.nn.Module]:
    data = build_data(config)
    model = build_model(config.model_copy(update={"model": config.model.resolve(data.schema)}), data.schema)
    folder.mkdir(parents=True)
    start(model, data)
    accelerator, stages = accelerator_for(config, folder), stages_for(config.training, model, is_fused(model))
    trainer = Trainer(model, config.task.build(data), data, stages, folder, 3, accelerator)
    return trainer.run(), model


@pytest.mark.parametrize(
    "recipe", ["chimera", *(pytest.param(name, marks=pytest.mark.slow) for name in ("calf", "aam"))]
)
def test_both_trainings_end_in_the_same_weights(recipe: str, tmp_path: Path) -> None:
    ends = {}
    for again in (False, True):
        trained, model = train(configured(recipe, tmp_path, again), tmp_path / f"run{again}")
        blocks = [part.recompute for part in model.modules() if hasattr(part, "recompute")]
        assert blocks
        assert all(held is again for held in blocks)
        ends[again] = trained
    one, two = ends[False].best, ends[True].best
    assert list(one) == list(two)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert ends[False].position.best == ends[True].position.best
    assert ends[False].position.step == ends[True].position.step > 0


def test_a_model_without_blocks_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    linear = [("model.series.kind", "linear"), ("fusion", "none"), ("final-layers", 0), ("epochs", 0)]
    config = resolve(load_recipe("chimera"), None, [*SERIES, *linear, ("training.checkpointing", True)])
    train(config, tmp_path / "run")
    assert capsys.readouterr().out.count("training.checkpointing has no effect") == 1
