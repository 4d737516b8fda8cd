"""Each distinct text is encoded once; a store that is damaged, foreign, shared or cut off is seen."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import plait.data.store as store_module
from plait.core.errors import FileError, NumericsError
from plait.data.store import EmbeddingStore, pool_states, text_key


class Counting:
    """An embedder that counts what it sees: token states are the character codes of the words."""

    fits = False
    dim = 3
    revision = "r1"

    def __init__(self, fail_after: int | None = None) -> None:
        self.seen: list[str] = []
        self.fail_after = fail_after

    def length(self, max_tokens: int) -> int:
        return max_tokens

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


class OneState(Counting):
    """Its first state, and no other, whatever the cut."""

    def length(self, max_tokens: int) -> int:
        return 1

    def encode(self, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        return super().encode(texts, 1)


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


def test_an_embedder_with_one_state_a_text_has_a_store_of_length_one(tmp_path: Path) -> None:
    for pool in ("none", "mean"):
        store = EmbeddingStore(OneState(), "one", 5, pool, tmp_path)
        store.add(["a b c", ""])
        states, mask = store.load(["", "a b c"])
        assert mask.tolist() == [[False], [True]]
        np.testing.assert_array_equal(states, [[[0, 0, 0]], [[ord("a"), 1, 0]]])


def test_texts_added_by_others_between_two_reads_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second store's chunk sorts before the first's second one, which would shift places kept by position.
    monkeypatch.setattr(store_module, "CHUNK", 2)
    first = EmbeddingStore(Counting(), "counting", 3, "none", tmp_path)
    first.add(["a", "b b"])
    second = EmbeddingStore(Counting(), "counting", 3, "none", tmp_path)
    second.add(["c c", "d", "e e e"])
    first.add(["f", "g g", "c c"])
    texts = ["g g", "e e e", "a", "f", "d", "c c", "b b"]
    for store in (first, second, EmbeddingStore(Counting(), "counting", 3, "none", tmp_path)):
        states, mask = store.load(texts)
        expected, expected_mask = Counting().encode(texts, 3)
        np.testing.assert_array_equal(states, expected)
        np.testing.assert_array_equal(mask, expected_mask)


def test_a_text_that_another_process_stored_meanwhile_is_not_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "CHUNK", 2)
    model, other = Counting(), EmbeddingStore(Counting(), "counting", 3, "mean", tmp_path)
    store = EmbeddingStore(model, "counting", 3, "mean", tmp_path)
    told: list[tuple[int, int]] = []

    def meanwhile(done: int, total: int) -> None:
        told.append((done, total))
        other.add(["c", "d", "e"])

    assert store.add(["a", "b", "c", "d", "e", "f"], meanwhile) == 3
    assert model.seen == ["a", "b", "f"]
    assert told == [(2, 6), (4, 6), (6, 6)]
    assert store.load(["f", "e", "a"])[0][:, 0, 0].tolist() == [ord("f"), ord("e"), ord("a")]


ADDER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import plait.data.store as store_module
from test_store import Counting
store_module.CHUNK = 3
texts = [f"t{i} " + "w" * (i % 7) for i in range(int(sys.argv[3]), int(sys.argv[4]))]
class Shaky(Counting):
    def encode(self, texts, max_tokens):
        states, mask = super().encode(texts, max_tokens)
        states[..., 2] += float(sys.argv[5])  # another machine, another last bit
        return states, mask
sys.stdin.read(1)
store_module.EmbeddingStore(Shaky(), "counting", 5, "none", Path(sys.argv[2])).add(texts)
"""


def test_processes_that_add_the_same_texts_at_the_same_time_leave_a_whole_store(tmp_path: Path) -> None:
    (tmp_path / "adder.py").write_text(ADDER)
    spans = [(0, 90, 0), (0, 90, 1e-3), (30, 120, 2e-3), (0, 90, 0)]
    workers = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "adder.py"), str(Path(__file__).parent), str(tmp_path), *map(str, span)],
            stdin=subprocess.PIPE,
        )
        for span in spans
    ]
    for worker in workers:  # all have started before any goes on
        assert worker.stdin is not None
        worker.stdin.write(b"g")
        worker.stdin.flush()
    assert [worker.wait(120) for worker in workers] == [0, 0, 0, 0]
    model = Counting()
    store = EmbeddingStore(model, "counting", 5, "none", tmp_path)
    texts = [f"t{i} " + "w" * (i % 7) for i in range(120)]
    assert store.add(texts) == 0
    states, mask = store.load(texts)
    expected, expected_mask = model.encode(texts, 5)
    np.testing.assert_allclose(states[expected_mask], expected[expected_mask], atol=3e-3)
    np.testing.assert_array_equal(mask, expected_mask)
    assert not list(store.folder.glob("*.part"))


def test_a_kill_between_array_and_record_harms_no_chunk_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = EmbeddingStore(Counting(), "counting", 3, "none", tmp_path)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    class Meanwhile(Counting):
        def encode(self, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
            states, mask = super().encode(texts, max_tokens)
            other.add(texts)
            monkeypatch.setattr(store_module, "write_file", killed)
            return np.nextafter(states, np.float32(9e9)), mask

    with pytest.raises(KeyboardInterrupt):
        EmbeddingStore(Meanwhile(), "counting", 3, "none", tmp_path).add(["a", "b b"])
    states, mask = EmbeddingStore(Counting(), "counting", 3, "none", tmp_path).load(["a", "b b"])
    np.testing.assert_array_equal(states, Counting().encode(["a", "b b"], 3)[0])


def test_a_record_and_an_array_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "CHUNK", 2)
    EmbeddingStore(Counting(), "counting", 3, "mean", tmp_path).add(["a", "b", "c", "d"])
    store = EmbeddingStore(Counting(), "counting", 3, "mean", tmp_path)
    read, hashed, whole = [], [], Path.read_bytes
    digest = hashlib.file_digest
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or whole(path))
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: hashed.append(file.name) or digest(file, name))
    first = store.known()[text_key("a")][0]
    for _ in range(3):
        store.load(["b", "a"])
    assert len(read) == len(set(read)) == 2
    assert hashed == [str(store.folder / f"{first}.npy")]


def test_a_text_of_any_length_fits_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 7 places of 3 numbers of 4 bytes: 84 bytes a text.
    monkeypatch.setattr(store_module, "CHUNK_BYTES", 200)
    store = EmbeddingStore(Counting(), "counting", 7, "none", tmp_path)
    store.add(["a", "b", "c", "d", "e"])
    assert sorted(np.load(path).shape[0] for path in store.folder.glob("*.npy")) == [1, 2, 2]


def damaged(folder: Path, how: str) -> None:
    """Spoil the one chunk of a store."""
    record, array = next(folder.glob("[0-9]*.json")), next(folder.glob("*.npy"))
    data = json.loads(record.read_text())
    if how == "no array":
        array.unlink()
    elif how == "no JSON":
        record.write_text('{"texts": [')
    elif how == "no object":
        record.write_text("[]")
    elif how == "not UTF-8":
        record.write_bytes(b'{"texts": "\xff"}')
    elif how in ("texts", "counts", "sha256"):
        del data[how]
        record.write_text(json.dumps(data))
    elif how == "short counts":
        record.write_text(json.dumps(data | {"counts": [1]}))
    elif how == "great counts":
        record.write_text(json.dumps(data | {"counts": [1, 9]}))
    elif how == "cut off":
        array.write_bytes(array.read_bytes()[:-5])
    else:  # another array, with its own sha256
        stored = np.load(array)
        np.save(array, stored[:, :, :2] if how == "narrow" else stored[:1] if how == "short" else stored.astype("f8"))
        record.write_text(json.dumps(data | {"sha256": hashlib.sha256(array.read_bytes()).hexdigest()}))


FAULTS = (
    "no array, no JSON, no object, not UTF-8, texts, counts, sha256, short counts, great counts, cut off, narrow,"
    " short, float64"
)


@pytest.mark.parametrize("how", FAULTS.split(", "))
def test_a_damaged_chunk_is_named_and_deleting_it_mends_the_store(tmp_path: Path, how: str) -> None:
    EmbeddingStore(Counting(), "counting", 5, "none", tmp_path).add(["a b", "c"])
    store = EmbeddingStore(Counting(), "counting", 5, "none", tmp_path)
    damaged(store.folder, how)
    with pytest.raises(FileError, match="delete") as caught:
        store.load(["c"])
    stem = Path(caught.value.where).stem
    assert f"{stem}.npy" in caught.value.fix
    for path in store.folder.glob(f"{stem}.*"):
        path.unlink()
    mended = EmbeddingStore(Counting(), "counting", 5, "none", tmp_path)
    assert mended.add(["a b", "c"]) == 2
    assert mended.load(["c"])[0][0, 0, 0] == ord("c")


def test_chunks_that_are_deleted_while_a_store_is_open_are_forgotten(tmp_path: Path) -> None:
    store = EmbeddingStore(Counting(), "counting", 5, "none", tmp_path)
    store.add(["a b", "c"])
    assert store.load(["c"])[1][0, 0]
    for path in store.folder.glob("[0-9]*"):
        path.unlink()
    with pytest.raises(FileError, match="lacks a text"):
        store.load(["c"])
    assert store.add(["c"]) == 1


def test_an_unreadable_manifest_is_named(tmp_path: Path) -> None:
    store = EmbeddingStore(Counting(), "counting", 5, "none", tmp_path)
    (store.folder / "store.json").write_text("{")
    with pytest.raises(FileError, match=r"store\.json: can't be read"):
        EmbeddingStore(Counting(), "counting", 5, "none", tmp_path)


def test_parts_of_dead_processes_are_swept(tmp_path: Path) -> None:
    store = EmbeddingStore(Counting(), "counting", 5, "none", tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    gone = [store.folder / f"000000-ab.{dead.pid}.part", store.folder / f".000000-ab.json.{dead.pid}.part"]
    kept = [store.folder / f"000000-ab.{os.getpid()}.part", store.folder / "notes.part"]
    for path in gone + kept:
        path.write_bytes(b"half")
    EmbeddingStore(Counting(), "counting", 5, "none", tmp_path)
    assert [path.exists() for path in gone + kept] == [False, False, True, True]


def test_lone_surrogates_have_keys_of_their_own(tmp_path: Path) -> None:
    assert len({text_key(text) for text in ("\ud800", "\udfff", "?", "")}) == 4
    assert text_key("é") == hashlib.sha256("é".encode()).hexdigest()
    store = EmbeddingStore(Counting(), "counting", 5, "none", tmp_path)
    assert store.add(["\ud800 a", "? a"]) == 2
    assert store.load(["\ud800 a"])[0][0, 0, 0] == 0xD800


def test_states_that_are_no_numbers_are_not_stored(tmp_path: Path) -> None:
    class Broken(Counting):
        def encode(self, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
            states, mask = super().encode(texts, max_tokens)
            states[1, 0, 0] = np.inf
            return states, mask

    store = EmbeddingStore(Broken(), "broken", 5, "mean", tmp_path)
    with pytest.raises(NumericsError, match="the first of 'b'"):
        store.add(["a", "b"])
    assert not store.known()
