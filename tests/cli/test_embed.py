"""`plait embed photos` and `plait embed texts`: real photos and sentences, broken ones, kills and second runs."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from plait.cli.embed import embed
from plait.core.errors import ConfigError, DataError, FileError, PlaitError, Terminated
from plait.data.embedding_files import read_embeddings
from plait.embedders.minilm import MiniLmConfig
from plait.embedders.wordllama import WordLlama
from plait.image_embedders.efficientnet_lite0 import EfficientNetLite0


@pytest.fixture
def photos(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two rooms of three houses, one photo absent, one cut off, one a text; and a file that is no photo."""
    monkeypatch.chdir(tmp_path)
    folder = Path("photos")
    folder.mkdir()
    source = shared / "data" / "houses" / "photos"
    for name in ("1_kitchen", "2_kitchen", "1_bedroom", "2_bedroom"):
        shutil.copy(source / f"{name}.jpg", folder)
    whole = (folder / "2_bedroom.jpg").read_bytes()
    (folder / "2_bedroom.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "10_kitchen.jpg").write_text("no photo")
    (folder / "readme.txt").write_text("photos of houses")
    return folder


def content(folder: Path | str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def test_photos_become_sources_that_the_reader_takes(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = embed(["photos", "photos", "--out", "out", "--batch-size", "2", "--device", "cpu"])
    said = capsys.readouterr().out
    assert "3 ids with photos of bedroom, kitchen" in said
    assert "1 file left out, by name or ending: readme.txt" in said
    assert "2 photos could not be decoded and are masked: 2_bedroom.jpg, 10_kitchen.jpg" in said
    assert "bedroom: 1 id without a photo, masked" in said
    kitchen, bedroom = (read_embeddings(name, f"out/{name}.npy") for name in ("kitchen", "bedroom"))
    assert kitchen.ids == bedroom.ids == ("1", "10", "2")
    assert kitchen.present[:, 0].tolist() == [True, False, True]
    assert bedroom.present[:, 0].tolist() == [True, False, False]
    pixels = np.stack([np.asarray(Image.open(f"photos/{n}_kitchen.jpg")) for n in (1, 2)])
    wanted = EfficientNetLite0().encode(pixels, device="cpu")
    np.testing.assert_allclose(np.asarray(kitchen.values)[[0, 2]], wanted, atol=1e-5)
    assert kitchen.manifest is not None
    assert kitchen.manifest["broken"] == ["10_kitchen.jpg"]
    assert found["sources"]["bedroom"] == {
        "path": "out/bedroom.npy", "rows": 3, "computed": 2, "broken": ["2_bedroom.jpg"], "absent": 1,
    }  # fmt: skip
    assert (found["encoder"], found["revision"]) == ("efficientnet_lite0", EfficientNetLite0().revision)


def test_a_second_run_computes_nothing(photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    asked = ["photos", "photos", "--out", "out", "--tokens", "patches"]
    embed(asked)
    before = content("out")
    assert np.load("out/kitchen.npy").shape == (3, 49, 1280)
    monkeypatch.setattr(EfficientNetLite0, "encode", lambda *_: pytest.fail("it was computed again"))
    capsys.readouterr()
    found = embed(asked)
    assert "all was done already, nothing was computed" in capsys.readouterr().out
    assert found["sources"]["kitchen"]["broken"] == ["10_kitchen.jpg"]
    assert content("out") == before
    os.utime("photos/1_kitchen.jpg", ns=(7, 7))
    for more in ([], ["--tokens", "pooled"]):
        with pytest.raises(FileError, match="made from other photos, texts or settings"):
            embed([*asked, *more])
    assert content("out") == before


def test_asked_to_stop_it_goes_on_later(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["photos", "photos", "--batch-size", "1", "--out"]
    embed([*asked, "whole"])
    with monkeypatch.context() as patched:
        patched.setattr("plait.core.signals._asked", [True])
        with pytest.raises(Terminated, match="run the same command again"):
            embed([*asked, "out"])
    assert "bedroom.journal" in content("out")
    seen = []
    real = EfficientNetLite0.encode
    monkeypatch.setattr(EfficientNetLite0, "encode", lambda self, *a: seen.append(len(a[0])) or real(self, *a))
    embed([*asked, "out"])
    assert seen == [1, 1]  # of three whole photos one was done
    assert content("out") == content("whole")


@pytest.mark.slow
def test_a_killed_process_ends_in_the_same_files(photos: Path, shared: Path) -> None:
    for path in sorted((shared / "data" / "houses" / "photos").glob("3?_kitchen.jpg"))[:7]:
        shutil.copy(path, photos)
    asked = ["photos", "photos", "--batch-size", "1", "--device", "cpu", "--out"]
    script = "import sys; from plait.cli.embed import embed; embed(sys.argv[1:])"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(out: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", script, *asked, out], env=environment)

    assert run("whole").wait() == 0
    killed = 0
    for lines in (3, 6):
        process, journal = run("out"), Path("out/kitchen.journal")
        while process.poll() is None:
            if journal.is_file() and journal.read_bytes().count(b"\n") >= lines:
                process.send_signal(signal.SIGKILL)
                killed += process.wait() == -signal.SIGKILL
            time.sleep(0.005)
    assert killed
    assert run("out").wait() == 0
    assert content("out") == content("whole")


def test_where_no_photo_is_whole_it_is_an_error(photos: Path) -> None:
    for path in photos.glob("*.jpg"):
        path.write_bytes(b"no photo")
    with pytest.raises(DataError, match="none of the photos could be decoded"):
        embed(["photos", "photos", "--out", "out"])
    assert content("out") == {}


ROWS = "house,rooms,zip\n2,3,02139\n10,4,\n1,,\n7,3,02139\n"
SENTENCE = "A house with {rooms} rooms in {zip}."


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    Path("rows.csv").write_text(ROWS)


def texts(*more: str) -> Any:
    return embed(["texts", "rows.csv", "--out", "out", "--id", "house", "--text", SENTENCE, *more])


def test_rows_become_sentences_and_these_a_source(table: None, capsys: pytest.CaptureFixture[str]) -> None:
    found = texts("--embedder", "wordllama")
    said = capsys.readouterr().out
    assert "1 sentence with a missing cell left out" in said
    assert "1 row without a text, masked" in said
    assert found["sources"]["text"] == {
        "path": "out/text.npy", "rows": 4, "computed": 2, "distinct": 2, "absent": 1,
    }  # fmt: skip
    source = read_embeddings("text", "out/text.npy")
    assert source.ids == ("1", "10", "2", "7")
    assert source.present[:, 0].tolist() == [False, True, True, True]
    sentences = ["A house with 4 rooms in .", "A house with 3 rooms in 02139."]
    states, mask = WordLlama().encode(sentences, 64)
    means = [state[some].mean(axis=0) for state, some in zip(states, mask, strict=True)]
    values = np.asarray(source.values)[:, 0]
    np.testing.assert_allclose(values[1:], [means[0], means[1], means[1]], atol=1e-6)
    before = content("out")
    assert texts("--embedder", "wordllama")["sources"]["text"]["computed"] == 0
    assert content("out") == before


def test_each_state_of_a_sentence(table: None) -> None:
    texts("--pool", "none", "--source", "words", "--embedder", "wordllama", "--max-tokens", "9")
    source = read_embeddings("words", "out/words.npy")
    states, mask = WordLlama().encode(["A house with 3 rooms in 02139."], 9)
    longest = int(mask.sum())
    assert source.tokens == longest
    np.testing.assert_array_equal(np.asarray(source.values)[2], states[0, :longest])
    assert not source.present[0].any()


@pytest.mark.slow
def test_minilm_is_what_is_used(table: None) -> None:
    found = texts()
    assert (found["encoder"], found["revision"]) == ("minilm", MiniLmConfig().build().revision)
    assert read_embeddings("text", "out/text.npy").width == 384


WRONG = [
    (["photos", "photos"], ConfigError, "--out is not given"),
    (["photos", "--out", "out"], ConfigError, "expects FOLDER"),
    (["photos", "phots", "--out", "out"], FileError, "no such folder (did you mean photos?)"),
    (["photos", "photos", "--out", "out", "--token", "pooled"], ConfigError, "did you mean tokens?"),
    (["photos", "photos", "--out", "out", "--tokens", "patch"], ConfigError, "did you mean patches?"),
    (["photos", "photos", "--out", "out", "--batch-size", "0"], ConfigError, "'0' is no count"),
    (["photos", "photos", "--out", "out", "--device", "gpu"], ConfigError, "no device 'gpu'"),
    (
        ["photos", "photos", "--out", "out", "--encoder", "efficientnet"],
        ConfigError,
        "did you mean efficientnet_lite0?",
    ),
    (["photos", "photos", "--out", "out", "--encoder", "./absent"], FileError, "there is no such folder"),
    (["photos", "photos", "--out", "photos/readme.txt"], FileError, "the folder can't be made"),
]


@pytest.mark.parametrize("tokens, kind, words", WRONG, ids=[words for _, _, words in WRONG])
def test_a_wrong_command_says_what_to_do(photos: Path, tokens: list[str], kind: type[PlaitError], words: str) -> None:
    with pytest.raises(kind) as caught:
        embed(tokens)
    assert words in str(caught.value)


def test_a_wrong_table_or_template_is_told(table: None) -> None:
    asked = {"--out": "out", "--id": "house", "--text": SENTENCE}
    for changed, kind, words in (
        ({"--id": "hose"}, DataError, "no column 'hose'"),
        ({"--text": "In {zp}."}, DataError, "did you mean zip?"),
        ({"--text": "A house."}, ConfigError, "names no column"),
        ({"--text": "In {zip:5}."}, ConfigError, "more or less than a name"),
        ({"--text": "In {zip."}, ConfigError, "In {zip."),
        ({"--id": "zip"}, DataError, "2 rows have no id: rows 2, 3"),
        ({"--embedder": "tfidf"}, ConfigError, "tfidf learns from train rows"),
        ({"--embedder": "minlm"}, ConfigError, "did you mean minilm?"),
        ({"--pool": "max"}, ConfigError, "no pool 'max'"),
        ({"--source": "a/b"}, ConfigError, "is no name for a file"),
    ):
        with pytest.raises(kind) as caught:
            embed(["texts", "rows.csv", *(token for pair in {**asked, **changed}.items() for token in pair)])
        assert words in str(caught.value)
    Path("rows.csv").write_text(ROWS + "7,1,1\n")
    with pytest.raises(DataError, match="1 ids stand more than once: 7"):
        texts()
    assert not Path("out").exists()


def test_help_is_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    for tokens, words in (([], "embed RECIPE"), (["photos"], "--names"), (["texts"], "--max-tokens")):
        assert embed([*tokens, "--help"]) == {}
        assert words in capsys.readouterr().out
