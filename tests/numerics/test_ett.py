"""The ETTh1 line: the README's command, three seeds, all 2,785 windows."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_etth1_96_to_96_over_three_seeds(shared: Path, tmp_path: Path) -> None:
    mse = []
    for seed in (0, 1, 2):
        command = [sys.executable, "-m", "plait.cli.main", "train", "chimera", "--data.kind", "ett"]
        command += ["--data.root", str(shared / "data" / "ett"), "--data.path", "ETTh1", "--pred-len", "96"]
        command += ["--seed", str(seed), "--out", str(tmp_path / str(seed)), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["windows"]["test"] == 2785
        mse.append(result["metrics"]["test"]["mse"])
    assert statistics.mean(mse) <= 0.386, mse
