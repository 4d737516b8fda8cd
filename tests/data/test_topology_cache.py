"""Diagrams on disk: the same however they were computed, never those of other data, and told where they are damaged."""

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from plait.core import signals
from plait.core.errors import DataError, FileError, PlaitError, Terminated
from plait.data import topology_cache
from plait.data.topology_cache import TopologyCache, WindowConfig
from plait.features.topology import WindowDiagrams, window_diagrams

CONFIG = WindowConfig(window=37, delay=5)
BARS = 36 + 3 * 7 + 2


def walk(bars: int = BARS, seed: int = 3) -> NDArray[np.float64]:
    """The closes of a random walk."""
    closes: NDArray[np.float64] = 100 * np.exp(0.01 * np.random.default_rng(seed).standard_normal(bars).cumsum())
    return closes


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 7 windows: 23 windows are 4 parts."""
    monkeypatch.setattr(topology_cache, "PART", 7)


@pytest.fixture
def whole(tmp_path: Path) -> TopologyCache:
    """A cache with every part."""
    cache = TopologyCache(walk(), CONFIG, tmp_path)
    cache.compute()
    return cache


def parts(cache: TopologyCache) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(cache.folder.glob("part-*"))}


def assert_equal(one: WindowDiagrams, other: WindowDiagrams) -> None:
    for name, values in vars(one).items():
        assert np.array_equal(values, getattr(other, name)), name


# --- what is read is what was asked for


@pytest.mark.parametrize("windows", [1, 6, 7, 8, 23])
def test_every_full_window_is_there_once_and_in_order(tmp_path: Path, windows: int) -> None:
    closes = walk(windows + 36)
    cache = TopologyCache(closes, CONFIG, tmp_path)
    expected = window_diagrams(closes, np.arange(36, len(closes)), 37, 2, 5)
    assert (cache.windows, len(cache.parts)) == (windows, -(-windows // 7))
    assert_equal(cache.read(), expected)
    done = cache.compute()
    assert done == (0, 0.0)
    assert_equal(TopologyCache(closes.copy(), CONFIG, tmp_path).read(), expected)


def test_two_jobs_and_one_job_write_equal_files(tmp_path: Path, whole: TopologyCache) -> None:
    cache = TopologyCache(walk(), CONFIG, tmp_path / "two")
    done = cache.compute(jobs=2)
    assert done.windows == 23
    assert done.seconds > 0
    assert len(parts(cache)) == 4
    assert parts(cache) == parts(whole)


def test_what_was_finished_is_not_computed_again(tmp_path: Path, whole: TopologyCache) -> None:
    before = parts(whole)
    lost = whole.folder / "part-00002.npz"
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in whole.folder.glob("part-*")}
    assert whole.missing() == [2]
    assert whole.compute().windows == 7
    assert parts(whole) == before
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


# --- never those of other data


OTHERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "a close by its last bit": (np.r_[walk()[:-1], np.nextafter(walk()[-1], 0)], {}),
    "a bar more": (walk(BARS + 1), {}),
    "a bar less": (walk()[:-1], {}),
    "another order": (walk()[::-1], {}),
    "window": (walk(), {"window": 38}),
    "delay": (walk(), {"delay": 6}),
    "embedding": (walk(), {"embedding": 3}),
    "filtration": (walk(), {"filtration": "rips"}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_data_never_meet(tmp_path: Path, whole: TopologyCache, name: str) -> None:
    closes, fields = OTHERS[name]
    other = TopologyCache(closes, CONFIG.model_copy(update=fields), tmp_path)
    assert other.folder != whole.folder
    assert other.missing() == list(other.parts)


def test_another_version_is_computed_anew(whole: TopologyCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology_cache, "VERSION", topology_cache.VERSION + 1)
    newer = TopologyCache(whole.closes, CONFIG, whole.folder.parent)
    assert newer.missing() == list(whole.parts)
    assert newer.compute().windows == 23
    assert whole.missing() == []


@given(st.integers(0, 5), st.integers(37, 40), st.integers(1, 4), st.integers(0, 5), st.integers(37, 40))
@settings(deadline=None)
def test_a_folder_is_of_its_data_and_parameters(seed: int, window: int, delay: int, other: int, wider: int) -> None:
    root = Path("nowhere")
    one = TopologyCache(walk(seed=seed), WindowConfig(window=window, delay=delay), root)
    two = TopologyCache(walk(seed=other), WindowConfig(window=wider, delay=delay), root)
    assert (one.folder == two.folder) == ((seed, window) == (other, wider))


# --- damaged and foreign files


def refused(cache: TopologyCache, path: Path) -> FileError:
    """Reading names the file and the remedy, the remedy helps, and what there was comes back."""
    for read in (cache.read, cache.check):
        with pytest.raises(FileError) as caught:
            read()
        assert caught.value.where == str(path)
        assert caught.value.fix == "remove it; plait features market with the same fields makes it anew"
    path.unlink()
    cache.compute()
    return caught.value


def test_a_file_that_was_cut_off(whole: TopologyCache) -> None:
    before, path = parts(whole), whole.folder / "part-00001.npz"
    size = len(before[path.name])
    for length in {0, 1, 4, *range(7, size, 97), size - 1}:
        path.write_bytes(before[path.name][:length])
        assert refused(whole, path).what.startswith("can't be read as diagrams: ")
        assert parts(whole) == before


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one part of a cache."""
    cache = TopologyCache(walk(36 + 5), CONFIG, tmp_path_factory.mktemp("changed"))
    cache.compute()
    return next(cache.folder.glob("part-*"))


@given(st.integers(0, 2**32), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_a_changed_byte_is_told_or_changes_nothing(part: Path, place: int, change: int) -> None:
    cache, before = TopologyCache(walk(36 + 5), CONFIG, part.parents[1]), part.read_bytes()
    expected = window_diagrams(walk(36 + 5), np.arange(36, 41), 37, 2, 5)
    content = bytearray(before)
    content[place % len(content)] ^= change
    part.write_bytes(content)
    try:
        told, found = "", cache.read()
    except FileError as error:
        told, found = error.where, expected
    part.write_bytes(before)
    assert told in ("", str(part))
    assert_equal(found, expected)


def test_files_of_other_data(tmp_path: Path, whole: TopologyCache) -> None:
    other = TopologyCache(walk(seed=5), CONFIG, tmp_path)
    other.compute()
    path, before = whole.folder / "part-00001.npz", parts(whole)
    for foreign in (other.folder / path.name, whole.folder / "part-00000.npz"):
        path.write_bytes(foreign.read_bytes())
        assert refused(whole, path).what == "holds windows of other data"
        assert parts(whole) == before


def test_files_that_are_no_parts(whole: TopologyCache) -> None:
    path, before = whole.folder / "part-00003.npz", parts(whole)
    with open(path, "wb") as file:
        np.savez(file, h0=np.zeros(3))
    assert "of" in refused(whole, path).what
    with open(path, "wb") as file:
        np.save(file, np.zeros((23, 214)))
    refused(whole, path)
    path.write_text("h0,h1\n1,2\n")
    refused(whole, path)
    assert parts(whole) == before


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> Any:
        return Path.touch, (self.sprung,)


def test_no_pickle_is_read(tmp_path: Path, whole: TopologyCache) -> None:
    trap, path = Trap(tmp_path / "sprung"), whole.folder / "part-00000.npz"
    objects = np.array([trap], dtype=object)
    path.write_bytes(pickle.dumps(trap))
    refused(whole, path)
    with np.load(path) as file:
        arrays = dict(file)
    for name in ("of", "h1"):
        with open(path, "wb") as out:
            np.savez(out, **{**arrays, name: objects})
        assert "pickle" in refused(whole, path).what
    with open(path, "wb") as out:
        np.save(out, objects)
    refused(whole, path)
    assert not trap.sprung.exists()
    pickle.loads(pickle.dumps(trap))
    assert trap.sprung.exists(), "the trap works"


def test_features_of_an_older_kind_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "tda_features_a1b2.npy", np.zeros((3, 214)))
    with pytest.raises(FileError) as caught:
        TopologyCache(walk(), CONFIG, tmp_path)
    assert caught.value.where == str(tmp_path)
    assert f"plait features market --data.path FILE --cache-dir {tmp_path}" in caught.value.fix


def test_too_few_bars_say_how_many_a_window_needs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a window needs 37 bars and there are 36"):
        TopologyCache(walk(36), CONFIG, tmp_path).read()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="can't be made") as caught:
        TopologyCache(walk(), CONFIG, tmp_path / "file").compute()
    assert "--cache-dir" in caught.value.fix


# --- stopped and killed


class StopAt:
    """A progress bar that asks for an end when so many windows are done."""

    def __init__(self, windows: int) -> None:
        self.windows = windows

    def __call__(self, *_: Any) -> "StopAt":
        return self

    def update(self, done: int) -> None:
        signals._asked[0] = done >= self.windows

    def close(self) -> None:
        pass


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_orderly_end_keeps_what_is_finished(
    tmp_path: Path, whole: TopologyCache, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    cache = TopologyCache(walk(), CONFIG, tmp_path / "stopped")
    monkeypatch.setattr(signals, "_asked", [False])
    with monkeypatch.context() as patch:
        patch.setattr(topology_cache, "Progress", StopAt(7))
        with pytest.raises(Terminated, match="what is finished is kept; run the same command again"):
            cache.compute(jobs)
    there = len(parts(cache))
    assert 1 <= there <= 4
    assert jobs > 1 or there == 1
    signals._asked[0] = False
    assert cache.compute().windows == 23 - 7 * there + (5 if there == 4 else 0)
    assert parts(cache) == parts(whole)


def test_a_computation_that_was_killed_ends_in_the_same(tmp_path: Path) -> None:
    line = [sys.executable, str(Path(__file__).with_name("topology_kills.py")), str(tmp_path), "3", "5"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["parts"], found["differing"]) == (43, [])
    assert found["kills"] >= 3


LONG = """
import sys, numpy as np
from pathlib import Path
from plait.data import topology_cache
from plait.data.topology_cache import TopologyCache, WindowConfig
topology_cache.PART = 16
closes = 100 * np.exp(0.01 * np.random.default_rng(1).standard_normal(20_000).cumsum())
cache = TopologyCache(closes, WindowConfig(window=101), Path(sys.argv[1]))
write = cache._write
cache._write = lambda *args: (write(*args), print("begun", flush=True))
try:
    cache.compute(2)
except Exception as error:
    print(type(error).__name__, error)
"""


def begun(root: Path) -> subprocess.Popen[str]:
    """A long computation on two processes that has written a part."""
    started = subprocess.Popen(
        [sys.executable, "-c", LONG, str(root)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "begun\n"
    return started


def test_a_process_that_is_killed_takes_its_helpers_with_it(tmp_path: Path) -> None:
    started = begun(tmp_path)
    started.send_signal(signal.SIGKILL)
    # Every helper holds the other end of this pipe.
    started.communicate(timeout=120)
    assert started.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_helper_that_is_killed_is_told(tmp_path: Path) -> None:
    started = begun(tmp_path)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    if not children.exists():
        started.kill()
        pytest.skip("this system does not say which processes a process began")
    for child in children.read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)
            break
    said, _ = started.communicate(timeout=120)
    assert f"{PlaitError.__name__} topology: a process ended before its work did" in said
    assert "what is finished is kept; run the same command again" in said
