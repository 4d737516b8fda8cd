"""Tables of candles: what is read, and what is refused with its row."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from candle_series import LABELLED, PERPETUAL, random_candles
from plait.core.errors import DataError
from plait.data.candle_table import candle_table
from plait.data.sources.candles import CandlesConfig
from plait.data.table import as_frame, refuse

BARS = 29


def frame_of(**changes: object) -> pd.DataFrame:
    columns = random_candles(BARS, seed=1)
    named = {"buy": "buy_volume", "sell": "sell_volume"}
    frame = pd.DataFrame({named.get(name, name): values for name, values in columns.items()})
    return as_frame(frame.assign(**changes))


def test_columns_come_under_their_names_and_both_sides() -> None:
    table = candle_table(frame_of(), {}, "here")
    assert list(table.columns) == ["open", "high", "low", "close", "volume", "buy", "sell"]
    assert table.seconds == 900
    np.testing.assert_allclose(table.columns["close"], random_candles(BARS, seed=1)["close"])


def test_a_file_may_name_columns_otherwise_and_give_the_taker_s_side_alone() -> None:
    whole = candle_table(frame_of(), {}, "here")
    frame = frame_of().drop(columns="sell_volume").rename(columns={"buy_volume": "taker_buy_volume", "open_time": "t"})
    table = candle_table(frame, {"open_time": "t"}, "here")
    np.testing.assert_allclose(table.columns["sell"], whole.columns["sell"], atol=1e-9)


def test_without_sides_it_says_what_can_not_be_built() -> None:
    table = candle_table(frame_of().drop(columns=["buy_volume", "sell_volume"]), {}, "here")
    assert "buy" not in table.columns
    assert "fewer channels can be built: buy_volume, sell_volume" in str(table.findings[0])


def swapped(values: list[object], row: int, other: object) -> list[object]:
    return [other if place == row else value for place, value in enumerate(values)]


FAULTS = {
    "a price of 0": ("low", 5, "0", "column low, row 6.*not above 0"),
    "a negative volume": ("volume", 7, "-1.5", "column volume, row 8.*below 0"),
    "no number": ("close", 3, "much", "row 4 'much'"),
    "an infinite price": ("high", 2, "inf", "infinite"),
    "a close above the high": ("high", 9, "1.0", r"outside their low and high: row 10"),
    "a time that repeats": ("open_time", 4, "2025-07-03T15:45:00", r"row 5 \(2025-07-03T15:45:00\)"),
    "a side above the volume": ("buy_volume", 6, "1e9", "here, column volume, row 7: 1 bars have sides that are more"),
    "a time between two steps": ("open_time", 4, "2025-07-03T16:00:01", r"2 bars do not begin whole steps.*row 5"),
    "no date": ("open_time", 4, "soon", "'soon' is no date"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_with_its_row(fault: str) -> None:
    column, row, cell, words = FAULTS[fault]
    frame = frame_of()
    frame[column] = swapped(list(frame[column]), row, cell)
    with pytest.raises(DataError, match=words):
        candle_table(frame, {}, "here")


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match="no column 'close'"):
        candle_table(frame_of().drop(columns="close"), {}, "here")


def test_absent_bars_must_be_decided() -> None:
    frame = frame_of().drop(index=[7, 8])
    table = candle_table(frame, {}, "here")
    with pytest.raises(DataError, match=r"2 bars are absent.*data\.gaps"):
        refuse(table.findings, "here")
    refuse(candle_table(frame, {}, "here", "as_filed").findings, "here")


def test_the_length_of_a_bar_is_the_commonest_step() -> None:
    for hole in (1, 11, BARS - 2):
        assert candle_table(frame_of().drop(index=hole), {}, "here", "as_filed").seconds == 900


def test_a_fault_of_the_taker_s_side_is_told_by_the_names_of_the_file() -> None:
    frame = frame_of().drop(columns="sell_volume").rename(columns={"buy_volume": "bought"})
    frame["bought"] = swapped(list(frame["bought"]), 3, "1e9")
    with pytest.raises(DataError, match="here, column bought, row 4: 1 bars have a taker volume above the volume"):
        candle_table(frame, {"taker_buy_volume": "bought"}, "here")


def test_labels_need_a_size_where_there_is_a_move_alone() -> None:
    moved = [str(row % 5 == 2) for row in range(BARS)]
    size = ["1.5" if row % 5 == 2 else "" for row in range(BARS)]
    table = candle_table(frame_of(Trigger=moved, Max_Pct=size), {}, "here")
    assert table.trigger is not None
    assert table.max_pct is not None
    assert table.max_pct[table.trigger].tolist() == [1.5] * int(table.trigger.sum())
    with pytest.raises(DataError, match="a number wherever Trigger is True"):
        candle_table(frame_of(Trigger=moved, Max_Pct=["" for _ in size]), {}, "here")


def test_another_cell_is_another_table() -> None:
    whole = candle_table(frame_of(), {}, "here")
    frame = frame_of()
    frame["volume"] = swapped(list(frame["volume"]), 11, "12500")
    assert candle_table(frame_of(), {}, "there").fingerprint() == whole.fingerprint()
    assert candle_table(frame, {}, "here").fingerprint() != whole.fingerprint()


@pytest.mark.parametrize("name, bars, labelled", [(PERPETUAL, 17_281, False), (LABELLED, 8_641, True)])
def test_the_real_files_pass(shared: Path, name: str, bars: int, labelled: bool) -> None:
    table = CandlesConfig(root=str(shared / "data" / "candles"), path=name).read()
    assert len(table.times) == bars
    assert (table.trigger is not None) == labelled
    refuse(table.findings, name)
