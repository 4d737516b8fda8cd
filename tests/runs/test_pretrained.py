"""A pretraining is a run like any other; another run starts from its encoder: what is taken, kept, left, refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from data.sample_study import SAMPLES, Study
from plait.core.errors import ConfigError, FileError
from plait.runs.assemble import build_data, build_model, start
from plait.runs.config import RunConfig
from plait.runs.fit import fit
from plait.runs.folder import read_config, read_json
from plait.runs.pretrained import RECORD, settled, take, without_frozen
from plait.runs.recipe import load_recipe, resolve
from plait.runs.run import Run, load_run
from plait.training.checkpoint import read_folder, write_folder

USUAL: list[tuple[str, Any]] = [
    ("data.splits", [0.5, 0.25, 0.25]), ("data.prevalence", 0.3), ("batch-size", 7), ("training.trackers", []),
    ("device", "cpu"), ("data.most_features", 13),
]  # fmt: skip
NUCLEOTIDES = "asv.nucleotides."
STACK: list[tuple[str, Any]] = [("model.sample.depth", 1), ("model.sample.heads", 2), ("model.sample.hidden", 11)]


def study() -> Study:
    """Samples of two kinds, each with some of its own half of the sequences, which repeat a pattern of the half."""
    base, chance = Study(), np.random.default_rng(3)
    counts, letters = {}, {}
    for row, sample in enumerate(SAMPLES):
        for column, feature in enumerate(base.features):
            own = (column < 10) == (row % 2 == 0)
            counts[sample, feature] = int(chance.poisson(9)) * int(own and chance.random() < 0.6)
        counts[sample, base.features[9 if row % 2 == 0 else 18]] += 1
    for column, feature in enumerate(base.features):
        pattern = "AAC" if column < 10 else "GT"
        letters[feature] = (pattern * 12)[column % 3 : 23 + column % 5]
    return Study(counts=counts, letters=letters, metadata=base.metadata)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return study().write(tmp_path_factory.mktemp("study"))


def pretraining(files: dict[str, str], *fields: tuple[str, Any]) -> RunConfig:
    paths = [(f"data.{name}", files[name]) for name in ("table", "sequences", "tree")]
    return resolve(load_recipe("aam").for_pretraining(), "tiny", [*paths, *USUAL, ("epochs", 12), *fields])


def training(files: dict[str, str], *fields: tuple[str, Any]) -> RunConfig:
    paths = [(f"data.{name}", files[name]) for name in ("table", "sequences", "tree", "metadata")]
    usual = [("target", "age"), ("data.bins", 7), ("epochs", 1), ("model.composition", None)]
    return resolve(load_recipe("aam"), "tiny", [*paths, *USUAL, *usual, *fields])


def trained(folder: Path, config: RunConfig) -> Run:
    """The run of a config; the rivals of a target are of no interest here."""
    folder.mkdir(parents=True)
    rivals = None
    if config.task.kind != "pretrain":
        data = build_data(config)
        rows = {split: len(data.rows(split)) for split in ("val", "test")}
        rivals = {"none": {split: {name: np.ones(n) for name in ("ae", "se", "n")} for split, n in rows.items()}}
    fit(config, folder, rivals=rivals)
    return load_run(folder)


@pytest.fixture(scope="module")
def base(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("runs") / "base", pretraining(files, *STACK, ("seed", 5)))


def nucleotides_of(run: Run, net: int = 0) -> dict[str, torch.Tensor]:
    prefix = f"nets.{net}.{NUCLEOTIDES}"
    return {n.removeprefix(prefix): t for n, t in run.model.state_dict().items() if n.startswith(prefix)}


def begun(config: RunConfig, folder: Path) -> tuple[Any, Any]:
    """A model as its training begins, and what was taken."""
    config = settled(config)
    data = build_data(config)
    model = build_model(config, data.schema)
    start(model, data)
    folder.mkdir(exist_ok=True)
    return model, take(config, model, folder)


def test_a_pretraining_learns_scores_and_loads_as_a_run(base: Run, files: dict[str, str]) -> None:
    lines = [json.loads(line) for line in (base.folder / "metrics.jsonl").read_text().splitlines()]
    first, best = lines[0]["val"], min(line["val"] for line in lines)
    assert best < 0.8 * first
    losses = [line["train"] for line in lines if line["event"] == "epoch"]
    assert losses[-1]["nucleotides"] < losses[0]["nucleotides"]
    metrics = base.metrics
    assert metrics["metric"] == "loss"
    assert metrics["unit"] == "10 x unifrac + 1 x nucleotides"
    test = metrics["metrics"]["test"]
    assert test["loss"] == pytest.approx(10 * test["unifrac"] + test["nucleotides"])
    assert test["loss"] < metrics["baselines"]["train_means"]["loss"]
    assert metrics["best_baseline"]["name"] == "train_means"
    saved = load_file(base.folder / "scores.safetensors")
    again = base.scores("test")
    assert set(again) == {"loss", "unifrac", "nucleotides", "n"}
    assert all(np.array_equal(again[name], saved[f"final.test.{name}"].numpy()) for name in again)


def test_its_predictions_are_the_vectors_of_samples(base: Run, files: dict[str, str]) -> None:
    table = base.predict(split="test")
    assert list(table.columns) == ["sample_id", *(f"e{n}" for n in range(table.shape[1] - 1))]
    batch = base.data.batch("test", base.data.rows("test"))
    with torch.no_grad():
        np.testing.assert_allclose(table.iloc[:, 1:], base.model(batch).prediction.parts["pooled"][:, 0], rtol=1e-5)
    new = base.predict(table=files["table"], sequences=files["sequences"], tree=files["tree"])
    assert len(new) == len(SAMPLES)
    both = table.merge(new, on="sample_id")
    assert len(both) == len(table)
    np.testing.assert_allclose(both["e0_x"], both["e0_y"], rtol=1e-4, atol=1e-6)


def test_every_net_starts_from_the_encoder_bit_for_bit_and_keeps_its_own_table(
    base: Run, files: dict[str, str], tmp_path: Path
) -> None:
    config = training(files, ("pretrained-encoder", str(base.folder)), ("model.nets", 3))
    model, facts = begun(config, tmp_path / "a")
    wanted = nucleotides_of(base)
    assert len(wanted) > 10
    for net in model.nets:
        own = net.asv.nucleotides.state_dict()
        assert own.keys() == wanted.keys()
        assert all(torch.equal(own[name], wanted[name]) for name in own)
    assert (facts["taken"], facts["left"], facts["nets"]) == (["nucleotides"], ["asv"], [0, 0, 0])
    plain = build_model(settled(config), build_data(config).schema)
    assert not torch.equal(plain.nets[0].asv.nucleotides.position, model.nets[0].asv.nucleotides.position)  # type: ignore[index]
    others = [n for n, _ in plain.named_parameters() if NUCLEOTIDES not in n]
    assert all(torch.equal(plain.get_parameter(n), model.get_parameter(n)) for n in others)
    assert torch.equal(model.nets[0].asv.letters, build_data(config).tables["letters"])
    assert read_json(tmp_path / "a" / RECORD) == facts


def test_without_blocks_the_whole_asv_leg_is_taken(base: Run, files: dict[str, str], tmp_path: Path) -> None:
    same = [("pretrained-encoder", str(base.folder)), ("model.asv.blocks", False)]
    model, facts = begun(training(files, *same, *STACK), tmp_path / "a")
    assert (facts["taken"], facts["left"]) == (["nucleotides", "asv", "sample"], [])
    given, own = base.model.state_dict(), model.state_dict()
    names = [n for n, _ in model.named_parameters() if ".asv." in n or ".sample." in n]
    assert set(facts["parameters"]) == set(names)
    assert all(torch.equal(own[n], given[n]) for n in names)
    _, facts = begun(training(files, *same, *STACK, ("model.sample.hidden", 13)), tmp_path / "b")
    assert (facts["taken"], facts["left"]) == (["nucleotides", "asv"], ["sample"])
    _, facts = begun(training(files, *same, ("model.asv.dim", 10), *STACK), tmp_path / "c")
    assert (facts["taken"], facts["left"]) == (["nucleotides"], ["asv", "sample"])


@pytest.mark.parametrize("frozen", [True, False])
def test_training_changes_what_is_not_frozen(base: Run, files: dict[str, str], tmp_path: Path, frozen: bool) -> None:
    config = training(files, ("pretrained-encoder", str(base.folder)), ("freeze-base", frozen))
    run = trained(tmp_path / "run", config)
    before, _ = begun(config, tmp_path / "begun")
    assert run.config.model.asv.nucleotides.frozen is frozen
    assert run.config.model.asv.nucleotides.dim == base.config.model.asv.nucleotides.dim
    for name, value in run.model.named_parameters():
        moved = not torch.equal(value, before.get_parameter(name))
        # A first epoch leaves a bias of keys' like where its gradient is 0; all weights of matrices move.
        if frozen and NUCLEOTIDES in name:
            assert not moved, name
        elif value.dim() == 2:
            assert moved, name
    line = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[0])
    learning = [p.numel() for n, p in run.model.named_parameters() if not (frozen and NUCLEOTIDES in n)]
    assert line["parameters"] == sum(learning)
    assert run.metrics["pretrained"]["taken"] == ["nucleotides"]


def test_a_run_does_not_need_its_pretrained_run_once_it_has_begun(
    base: Run, files: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(base.folder, tmp_path / "base")
    config = training(files, ("pretrained-encoder", str(tmp_path / "base")), ("freeze-base", True))
    run = trained(tmp_path / "run", config)
    wanted = run.predict(split="test")
    shutil.rmtree(tmp_path / "base")
    again = load_run(run.folder).predict(split="test")
    assert again.equals(wanted)
    shutil.rmtree(run.folder / "model")
    (run.folder / "metrics.json").unlink()
    rivals = {"none": {s: {n: np.ones(len(run.data.rows(s))) for n in ("ae", "se", "n")} for s in ("val", "test")}}
    fit(read_config(run.folder), run.folder, rivals=rivals)
    assert load_run(run.folder).predict(split="test").equals(wanted)


def test_frozen_nucleotides_are_left_out_of_every_stage(base: Run, files: dict[str, str], tmp_path: Path) -> None:
    config = settled(training(files, ("pretrained-encoder", str(base.folder)), ("freeze-base", True)))
    stages = [
        {"name": "letters", "train": ["*.asv.nucleotides.*"], "epochs": 1},
        {"name": "head", "train": ["*.head.*"], "also": ["*.asv.*"], "epochs": 1},
        {"name": "absent", "train": ["nothing.*"], "epochs": 1},
    ]
    raw = type(config.training).model_validate({**config.training.model_dump(), "stages": stages})
    model, _ = begun(config, tmp_path / "a")
    found = without_frozen(raw, model).stages
    assert [stage.name for stage in found] == ["head", "absent"]
    assert found[0].train == [n for n, _ in model.named_parameters() if ".head." in n]
    assert found[0].also == [n for n, _ in model.named_parameters() if ".asv." in n and NUCLEOTIDES not in n]
    assert found[1].train == ["nothing.*"]
    plain = build_model(training(files), build_data(training(files)).schema)
    assert without_frozen(raw, plain) is raw


def altered(run: Run, folder: Path, change: Any) -> Path:
    """A copy of a run whose model's records are changed."""
    shutil.copytree(run.folder, folder)
    tensors, records = read_folder(folder / "model")
    change(records, tensors)
    write_folder(folder / "model", tensors, records)
    return folder


def test_longer_sequences_start_untrained_beyond_and_can_not_be_frozen(
    base: Run, files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut(records: Any, tensors: Any) -> None:
        records["schema"]["letters"] -= 5
        for name in ("position", "letters"):
            key = next(n for n in tensors["weights"] if n.endswith(f".{name}"))
            tensors["weights"][key] = (
                tensors["weights"][key][:-5] if name == "position" else tensors["weights"][key][:, :-5].contiguous()
            )

    short = altered(base, tmp_path / "short", cut)
    config = training(files, ("pretrained-encoder", str(short)))
    model, _ = begun(config, tmp_path / "a")
    position, given = model.nets[0].asv.nucleotides.position, nucleotides_of(base)["position"]
    assert torch.equal(position[:-5], given[:-5])
    assert not torch.equal(position[-5:], given[-5:])
    assert "the places beyond start untrained" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"knows \d+ letters of a sequence, the longest here has"):
        begun(training(files, ("pretrained-encoder", str(short)), ("freeze-base", True)), tmp_path / "b")


def test_what_does_not_fit_is_refused(base: Run, files: dict[str, str], tmp_path: Path) -> None:
    def of(run: Path, *fields: tuple[str, Any]) -> RunConfig:
        return settled(training(files, ("pretrained-encoder", str(run)), *fields))

    def rename(records: Any, tensors: Any) -> None:
        records["config"]["recipe"] = "other"

    with pytest.raises(ConfigError, match="is a run of other, not of aam"):
        of(altered(base, tmp_path / "other", rename))
    with pytest.raises(ConfigError, match="dim is 64, the pretrained run has 16"):
        of(base.folder, ("model.asv.nucleotides.depth", 2))
    with pytest.raises(ConfigError, match="there is nothing to freeze"):
        settled(training(files, ("freeze-base", True)))
    with pytest.raises(FileError):
        of(tmp_path / "nowhere")
    plain = trained(tmp_path / "plain", training(files))
    with pytest.raises(ConfigError, match="has no encoder of nucleotides to take"):
        of(plain.folder)


def test_a_recipe_without_a_pretraining_says_so() -> None:
    with pytest.raises(ConfigError, match="chimera has no pretraining"):
        load_recipe("chimera").for_pretraining()


@pytest.mark.parametrize("size", [None, "tiny", "base", "seed"])
def test_every_size_of_a_pretraining_is_of_letters_alone(size: str | None) -> None:
    config = resolve(load_recipe("aam").for_pretraining(), size, [("data.table", "t"), ("data.tree", "t")])
    assert (config.task.kind, config.model.head, config.model.composition) == ("pretrain", None, None)
    assert (config.data.kmers, config.data.tree_width, config.data.cooccurrence) == (0, 0, 0)
    assert config.data.mixup == 0
    assert not config.model.asv.blocks
    assert config.model.asv.nucleotides.dim == {"tiny": 16, "seed": 128}.get(str(size), 64)
