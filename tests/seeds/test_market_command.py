"""The command and the YAML of the design document of `market`: what their names set, and what is said of them."""

import re
from pathlib import Path
from typing import Any

import pytest

from plait.cli.arguments import config_of
from plait.core import yaml
from plait.core.config import Config
from plait.core.errors import ConfigError, FileError
from plait.core.schema import Schema
from plait.runs.recipe import load_recipe, names_of, raw_config, recipe_names

WHOLE, FUSION = Path("default_config.yaml"), Path("model_config.yaml")
"""The YAML of sections 11.3 and 6, as they stand in the document."""
SCHEMA = Schema(
    "candles", {"candles": 14, "topology": 214, "complexity": 6}, tuple(f"c{i}" for i in range(14)), 96,
    stream_tokens={"topology": 1, "complexity": 1}, outputs=2,
)  # fmt: skip
STANDS_FOR: dict[str, Any] = {
    "data.topology.window": 672,
    "data.topology.embedding": 2,
    "data.topology.delay": 12,
    "data.topology.bins": 100,
    "data.topology.layers": 5,
    "model.fusion.kind": "token_transformer",
    "model.fusion.dim": 256,
    "model.fusion.heads": 8,
    "model.fusion.depth": 2,
    "model.fusion.hidden": 1024,
    "model.fusion.dropout": 0.1,
    "model.fusion.cls": False,
    "model.candles.stacks": ["trend", "seasonality", "generic", "generic"],
    "model.candles.hidden": 256,
    "model.candles.dim": 256,
    "model.candles.blocks": 6,
    "model.candles.layers": 6,
    "model.topology.dim": 256,
    "model.complexity.dim": 64,
    "training.batch_size": 4 * 2048,
    "training.accumulate": 4,
    "training.lr": 0.0005,
    "training.weight_decay": 0.01,
    "training.epochs": 500,
    "training.patience": 30,
}
READ_BY_ITS_CODE = {
    "tda_feature_dim", *(f"model.{name}" for name in (
        "ohlcv_features", "volume_features", "technical_features", "ohlcv_sequence_length", "lstm_hidden_size",
        "nbeats_num_stacks", "nbeats_num_blocks", "nbeats_num_layers", "lstm_dropout", "use_attention",
        "tda_encoder_dim", "complexity_features", "complexity_encoder_dim", "fusion_hidden_dim", "fusion_num_heads",
        "fusion_num_layers", "fusion_ffn_dim", "fusion_use_cls_token", "shared_fc_dim",
    )),
}  # fmt: skip
"""What stands behind `config.` in the code of its sections 4 and 5."""
UNREAD = [
    *(f"fusion.{name}" for name in (
        "fusion_type", "hidden_dim", "num_heads", "num_layers", "ffn_dim", "dropout", "use_cls_token", "output_dim",
    )), "model.model_type",
]  # fmt: skip


@pytest.fixture(autouse=True)
def fragments(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write both into the folder the test runs in."""
    (document,) = (shared / "seeds").glob("003*.txt")
    found = re.findall(r"```yaml\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for path, text in zip((FUSION, WHOLE), found, strict=True):
        path.write_text(text, encoding="utf-8")


def asked(*tokens: object, seed: Path | None = WHOLE, valued: tuple[str, ...] = ("out",)) -> Any:
    """The options and the config of a command about `market`."""
    file = () if seed is None else ("--seed-yaml", seed)
    parsed, _, config = config_of([str(t) for t in ("market", "--data.path", "bars.csv", *file, *tokens)], valued)
    return parsed.options, config


def at(config: Config, path: str) -> Any:
    found: Any = config
    for step in path.split("."):
        found = getattr(found, step)
    return found


def parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def written(folder: Path, **sections: Any) -> Path:
    path = folder / "seed.yaml"
    path.write_text(yaml.dump(sections), encoding="utf-8")
    return path


# --- what its YAML sets


@pytest.mark.parametrize("path", STANDS_FOR)
def test_a_key_sets_its_field(path: str) -> None:
    assert at(asked()[1], path) == STANDS_FOR[path]


def test_what_it_does_not_name_is_as_at_the_size_seed() -> None:
    found, at_size = asked()[1], asked("--size", "seed", seed=None)[1]
    fields = names_of(found.model_dump(mode="json"), load_recipe("market")).fields
    other = {path for path in fields if at(found, path) != at(at_size, path)}
    assert other == {
        "model.candles.blocks", "model.candles.layers", "training.batch_size", "training.accumulate",
        "training.epochs", "training.patience",
    }  # fmt: skip


def test_the_fragment_of_the_fusion_alone_is_the_size_seed(capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(seed=FUSION)[1]
    assert found == asked("--size", "seed", seed=None)[1]
    assert capsys.readouterr().err.splitlines() == [
        f"{FUSION}: its keys are laid over --size seed",
        f"{FUSION}: never read by the document's own code, with effect here: model.fusion_type",
    ]


@pytest.mark.parametrize("seed", [WHOLE, FUSION])
@pytest.mark.parametrize("cls, count", [(False, 1_990_912), (True, 1_991_424)])
def test_the_fusion_has_the_parameters_of_the_documents_pseudocode(
    seed: Path, cls: bool, count: int, tmp_path: Path
) -> None:
    text = seed.read_text()
    assert text.count("use_cls_token: false") == 1
    path = tmp_path / "seed.yaml"
    path.write_text(text.replace("use_cls_token: false", f"use_cls_token: {str(cls).lower()}"))
    assert parameters(asked("--model.candles.blocks", 1, seed=path)[1].model.build(SCHEMA).fusion) == count


def test_the_whole_model_is_a_tenth_of_what_the_documents_code_would_make() -> None:
    model = asked()[1].model.build(SCHEMA)
    inputs, width, blocks = 96 * 14, 256, 4 * 6
    layers = (inputs * width + width) + 5 * (width * width + width) + (width * width + width)
    backcasts = [4 * 14] * 6 + [2 * 8 * 14] * 6 + [inputs] * 11
    assert parameters(model.legs["candles"]) == blocks * layers + sum(width * out + out for out in backcasts)
    assert parameters(model) < 25_000_000


# --- what is said of it


def test_keys_without_effect_and_keys_the_document_never_reads_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    asked()
    lines = [line.removeprefix(f"{WHOLE}: ") for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "its keys are laid over --size seed",
        "fusion.output_dim has no effect: what comes out is as wide as fusion.hidden_dim",
        "model.model_type has no effect: the recipe is the type of the model",
        "model.lstm_hidden_size: 1024 is the width of all stacks side by side, 256 each (section 0.2), and so wide are"
        " their layers; as the width of every layer, which the document's code makes it, it would bring more than 200"
        " million parameters",
        "training.batch_size: batches of 2048 rows, times gradient_accumulation_steps, are steps of 8192 rows here",
        "training.learning_rate: the fusion keeps its own rate (training.lr_of)",
        "never read by the document's own code, with effect here: fusion.fusion_type, fusion.hidden_dim,"
        " fusion.num_heads, fusion.num_layers, fusion.ffn_dim, fusion.dropout, fusion.use_cls_token",
        "never read by the document's own code: fusion.output_dim, model.model_type",
    ]


def test_the_unread_keys_are_those_that_no_code_of_the_document_names() -> None:
    given = yaml.read(WHOLE) | {}
    given["model"] = given["model"] | yaml.read(FUSION)["model"]
    keys = [f"{section}.{name}" for section in ("fusion", "model") for name in given[section]]
    assert {key for key in keys if key not in READ_BY_ITS_CODE} == {*UNREAD, "model.fusion_type"}
    assert set(load_recipe("market").seed_yaml["unread"]) == {*UNREAD, "model.fusion_type"}


def test_every_name_of_the_document_is_known_and_every_field_is_there() -> None:
    recipe = load_recipe("market")
    keys = recipe.seed_yaml["keys"]
    assert not READ_BY_ITS_CODE - set(keys)
    fields = names_of(raw_config(recipe, recipe.seed_yaml["size"]), recipe).fields
    for name, of in keys.items():
        for path in [of] if isinstance(of, str) else of.get("to", []):
            assert path in fields, name


# --- beside what else is named


def test_its_folder_is_the_run_folder_unless_another_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked()[0]["out"] == "models/cross_modal_attention"
    assert asked("--out", "here")[0]["out"] == "here"
    assert "out" not in asked("--resume", "here", valued=("out", "resume"))[0]
    assert "--out" not in capsys.readouterr().err
    assert "out" not in asked(valued=())[0]
    assert f"{WHOLE}: 'models/cross_modal_attention' is for --out, which this verb has not" in capsys.readouterr().err


def test_what_is_named_stands_above_it_wherever_it_stands() -> None:
    for tokens in (["--lr", 0.001, "--seed-yaml", WHOLE], ["--seed-yaml", WHOLE, "--lr", 0.001]):
        found = asked(*tokens, "--fusion-hidden-dim", 128, seed=None)[1]
        assert (found.training.lr, found.model.fusion.dim, found.training.epochs) == (0.001, 128, 500)
    tiny = asked("--size", "tiny", seed=FUSION)[1]
    assert (tiny.model.candles.dim, tiny.model.fusion.dim) == (16, 256)


def test_keys_of_another_fusion_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = WHOLE.read_text().replace('fusion_type: "cross_modal_attention"', "fusion_type: concat")
    (tmp_path / "seed.yaml").write_text(text)
    plain = asked("--fusion", "concat", seed=None)[1]
    for tokens, seed in ((), tmp_path / "seed.yaml"), (("--fusion-type", "concat"), WHOLE):
        found = asked(*tokens, seed=seed)[1]
        assert found.model.fusion == plain.model.fusion
        assert found.training.epochs == 500
        said = capsys.readouterr().err
        assert "fusion.num_heads has no effect: with the kinds chosen there is no model.fusion.heads" in said


# --- what can be wrong with it


@pytest.mark.parametrize(
    "sections, where, words",
    [
        ({"fusion": {"hiden_dim": 256}}, "", "no key 'fusion.hiden_dim' (did you mean fusion.hidden_dim?)"),
        ({"fuson": {"hidden_dim": 256}}, "", "no key 'fuson.hidden_dim' (did you mean fusion.hidden_dim?)"),
        ({"hidden_dim": 256}, "", "no key 'hidden_dim' (did you mean "),
        ({"training": 3}, "", "no key 'training' ("),
        ({"model": {"lstm_hidden_size": 1023}}, "model.lstm_hidden_size", "1023 can't be divided by 4 (model.nb"),
        ({"model": {"lstm_hidden_size": "wide"}}, "model.lstm_hidden_size", "whole numbers above 0 (got wide)"),
        ({"model": {"nbeats_num_stacks": 5}}, "model.nbeats_num_stacks", "can be 4 at most (got 5)"),
        ({"model": {"nbeats_num_stacks": 0}}, "model.nbeats_num_stacks", "whole numbers above 0 (got 0)"),
        ({"model": {"ohlcv_features": 5}}, "model.ohlcv_features", "is always 4 here (got 5) (leave it out)"),
        ({"tda": {"homology_dimensions": [0, 1, 2]}}, "tda.homology_dimensions", "is always [0, 1] here (got [0, 1"),
        (
            {"fusion": {"hidden_dim": 256}, "model": {"fusion_hidden_dim": 128}}, "model.fusion_hidden_dim",
            "sets model.fusion.dim to 128, fusion.hidden_dim to another value (leave one out)",
        ),
        (
            {"training": {"batch_size": 64, "gradient_accumulation_steps": True}}, "training.batch_size",
            "whole numbers above 0 (got true)",
        ),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_its_key(tmp_path: Path, sections: dict[str, Any], where: str, words: str) -> None:
    path = written(tmp_path, **sections)
    with pytest.raises(ConfigError) as caught:
        asked(seed=path)
    assert words in str(caught.value)
    assert caught.value.where == (f"{path}, {where}" if where else str(path))


def test_a_value_of_another_type_is_told_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, fusion={"hidden_dim": "big"})
    with pytest.raises(ConfigError, match=r"model\.fusion\.dim: should be a valid integer \(got 'big'\)") as caught:
        asked(seed=path)
    assert caught.value.where == f"market, {path}"


def test_an_empty_section_and_equal_values_are_fine(tmp_path: Path) -> None:
    path = written(tmp_path, tda=None, fusion={"num_heads": 4}, model={"fusion_num_heads": 4, "nbeats_num_stacks": 2})
    found = asked(seed=path)[1]
    assert (found.model.fusion.heads, found.model.candles.stacks) == (4, ["trend", "seasonality"])


def test_files_and_recipes_without_such_a_map() -> None:
    with pytest.raises(FileError, match="no such file"):
        asked(seed=Path("absent.yaml"))
    with pytest.raises(ConfigError, match="--seed-yaml needs a value"):
        asked("--seed-yaml", seed=None)
    for name in set(recipe_names()) - {"market"}:
        with pytest.raises(ConfigError, match=f"the design document of {name} has no YAML"):
            config_of([name, "--seed-yaml", str(WHOLE)])


# --- its command


@pytest.mark.parametrize("dash", ["-", "_"])
def test_the_options_of_its_command_set_their_fields(dash: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = """--cache-dir cache --data-dir data_flagged --log-level INFO --epochs 100 --batch-size 1024
        --lr 0.0003 --fusion-hidden-dim 128 --fusion-num-heads 4 --fusion-num-layers 3 --fusion-ffn-dim 512
        --fusion-use-cls-token"""
    tokens = [f"--{t[2:].replace('-', dash)}" if t.startswith("--") else t for t in line.split()]
    found = asked(*tokens, seed=None)[1]
    assert (found.data.cache, found.data.root) == ("cache", "data_flagged")
    assert (found.training.epochs, found.training.batch_size, found.training.lr) == (100, 1024, 0.0003)
    fusion = found.model.fusion
    assert (fusion.kind, fusion.dim, fusion.heads, fusion.depth, fusion.hidden) == ("token_transformer", 128, 4, 3, 512)
    assert fusion.cls is True
    assert asked("--no-fusion-use-cls-token", seed=None)[1].model.fusion.cls is False
    assert capsys.readouterr().err == f"--log{dash}level is accepted and has no effect here\n"


def test_its_words_for_the_fusion() -> None:
    assert asked("--fusion-type", "concat", seed=None)[1].model.fusion.kind == "concat"
    for size in ("tiny", "base", "seed"):
        plain = asked("--size", size, seed=None)[1]
        assert asked("--size", size, "--fusion-type", "cross_modal_attention", seed=None)[1] == plain
    with pytest.raises(ConfigError, match=r"no kind 'cross_modal_atention' \(did you mean cross_modal_attention\?\)"):
        asked("--fusion-type", "cross_modal_atention", seed=None)
    with pytest.raises(ConfigError, match=r"model\.fusion\.heads needs --model\.fusion\.kind"):
        asked("--fusion-type", "concat", "--fusion-num-heads", 4, seed=None)
    with pytest.raises(ConfigError, match=r"no field --fusion-hiden-dim \(did you mean fusion_hidden_dim\?\)"):
        asked("--fusion-hiden-dim", 4, seed=None)
