"""`plait explain` as people type it: what it writes and says, and its exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from plait.evaluation.explain import checks
from plait.runs.fit import fit
from plait.runs.recipe import load_recipe, resolve
from plait.training.checkpoint import read_folder
from typed_command import Command, typed


@pytest.fixture
def plait(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs the command in this process."""
    with typed(monkeypatch, capsys) as run:
        yield run


@pytest.fixture(scope="module")
def rejected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that did not accept its texts."""
    folder = tmp_path_factory.mktemp("runs") / "control"
    folder.mkdir()
    fields = [
        ("data.weeks", 420), ("data.signal", False), ("train-epochs", 1), ("batch-size", 64), ("trackers", []),
        ("device", "cpu"), ("fusion", "cross_attention"),
    ]  # fmt: skip
    fit(resolve(load_recipe("chimera"), "tiny", fields), folder)
    return folder


def test_what_was_not_accepted_is_explained_with_raw_only(plait: Command, rejected: Path) -> None:
    code, out, err = plait("explain", rejected)
    assert (code, out) == (2, "")
    assert err.startswith(f"plait: {rejected}: text was not accepted")
    assert "add --raw" in err
    assert not (rejected / "explain").exists()
    code, out, err = plait("explain", rejected, "--raw", "--split", "val", "--device", "cpu")
    assert (code, err) == (0, "")
    assert out.startswith("31 val windows of the model before acceptance, fusion cross_attention\n")
    assert "map attention: 31 x 4 x 1 x 7" in out
    assert "absent tokens weigh exactly 0" in out
    assert "not enough data" in out
    assert f"{rejected / 'explain' / 'val-raw'}\n" in out
    assert read_folder(rejected / "explain" / "val-raw")[1]["explain"]["split"] == "val"


def test_json_is_one_object_with_what_the_file_holds(plait: Command, rejected: Path) -> None:
    code, out, err = plait("explain", "--raw", rejected, "--json")
    assert code == 0
    assert len(out.splitlines()) == 1
    assert json.loads(out) == json.loads((rejected / "explain" / "test-raw" / "explain.json").read_text())
    assert "test windows" in err


def test_a_failed_check_exits_4_and_names_it(plait: Command, rejected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checks.ALLOWED, checks.SUMS, -1.0)
    code, out, err = plait("explain", rejected, "--raw", "--split", "train")
    assert (code, out) == (4, "")
    assert "1 check does not hold: attention: the weights of each query sum to 1" in err
    assert (rejected / "explain" / "train-raw" / "explain.json").is_file()


@pytest.mark.parametrize(
    ("tokens", "code", "words"),
    [
        ("explain", 2, "expects RUN, got nothing"),
        ("explain absent", 5, "absent: no such run"),
        ("explain RUN --split tset", 2, "--split: no split 'tset' (did you mean test?)"),
        ("explain RUN --splt test", 2, "no option --splt (did you mean split?)"),
        ("explain COMPARISON", 5, "is a comparison and no run"),
    ],
)
def test_what_is_typed_wrong_is_said(
    plait: Command, rejected: Path, tmp_path: Path, tokens: str, code: int, words: str
) -> None:
    (tmp_path / "arms").mkdir()
    (tmp_path / "config.yaml").write_bytes((rejected / "config.yaml").read_bytes())
    places = {"RUN": str(rejected), "COMPARISON": str(tmp_path)}
    found, out, err = plait(*(places.get(token, token) for token in tokens.split()))
    assert (found, out) == (code, "")
    assert words in err


def test_help_names_what_it_writes(plait: Command) -> None:
    code, out, err = plait("explain", "--help")
    assert (code, err) == (0, "")
    assert out.startswith("usage: plait explain RUN [--split test|val|train] [--raw]")
