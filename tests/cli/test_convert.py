"""`plait data convert`: a legacy pickle becomes an .npz that the reader takes."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.cli.convert import data_convert
from plait.core.errors import ConfigError, DataError, FileError
from plait.data.embedding_files import read_embeddings

VECTORS = np.random.default_rng(3).standard_normal((3, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.pkl").write_bytes(pickle.dumps({"7": VECTORS[0], "11": VECTORS[1], "b": VECTORS[2]}))
    Path("array.pkl").write_bytes(pickle.dumps(VECTORS))
    Path("ids.txt").write_text("7\n11\nb\n")
    np.save("objects.npy", np.array({"ids": ["7", "11", "b"], "embeddings": VECTORS}, dtype=object), allow_pickle=True)


@pytest.mark.parametrize("tokens", [["old.pkl"], ["array.pkl", "--ids", "ids.txt"], ["objects.npy"]])
def test_the_reader_takes_what_comes_out(tokens: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert data_convert([*tokens, "--out", "new.npz"]) == {"path": "new.npz", "rows": 3, "shape": [3, 5]}
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("warning: a pickle may run code")
    assert said[1:] == ["3 ids with embeddings of 5: new.npz"]
    found = read_embeddings("old", "new.npz")
    assert found.ids == ("7", "11", "b")
    np.testing.assert_array_equal(np.asarray(found.values)[:, 0], VECTORS)


class Runs:
    def __reduce__(self) -> Any:
        return os.system, ("touch touched",)


def test_a_hostile_pickle_is_refused_and_leaves_nothing() -> None:
    Path("bad.pkl").write_bytes(pickle.dumps({"a": Runs()}))
    with pytest.raises(DataError, match=r"asks for posix\.system"):
        data_convert(["bad.pkl", "--out", "new.npz"])
    assert not Path("touched").exists()
    assert not Path("new.npz").exists()


def test_wrong_commands_say_what_to_do() -> None:
    Path("there.npz").write_bytes(b"mine")
    for tokens, kind, words in (
        (["old.pkl"], ConfigError, "--out old.npz"),
        (["old.pkl", "--out", "there.npz"], FileError, "is there already"),
        (["old.pkl", "--out", "new.npy"], FileError, "--out new.npz"),
        (["array.pkl", "--out", "new.npz"], ConfigError, "give --ids FILE"),
        (["old.pkl", "--out", "new.npz", "--ids", "ids.txt"], ConfigError, "leave out --ids"),
        (["od.pkl", "--out", "new.npz"], FileError, "did you mean old.pkl?"),
        (["ids.txt", "--out", "new.npz"], FileError, "is no whole pickle"),
        (["old.pkl", "--out", "nowhere/new.npz"], FileError, "there is no folder nowhere"),
        (["old.pkl", "--ot", "new.npz"], ConfigError, "did you mean out?"),
    ):
        with pytest.raises(kind) as caught:
            data_convert(tokens)
        assert words in str(caught.value)
    assert Path("there.npz").read_bytes() == b"mine"
    assert not Path("new.npz").exists()
