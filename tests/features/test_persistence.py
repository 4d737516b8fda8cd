"""Tests of persistence: gudhi's alpha complex and ripser as oracles, closed forms, degenerate clouds, symmetries."""

import sys
from collections.abc import Callable
from pathlib import Path

import gudhi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst
from numpy.typing import NDArray
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist, pdist

from candle_series import real_candles
from plait.core.errors import ConfigError, DataError
from plait.features.persistence import Diagrams, alpha, rips

Points = NDArray[np.float64]
Cloud = Callable[[np.random.Generator, int], Points]

TOLERANCE = 1e-9
"""Of the squared diameter, in squared radii."""


def by_gudhi(points: Points) -> list[Points]:
    """Finite pairs of H0 and H1 in squared radii, in exact arithmetic: the default rounds circles of flat triangles."""
    tree = gudhi.AlphaComplex(points=points, precision="exact").create_simplex_tree()
    tree.compute_persistence()
    pairs = [np.reshape(tree.persistence_intervals_in_dimension(dimension), (-1, 2)) for dimension in (0, 1)]
    return [each[np.isfinite(each[:, 1])] for each in pairs]


def assert_equal_to_gudhi(points: Points) -> None:
    """Equal as multisets of points that persist longer than the tolerance.

    A bottleneck distance of at most half the tolerance pairs every such point with one as near.
    """
    for ours, theirs in zip(alpha(points), by_gudhi(points), strict=True):
        squared = (ours / 2) ** 2
        assert gudhi.bottleneck_distance(squared, theirs) <= TOLERANCE / 2 * pdist(points, "sqeuclidean").max(initial=0)


def assert_well_formed(diagrams: Diagrams) -> None:
    for pairs in diagrams:
        assert pairs.shape[1:] == (2,)
        assert np.isfinite(pairs).all()
        assert (pairs[:, 0] < pairs[:, 1]).all()
        assert pairs.tolist() == sorted(pairs.tolist())
    assert (diagrams.h0[:, 0] == 0).all()


def turned(points: Points, angle: float = 0.7, shift: float = 0.3) -> Points:
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]]) + shift


def lattice(side: int) -> Points:
    return np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2).astype(np.float64)


def polygon(corners: int) -> Points:
    angles = 2 * np.pi * np.arange(corners) / corners
    return np.column_stack([np.cos(angles), np.sin(angles)])


def delayed(closes: Points, delay: int = 12) -> Points:
    z = (closes - closes.mean()) / closes.std()
    return np.column_stack([z[:-delay], z[delay:]])


TRIANGLES = np.array([[1.0, 0.0], [0.5, 3**0.5 / 2]])

CLOUDS: dict[str, Cloud] = {
    "uniform": lambda rng, n: rng.random((n, 2)),
    "normal, far from 0": lambda rng, n: rng.normal(size=(n, 2)) + 1e5,
    "some lattice points, repeated": lambda rng, n: rng.integers(0, 7, (n, 2)).astype(np.float64),
    "a turned lattice": lambda rng, n: turned(lattice(int(n**0.5) + 2)),
    "a lattice of triangles": lambda rng, n: turned(lattice(int(n**0.5) + 2) @ TRIANGLES),
    "a lattice with noise": lambda rng, n: turned(lattice(5)) + 10.0 ** -rng.uniform(3, 17) * rng.normal(size=(25, 2)),
    "a regular polygon": lambda rng, n: turned(polygon(n)),
    "polygons in polygons": lambda rng, n: np.concatenate([polygon(n), 2 * polygon(n), polygon(n) / 2]),
    "on a circle": lambda rng, n: polygon(997)[rng.integers(0, 997, n)],
    "near a circle": lambda rng, n: polygon(n) * (1 + 10.0 ** -rng.uniform(3, 17) * rng.normal(size=(n, 1))),
    "on a line": lambda rng, n: turned(np.column_stack([rng.random(n), np.zeros(n)])),
    "on a line, exactly": lambda rng, n: rng.random((n, 1)) * [1.0, 2.0],
    "near a line": lambda rng, n: turned(rng.random((n, 2)) * [1.0, 10.0 ** -rng.uniform(2, 10)]),
    "on two lines": lambda rng, n: np.concatenate([rng.random((n, 1)) * [1, 2], rng.random((n, 1)) * [2, -1]]),
    "on a flat parabola": lambda rng, n: rng.normal(size=(n, 1)) ** [[1, 2]] * [1.0, 10.0 ** -rng.uniform(0, 9)],
    "tight groups": lambda rng, n: rng.random((3, 2))[rng.integers(0, 3, n)] + 1e-7 * rng.normal(size=(n, 2)),
    "all scales": lambda rng, n: rng.normal(size=(n, 2)) * 10.0 ** -rng.uniform(0, 12, (n, 1)),
    "repeated": lambda rng, n: rng.random((5, 2))[rng.integers(0, 5, n)],
    "equal": lambda rng, n: np.tile(rng.random(2), (n, 1)),
    "a far point": lambda rng, n: np.concatenate([rng.random((n, 2)), [[1e3, -1e3]]]),
}


@pytest.mark.parametrize("end", [671, 2003, 5003, 9973, 14983, 17280])
def test_real_windows_equal_gudhi(shared: Path, end: int) -> None:
    points = delayed(real_candles(shared)["close"][end - 671 : end + 1])
    assert len(points) == 660
    assert_equal_to_gudhi(points)
    assert_well_formed(alpha(points))


@pytest.mark.parametrize("name", CLOUDS)
def test_clouds_equal_gudhi(name: str) -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 5, 11, 31, 101):
        for _ in range(3):
            points = CLOUDS[name](rng, n)
            assert_equal_to_gudhi(points)
            assert_well_formed(alpha(points))


@given(nst.arrays(np.int64, st.tuples(st.integers(1, 23), st.just(2)), elements=st.integers(-4, 4)), st.floats(0, 6.3))
@settings(max_examples=150, deadline=None)
def test_turned_lattice_points_equal_gudhi(cells: Points, angle: float) -> None:
    assert_equal_to_gudhi(turned(cells.astype(np.float64), angle))


@given(nst.arrays(np.float64, st.tuples(st.integers(1, 13), st.just(2)), elements=st.floats(-1e3, 1e3, width=32)))
@settings(max_examples=150, deadline=None)
def test_any_points_equal_gudhi(points: Points) -> None:
    assert_equal_to_gudhi(points)
    assert_well_formed(alpha(points))


def test_a_square_has_one_loop() -> None:
    """In radii: born at half the side, filled at half the diagonal."""
    h0, h1 = alpha([[0, 0], [0, 3], [3, 0], [3, 3]])
    np.testing.assert_allclose(h0 / 2, [[0, 1.5]] * 3, rtol=1e-15)
    np.testing.assert_allclose(h1 / 2, [[1.5, 3 * np.sqrt(2) / 2]], rtol=1e-15)


def test_triangles() -> None:
    """An acute one has a loop from its longest side to its circle; a right or an obtuse one has none."""
    equal_sides = alpha(np.array([[0, 0], [1, 0], [0.5, 3**0.5 / 2]]))
    np.testing.assert_allclose(equal_sides.h1, [[1, 2 / 3**0.5]], rtol=1e-15)
    acute = alpha([[0, 0], [14, 0], [5, 12]])  # sides 13, 14, 15, circle of radius 65 / 8
    np.testing.assert_allclose(acute.h0, [[0, 13], [0, 14]], rtol=1e-15)
    np.testing.assert_allclose(acute.h1, [[15, 65 / 4]], rtol=1e-15)
    for flat in ([[0, 0], [3, 0], [0, 4]], [[0, 0], [5, 1], [11, 0]]):
        assert alpha(flat).h1.shape == (0, 2)


@pytest.mark.parametrize("corners", [5, 7, 11, 101])
def test_a_regular_polygon_has_one_loop(corners: int) -> None:
    side = 2 * np.sin(np.pi / corners)
    h0, h1 = alpha(turned(polygon(corners)))
    np.testing.assert_allclose(h0, [[0, side]] * (corners - 1), rtol=1e-12)
    np.testing.assert_allclose(h1, [[side, 2]], rtol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 0.1, 0.7])
def test_a_lattice_has_a_loop_in_every_cell(angle: float) -> None:
    h0, h1 = alpha(turned(lattice(7), angle))
    np.testing.assert_allclose(h0, [[0, 1]] * 48, rtol=1e-12)
    np.testing.assert_allclose(h1, [[1, 2**0.5]] * 36, rtol=1e-12)


def test_an_annulus_has_one_long_loop() -> None:
    rng = np.random.default_rng(2)
    angles, radii = rng.uniform(0, 2 * np.pi, 1009), rng.uniform(0.7, 1.0, 1009)
    h1 = alpha(radii[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])).h1
    lives = np.sort(h1[:, 1] - h1[:, 0])
    assert lives[-1] > 1.2
    assert lives[-2] < 0.2


@pytest.mark.parametrize("angle", [0.0, np.pi / 2, 0.7])
def test_points_on_a_line_have_gaps_and_no_loop(angle: float) -> None:
    line = np.column_stack([[0.0, 7, 2, 4, 12, 2], np.zeros(6)])
    h0, h1 = alpha(turned(line, angle))
    np.testing.assert_allclose(h0, [[0, 2], [0, 2], [0, 3], [0, 5]], rtol=1e-12)
    assert h1.shape == (0, 2)


@pytest.mark.parametrize("points", [np.zeros((0, 2)), [[3, 5]], [[3, 5]] * 7, np.full((660, 2), 0.1)])
@pytest.mark.parametrize("persistence", [alpha, rips])
def test_one_point_has_no_pair(points: Points, persistence: Callable[[Points], Diagrams]) -> None:
    h0, h1 = persistence(points)
    assert h0.shape == h1.shape == (0, 2)


@pytest.mark.parametrize("persistence", [alpha, rips])
def test_two_and_three_points(persistence: Callable[[Points], Diagrams]) -> None:
    assert persistence(np.array([[0.0, 0], [3, 4]])).h0.tolist() == [[0, 5]]
    h0, h1 = persistence(np.array([[0.0, 0], [3, 4], [6, 8]]))
    np.testing.assert_allclose(h0, [[0, 5], [0, 5]], rtol=1e-7)
    assert len(h1) == 0


def test_repeated_points_count_once_and_order_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(101, 2))
    once = alpha(points)
    for again in (points[::-1], np.concatenate([points, points[rng.integers(0, 101, 53)]])):
        for here, there in zip(once, alpha(again), strict=True):
            np.testing.assert_array_equal(here, there)


@given(st.integers(0, 999), st.floats(0, 6.3), st.floats(-1e2, 1e2), st.floats(1e-9, 1e9))
@settings(max_examples=50, deadline=None)
def test_motions_keep_the_diagrams_and_scale_scales_them(seed: int, angle: float, shift: float, scale: float) -> None:
    points = np.random.default_rng(seed).normal(size=(53, 2))
    for here, moved in zip(alpha(points), alpha(scale * turned(points, angle, shift)), strict=True):
        np.testing.assert_allclose(moved / scale, here, rtol=0, atol=1e-8)


@pytest.mark.parametrize("scale", [2.0**-500, 2.0**-30, 2.0**7, 2.0**500])
def test_a_scale_by_a_power_of_two_is_exact(scale: float) -> None:
    points = np.random.default_rng(4).normal(size=(61, 2))
    for here, scaled in zip(alpha(points), alpha(scale * points), strict=True):
        np.testing.assert_array_equal(scaled, here * scale)


def test_components_die_along_the_shortest_spanning_tree(shared: Path) -> None:
    points = delayed(real_candles(shared)["close"][3000:3672])
    distances = cdist(points, points)
    np.testing.assert_allclose(alpha(points).h0[:, 1], np.sort(minimum_spanning_tree(distances).data), rtol=1e-12)


def test_loops_are_as_many_as_components_allow() -> None:
    """Of radius r the discs have pieces less holes of the Euler number of the alpha complex, here by counting."""
    points = np.random.default_rng(5).normal(size=(101, 2))
    tree = gudhi.AlphaComplex(points=points, precision="exact").create_simplex_tree()
    h0, h1 = alpha(points)
    for diameter in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6):
        euler = sum((-1) ** (len(simplex) - 1) for simplex, value in tree.get_filtration() if value <= diameter**2 / 4)
        pieces = 1 + np.sum(h0[:, 1] > diameter)
        holes = np.sum((h1[:, 0] <= diameter) & (diameter < h1[:, 1]))
        assert pieces - holes == euler


def test_rips_is_in_the_unit_of_alpha(shared: Path) -> None:
    points = delayed(real_candles(shared)["close"][3000:3672])[::5]
    single = {"rtol": 1e-5, "atol": 1e-6}
    here, there = alpha(points), rips(points)
    assert_well_formed(there)
    np.testing.assert_allclose(there.h0, here.h0, **single)
    tree = gudhi.RipsComplex(points=points).create_simplex_tree(max_dimension=2)
    tree.compute_persistence()
    assert gudhi.bottleneck_distance(there.h1, tree.persistence_intervals_in_dimension(1)) < 1e-6
    assert 0 < len(there.h1) < len(here.h1)


def test_rips_of_a_square_and_of_more_dimensions() -> None:
    np.testing.assert_allclose(rips([[0, 0], [0, 3], [3, 0], [3, 3]]).h1, [[3, 3 * 2**0.5]], rtol=1e-6)
    octahedron = np.concatenate([np.eye(3), -np.eye(3)])
    h0, h1 = rips(octahedron)
    np.testing.assert_allclose(h0, [[0, 2**0.5]] * 5, rtol=1e-6)
    assert len(h1) == 0


def test_without_ripser_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ripser", None)
    with pytest.raises(ConfigError, match=r'ripser, which is not installed \(pip install "plait\[rips\]"'):
        rips([[0, 0], [1, 1]])


@pytest.mark.parametrize("persistence", [alpha, rips])
def test_points_that_are_none_are_refused(persistence: Callable[[object], Diagrams]) -> None:
    with pytest.raises(DataError, match=r"points of shape \(3,\)"):
        persistence([1, 2, 3])
    for wrong in (np.nan, np.inf):
        with pytest.raises(DataError, match="points are not finite"):
            persistence([[0, 0], [1, wrong], [2, 1]])
    with pytest.raises(DataError, match="too far apart"):
        persistence([[-1e308, 0], [1e308, 0], [0, 0]])


def test_alpha_is_for_the_plane() -> None:
    with pytest.raises(DataError, match=r"shape \(5, 3\).*give \(n, 2\)"):
        alpha(np.zeros((5, 3)))
