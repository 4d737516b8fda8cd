"""`pretrained`: tiny random models of every family give the states of each text alone; what can't be read is said."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import plait.embedders.pretrained as pretrained
from embedders.tiny_models import Tiny, tiny_bert, tiny_gpt2, tiny_llama, tiny_t5
from plait.core.config import validate
from plait.core.errors import ConfigError, FileError
from plait.embedders.pretrained import Pretrained, PretrainedConfig

FAMILIES = {"bert": tiny_bert, "gpt2": tiny_gpt2, "llama": tiny_llama, "t5": tiny_t5}
SENTENCE = "orders will rise sharply within the next fortnight while stocks of wheat fall again"
TEXTS = [" ".join(SENTENCE.split()[i % 5 : i % 5 + 1 + 7 * i % 11]) for i in range(37)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tiny]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in FAMILIES.items()}


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path / "bert").folder


def embedder(folder: Path) -> Pretrained:
    return PretrainedConfig(path=str(folder)).build()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("cut", [4, 29])
def test_states_equal_those_of_each_text_alone(
    name: str, cut: int, folders: dict[str, Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "BATCH", 5)
    tiny = folders[name]
    texts = [*TEXTS[:11], "", *TEXTS[11:], " \n\t"]
    model = embedder(tiny.folder)
    states, mask = model.encode(texts, cut)
    assert states.dtype == np.float32
    assert states.shape == (39, cut, model.dim) == (39, model.length(cut), tiny.width)
    assert len({int(n) for n in mask.sum(axis=1)}) > (1 if cut == 4 else 5)
    for text, found, present in zip(texts, states, mask, strict=True):
        alone = tiny.states(text, cut) if text.strip() else np.zeros((0, tiny.width))
        assert present.tolist() == [place < len(alone) for place in range(cut)]
        np.testing.assert_allclose(found[present], alone, atol=1e-5)
        assert not found[~present].any()


@pytest.mark.parametrize("name", FAMILIES)
def test_states_do_not_depend_on_order_or_company(name: str, folders: dict[str, Tiny]) -> None:
    model = embedder(folders[name].folder)
    states, mask = model.encode(TEXTS, 29)
    turned, turned_mask = model.encode(TEXTS[::-1], 29)
    np.testing.assert_allclose(turned[::-1], states, atol=1e-5)
    np.testing.assert_array_equal(turned_mask[::-1], mask)
    np.testing.assert_allclose(model.encode(TEXTS[7:10], 29)[0], states[7:10], atol=1e-5)


def test_the_tiny_causal_models_have_no_padding_token(folders: dict[str, Tiny]) -> None:
    from transformers import AutoTokenizer

    for name in ("gpt2", "llama"):
        assert AutoTokenizer.from_pretrained(folders[name].folder, local_files_only=True).pad_token is None


def test_a_text_of_nothing_but_special_tokens_is_absent(folders: dict[str, Tiny]) -> None:
    states, mask = embedder(folders["bert"].folder).encode(["\x00\x01", "\ud800", "orders"], 5)
    assert mask.sum(axis=1).tolist() == [0, 3, 3]
    assert not states[0].any()
    none, no_mask = embedder(folders["bert"].folder).encode([], 5)
    assert (none.shape, no_mask.shape) == ((0, 5, folders["bert"].width), (0, 5))


def test_cuts_the_model_has_no_room_for_are_refused(folders: dict[str, Tiny]) -> None:
    model = embedder(folders["bert"].folder)
    for cut, message in ((2, "max_tokens 2 leaves no room"), (32, "more than the 31")):
        with pytest.raises(ConfigError, match=message):
            model.encode(["orders"], cut)
    assert model.encode(["orders"], 3)[1].all()


def test_loading_is_silent_and_draws_nothing(bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # The checkpoint has a language-model head, which is not used, and no pooler, which is drawn.
    from transformers.utils import logging

    before, level = torch.get_rng_state(), logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    capfd.readouterr()
    first = embedder(bert).encode(TEXTS, 5)[0]
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), before)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, bars)
    torch.manual_seed(7)
    np.testing.assert_array_equal(embedder(bert).encode(TEXTS, 5)[0], first)


def test_the_revision_follows_configuration_weights_and_tokenizer(bert: Path) -> None:
    def edit(name: str, change: Callable[[str], str]) -> None:
        (bert / name).write_text(change((bert / name).read_text()))

    found = [embedder(bert).revision]
    (bert / "README.md").write_text("words")
    assert embedder(bert).revision == found[0]
    edit("config.json", lambda text: json.dumps(json.loads(text) | {"layer_norm_eps": 1e-3}))
    found.append(embedder(bert).revision)
    weights = load_file(bert / "model.safetensors")
    weights[sorted(weights)[0]][0] += 1
    save_file(weights, bert / "model.safetensors", {"format": "pt"})
    found.append(embedder(bert).revision)
    edit("tokenizer.json", lambda text: text.replace('"lowercase": true', '"lowercase": false'))
    found.append(embedder(bert).revision)
    assert len(set(found)) == 4


def without(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def lacking(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in sorted(weights) if "attention.self.query.weight" in name))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 13}))


def own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoConfig": "code.Own"}}))
    (folder / "code.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Own: ...\n")


def strange_words(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["orders"] = 9999
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "pickle": (pickled, r"weights only in pytorch_model\.bin, which is not read.*safetensors"),
    "no weights": (without("model.safetensors"), "holds no weights"),
    "no config": (without("config.json"), r"no config\.json"),
    "no tokenizer": (without("tokenizer.json"), "holds no tokenizer"),
    "adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}") and None, "holds an adapter"),
    "cut off": (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 99), "can't be loaded"),
    "config": (lambda folder: (folder / "config.json").write_text("{") and None, "can't be loaded"),
    "lacking": (lacking, r"the weights lack .*query\.weight"),
    "another size": (another_size, "can't be loaded"),
    "own code": (own_code, "can't be loaded"),
    "strange words": (strange_words, "a token 9999"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_is_not_whole_is_refused(fault: str, bert: Path) -> None:
    spoil, message = FAULTS[fault]
    spoil(bert)
    with pytest.raises(FileError, match=message) as caught:
        embedder(bert).encode(["orders"], 5)
    assert caught.value.where.startswith(str(bert))
    assert not (bert / "ran").exists()


def test_paths_that_are_no_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"no such folder.*wordllama and minilm need no network"):
        _ = embedder(tmp_path / "absent").revision
    with pytest.raises(FileError, match="is a file"):
        _ = embedder(tmp_path / "file").revision
    with pytest.raises(ConfigError, match="path"):
        validate(PretrainedConfig, {"path": ""})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_the_states_of_the_cpu(folders: dict[str, Tiny]) -> None:
    for tiny in folders.values():
        states, mask = embedder(tiny.folder).encode(TEXTS[:5], 29)
        for text, found, present in zip(TEXTS, states, mask, strict=False):
            np.testing.assert_allclose(found[present], tiny.states(text, 29), atol=1e-4)
