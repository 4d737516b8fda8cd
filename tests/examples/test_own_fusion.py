"""A stranger's two operators: they keep the contract, and an installed package makes them kinds like ours."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from plait.testing import check_fusion

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "01_own_fusion"
CLASSES = {"bilinear": "BilinearConfig", "modality_attention": "ModalityAttentionConfig"}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_strangers_operator_keeps_the_contract(
    monkeypatch: pytest.MonkeyPatch, kind: str, dtype: torch.dtype
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    config: Any = getattr(importlib.import_module(kind), CLASSES[kind])()
    check_fusion(config, dtype=dtype, graphs=dtype == torch.float32)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment with the example package installed beside plait, in a folder of its own."""
    target, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source") / "package"
    source.mkdir()
    for file in FOLDER.glob("*.*"):
        (source / file.name).write_bytes(file.read_bytes())
    command = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, *command, str(source)], check=True, capture_output=True, text=True)
    return {**os.environ, "PYTHONPATH": str(target)}


def plait(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("plait")), *words], env=env, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", CLASSES)
def test_an_installed_operator_trains_and_predicts(installed: dict[str, str], tmp_path: Path, kind: str) -> None:
    assert kind in plait(installed, "train", "chimera", "--help").stdout
    run = tmp_path / "run"
    words = ["--size", "tiny", "--weeks", "330", "--epochs", "1", "--accept", "always", "--out", str(run), "--json"]
    done = plait(installed, "train", "chimera", "--fusion", kind, *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["windows"]["test"] > 0
    again = plait(installed, "predict", str(run), "--output", str(tmp_path / "out.csv"))
    assert again.returncode == 0, again.stderr
    explained = plait(installed, "explain", str(run))
    assert explained.returncode == 0, explained.stderr
    gone = plait(dict(os.environ), "predict", str(run), "--output", str(tmp_path / "gone.csv"))
    assert gone.returncode == 2
    assert f"no kind '{kind}'" in gone.stderr or f"of kind '{kind}'" in gone.stderr
