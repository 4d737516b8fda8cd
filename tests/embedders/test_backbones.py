"""Where a language model's weights are found: folders, GGUF files that are converted once, and what is refused."""

import json
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file
from transformers import AutoModel, GPT2Config, GPT2LMHeadModel, GPT2Model

from plait.core.errors import ConfigError, FileError
from plait.embedders import _backbones
from plait.embedders._backbones import PACKAGE, SMOLLM2, architecture_of, backbone_folder
from plait.nn.language_model import LanguageBlocks


def small(seed: int = 0) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    size = {"n_layer": 2, "n_embd": 8, "n_head": 2, "n_positions": 17}
    return GPT2LMHeadModel(GPT2Config(vocab_size=13, bos_token_id=0, eos_token_id=0, **size))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a small GPT-2, without a tokenizer: no word is read."""
    small().save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


def test_a_folder_of_safetensors_gives_its_first_layers(folder: Path) -> None:
    assert backbone_folder(str(folder)) == folder
    found = architecture_of(str(folder), 1)
    assert (found["model_type"], found["n_layer"], found["n_embd"], found["n_head"]) == ("gpt2", 1, 8, 2)
    assert json.loads(json.dumps(found)) == found
    assert LanguageBlocks(found).load(backbone_folder(str(folder))).shape == (13, 8)
    with pytest.raises(ConfigError, match="the backbone has 2 layers, 3 are asked for"):
        architecture_of(str(folder), 3)


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize(
    "spoil, words",
    [
        (pickled, r"weights only in pytorch_model\.bin, which is not read.*save_pretrained, which writes safetensors"),
        (without("model.safetensors"), "holds no weights"),
        (without("config.json"), r"has no config\.json"),
        (adapter, "holds an adapter.*merge it"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(spoil: Callable[[Path], None], words: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(FileError, match=words) as caught:
        architecture_of(str(folder), 1)
    assert caught.value.where == str(folder)


def test_paths_that_are_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"there is no such folder.*Hub id") as caught:
        backbone_folder(str(tmp_path / "absent"))
    assert caught.value.where == str(tmp_path / "absent")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(FileError, match="is a file, not the folder of a model"):
        backbone_folder(str(tmp_path / "model.bin"))
    with pytest.raises(FileError, match="there is no such folder"):
        backbone_folder(str(tmp_path / "absent.gguf"))


def test_smollm2_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backbones, "find_spec", lambda name: None)
    with pytest.raises(FileError, match=r"SmolLM2 are not installed .*plait\[smollm2\]"):
        backbone_folder(SMOLLM2)


# --- GGUF files


@pytest.fixture
def conversions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The files that were converted: reading them needs a package of its own, so that one step is stood in for."""
    done: list[tuple[str, str]] = []

    def converts(place: str, gguf_file: str, **_: Any) -> GPT2Model:
        content = (Path(place) / gguf_file).read_bytes()
        if not content:
            raise ValueError("not a GGUF file\nat all")
        done.append((place, gguf_file))
        return small(len(content)).transformer

    def finds(name: str) -> ModuleSpec | None:
        return ModuleSpec(name, None) if name == "gguf" else find_spec(name)

    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(AutoModel, "from_pretrained", converts)
    monkeypatch.setattr(_backbones, "find_spec", finds)
    return done


def test_a_gguf_file_is_converted_once_and_again_when_it_changes(
    tmp_path: Path, conversions: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"one")
    first = backbone_folder(str(file))
    assert "converting model.gguf to safetensors, once" in capsys.readouterr().out
    assert first.parent == tmp_path / "cache" / "backbones"
    assert torch.equal(LanguageBlocks(architecture_of(str(file), 1)).load(first), small(3).transformer.wte.weight)
    assert backbone_folder(str(file)) == first
    assert capsys.readouterr().out == ""
    assert conversions == [(str(tmp_path), "model.gguf")]
    (tmp_path / "other").mkdir()
    copy = file.rename(tmp_path / "other" / "model.gguf")
    assert backbone_folder(str(copy)) == first
    assert len(conversions) == 1
    copy.write_bytes(b"other")
    second = backbone_folder(str(copy))
    assert second != first
    assert len(conversions) == 2
    assert torch.equal(LanguageBlocks(architecture_of(str(copy), 1)).load(second), small(5).transformer.wte.weight)


def test_a_conversion_that_was_broken_off_is_done_again(
    tmp_path: Path, conversions: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"one")

    def full(_: Any, place: Path) -> None:
        place.write_bytes(b"half")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(OSError, match="no space"):
            backbone_folder(str(file))
    assert len(LanguageBlocks(architecture_of(str(file), 1)).load(backbone_folder(str(file)))) == 13
    assert len(conversions) == 2


def test_a_file_that_can_not_be_converted_is_refused(tmp_path: Path, conversions: list[tuple[str, str]]) -> None:
    (tmp_path / "model.gguf").write_bytes(b"")
    with pytest.raises(FileError, match=r"can't be converted: not a GGUF file$") as caught:
        backbone_folder(str(tmp_path / "model.gguf"))
    assert caught.value.where == str(tmp_path / "model.gguf")
    assert not (tmp_path / "cache").exists()


def test_a_gguf_file_without_the_package_that_reads_it_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_backbones, "find_spec", lambda name: None)
    (tmp_path / "model.gguf").write_bytes(b"one")
    with pytest.raises(FileError, match=r"model\.gguf: GGUF files are read by the package gguf.*plait\[smollm2\]"):
        backbone_folder(str(tmp_path / "model.gguf"))


def test_smollm2_is_the_file_in_its_package_which_is_not_imported(
    tmp_path: Path, conversions: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "installed" / PACKAGE
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "weights" / "SmolLM2.gguf").write_bytes(b"one")
    monkeypatch.syspath_prepend(package.parent)
    assert backbone_folder(SMOLLM2).name.startswith("SmolLM2-")
    assert conversions == [(str(package / "weights"), "SmolLM2.gguf")]
