"""`calf` from files to a run folder: what it says, that it loads and resumes bit for bit, and how it is typed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from plait.cli.arguments import config_of
from plait.core.errors import ConfigError, FileError
from plait.evaluation.explain.run import explain
from plait.runs.assemble import build_data
from plait.runs.fit import fit
from plait.runs.folder import read_config
from plait.runs.recipe import load_recipe, resolve
from plait.runs.run import Run, load_run
from typed_command import Command, typed

FIELDS: dict[str, Any] = {
    "data.kind": "csv", "seq-len": 25, "pred-len": 6, "batch-size": 16, "training.trackers": [], "device": "cpu",
    "epochs": 2, "patience": 9, "model.patch.length": 7, "model.patch.stride": 5, "training.checkpoint_steps": 3,
    "training.keep": 99, "training.ema": 0.9,
}  # fmt: skip


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variates of a week's rhythm."""
    steps, noise = np.arange(191), np.random.default_rng(1)
    rhythm = np.sin(2 * np.pi * steps / 7)
    frame = pd.DataFrame({"date": pd.date_range("2020-01-01", periods=191), "a": rhythm, "b": 3 - rhythm})
    frame[["a", "b"]] += 0.1 * noise.standard_normal((191, 2))
    path = tmp_path_factory.mktemp("series") / "series.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small language model."""
    place = tmp_path_factory.mktemp("backbones") / "gpt2"
    torch.manual_seed(1)
    size = {"n_layer": 3, "n_embd": 24, "n_head": 3, "n_positions": 31}
    GPT2LMHeadModel(GPT2Config(vocab_size=47, bos_token_id=0, eos_token_id=0, **size)).save_pretrained(place)
    return place


def trained(folder: Path, series: Path, **fields: Any) -> Run:
    """The run of the fields; the cheap forecasts beside it are of no interest here."""
    folder.mkdir(parents=True)
    config = resolve(load_recipe("calf"), "tiny", list((FIELDS | {"data.path": str(series)} | fields).items()))
    fit(config, folder, rivals=rivals(build_data(config)))
    return load_run(folder)


def rivals(data: Any) -> Any:
    rows = {split: len(data.rows(split)) for split in ("val", "test")}
    return {"none": {split: {name: np.ones(n) for name in ("ae", "se", "n")} for split, n in rows.items()}}


@pytest.fixture(scope="module")
def random(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("runs") / "random", series)


@pytest.fixture(scope="module")
def pretrained(series: Path, gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose backbone's folder is gone."""
    place = shutil.copytree(gpt2, tmp_path_factory.mktemp("copied") / "gpt2")
    run = trained(tmp_path_factory.mktemp("runs") / "pretrained", series, backbone=str(place))
    shutil.rmtree(place)
    return run


# --- what a run says


def test_a_run_says_what_its_backbone_is_and_what_of_it_learnt(random: Run, pretrained: Run) -> None:
    for run, adapted in ((random, 2), (pretrained, 2)):
        facts, model = run.metrics["backbone"], run.model
        assert (facts["from"], facts["adapted"], facts["layers"]) == (run.config.model.backbone, adapted, 2)
        for name, part in (("time", model.time), ("text", model.text)):
            assert sum(facts[name].values()) == sum(p.numel() for p in part.parameters())
            assert min(facts[name].values()) > 0
    assert random.metrics["backbone"]["from"] == "random"
    assert (random.metrics["backbone"]["weights"], pretrained.metrics["backbone"]["weights"]) == (
        "random",
        "pretrained",
    )


def test_every_epoch_has_the_three_losses_and_they_fall(random: Run) -> None:
    lines = [json.loads(line) for line in (random.folder / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert [{"output", "feature"} <= set(line["train"]) for line in epochs] == [True, True]
    assert epochs[1]["train"]["output"] < epochs[0]["train"]["output"]
    learn = next(line["parameters"] for line in lines if "parameters" in line)
    assert learn == sum(p.numel() for p in random.model.parameters() if p.requires_grad)


def test_training_moves_what_learns_and_nothing_else(pretrained: Run, gpt2: Path) -> None:
    given = GPT2LMHeadModel.from_pretrained(gpt2).transformer.state_dict()
    for part, blocks in (("time", pretrained.model.time), ("text", pretrained.model.text.blocks)):
        for name, value in blocks.model.state_dict().items():
            plain = name.replace(".base_layer", "")
            if "lora_" in name or name == "wte.weight":
                continue
            moves = "wpe" in name or (part == "time" and ("ln_" in name))
            assert torch.equal(value, given[plain]) is not moves, (part, name)
        updates = [value for name, value in blocks.model.named_parameters() if "lora_B" in name]
        assert len(updates) == (2 if part == "time" else 0)
        assert all(bool(value.any()) for value in updates)


# --- loading


@pytest.mark.parametrize("name", ["random", "pretrained"])
def test_a_loaded_run_scores_bit_for_bit_as_it_did(name: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(name)
    saved = load_file(run.folder / "scores.safetensors")
    for split in ("val", "test"):
        again = run.scores(split)
        assert {"se", "ae"} <= set(again)
        assert all(np.array_equal(again[each], saved[f"final.{split}.{each}"].numpy()) for each in again)
    stored = pd.read_csv(run.folder / "predictions.csv").filter(like="h").to_numpy()
    np.testing.assert_allclose(run.predict(split="test").filter(like="h").to_numpy(), stored, rtol=1e-6)
    ahead = run.predict()
    assert (len(ahead), ahead.filter(like="h").shape[1]) == (2, 6)


def test_a_run_keeps_how_its_attention_fades(random: Run) -> None:
    found = json.loads((random.folder / "page.json").read_text(encoding="utf-8"))["attention"]
    count = random.config.model.patch.count(25)
    lags = np.arange(count)
    # A query at place q has the keys 0 .. q: the mean over queries of what the power law alone gives them.
    weights = [(1 + np.arange(q + 1)) ** -1.0 for q in range(count)]
    want = [np.mean([weights[q][lag] / weights[q].sum() for q in range(lag, count)]) for lag in lags]
    np.testing.assert_allclose(found["bias"], want, rtol=1e-5)
    assert len(found["blocks"]) == random.config.model.gpt_layers
    for block in found["blocks"]:
        # All weights of all queries together are one a query.
        assert sum((count - lag) * weight for lag, weight in zip(lags, block, strict=True)) == pytest.approx(
            count, 1e-4
        )


def test_one_modality_has_nothing_to_explain(random: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the model is of series alone"):
        explain(random, "test", tmp_path / "explain")


def test_the_seed_makes_the_run(random: Run, series: Path, tmp_path: Path) -> None:
    again = trained(tmp_path / "again", series).model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in random.model.state_dict().items())


# --- going on


@pytest.mark.parametrize("name", ["random", "pretrained"])
def test_a_run_goes_on_from_a_checkpoint_to_the_same_weights(
    name: str, request: pytest.FixtureRequest, gpt2: Path, series: Path, tmp_path: Path
) -> None:
    run: Run = request.getfixturevalue(name)
    place = Path(run.config.model.backbone)
    half = shutil.copytree(run.folder, tmp_path / "half")
    made = sorted((half / "checkpoints").glob("[0-9]*"))
    assert len(made) > 4
    for later in made[len(made) // 2 :]:
        shutil.rmtree(later)
    shutil.rmtree(half / "model")
    (half / "metrics.json").unlink()
    with pytest.raises(FileError, match="the run has not ended"):
        load_run(half)
    if name == "pretrained":
        shutil.copytree(gpt2, place)
    fit(read_config(half), half, rivals=rivals(run.data))
    if name == "pretrained":
        shutil.rmtree(place)
    again = load_run(half)
    assert all(torch.equal(value, again.model.state_dict()[key]) for key, value in run.model.state_dict().items())
    assert again.metrics["metrics"] == run.metrics["metrics"]
    assert again.metrics["backbone"] == run.metrics["backbone"]


# --- other forms


@pytest.mark.parametrize(
    "fields",
    [
        {"backbone": "patch"},
        {"model.token_axis": "variate", "bias": "causal"},
        {"model.attn_init": "random", "output-w": 0, "feature-w": 0},
        {"model.bias.learn": True, "model.scaling": "last"},
    ],
)
def test_every_form_trains_and_loads(fields: dict[str, Any], series: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", series, **(fields | {"epochs": 1}))
    saved = load_file(run.folder / "scores.safetensors")
    assert np.array_equal(run.scores("test")["se"], saved["final.test.se"].numpy())
    assert ("time" in run.metrics["backbone"]) == (fields.get("backbone") != "patch")
    if "model.bias.learn" in fields:
        assert bool((run.model.bias.alpha != 1).all())


# --- as it is typed


@pytest.fixture
def plait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with typed(monkeypatch, capsys) as run:
        yield run


FLAGS = (
    "--size tiny --data custom --seq-len 25 --pred-len 6 --gpt-layers 1 --r 4 --lora-alpha 16 --lora-dropout 0.2"
    " --output-w 0.5 --feature-w 0.02 --task-loss mse --epochs 1 --trackers [] --device cpu"
)


def test_names_of_the_design_document_reach_their_fields(plait: Command, series: Path) -> None:
    given = ["--data.name", series, *FLAGS.split(), "--powerformer-alpha", "0.5", "--out", "run"]
    said = plait("train", "calf", *given, "--json")
    assert said.code == 0, said
    run = load_run("run")
    config, model = run.config, run.config.model
    assert (config.data.path, config.data.lookback, config.data.horizon) == (str(series), 25, 6)
    assert (model.gpt_layers, model.output_w, model.feature_w, config.task.loss) == (1, 0.5, 0.02, "mse")
    assert (model.lora.r, model.lora.alpha, model.lora.dropout) == (4, 16, 0.2)
    assert (model.bias.kind, model.bias.alpha) == ("power_law", 0.5)
    assert said.data["backbone"]["from"] == "random"
    assert "the backbone is random: a language model's blocks without a language model's weights" in said.err
    assert "time branch: " in said.err
    assert "1 modules of attention have low-rank updates" in said.err
    assert (Path("run") / "report.html").is_file()


@pytest.mark.parametrize(
    "flags, kind",
    [("--bias window", "window"), ("--bias window --width 3", "window"), ("--bias none --token-axis variate", "none")],
)
def test_a_bias_is_named_by_its_kind(flags: str, kind: str) -> None:
    found = config_of(["calf", *flags.split()])[2]
    assert found.model.bias.kind == kind


@pytest.mark.parametrize(
    "flags, words",
    [
        ("--powerformer-alhpa 2", "no field --powerformer-alhpa (did you mean powerformer_alpha?)"),
        ("--gpt-layer 2", "no field --gpt-layer (did you mean gpt_layers?)"),
        ("--lora-alph 3", "no field --lora-alph (did you mean lora_alpha?)"),
        ("--bias windo", "model.bias.kind: no kind 'windo' (did you mean window?)"),
        ("--task-loss maee", "task.loss: should be 'mse', 'mae' or 'huber' (got 'maee')"),
        ("--bias window --powerformer-alpha 2", "model.bias: alpha: 'window' does not read it (it reads width)"),
        ("--powerformer-alpha -1", "alpha: -1.0 is negative"),
        ("--token-axis variate", "would decay over the order of the columns, which is no time"),
        ("--attn-init random --attn-train lora", "random attention under low-rank updates alone would stay"),
        ("--model.patch.length 26", "a patch of 26 steps is longer than the lookback of 25"),
        ("--n-heads 5", "model.heads: 5 heads do not divide the width 64"),
    ],
)
def test_what_is_typed_wrong_is_told_before_a_training(plait: Command, series: Path, flags: str, words: str) -> None:
    said = plait("train", "calf", "--data.name", series, *FLAGS.split(), *flags.split(), "--out", "run")
    assert said.code == 2, said
    assert words in said.err.splitlines()[-1]
    assert not (Path("run") / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    "backbone, words",
    [
        ("absent/folder/of/gpt2", "absent/folder/of/gpt2: there is no such folder"),
        ("pickled", "weights only in pytorch_model.bin, which is not read"),
    ],
)
def test_a_backbone_that_is_not_there_ends_with_its_name(
    plait: Command, series: Path, gpt2: Path, backbone: str, words: str
) -> None:
    shutil.copytree(gpt2, "pickled")
    torch.save(load_file("pickled/model.safetensors"), "pickled/pytorch_model.bin")
    Path("pickled/model.safetensors").unlink()
    said = plait("train", "calf", "--data.name", series, *FLAGS.split(), "--backbone", backbone)
    assert said.code == 5, said
    assert words in said.err.splitlines()[-1]
