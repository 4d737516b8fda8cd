"""`plait predict` with a run of candles: its own last bar, new bars, a split, and what it can't be given."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from candle_series import random_candles
from plait.cli.arguments import config_of
from plait.cli.predict import NEW, _taken
from plait.core.kinds import config_class, kinds
from plait.runs.fit import fit
from typed_command import Command, typed

BARS = 1607
CHOSEN = """--size tiny --data.topology.window 37 --data.topology.delay 5 --data.lookback 17 --epochs 1 --device cpu
    --data.cache cache --trackers [] --accept always --jobs 1"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with candles, all of them and those without the last, and a run."""
    folder = tmp_path_factory.mktemp("market")
    columns = random_candles(BARS, seed=7, volatility=0.002)
    frame = pd.DataFrame(columns).rename(columns={"buy": "buy_volume", "sell": "sell_volume"})
    frame.to_csv(folder / "bars.csv", index=False)
    frame.tail(701).to_csv(folder / "newest.csv", index=False)
    frame.head(BARS - 1).to_csv(folder / "before.csv", index=False)
    frame.tail(31).to_csv(folder / "few.csv", index=False)
    (folder / "run").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(config_of(["market", "--data.path", "bars.csv", *CHOSEN.split()])[2], Path("run"))
    return folder


@pytest.fixture
def plait(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs the command in this process, beside the run."""
    monkeypatch.chdir(place)
    with typed(monkeypatch, capsys) as run:
        yield run


@pytest.mark.parametrize("kind", kinds("data.sources"))
def test_an_option_gives_each_name_that_a_source_asks_by(kind: str) -> None:
    source = config_class("data.sources", kind)
    assert [NEW[option] for option in _taken(source)] == list(source.new_names)


@pytest.mark.slow
def test_the_last_bar_is_predicted_from_the_run_or_from_new_bars(plait: Command) -> None:
    (own,) = plait("predict", "run", "--json").data["forecast"]
    last = pd.read_csv("bars.csv")["open_time"].iloc[-1]
    assert pd.Timestamp(own["open_time"]) == pd.Timestamp(last)
    assert 0 < own["trigger_prob"] < 1
    (new,) = plait("predict", "run", "--path", "newest.csv", "--json").data["forecast"]
    assert new["open_time"] == own["open_time"]
    assert new["trigger_prob"] == pytest.approx(own["trigger_prob"], rel=1e-4)
    (before,) = plait("predict", "run", "--path", "before.csv", "--json").data["forecast"]
    assert pd.Timestamp(before["open_time"]) == pd.Timestamp(last) - pd.Timedelta(minutes=15)


@pytest.mark.slow
def test_a_split_is_what_the_run_has_written(plait: Command) -> None:
    said = plait("predict", "run", "--split", "test", "--output", "test.csv", "--json")
    made, kept = pd.read_csv("test.csv"), pd.read_csv("run/predictions.csv")
    assert said.data["lines"] == len(kept)
    assert np.allclose(made["trigger_prob"], kept["trigger_prob"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "tokens, code, words",
    [
        ("--table bars.csv", 2, "--table: this is a run of a series (recipe market) (give its new data by --path)"),
        ("--text-path bars.csv", 2, "--text-path: this is a run of a series (recipe market) (give its new data by --"),
        ("--path bars.csv --split test", 2, "--split is of the run's own data, --path brings others"),
        ("--path brs.csv", 5, "brs.csv: no such file (did you mean bars.csv?)"),
        ("--path few.csv", 3, "data: 31 bars, a row needs "),
        ("--pth bars.csv", 2, "no option --pth (did you mean path?)"),
    ],
)
def test_what_predict_refuses(plait: Command, tokens: str, code: int, words: str) -> None:
    said = plait("predict", "run", *tokens.split())
    assert (said.code, said.out) == (code, ""), said
    assert said.err.startswith(f"plait: {words}")
    assert len(said.err.splitlines()) == 1
