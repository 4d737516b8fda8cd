"""Every window of every split counts once, and no train window reads or is asked for a later row."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from plait.core.errors import ConfigError, DataError
from plait.data.splits import Borders


@given(st.integers(1, 200), st.integers(1, 60), st.integers(1, 60), st.integers(1, 17), st.integers(1, 13))
def test_windows_are_complete_and_do_not_cross(train: int, val: int, test: int, lookback: int, horizon: int) -> None:
    assume(train >= lookback + horizon)
    assume(min(val, test) >= horizon)
    origins = Borders(train, val, test).origins(lookback, horizon)
    assert len(origins["train"]) == train - lookback - horizon + 1
    assert len(origins["val"]) == val - horizon + 1
    assert len(origins["test"]) == test - horizon + 1
    assert origins["train"][0] == lookback - 1
    assert origins["train"][-1] + horizon == train - 1
    assert origins["val"][0] + 1 == train
    assert origins["val"][-1] + horizon == train + val - 1
    assert origins["test"][0] + 1 == train + val
    assert origins["test"][-1] + horizon == train + val + test - 1


def test_ett_counts_of_the_papers() -> None:
    origins = Borders(8640, 2880, 2880).origins(96, 96)
    assert {split: len(o) for split, o in origins.items()} == {"train": 8449, "val": 2785, "test": 2785}


def test_shares_follow_the_published_rule() -> None:
    assert Borders.by_share(1622, [0.7, 0.1, 0.2]) == Borders(1135, 163, 324)
    with pytest.raises(ConfigError, match="shares"):
        Borders.by_share(100, [0.7, 0.1, 0.1])


@pytest.mark.parametrize(
    ("borders", "words"),
    [(Borders(10, 9, 9), "train split has 10 rows, a window needs 12"), (Borders(50, 3, 9), "val split has 3 rows")],
)
def test_a_split_too_short_for_a_window_is_refused_with_the_numbers(borders: Borders, words: str) -> None:
    with pytest.raises(DataError, match=words):
        borders.origins(7, 5)
