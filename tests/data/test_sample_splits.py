"""Samples are dealt once each, groups never part, classes keep their shares, and every sample is test in one fold."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core.errors import ConfigError, DataError
from plait.data.sample_splits import split_samples

SHARES = (0.7, 0.1, 0.2)
SEEDS = st.integers(0, 2**32)


def _rows(count: int, seed: int = 0) -> Any:
    """Rising row numbers with gaps."""
    return np.sort(np.random.default_rng(seed).choice(3 * count + 1, count, replace=False))


def _whole(made: dict[str, Any], rows: Any) -> None:
    assert list(made) == ["train", "val", "test"]
    for there in made.values():
        assert there.dtype == np.int64
        assert (np.diff(there) > 0).all()
        assert len(there)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(made.values()))), rows)


def _sides(made: dict[str, Any], rows: Any, groups: list[Any]) -> dict[Any, set[str]]:
    """The splits in which each group that has a name stands."""
    split_of = {row: name for name, there in made.items() for row in there.tolist()}
    sides: dict[Any, set[str]] = {}
    for row, group in zip(rows.tolist(), groups, strict=True):
        if group:
            sides.setdefault(group, set()).add(split_of[row])
    return sides


GROUPED = st.lists(st.sampled_from(["", None, *"abcdefghijk"]), min_size=20, max_size=90)


@given(GROUPED, SEEDS, st.sampled_from([SHARES, (0.5, 0.25, 0.25), (0.1, 0.6, 0.3)]))
def test_groups_stay_whole_and_no_share_is_passed_by_more_than_a_group(
    groups: list[Any], seed: int, shares: tuple[float, ...]
) -> None:
    count = Counter(group for group in groups if group)
    rows, lone = _rows(len(groups)), len(groups) - sum(count.values())
    if len(count) + lone < 3:
        return
    made = split_samples(rows, seed, shares=shares, groups=groups)
    _whole(made, rows)
    assert all(len(side) == 1 for side in _sides(made, rows, groups).values())
    largest = max(count.values(), default=1)
    for share, there in zip(shares, made.values(), strict=True):
        assert len(there) < share * len(rows) + largest + 1
    again = split_samples(rows, seed, shares=list(shares), groups=list(groups))
    assert all((again[name] == made[name]).all() for name in made)


@settings(max_examples=50)
@given(GROUPED, SEEDS, st.integers(3, 7), st.booleans())
def test_every_sample_is_test_in_exactly_one_fold(groups: list[Any], seed: int, folds: int, classed: bool) -> None:
    rows = _rows(len(groups))
    lone = [group or f"alone {at}" for at, group in enumerate(groups)]
    if len(set(lone)) < max(folds, 5):
        return
    strata = ["xyz"[at % 3] for at in range(len(rows))] if classed else None
    tests = []
    for fold in range(folds):
        made = split_samples(rows, seed, folds=folds, fold=fold, groups=groups, strata=strata)
        _whole(made, rows)
        assert all(len(side) == 1 for side in _sides(made, rows, groups).values())
        tests.append(made["test"])
    np.testing.assert_array_equal(np.sort(np.concatenate(tests)), rows)
    if not classed:
        sizes = [len(there) for there in tests]
        assert max(sizes) - min(sizes) <= max(Counter(lone).values())


@given(st.integers(10, 200), SEEDS)
def test_rows_without_groups_meet_their_shares_to_a_row(count: int, seed: int) -> None:
    made = split_samples(_rows(count), seed, shares=SHARES)
    for share, there in zip(SHARES, made.values(), strict=True):
        assert abs(len(there) - share * count) <= 1


def test_another_seed_gives_another_split_and_every_row_may_stand_anywhere() -> None:
    rows = _rows(53)
    seen = {
        name: {int(row) for seed in range(60) for row in split_samples(rows, seed)[name]}
        for name in ("train", "val", "test")
    }
    assert all(there == set(rows.tolist()) for there in seen.values())


def test_large_groups_are_as_often_tested_as_small_ones() -> None:
    # Were the largest dealt first, none of four would ever be tested.
    groups = [f"large {at // 4}" for at in range(80)] + [f"small {at}" for at in range(80)]
    large = [sum(row < 80 for row in split_samples(np.arange(160), seed, groups=groups)["test"]) for seed in range(200)]
    assert np.mean(large) == pytest.approx(16, abs=1.5)


def test_a_group_too_large_for_the_small_splits_is_trained_on() -> None:
    groups = ["crowd"] * 60 + [f"{at}" for at in range(40)]
    for seed in range(20):
        made = split_samples(np.arange(100), seed, groups=groups)
        assert [len(there) for there in made.values()] == [70, 10, 20]
        assert set(range(60)) <= set(made["train"].tolist())


def test_missing_groups_of_any_form_are_groups_of_one() -> None:
    groups: list[Any] = [None, "", float("nan"), pd.NA] * 25
    assert [len(there) for there in split_samples(np.arange(100), 3, groups=groups).values()] == [70, 10, 20]


def test_three_groups_fill_three_splits() -> None:
    groups = ["a"] * 100 + ["b"] * 100 + ["c"] * 100
    for seed in range(10):
        assert [len(there) for there in split_samples(np.arange(300), seed, groups=groups).values()] == [100] * 3


@given(st.lists(st.sampled_from("aaaaabbbc"), min_size=30, max_size=200), SEEDS)
def test_classes_keep_their_shares(strata: list[str], seed: int) -> None:
    rows = _rows(len(strata))
    made = split_samples(rows, seed, strata=strata)
    _whole(made, rows)
    named = dict(zip(rows.tolist(), strata, strict=True))
    for share, there in zip(SHARES, made.values(), strict=True):
        assert abs(len(there) - share * len(rows)) <= 1
        inside = Counter(named[row] for row in there.tolist())
        for name, total in Counter(strata).items():
            assert abs(inside[name] - share * total) < 2


def test_classes_are_exact_where_the_numbers_allow_it() -> None:
    strata = ["common"] * 70 + ["rare"] * 10
    made = split_samples(np.arange(80), 11, strata=strata)
    assert [int((there >= 70).sum()) for there in made.values()] == [7, 1, 2]
    for fold in range(5):
        made = split_samples(np.arange(80), 11, folds=5, fold=fold, strata=strata)
        assert [int((there < 70).sum()) for there in made.values()][2] == 14
        assert int((made["test"] >= 70).sum()) == 2


def test_classes_of_one_sample_each_fill_every_split() -> None:
    made = split_samples(np.arange(50), 5, strata=[f"class {at}" for at in range(50)])
    assert [len(there) for there in made.values()] == [35, 5, 10]


def test_classes_are_kept_near_their_shares_by_whole_groups() -> None:
    chance = np.random.default_rng(2)
    groups = [f"family {at}" for at in chance.integers(0, 120, 400)]
    kind = {name: "rare" if at % 8 == 0 else "common" for at, name in enumerate(sorted(set(groups)))}
    strata = [kind[name] for name in groups]
    rare = strata.count("rare")
    largest = max(Counter(groups).values())
    rows = np.arange(400)
    for seed in range(10):
        made = split_samples(rows, seed, groups=groups, strata=strata)
        assert all(len(side) == 1 for side in _sides(made, rows, groups).values())
        for share, there in zip(SHARES, made.values(), strict=True):
            assert abs(sum(strata[row] == "rare" for row in there) - share * rare) <= largest


def test_as_many_folds_as_groups_leaves_one_group_out() -> None:
    groups = ["a"] * 30 + ["b"] * 2 + ["c"] * 7 + ["d"] + ["e"] * 11
    tested = set()
    for fold in range(5):
        made = split_samples(np.arange(51), 7, folds=5, fold=fold, groups=groups)
        tested.add(tuple(sorted({groups[row] for row in made["test"]})))
    assert tested == {("a",), ("b",), ("c",), ("d",), ("e",)}


def test_folds_deal_the_rest_to_train_and_validation_by_their_shares() -> None:
    made = [split_samples(np.arange(200), 1, folds=5, fold=fold) for fold in range(5)]
    assert [[len(there) for there in one.values()] for one in made] == [[140, 20, 40]] * 5
    shared = set(made[0]["val"].tolist()) & set(made[1]["val"].tolist())
    assert len(shared) < 15


def test_the_order_of_the_ids_counts_and_not_their_numbers() -> None:
    rows = _rows(41)
    groups = [f"g{at % 13}" for at in range(41)]
    made = split_samples(rows, 9, groups=groups)
    plain = split_samples(np.arange(41), 9, groups=[name.upper() for name in groups])
    assert all((rows[plain[name]] == made[name]).all() for name in made)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("no three positive shares", {"shares": (0.7, 0.3)}),
        ("no three positive shares", {"shares": (0.7, 0.1, 0.1)}),
        ("no three positive shares", {"shares": (0.8, 0.0, 0.2)}),
        ("folds: 4 folds of 3 groups .*2 to 3", {"folds": 4, "groups": list("aabbbcccc")}),
        ("folds: 1 folds of 9 groups", {"folds": 1}),
        ("fold: there is no fold 3 of 3 .*0 to 2", {"folds": 3, "fold": 3}),
        ("fold: there is no fold -1 of 3", {"folds": 3, "fold": -1}),
    ],
)
def test_what_cannot_be_asked_for_is_refused(words: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=words):
        split_samples(np.arange(9), 0, **options)


@pytest.mark.parametrize(
    ("words", "rows", "options"),
    [
        ("left for val: there are 9 rows in 2 groups", 9, {"groups": list("aaaaaabbb")}),
        ("left for val: there are 9 rows in 2 groups", 9, {"groups": list("aaaaaabbb"), "folds": 2}),
        ("left for train and val and test: there are 0 rows", 0, {}),
        ("groups: 3 groups for 4 rows", 4, {"groups": list("abc")}),
        ("strata: 5 strata for 4 rows", 4, {"strata": list("abcde")}),
    ],
)
def test_splits_without_samples_are_refused_with_the_numbers(words: str, rows: int, options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=words):
        split_samples(np.arange(rows), 0, **options)


@pytest.mark.parametrize("rows", [[3, 1, 2], [1, 1, 2]])
def test_rows_must_rise(rows: list[int]) -> None:
    with pytest.raises(DataError, match="do not rise"):
        split_samples(np.asarray(rows), 0)


def test_the_real_families_are_never_parted(shared: Any) -> None:
    path = shared / "data" / "microbiome" / "global_gut" / "metadata.tsv"
    facts = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    rows = np.flatnonzero((facts["age_years"] != "").to_numpy())
    groups = facts["family_derived"].iloc[rows].tolist()
    for fold in range(5):
        made = split_samples(rows, 0, folds=5, fold=fold, groups=groups)
        _whole(made, rows)
        assert abs(len(made["test"]) - len(rows) / 5) < 1
        assert abs(len(made["val"]) - len(rows) / 10) <= 7
        assert all(len(side) == 1 for side in _sides(made, rows, groups).values())
