"""`plait features` as people type it: what is computed, what was there, and what it can't be asked of."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from candle_series import random_candles
from plait.cli.arguments import config_of
from plait.data.topology_cache import PART
from typed_command import Command, typed

BARS, WINDOW = 331, 37
WINDOWS = BARS - WINDOW + 1
ASKED = ("features", "market", "--data.path", "bars.csv", "--data.topology.window", WINDOW, "--data.topology.delay", 5)
ALONE = (*ASKED, "--jobs", 1)


@pytest.fixture
def plait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs the command in this process, in a folder with candles."""
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    columns = random_candles(BARS, seed=7)
    frame = pd.DataFrame(columns).rename(columns={"buy": "buy_volume", "sell": "sell_volume"})
    frame.to_csv("bars.csv", index=False)
    frame.head(WINDOW - 1).to_csv("few.csv", index=False)
    frame.drop(index=[53, 59]).to_csv("gap.csv", index=False)
    with typed(monkeypatch, capsys) as run:
        yield run


def test_it_computes_what_lacks_and_says_where_it_lies(plait: Command, tmp_path: Path) -> None:
    said = plait(*ALONE)
    assert said.code == 0, said.err
    first, second = said.out.splitlines()
    assert re.fullmatch(
        rf"{WINDOWS} windows: {WINDOWS} computed at \d+\.\d ms of CPU each, 0 were there already", first
    )
    folder = Path(second.removeprefix("features: "))
    assert folder.parent == tmp_path / "cache" / "topology"
    assert len(list(folder.glob("part-*.npz"))) == 2
    (folder / "part-00001.npz").unlink()
    left = WINDOWS - PART
    assert plait(*ALONE).out.startswith(f"{WINDOWS} windows: {left} computed at ")
    assert plait(*ALONE).out == (f"{WINDOWS} windows: 0 computed, {WINDOWS} were there already\nfeatures: {folder}\n")


def test_a_training_reads_what_was_computed(plait: Command) -> None:
    plait(*ALONE, "--cache-dir", "here")
    source = config_of([*map(str, ASKED[1:]), "--cache-dir", "here"])[2].data
    assert source.features(source.read()).missing() == []


def test_json_is_one_object(plait: Command) -> None:
    found = plait(*ALONE, "--cache-dir", "here", "--json").data
    assert found.pop("cpu_ms_a_window") > 0
    assert Path(found.pop("folder")).parent == Path("here")
    assert found == {"windows": WINDOWS, "computed": WINDOWS, "there": 0, "jobs": 1}
    again = plait(*ASKED, "--cache-dir", "here", "--json").data
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert (again["computed"], again["there"], again["cpu_ms_a_window"], again["jobs"]) == (0, WINDOWS, None, cores)


WRONG = [
    (("features", "chimera"), 2, "plait features: chimera with data of kind planted has no features to compute ahead"),
    (("features", "aam"), 2, "plait features: aam with data of kind asv has no features to compute ahead"),
    (("features", "calf"), 2, "plait features: calf with data of kind "),
    (("features", "market"), 2, "market: field 'data.path' must be given"),
    (("features",), 2, "name a recipe or a run.yaml"),
    (("features", "markt"), 2, "no recipe 'markt' (did you mean market?)"),
    ((*ALONE, "--jobs", 0), 2, "market: data.jobs: should be greater than or equal to 1 (got 0)"),
    ((*ALONE, "--jobs"), 2, "--data.jobs needs a value"),
    ((*ALONE, "--jbs", 2), 2, "no field --jbs (did you mean jobs?)"),
    ((*ALONE, "--data.topology.window", 1), 2, "market: data.topology.window: should be greater than or equal to 2"),
    ((*ALONE, "--data.topology.delay", 37), 2, "topology: 2 closes 37 bars apart in a window of 37"),
    ((*ALONE, "--filtration", "rps"), 2, "market: data.topology.filtration: should be 'alpha' or 'rips' (got 'rps')"),
    ((*ALONE, "--data.path", "few.csv"), 3, "topology: a window needs 37 bars and there are 36 (give a longer series"),
    ((*ALONE, "--data.path", "gap.csv"), 3, "gap.csv: 2 bars are absent: after "),
    ((*ALONE, "--data.path", "brs.csv"), 5, "brs.csv: no such file (did you mean bars.csv?)"),
    ((*ALONE, "--cache-dir", "bars.csv"), 5, "bars.csv/"),
]


@pytest.mark.parametrize("tokens, code, words", WRONG, ids=[" ".join(map(str, t[-2:])) for t, _, _ in WRONG])
def test_a_wrong_command_says_one_clear_line(plait: Command, tokens: tuple[object, ...], code: int, words: str) -> None:
    said = plait(*tokens)
    assert (said.code, said.out) == (code, ""), said
    assert said.err.startswith(f"plait: {words}")
    assert len(said.err.splitlines()) == 1


def test_an_older_cache_is_refused_with_the_command_that_computes_it_anew(plait: Command) -> None:
    Path("cache").mkdir()
    np.save("cache/tda_features_train.npy", np.zeros((3, 214)))
    said = plait(*ALONE, "--cache-dir", "cache")
    assert (said.code, said.out) == (5, "")
    assert "plait features market --data.path FILE --cache-dir cache" in said.err


def test_a_damaged_part_is_told_before_anything_is_computed(plait: Command) -> None:
    folder = Path(plait(*ALONE).out.splitlines()[1].removeprefix("features: "))
    part = folder / "part-00000.npz"
    part.write_bytes(part.read_bytes()[:-7])
    (folder / "part-00001.npz").unlink()
    said = plait(*ALONE)
    assert said.code == 5
    assert said.err.startswith(f"plait: {part}: can't be read as diagrams: ")
    assert "remove it; plait features market with the same fields makes it anew" in said.err
    assert not (folder / "part-00001.npz").exists()
