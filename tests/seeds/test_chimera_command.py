"""The command of the design document's section 7, at tiny sizes, on ETTh1 and a table of dated texts."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from embedders.tiny_models import tiny_bert

COMMAND = """
    --task_name long_term_forecast --is_training 1 --model ChimeraTransformer --data ETTh1 --root_path {root}
    --data_path ETTh1.csv --text_path text_data.csv --freq h --seq_len 96 --pred_len 24 --d_model 16 --n_heads 4
    --e_layers 2 --d_ff 32 --text_fusion_layers 2 --post_fusion_layers 2 --final_layers 1 --latent_dim 8
    --fusion_heads 4 --batch_size 512 --train_epochs 1 --llm_model BERT --pool_type attention --max_tokens 16
"""
COMMIT = "86b5e0934494bd15c9632b12f734a8a67f723594"


@pytest.fixture
def place(shared: Path, tmp_path: Path) -> Path:
    """A folder with a table of texts, and a cache in which the name BERT stands for is a tiny model."""
    dates = pd.date_range("2016-07-01", "2018-02-20", freq="D")
    words = [f"on day {i} the load will {'rise' if i % 3 else 'fall'} again" for i in range(len(dates))]
    pd.DataFrame({"date": dates.strftime("%Y-%m-%d"), "text": words}).to_csv(tmp_path / "text_data.csv", index=False)
    hub = tmp_path / "hf" / "hub" / "models--google-bert--bert-base-uncased"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text(COMMIT)
    shutil.copytree(tiny_bert(tmp_path / "bert").folder, hub / "snapshots" / COMMIT)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_seeds_command_runs(shared: Path, place: Path) -> None:
    tokens = COMMAND.format(root=shared / "data" / "ett").split()
    cache = {"HF_HOME": str(place / "hf"), "HF_HUB_OFFLINE": "1", "PLAIT_CACHE": str(place / "cache")}
    command = [sys.executable, "-m", "plait.cli.main", "train", "chimera", *tokens, "--json", "--out", "run"]
    done = subprocess.run(command, cwd=place, env=os.environ | cache, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["windows"]["test"] == 2880 - 24 + 1
    for name in ("is_training", "model", "freq"):
        assert f"--{name} is accepted and has no effect here" in done.stderr
    config = (place / "run" / "config.yaml").read_text()
    for line in ("kind: pretrained", "path: google-bert/bert-base-uncased", "pool: attention", "kind: latent_gate"):
        assert line in config
    assert result["accepted"] in (True, False)
    raw = json.loads((place / "run" / "model" / "schema.json").read_text())
    assert raw["grouped"] == {"text": 16}
