"""Tests of the topology of windows: a naive reference of every feature, causality, invariances, flat windows."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gudhi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from candle_series import flat_candles, random_candles, real_candles
from plait.core.errors import ConfigError, DataError
from plait.features.persistence import Diagrams, alpha
from plait.features.topology import (
    Grid,
    WindowDiagrams,
    feature_names,
    standardise,
    takens,
    vectorise,
    window_diagrams,
    window_spread,
)

Floats = NDArray[np.float64]

SHORT: dict[str, Any] = {"window": 97, "delay": 5}


def arrays(diagrams: WindowDiagrams) -> list[NDArray[Any]]:
    return [diagrams.h0, diagrams.h1, diagrams.split0, diagrams.split1]


def assert_same(here: WindowDiagrams, there: WindowDiagrams) -> None:
    for one, other in zip(arrays(here), arrays(there), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def pack(*windows: tuple[list[float], list[list[float]]]) -> WindowDiagrams:
    """Diagrams by deaths of components and pairs of loops."""
    return WindowDiagrams.pack(
        Diagrams(np.array([[0, death] for death in deaths]).reshape(-1, 2), np.array(loops).reshape(-1, 2))
        for deaths, loops in windows
    )


def naive(pairs: list[list[float]], top: float, bins: int, layers: int) -> list[float]:
    """The features of one dimension from their words, one number after the other."""
    lives = [death - birth for birth, death in pairs]
    step = top / bins
    betti, squares = [], [0.0] * layers
    for k in range(bins):
        x = (k + 0.5) * step
        betti.append(float(sum(birth <= x < death for birth, death in pairs)))
        tents = sorted((max(0.0, min(x - birth, death - x)) for birth, death in pairs), reverse=True)
        for layer, height in enumerate(tents[:layers]):
            squares[layer] += height * height * step
    entropy = -sum(life / sum(lives) * np.log(life / sum(lives)) for life in lives)
    return [*betti, entropy, sum(lives), *(square**0.5 for square in squares)]


LIFE = st.tuples(st.integers(0, 40), st.integers(1, 40)).map(lambda pair: [pair[0] / 16, (pair[0] + pair[1]) / 16])
LOOPS = st.lists(LIFE, max_size=17).map(sorted)
DEATHS = st.lists(st.integers(1, 80).map(lambda n: n / 16), max_size=23).map(sorted)


@given(st.lists(st.tuples(DEATHS, LOOPS), max_size=3), st.integers(1, 13), st.integers(1, 7))
@settings(deadline=None)
def test_features_are_those_of_a_naive_loop(windows: list[Any], bins: int, layers: int) -> None:
    grid = Grid((4.0, 2.0), bins, layers)  # of some sizes its points are births and deaths
    found = vectorise(pack(*windows), grid)
    wanted = [
        naive([[0, death] for death in deaths], 4.0, bins, layers) + naive(loops, 2.0, bins, layers)
        for deaths, loops in windows
    ]
    assert found.shape == (len(windows), len(feature_names(bins, layers)))
    np.testing.assert_allclose(found, np.reshape(wanted, found.shape), rtol=1e-12, atol=1e-12)


def test_real_features_are_those_of_a_naive_loop_over_gudhi(shared: Path) -> None:
    """From closes to features by other means; single precision of the stored pairs is the tolerance."""
    closes = real_candles(shared)["close"]
    ends = [671, 9001]
    grid = Grid((1.3, 1.9))
    found = vectorise(window_diagrams(closes, ends), grid)
    assert found.shape == (2, 214)
    for end, row in zip(ends, found, strict=True):
        window = closes[end - 671 : end + 1]
        z = (window - window.mean()) / window.std()
        cloud = [(z[i], z[i + 12]) for i in range(660)]
        tree = gudhi.AlphaComplex(points=cloud, precision="exact").create_simplex_tree()
        tree.compute_persistence()
        wanted: list[float] = []
        for dimension, top in enumerate(grid.tops):
            pairs = 2 * np.sqrt(tree.persistence_intervals_in_dimension(dimension))
            wanted += naive([list(pair) for pair in pairs if np.isfinite(pair[1]) and pair[1] > pair[0]], top, 100, 5)
        np.testing.assert_allclose(row, wanted, rtol=1e-4, atol=1e-5)


def test_one_loop_by_hand() -> None:
    """A loop that lives from 1 to 3 on a grid of four steps up to 4, read at 0.5, 1.5, 2.5 and 3.5."""
    found = dict(zip(feature_names(4, 2), vectorise(pack(([], [[1, 3]])), Grid((4.0, 4.0), 4, 2))[0], strict=True))
    assert [found[f"h1_betti_{k}"] for k in range(4)] == [0, 1, 1, 0]
    assert found["h1_entropy"] == 0
    assert found["h1_total_persistence"] == 2
    assert found["h1_landscape_1"] == pytest.approx(0.5**0.5)  # two heights of 0.5, steps of 1
    assert found["h1_landscape_2"] == 0


def test_a_landscape_norm_nears_the_integral() -> None:
    """The L2 norm of one tent of life l is sqrt(l^3 / 12)."""
    found = vectorise(pack(([2.0], [[1, 3]])), Grid((3.5, 3.5), 5003, 1))
    names = feature_names(5003, 1)
    for name in ("h0_landscape_1", "h1_landscape_1"):
        assert found[0, names.index(name)] == pytest.approx((2**3 / 12) ** 0.5, rel=1e-6)


def test_entropy_of_equal_lives_is_the_logarithm_of_their_number() -> None:
    found = vectorise(pack(([2.0] * 7, [[0, 1], [1, 2], [5, 6]])), Grid((1.0, 1.0)))
    names = feature_names()
    assert found[0, names.index("h0_entropy")] == pytest.approx(np.log(7))
    assert found[0, names.index("h1_entropy")] == pytest.approx(np.log(3))
    assert found[0, names.index("h0_total_persistence")] == 14


def test_the_214_names_in_order() -> None:
    names = feature_names()
    assert len(names) == len(set(names)) == 214
    assert names[:2] == ("h0_betti_00", "h0_betti_01")
    assert names[99:107] == (
        "h0_betti_99", "h0_entropy", "h0_total_persistence", "h0_landscape_1", "h0_landscape_2", "h0_landscape_3",
        "h0_landscape_4", "h0_landscape_5",
    )  # fmt: skip
    assert [name.replace("h1", "h0") for name in names[107:]] == list(names[:107])


def test_takens_pairs_each_value_with_the_one_a_delay_later() -> None:
    assert takens(np.arange(7.0), 2, 3).tolist() == [[0, 3], [1, 4], [2, 5], [3, 6]]
    assert takens(np.arange(7.0), 3, 2).tolist() == [[0, 2, 4], [1, 3, 5], [2, 4, 6]]
    assert takens(np.arange(672.0)).shape == (660, 2)


@pytest.mark.parametrize("filtration", ["alpha", "rips"])
def test_no_later_bar_matters_and_no_earlier_one(filtration: Any) -> None:
    closes = random_candles(307, seed=3)["close"]
    ends = [96, 103, 211, 306]
    whole = window_diagrams(closes, ends, filtration=filtration, **SHORT)
    spread = window_spread(closes, ends, 97)
    for i, end in enumerate(ends):
        later = np.concatenate([closes[: end + 1], 7 * closes[end + 1 :] ** 2])
        for series, at in ((closes[: end + 1], end), (later, end), (closes[end - 96 : end + 1].copy(), 96)):
            assert_same(window_diagrams(series, [at], filtration=filtration, **SHORT), whole.select([i]))
            np.testing.assert_array_equal(window_spread(series, [at], 97)[0], spread[i])


def test_real_windows_do_not_depend_on_where_they_stand(shared: Path) -> None:
    closes = real_candles(shared)["close"]
    grid = Grid((1.3, 1.9))
    for end in (671, 672, 4999, 17280):
        whole = vectorise(window_diagrams(closes, [end]), grid)
        np.testing.assert_array_equal(whole, vectorise(window_diagrams(closes[: end + 1], [end]), grid))
        alone = closes[end - 671 : end + 1].copy()
        np.testing.assert_array_equal(whole, vectorise(window_diagrams(alone, [671]), grid))


@given(st.integers(0, 99), st.floats(1e-6, 1e6), st.floats(0, 1e3))
@settings(max_examples=11, deadline=None)
def test_neither_scale_nor_level_of_prices_matters(seed: int, scale: float, level: float) -> None:
    closes = random_candles(151, seed)["close"]
    ends = [96, 150]
    here, there = window_diagrams(closes, ends, **SHORT), window_diagrams(scale * (closes + level), ends, **SHORT)
    grid = Grid((1.3, 1.9))
    for i in range(2):
        for ours, other in zip(here[i], there[i], strict=True):
            assert gudhi.bottleneck_distance(ours, other) < 1e-6
    np.testing.assert_allclose(vectorise(there, grid)[:, 100:102], vectorise(here, grid)[:, 100:102], rtol=1e-4)


def test_the_spread_is_what_standardising_removes() -> None:
    closes = random_candles(151, seed=1)["close"]
    spread = window_spread(closes, [96, 150], 97)
    logs = np.log(closes)
    for end, (reach, volatility) in zip((96, 150), spread, strict=True):
        inside = logs[end - 96 : end + 1]
        assert reach == pytest.approx(max(inside) - min(inside), rel=1e-12)
        assert volatility == pytest.approx(np.sqrt(np.mean((np.diff(inside) - np.diff(inside).mean()) ** 2)), rel=1e-9)
    np.testing.assert_allclose(window_spread(1000 * closes, [96, 150], 97), spread, rtol=1e-9)


def test_a_flat_window_is_0_everywhere() -> None:
    closes = flat_candles(701, 1.0)["close"]
    diagrams = window_diagrams(closes, [671, 700])
    assert [len(pairs) for pairs in diagrams[0]] == [0, 0]
    grid = Grid.fit(diagrams)
    assert grid.tops == (1.0, 1.0)
    assert (vectorise(diagrams, grid) == 0).all()
    assert (window_spread(closes, [671, 700]) == 0).all()


@pytest.mark.parametrize("moved", [0, 300, 671])
def test_a_window_with_one_move_has_few_points_and_finite_features(moved: int) -> None:
    closes = flat_candles(672, 1.0)["close"]
    closes[moved] = np.nextafter(closes[moved], np.inf)
    diagrams = window_diagrams(closes, [671])
    assert 1 <= len(diagrams[0].h0) <= 2
    assert np.isfinite(vectorise(diagrams, Grid.fit(diagrams))).all()
    assert np.isfinite(window_spread(closes, [671])).all()


@given(st.lists(st.sampled_from([99.5, 99.6, 99.7, 1e-300, 1e300]), min_size=11, max_size=11))
@settings(deadline=None)
def test_few_prices_give_finite_features(closes: list[float]) -> None:
    diagrams = window_diagrams(closes, [10], window=11, delay=3)
    assert np.isfinite(vectorise(diagrams, Grid.fit(diagrams))).all()
    assert np.isfinite(window_spread(closes, [10], 11)).all()


def test_standardised_windows_have_mean_0_and_deviation_1() -> None:
    z = standardise(random_candles(97, seed=2)["close"])
    assert z.mean() == pytest.approx(0, abs=1e-12)
    assert z.std() == pytest.approx(1, rel=1e-12)
    assert standardise(np.full(7, 0.1)).tolist() == [0] * 7
    assert standardise(np.array([3.0, 5, 3, 5])).tolist() == [-1, 1, -1, 1]


def test_packed_diagrams_come_back() -> None:
    clouds = [np.random.default_rng(n).normal(size=(n, 2)) for n in (31, 1, 7, 53)]
    diagrams = [alpha(cloud) for cloud in clouds]
    packed = WindowDiagrams.pack(diagrams)
    assert len(packed) == 4
    assert [len(packed[i].h0) for i in range(4)] == [30, 0, 6, 52]
    for i, window in enumerate(diagrams):
        for ours, back in zip(window, packed[i], strict=True):
            np.testing.assert_allclose(back, ours, rtol=1e-7)
    assert_same(packed.select([3, 1]), WindowDiagrams.pack([diagrams[3], diagrams[1]]))
    assert_same(WindowDiagrams.join([packed.select([0]), packed.select([]), packed.select([1, 2, 3])]), packed)
    assert_same(WindowDiagrams(**vars(packed)), packed)
    assert vectorise(packed.select([]), Grid((1.0, 1.0))).shape == (0, 214)
    assert len(WindowDiagrams.join([])) == 0
    assert [len(window.h0) for window in packed] == [30, 0, 6, 52]
    assert len(packed[-1].h0) == 52
    with pytest.raises(IndexError):
        packed[4]


def test_a_pair_that_single_precision_makes_one_number_is_left_out() -> None:
    packed = pack(([1e-60, 1.0], [[1, 1 + 1e-12], [1, 2]]))
    assert packed[0].h0.tolist() == [[0, 1]]
    assert packed[0].h1.tolist() == [[1, 2]]


def test_births_that_single_precision_makes_equal_are_sorted_by_death() -> None:
    """Else the landscape, which reads of equal births the last ones alone, would miss the longest loops."""
    loops = [[1 + n * 1e-12, 3 - n / 8] for n in range(7)]
    packed = pack(([], loops))
    assert packed[0].h1.tolist() == [[1, 3 - n / 8] for n in reversed(range(7))]
    wanted = naive([[1, death] for _, death in loops], 4.0, 11, 2)
    np.testing.assert_allclose(vectorise(packed, Grid((4.0, 4.0), 11, 2))[0, 15:], wanted, rtol=1e-12)


def test_a_process_pool_gives_the_same() -> None:
    closes = random_candles(211, seed=5)["close"]
    compute = pickle.loads(pickle.dumps(partial(window_diagrams, closes, **SHORT)))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(compute, [[96, 97], [150], [210]]))
    assert_same(WindowDiagrams.join(parts), window_diagrams(closes, [96, 97, 150, 210], **SHORT))


def test_the_grid_covers_99_of_100_windows() -> None:
    windows = [([float(n)], [[0.5, n + 1.0]]) for n in range(1, 101)]
    grid = Grid.fit(pack(*windows))
    assert grid.tops == pytest.approx((99.01, 100.01))
    assert grid.points(0).tolist() == pytest.approx([(k + 0.5) * 0.9901 for k in range(100)])
    far = Grid.fit(pack(*windows, ([1e6], [[1, 1e6]])))
    assert max(far.tops) < 102


def test_the_grid_knows_its_training_windows_alone() -> None:
    closes = random_candles(601, seed=7)["close"]
    diagrams = window_diagrams(closes, range(96, 601, 29), **SHORT)
    train = diagrams.select(range(9))
    assert Grid.fit(train) == Grid.fit(window_diagrams(closes[:400], range(96, 357, 29), **SHORT))
    assert Grid.fit(train) != Grid.fit(diagrams)


def test_windows_that_do_not_fit_are_refused() -> None:
    closes = random_candles(101, seed=0)["close"]
    with pytest.raises(DataError, match="a window needs 672 bars and there are 101"):
        window_diagrams(closes, [100])
    with pytest.raises(DataError, match=r"2 windows of 97 bars do not fit, the first ends at bar 95 .*bars 96 to 100"):
        window_diagrams(closes, [95, 96, 101], **SHORT)
    with pytest.raises(DataError, match="do not fit"):
        window_spread(closes, [-1], 97)
    with pytest.raises(DataError, match="give a list of row numbers"):
        window_diagrams(closes, [99.0], **SHORT)


@pytest.mark.parametrize(
    "wrong, what", [(np.nan, "not finite"), (np.inf, "not finite"), (0.0, "above 0"), (-3, "above 0")]
)
def test_closes_that_are_no_prices_are_refused(wrong: float, what: str) -> None:
    closes = random_candles(101, seed=0)["close"]
    closes[53] = wrong
    for compute in (window_diagrams, window_spread):
        with pytest.raises(DataError, match=f"close, row 53: 1 values are {what}|row 53.*not {what}"):
            compute(closes, [100], 97)


@pytest.mark.parametrize(
    "wrong, what",
    [
        ({"dim": 3}, "alpha is for dim 2, not 3"),
        ({"dim": 0}, "dim and delay of at least 1"),
        ({"delay": 97}, "more than 97 bars a window"),
        ({"filtration": "ripps"}, "did you mean rips"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        window_diagrams(random_candles(101, seed=0)["close"], [100], **{**SHORT, **wrong})


def test_a_grid_needs_windows_and_sizes() -> None:
    with pytest.raises(DataError, match="no window to fit the grid on"):
        Grid.fit(WindowDiagrams.join([]))
    for wrong in (((0.0, 1.0), 100), ((1.0, np.nan), 100), ((1.0, 1.0), 0)):
        with pytest.raises(ConfigError, match="tops above 0"):
            Grid(*wrong)
