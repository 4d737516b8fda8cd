"""Walk-forward splits: nothing of a later split reaches an earlier one, and every tested row is tested once."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plait.core.errors import ConfigError, DataError
from plait.data.walk_forward import walk_forward

SHARES = [0.7, 0.1, 0.2]


@settings(deadline=None)
@given(st.integers(60, 700), st.integers(0, 23), st.integers(1, 5), st.integers(0, 97), st.data())
def test_between_two_splits_lie_as_many_bars_as_asked_for(
    count: int, gap: int, folds: int, first: int, data: st.DataObject
) -> None:
    rows = np.arange(first, first + count)
    fold = data.draw(st.integers(0, folds - 1))
    try:
        made = walk_forward(rows, SHARES, gap, folds, fold)
    except DataError:
        assume(False)
    train, val, test = made["train"], made["val"], made["test"]
    # A label of the last row reads `gap` bars on, and is over before the next split begins.
    assert train[-1] + gap < val[0]
    assert val[-1] + gap < test[0]
    # And no more is left out than that.
    assert val[-1] + gap + 1 == test[0]
    assert train[-1] + gap + 1 == val[0]
    for split in made.values():
        assert np.array_equal(split, np.arange(split[0], split[-1] + 1))


@pytest.mark.parametrize("folds", [1, 3, 5])
def test_every_row_of_the_tested_share_is_tested_once(folds: int) -> None:
    rows = np.arange(11, 1011)
    tests = [walk_forward(rows, SHARES, 7, folds, fold, tested=0.4)["test"] for fold in range(folds)]
    assert np.array_equal(np.concatenate(tests), rows[-400:])
    assert max(map(len, tests)) - min(map(len, tests)) <= 1


def test_without_folds_the_shares_lie_one_after_the_other() -> None:
    made = walk_forward(np.arange(1000), SHARES, 0)
    assert [len(made[split]) for split in ("train", "val", "test")] == [700, 100, 200]
    assert (made["train"][0], made["val"][0], made["test"][0]) == (0, 700, 800)


def test_validation_keeps_its_share_of_the_past() -> None:
    made = walk_forward(np.arange(1000), SHARES, 0, folds=2, fold=0)
    assert len(made["val"]) == pytest.approx(500 / 8, abs=1)


@pytest.mark.parametrize(
    "change, fault, words",
    [
        ({"fold": 3}, ConfigError, "no fold 3 of 3"),
        ({"tested": 1.0}, ConfigError, "can't be tested"),
        ({"shares": [0.7, 0.2, 0.2]}, ConfigError, "no three positive shares"),
        ({"gap": 400}, DataError, "no bar is left for"),
    ],
)
def test_what_can_not_be_is_refused(change: dict[str, object], fault: type[Exception], words: str) -> None:
    fields = {"rows": np.arange(500), "shares": SHARES, "gap": 7, "folds": 3, "fold": 0, **change}
    with pytest.raises(fault, match=words):
        walk_forward(**fields)  # type: ignore[arg-type]
