"""The as-of join hands out only texts that were available, newest first; the placebo moves every text."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.asof import permuted, usable_texts
from plait.data.table import Texts


def _days(numbers: list[int]) -> np.ndarray:
    return np.datetime64("2001-01-01", "s") + np.array(numbers, dtype="timedelta64[D]").astype("timedelta64[s]")


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 60), max_size=13).map(sorted),
    st.lists(st.integers(0, 60), min_size=1, max_size=7),
    st.integers(1, 5),
    st.integers(0, 9),
)
def test_join_equals_a_search_of_every_text(texts: list[int], origins: list[int], newest: int, lag: int) -> None:
    rows, age = usable_texts(_days(texts), _days(origins), newest, lag)
    for i, origin in enumerate(origins):
        usable = [r for r, day in enumerate(texts) if day + lag <= origin][::-1][:newest]
        expected = usable + [-1] * (newest - len(usable))
        assert rows[i].tolist() == expected
        assert age[i].tolist() == [origin - texts[r] if r >= 0 else 0 for r in expected]


def test_a_text_of_the_origin_itself_is_usable_and_one_of_the_next_second_is_not() -> None:
    origin = _days([10])
    available = np.concatenate([origin, origin + np.timedelta64(1, "s")])
    assert usable_texts(available, origin, 3)[0].tolist() == [[0, -1, -1]]


@given(st.lists(st.integers(0, 90), min_size=1, max_size=41).map(sorted), st.integers(0, 5))
def test_placebo_permutes_within_spans_without_a_fixed_point(days: list[int], seed: int) -> None:
    texts = Texts.of(tuple(f"text {i}" for i in range(len(days))), _days(days), "t")
    borders = _days([30, 60])
    made = permuted(texts, borders, seed)
    assert made.available_at is texts.available_at
    span = np.searchsorted(borders, texts.available_at, side="right")
    for number in range(3):
        rows = np.flatnonzero(span == number)
        before, after = [texts.contents[r] for r in rows], [made.contents[r] for r in rows]
        assert sorted(before) == sorted(after)
        if len(rows) > 1:
            assert all(a != b for a, b in zip(before, after, strict=True))


def test_placebo_is_a_function_of_its_seed() -> None:
    texts = Texts.of(tuple(map(str, range(17))), _days(list(range(17))), "t")
    borders = _days([11])
    assert permuted(texts, borders, 3).contents == permuted(texts, borders, 3).contents
    assert permuted(texts, borders, 3).contents != permuted(texts, borders, 4).contents
