"""Embeddings on disk: what the files hold, that the reader takes them, and that a kill changes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from plait.core.errors import FileError, NumericsError
from plait.data.embedding_files import read_embeddings
from plait.data.embedding_writer import EmbeddingWriter, Origin

IDS = ("a", "b", "c", "d", "e")
ORIGIN = Origin("fake", "r1", "these photos")
STATES = np.random.default_rng(5).standard_normal((5, 3, 7)).astype(np.float32)


def written(folder: Path, tokens: int = 3) -> EmbeddingWriter:
    """Row c has no photo, that of d is broken."""
    writer = EmbeddingWriter(folder, "room", IDS, ORIGIN)
    writer.add([0, 1], STATES[:2, :tokens], 2, [])
    writer.add([4], STATES[4:, :tokens], 2, ["d_room.jpg"])
    writer.finish()
    return writer


@pytest.mark.parametrize("tokens", [1, 3])
def test_the_reader_takes_what_is_written(tmp_path: Path, tokens: int) -> None:
    writer = written(tmp_path, tokens)
    raw = np.load(tmp_path / "room.npy", allow_pickle=False)
    assert raw.shape == ((5, 7) if tokens == 1 else (5, 3, 7))
    found = read_embeddings("room", tmp_path / "room.npy")
    wanted = STATES[:, :tokens].copy()
    wanted[2:4] = 0
    assert found.ids == IDS
    np.testing.assert_array_equal(np.asarray(found.values), wanted)
    assert found.present.tolist() == [[row not in (2, 3)] * tokens for row in range(5)]
    said = json.loads((tmp_path / "room.json").read_bytes())
    del said["sha256"]
    assert said == {
        "encoder": "fake", "revision": "r1", "rows": 5, "width": 7, "tokens": tokens, "fine_tuned_on": None,
        "broken": ["d_room.jpg"], "made_from": "these photos",
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["room.ids.txt", "room.json", "room.npy"]
    assert writer.finished


def test_the_file_is_numpys_own_byte_for_byte(tmp_path: Path) -> None:
    written(tmp_path)
    wanted = STATES.copy()
    wanted[2:4] = 0
    np.save(tmp_path / "other.npy", wanted)
    assert (tmp_path / "room.npy").read_bytes() == (tmp_path / "other.npy").read_bytes()


def test_what_is_finished_is_known_and_goes_on_to_be(tmp_path: Path) -> None:
    written(tmp_path)
    again = EmbeddingWriter(tmp_path, "room", IDS, ORIGIN)
    assert (again.finished, again.broken) == (True, ["d_room.jpg"])


@pytest.mark.parametrize("begun", [False, True], ids=["finished", "begun"])
@pytest.mark.parametrize(
    "origin, words",
    [
        (Origin("other", "r1", "these photos"), "another encoder: fake, now other"),
        (Origin("fake", "r2", "these photos"), "another revision of its encoder: r1, now r2"),
        (Origin("fake", "r1", "those photos"), "from other photos, texts or settings"),
    ],
)
def test_another_origin_is_refused_and_nothing_is_lost(tmp_path: Path, origin: Origin, words: str, begun: bool) -> None:
    if begun:
        EmbeddingWriter(tmp_path, "room", IDS, ORIGIN).add([0], STATES[:1], 1, [])
    else:
        written(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileError, match=words) as caught:
        EmbeddingWriter(tmp_path, "room", IDS, origin)
    assert all(name in caught.value.fix for name in before)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_foreign_array_is_not_overwritten(tmp_path: Path) -> None:
    np.save(tmp_path / "room.npy", STATES)
    with pytest.raises(FileError, match="is there already, without a manifest"):
        EmbeddingWriter(tmp_path, "room", IDS, ORIGIN)


@pytest.mark.parametrize("name", ["room.npy", "room.ids.txt"])
def test_a_changed_file_is_noticed(tmp_path: Path, name: str) -> None:
    written(tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[-2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match="is not what it was written for"):
        EmbeddingWriter(tmp_path, "room", IDS, ORIGIN)


def test_half_a_line_of_the_journal_is_forgotten(tmp_path: Path) -> None:
    EmbeddingWriter(tmp_path, "room", IDS, ORIGIN).add([0, 1], STATES[:2], 2, [])
    with open(tmp_path / "room.journal", "ab") as file:
        file.write(b'{"done": 4, "bro')
    again = EmbeddingWriter(tmp_path, "room", IDS, ORIGIN)
    assert again.done == 2
    again.add([4], STATES[4:], 2, ["d_room.jpg"])
    again.finish()
    written(tmp_path / "whole")
    assert (tmp_path / "room.npy").read_bytes() == (tmp_path / "whole" / "room.npy").read_bytes()
    assert (tmp_path / "room.json").read_bytes() == (tmp_path / "whole" / "room.json").read_bytes()


def test_states_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    states = STATES[:2].copy()
    states[1, 2, 3] = np.nan
    with pytest.raises(NumericsError, match="of 1 items are not finite, the first of b"):
        EmbeddingWriter(tmp_path, "room", IDS, ORIGIN).add([0, 1], states, 2, [])


def test_where_all_is_broken_there_is_no_file(tmp_path: Path) -> None:
    writer = EmbeddingWriter(tmp_path, "room", IDS, ORIGIN)
    writer.add([], None, 5, ["a", "b", "c", "d", "e"])
    assert writer.empty
    assert list(tmp_path.iterdir()) == []


def test_a_process_killed_before_any_step_ends_in_the_same_files(tmp_path: Path) -> None:
    script = Path(__file__).with_name("embedding_kills.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["kills"] > 20
    assert found["files"] == ["room.ids.txt", "room.json", "room.npy"]
