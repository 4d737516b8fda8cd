"""Each distinct text is encoded once; a store that is damaged, foreign or cut off is seen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import plait.data.store as store_module
from plait.core.errors import FileError
from plait.data.store import EmbeddingStore, pool_states
from plait.embedders.wordllama import WordLlama


class Counting:
    """An embedder that counts what it sees: token states are the character codes of the words."""

    dim = 3
    revision = "r1"

    def __init__(self, fail_after: int | None = None) -> None:
        self.seen: list[str] = []
        self.fail_after = fail_after

    def encode(self, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        if self.fail_after is not None and len(self.seen) >= self.fail_after:
            raise KeyboardInterrupt
        self.seen += texts
        states = np.zeros((len(texts), max_tokens, 3), dtype=np.float32)
        mask = np.zeros((len(texts), max_tokens), dtype=bool)
        for row, text in enumerate(texts):
            for place, word in enumerate(text.split()[:max_tokens]):
                states[row, place] = [ord(word[0]), len(word), place]
                mask[row, place] = True
        return states, mask


def test_n_distinct_texts_cost_n_encodings_ever(tmp_path: Path) -> None:
    model = Counting()
    first = EmbeddingStore(model, "counting", 5, "none", tmp_path)
    assert first.add(["a b", "c", "a b", "c", "d e f"]) == 3
    again = EmbeddingStore(model, "counting", 5, "none", tmp_path)
    assert again.add(["c", "new", "a b"]) == 1
    assert sorted(model.seen) == ["a b", "c", "d e f", "new"]
    states, mask = again.load(["new", "a b"])
    expected, expected_mask = Counting().encode(["new", "a b"], 5)
    np.testing.assert_array_equal(states, expected)
    np.testing.assert_array_equal(mask, expected_mask)


def test_an_interrupted_encoding_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "CHUNK", 2)
    texts = [f"t{i}" for i in range(7)]
    cut = Counting(fail_after=4)
    with pytest.raises(KeyboardInterrupt):
        EmbeddingStore(cut, "counting", 3, "mean", tmp_path).add(texts)
    rest = Counting()
    store = EmbeddingStore(rest, "counting", 3, "mean", tmp_path)
    assert store.add(texts) == 3
    assert sorted(cut.seen + rest.seen) == texts
    assert store.load(texts)[0].shape == (7, 1, 3)


@pytest.mark.parametrize("pool", ["mean", "max", "min"])
def test_pooling_reads_present_tokens_only(pool: str) -> None:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(5, 7, 3)).astype(np.float32)
    mask = rng.random((5, 7)) > 0.5
    mask[2] = False
    pooled, counts = pool_states(np.where(mask[:, :, None], states, np.nan), mask, pool)
    for row in range(5):
        if row == 2:
            assert counts[row] == 0
            continue
        kept = states[row][mask[row]]
        np.testing.assert_allclose(pooled[row, 0], getattr(np, pool)(kept, axis=0), rtol=1e-6)


def test_other_revisions_and_cuts_have_stores_of_their_own(tmp_path: Path) -> None:
    other = Counting()
    other.revision = "r2"
    folders = {
        EmbeddingStore(Counting(), "counting", 5, "mean", tmp_path).folder,
        EmbeddingStore(Counting(), "counting", 6, "mean", tmp_path).folder,
        EmbeddingStore(Counting(), "counting", 5, "max", tmp_path).folder,
        EmbeddingStore(other, "counting", 5, "mean", tmp_path).folder,
    }
    assert len(folders) == 4


def test_a_store_of_another_encoder_and_a_flipped_byte_are_refused(tmp_path: Path) -> None:
    store = EmbeddingStore(Counting(), "counting", 5, "mean", tmp_path)
    store.add(["a", "b"])
    array = next(store.folder.glob("*.npy"))
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    with pytest.raises(FileError, match="damaged"):
        store.load(["a"])
    (store.folder / "store.json").write_text('{"embedder": "another"}')
    with pytest.raises(FileError, match="another encoder"):
        EmbeddingStore(Counting(), "counting", 5, "mean", tmp_path)


def test_wordllama_looks_up_tokens_and_leaves_empty_texts_absent() -> None:
    states, mask = WordLlama().encode(["Orders will rise.", "", "Orders"], 6)
    assert states.shape == (3, 6, 256)
    assert mask.sum(axis=1).tolist()[1] == 0
    assert 0 < mask.sum(axis=1).tolist()[2] < mask.sum(axis=1).tolist()[0] <= 6
    np.testing.assert_array_equal(states[0, 0], states[2, 0])
    assert not states[1].any()
