"""Legacy pickles: what is read equals what Python's own reader gives, and nothing of a hostile one runs."""

import collections
import os
import pickle
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from plait.core.errors import ConfigError, DataError, FileError
from plait.data.legacy_embeddings import embeddings_of, write_npz
from plait.data.legacy_pickle import read_legacy

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def same(one: Any, other: Any) -> bool:
    """Equal in value and kind; arrays in type and shape too."""
    if isinstance(other, np.ndarray):
        alike = isinstance(one, np.ndarray) and (one.dtype, one.shape) == (other.dtype, other.shape)
        if alike and other.dtype.hasobject:
            return all(same(a, b) for a, b in zip(one.ravel(), other.ravel(), strict=True))
        return alike and one.tobytes() == other.tobytes()
    if isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in other)
    if isinstance(other, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return (one == other or one != one) and (isinstance(other, frozenset | bytearray) or type(one) is type(other))


def read(tmp_path: Path, content: bytes) -> Any:
    path = tmp_path / "old.pkl"
    path.write_bytes(content)
    return read_legacy(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | hnp.arrays(st.sampled_from(["<f4", ">f8", "f2", "i8", "u1", "?", "U3", "S5"]), hnp.array_shapes(max_dims=3)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.lists(inner).map(tuple),
    max_leaves=7,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(VALUES, st.sampled_from(PROTOCOLS))
def test_plain_data_come_out_as_they_went_in(tmp_path_factory: Any, value: Any, protocol: int) -> None:
    assert same(read(tmp_path_factory.mktemp("plain"), pickle.dumps(value, protocol)), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_all_layouts_and_what_stands_twice(tmp_path: Path, protocol: int) -> None:
    vector = np.arange(7, dtype=np.float32)
    value = [
        vector, vector, np.asfortranarray(np.arange(15.0).reshape(3, 5)), np.arange(22)[::3], np.float32(0.1),
        np.array(["a", 3, vector], dtype=object), collections.OrderedDict([("b", 1), ("a", vector)]), {1, "c"},
        frozenset([2]), bytearray(b"xyz"), b"", np.zeros((0, 5)), np.array(7.0), np.str_("id"), 2**99,
    ]  # fmt: skip
    found = read(tmp_path, pickle.dumps(value, protocol))
    assert same(found[2].copy(), value[2].copy())
    assert found[0] is found[1]
    assert all(same(a, b) for a, b in zip(found, value, strict=True))


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_both_names_of_numpys_core_are_read(tmp_path: Path, core: str) -> None:
    content = pickle.dumps({"a": np.arange(5.0)}, 2)
    found = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core" in found
    assert same(read(tmp_path, found if core == "numpy.core" else content), {"a": np.arange(5.0)})


class Runs:
    """Pickled as a call."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call = call, arguments

    def __reduce__(self) -> Any:
        return self.call


class Own:
    """A class of the user's."""


def named(module: str, name: str) -> bytes:
    """A name by STACK_GLOBAL, which takes dots and anything else in its two texts."""
    texts = [b"\x8c" + struct.pack("<B", len(text)) + text.encode() for text in (module, name)]
    return b"\x80\x04" + b"".join(texts) + b"\x93"


MARK = "touched"
CALL = b"(\x8c\x0dtouch touched\x85R."  # with the texts of one argument
SYSTEM = f"{os.system.__module__}.system"
HOSTILE = {
    "os.system": (pickle.dumps(Runs(os.system, f"touch {MARK}")), SYSTEM),
    "os.system of protocol 0": (b"cos\nsystem\n(S'touch touched'\ntR.", "os.system"),
    "eval": (pickle.dumps(Runs(eval, f"open({MARK!r}, 'w')")), "builtins.eval"),
    "subprocess": (pickle.dumps(Runs(subprocess.check_call, ["touch", MARK])), "subprocess.check_call"),
    "protocol 5": (pickle.dumps(Runs(os.system, f"touch {MARK}"), 5), SYSTEM),
    "nested": (pickle.dumps({"a": [np.zeros(3), (1, {"b": Runs(os.system, f"touch {MARK}")})]}), SYSTEM),
    "in an array of objects": (pickle.dumps(np.array([Runs(os.system, f"touch {MARK}")], dtype=object)), SYSTEM),
    "in a key": (pickle.dumps({Runs(eval, f"open({MARK!r}, 'w')"): 1}), "builtins.eval"),
    "an object of protocol 1": (pickle.dumps(Own(), 1), "copy_reg._reconstructor"),
    "an object of protocol 0": (pickle.dumps(Own(), 0).replace(b"copy_reg", b"copyreg"), "copyreg._reconstructor"),
    "an object": (pickle.dumps(Own()), "test_legacy_pickle.Own"),
    "INST": (b"(S'touch touched'\nios\nsystem\n.", "os.system"),
    "dots in the name": (named("numpy", "f2py.os.system") + CALL, "numpy.f2py.os.system"),
    "dots in the module": (named("numpy.core.multiarray.os", "system") + CALL, "numpy.core.multiarray.os.system"),
    "a known name cut elsewhere": (named("numpy", "core.multiarray.scalar") + CALL, "numpy.core.multiarray.scalar"),
    "a blank in the name": (named("numpy dtype", "") + CALL, "numpy dtype."),
    "getattr": (named("builtins", "getattr") + CALL, "builtins.getattr"),
    "no texts": (b"\x80\x04K\x01K\x02\x93.", "1.2"),
    "an extension": (b"\x80\x02\x82\x01.", "EXT1"),
    "a persistent id": (b"Ptouch touched\n.", "PERSID"),
    "NEWOBJ": (b"\x80\x02cnumpy\nndarray\n)\x81.", "NEWOBJ"),
    "a call of what is spoken of": (b"\x80\x02cnumpy\nndarray\nK\x05\x85R.", "numpy.ndarray"),
    "a call of a text": (b"\x80\x02U\x02os)R.", "calls what is no name"),
    "a state of a name": (b"\x80\x02cnumpy\ndtype\n}b.", "gives a state to numpy.dtype"),
    "a state of a dict": (b"\x80\x02}}b.", "gives a state to dict"),
    "an encoder": (b"\x80\x02c_codecs\nencode\nU\x01aU\x03hex\x86R.", "_codecs.encode with 'hex'"),
    "an array of records": (pickle.dumps(np.zeros(3, dtype=[("a", "f4")])), "type 'V4'"),
    "dates": (pickle.dumps(np.zeros(3, dtype="M8[s]")), "type 'M8'"),
    "a subclass": (pickle.dumps(np.ma.zeros(3)), "asks for numpy.ma."),
    "a tuple as key": (pickle.dumps({((1,),): 1}), "key that is tuple"),
    "buffers elsewhere": (pickle.dumps(np.zeros(5), 5, buffer_callback=lambda _: False), "NEXT_BUFFER"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_plain_data_is_refused_by_name_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    content, name = HOSTILE[case]
    before = set(sys.modules)
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    assert name in caught.value.what
    assert "old.pkl, byte " in caught.value.where
    assert not (tmp_path / MARK).exists()
    assert not {"numpy.f2py", "antigravity"} & (set(sys.modules) - before)


def test_the_hostile_ones_are_hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for case in ("os.system of protocol 0", "eval", "subprocess", "nested", "INST"):
        pickle.loads(HOSTILE[case][0])
        assert (tmp_path / MARK).exists(), case
        (tmp_path / MARK).unlink()


def test_torch_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "old.pt"
    for new in (True, False):
        torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=new)
        with pytest.raises(DataError, match=r"torch\.save") as caught:
            read_legacy(path)
        assert "load it where you trust it" in caught.value.fix
    path.write_bytes(pickle.dumps({"a": torch.zeros(3)}))
    with pytest.raises(DataError, match=r"asks for torch\.\w+"):
        read_legacy(path)


def test_a_length_beyond_the_file_takes_no_memory(tmp_path: Path) -> None:
    for content in (b"\x80\x04\x8e" + struct.pack("<Q", 2**45) + b"a.", b"\x80\x02T" + struct.pack("<i", 2**31 - 1)):
        with pytest.raises(FileError, match="no whole pickle"):
            read(tmp_path, content)


def test_a_text_that_stands_for_many_arrays_is_refused(tmp_path: Path) -> None:
    array = b"c_codecs\nencode\n(h\x01U\x06latin1tR0"
    content = b"\x80\x02T" + struct.pack("<i", 10**5) + b"a" * 10**5 + b"q\x01" + array * 10**3 + b"N."
    with pytest.raises(FileError, match="makes more of its bytes than it has"):
        read(tmp_path, content)


@pytest.mark.parametrize("shape", ["(10**12,)", "(-1,)", "(3, 2)", "[3]", "('3',)"])
def test_a_shape_beyond_the_bytes_is_refused(tmp_path: Path, shape: str) -> None:
    class State:
        def __reduce__(self) -> Any:
            make, arguments, state, *_ = np.zeros(3).__reduce__()
            return make, arguments, (state[0], eval(shape), *state[2:])

    with pytest.raises(FileError, match="array"):
        read(tmp_path, pickle.dumps(State(), 2))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_file_is_an_error_of_ours(tmp_path_factory: Any, data: Any) -> None:
    value = {"a": np.arange(5.0), "b": [1, 2.5, ("c", None)]}
    whole = bytearray(pickle.dumps(value, data.draw(st.sampled_from([0, 2, 4]))))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(whole)))
    with suppress(DataError, FileError):
        read(tmp_path_factory.mktemp("damaged"), bytes(whole[:cut]))


VECTORS = np.random.default_rng(3).standard_normal((3, 5)).astype(np.float32)
IDS = ["7", "11", "b"]
FORMS = {
    "by id": dict(zip(IDS, VECTORS, strict=True)),
    "by id, lists": dict(zip(IDS, VECTORS.tolist(), strict=True)),
    "numbers as ids": {"ids": [7, np.int64(11), "b"], "embeddings": list(VECTORS)},
    "ids and embeddings": {"ids": np.array(IDS), "embeddings": VECTORS, "model": "x"},
    "objects": {"ids": np.array(IDS, dtype=object), "embeddings": np.array(list(VECTORS), dtype=object)},
    "pairs": list(zip(IDS, VECTORS, strict=True)),
    "pairs of lists": [[each, vector.tolist()] for each, vector in zip(IDS, VECTORS, strict=True)],
    "in an array of one object": np.array(dict(zip(IDS, VECTORS, strict=True)), dtype=object),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_ids_and_vectors(tmp_path: Path, form: str) -> None:
    content = pickle.dumps(FORMS[form])
    ids, found = embeddings_of(read(tmp_path, content), len(content), "old.pkl")
    assert ids == IDS
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, VECTORS)


def test_tokens_stay_tokens_and_arrays_take_ids_from_a_file(tmp_path: Path) -> None:
    tokens = np.arange(105.0).reshape(3, 7, 5)
    for value in (tokens, list(tokens), tokens.tolist()):
        content = pickle.dumps(value)
        ids, found = embeddings_of(read(tmp_path, content), len(content), "old.pkl", IDS)
        assert ids == IDS
        np.testing.assert_array_equal(found, tokens)


WRONG = [
    ({"a": [1.0], "b": [1.0, 2.0]}, "the vector of b is (2,), that of a (1,)"),
    ({"a": ["x"]}, "what a has is no vector of numbers"),
    ({"a": 3.0}, "what a has is no vector of numbers"),
    ({"a": [[[1.0]]]}, "what a has is no vector of numbers"),
    ({"a": [1.0], " a": [1.0]}, "1 ids stand more than once: a"),
    ({"": [1.0]}, "an id is empty"),
    ({"a" * 2000: [1.0]}, "an id has 2000 letters"),
    ({"a": np.array([1e300, 2.0])}, "1 vectors have numbers that are not finite as float32: a"),
    ({"a": [float("nan")]}, "1 vectors have numbers that are not finite as float32: a"),
    ({"ids": ["a"], "embeddings": [[1.0], [2.0]]}, "1 ids for 2 vectors"),
    ({1.5: [1.0]}, "an id is float"),
    ("text", "holds str, no embeddings"),
    ({}, "0 ids for 0 vectors"),
    (dict.fromkeys("abcdefgh", np.zeros(1000, dtype=np.int8)), "one vector stands for many"),
]


@pytest.mark.parametrize("value, words", WRONG, ids=[words for _, words in WRONG])
def test_what_is_no_embeddings_is_told(tmp_path: Path, value: Any, words: str) -> None:
    content = pickle.dumps(value)
    with pytest.raises(DataError) as caught:
        embeddings_of(read(tmp_path, content), len(content), "old.pkl")
    assert words in caught.value.what


def test_a_list_that_holds_itself_is_no_vector(tmp_path: Path) -> None:
    knot: list[Any] = []
    knot.append(knot)
    content = pickle.dumps({"a": knot})
    with pytest.raises(DataError, match="no vector of numbers"):
        embeddings_of(read(tmp_path, content), len(content), "old.pkl")


def test_ids_are_asked_for_and_not_given_twice() -> None:
    with pytest.raises(ConfigError, match="without ids"):
        embeddings_of(VECTORS, 10**6, "old.pkl")
    with pytest.raises(ConfigError, match="ids of its own"):
        embeddings_of(FORMS["by id"], 10**6, "old.pkl", IDS)


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "new.npz"
    write_npz(path, IDS, VECTORS)
    before = path.read_bytes()
    with pytest.raises(FileError, match="is there already"):
        write_npz(path, IDS, VECTORS + 1)
    assert path.read_bytes() == before
    with np.load(path, allow_pickle=False) as found:
        assert found["ids"].tolist() == IDS
        np.testing.assert_array_equal(found["embeddings"], VECTORS)
