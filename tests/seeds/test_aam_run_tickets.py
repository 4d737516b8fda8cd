"""Criteria of the tickets of `aam` that only a training can show: what is logged, and that old flags still train."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch

from data.sample_study import Study
from plait.cli.arguments import config_of
from plait.evaluation.explain.run import explain
from plait.runs.fit import fit
from plait.runs.run import Run, load_run

CHOSEN = "--size tiny --target age --categorical-columns site,sex --data.prevalence 0.4 --accept always --device cpu"
OLD = "--categorical-fusion gmu --bounded-targets --normalize-targets"
NEW = "--categorical-fusion gmu --output-constraint bounded --target-transform minmax"


class Trained(NamedTuple):
    """A finished run with what was said while its flags were read."""

    run: Run
    said: str

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The entries of single optimiser steps."""
        lines = (self.run.folder / "metrics.jsonl").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == "step"]

    def board(self) -> Any:
        """What TensorBoard shows of the run."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        (place,) = {file.parent for file in self.run.folder.glob("tensorboard/events.out.tfevents.*")}
        return EventAccumulator(str(place)).Reload()


def train(folder: Path, flags: str, capsys: pytest.CaptureFixture[str] | None = None) -> Trained:
    files = Study().write(folder / "files")
    given = [word for name in ("table", "metadata", "sequences", "tree") for word in (f"--{name}", files[name])]
    config = config_of(["aam", *given, *CHOSEN.split(), *flags.split(), "--log-steps", "1"])[2]
    said = capsys.readouterr().err if capsys else ""
    (folder / "run").mkdir()
    fit(config, folder / "run")
    return Trained(load_run(folder / "run"), said)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run of the gate, by old flags of AAM."""
    return train(tmp_path_factory.mktemp("gated"), OLD)


@pytest.fixture(scope="module")
def attended(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run of cross-attention."""
    flags = "--categorical-fusion cross-attention --cross-attn-heads 2"
    return train(tmp_path_factory.mktemp("attended"), flags)


@pytest.mark.ticket("FUS-1")
def test_the_mean_gate_of_each_batch_is_logged(gated: Trained) -> None:
    assert len(gated.steps) == 2
    for entry in gated.steps:
        value = dict(entry)
        for inner in [each for each in entry.values() if isinstance(each, dict)]:
            value |= inner
        (name,) = [name for name in value if "gate.metadata" in name]
        assert 0 < value[name] < 1


@pytest.mark.ticket("FUS-1")
def test_the_mean_gate_of_each_batch_is_in_tensorboard(gated: Trained) -> None:
    explain(gated.run, "val", gated.run.folder / "explain" / "val")
    board = gated.board()
    (name,) = [name for name in board.Tags()["scalars"] if name.endswith("/gate")]
    assert all(0 < event.value < 1 for event in board.Scalars(name))
    assert [name for name in board.Tags()["images"] if name.endswith("gate.metadata")]


@pytest.mark.ticket("FUS-2")
def test_which_taxa_attend_to_which_column_is_a_heat_map_in_tensorboard(attended: Trained) -> None:
    result = explain(attended.run, "train", attended.run.folder / "explain" / "train")
    assert [name for name in attended.board().Tags()["images"] if name.endswith("/taxa")]
    assert result["taxa"]["columns"] == ["site", "sex"]
    assert result["taxa"]["attention"], "an ASV is named where at least five samples have it"
    for row in result["taxa"]["attention"]:
        assert row["null"] + sum(row["weights"]) == pytest.approx(1)


@pytest.mark.ticket("CLN-1")
def test_old_flags_train_what_the_new_flags_train(gated: Trained, tmp_path: Path) -> None:
    files = Study().write(tmp_path)
    tokens = [word for name in ("table", "metadata", "sequences", "tree") for word in (f"--{name}", files[name])]
    new = config_of(["aam", *tokens, *CHOSEN.split(), *NEW.split(), "--log-steps", "1"])[2]
    ran, fresh = gated.run.config.model_dump(), new.model_dump()
    for name in ("table", "metadata", "sequences", "tree"):
        del ran["data"][name], fresh["data"][name]
    assert ran == fresh
    written = (gated.run.folder / "config.yaml").read_text()
    assert "constraint: bounded" in written
    assert "transform: minmax" in written
    assert "bounded_targets" not in written
    assert "normalize_targets" not in written


@pytest.mark.ticket("CLN-2")
def test_predictions_are_in_the_unit_of_the_files_and_within_the_training_targets(gated: Trained) -> None:
    """Bounded to [0, 1] of a min-max transform: no answer can leave the range of the ages that were learned."""
    run = gated.run
    ages = {name: cells["age"] for name, cells in Study().metadata.items()}
    train_ages = [float(ages[name]) for name in run.data.ids("train")]
    made = pd.read_csv(run.folder / "predictions.csv")
    assert made["prediction"].between(min(train_ages), max(train_ages)).all()
    assert made["prediction"].min() > 1, "not a share of the range"
    with torch.no_grad():
        batch = run.data.batch("test", run.data.rows("test"))
        point = run.model(batch).prediction.point[:, 0].double().numpy()
    low, high = min(train_ages), max(train_ages)
    assert made["prediction"].to_numpy() == pytest.approx(low + point * (high - low), rel=1e-5)
