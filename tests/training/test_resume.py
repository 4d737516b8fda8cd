"""A run killed at any moment resumes to bit-identical weights and metrics; SIGTERM and faults lose nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from plait.core.errors import FileError
from plait.training import checkpoint
from plait.training.checkpoint import Checkpoints, read_folder

HARNESS = Path(__file__).with_name("kill_harness.py")
TINY = ["--size", "tiny", "--data.weeks", "420", "--batch-size", "48", "--device", "cpu", "--trackers", "[]"]


def _kills(folder: Path, anywhere: int, inside: int, seed: int, timeout: float) -> dict[str, object]:
    command = [sys.executable, str(HARNESS), str(folder), str(anywhere), str(inside), str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.timeout(600)
def test_kills_anywhere_and_inside_saves_change_nothing(tmp_path: Path) -> None:
    found = _kills(tmp_path, anywhere=15, inside=10, seed=0, timeout=590)
    assert found["kills"] == 15
    assert found["inside"] == 10
    assert found["differing"] == []


@pytest.mark.soak
def test_a_thousand_kills_change_nothing(tmp_path: Path) -> None:
    found = _kills(tmp_path, anywhere=600, inside=400, seed=1, timeout=36_000)
    assert found["differing"] == []


def _plait(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "plait.cli.main", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_sigterm_saves_and_ends_with_143(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fields = [*TINY, "--train-epochs", "200", "--training.patience", "1000", "--checkpoint-steps", "5"]
    process = _plait("train", "chimera", *fields, "--out", "run", folder=tmp_path)
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/[0-9]*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"--resume {run.name}" in error
    assert "Traceback" not in error
    tensors, records = read_folder(Checkpoints(run / "checkpoints", 2).all()[-1])
    lines = (run / "metrics.jsonl").read_bytes()
    assert records["state"]["position"]["step"] > 0
    assert records["state"]["position"]["log_bytes"] <= len(lines)
    assert set(tensors) >= {"model", "optimizer", "rng", "best"}


def _save(folder: Path, step: int) -> None:
    Checkpoints(folder, keep=2).save(step, {"model": {"w": torch.full((5, 7), float(step))}}, {"step": step})


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_last_checkpoint_good(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _save(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, call, full)
        with pytest.raises(FileError, match=r"No space left.*last checkpoint is untouched.*--resume"):
            _save(tmp_path, 2)
    found = Checkpoints(tmp_path, keep=2).latest()
    assert found is not None
    assert found[1] == {"step": 1}
    assert not list(tmp_path.glob(".*.part"))


def test_a_flipped_byte_is_seen_and_the_checkpoint_before_it_is_taken(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    newest = Checkpoints(tmp_path, keep=2).all()[-1]
    for name in ("model.safetensors", "state.json"):
        content = bytearray((newest / name).read_bytes())
        for place in (0, len(content) // 2, len(content) - 1):
            flipped = bytearray(content)
            flipped[place] ^= 1
            (newest / name).write_bytes(flipped)
            with pytest.raises(FileError, match=name):
                read_folder(newest)
            found = Checkpoints(tmp_path, keep=2).latest()
            assert found is not None
            assert found[1] == {"step": 1}
        (newest / name).write_bytes(content)
    assert read_folder(newest)[1]["state"] == {"step": 2}


def test_no_good_checkpoint_at_all_is_an_error_and_not_a_fresh_start(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    (Checkpoints(tmp_path, keep=2).all()[0] / "manifest.json").unlink()
    with pytest.raises(FileError):
        Checkpoints(tmp_path, keep=2).latest()
    shutil.rmtree(Checkpoints(tmp_path, keep=2).all()[0])
    assert Checkpoints(tmp_path, keep=2).latest() is None
