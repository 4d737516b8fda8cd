"""Persistent homology of a point cloud: its components (H0) and loops (H1), by the alpha complex or by Rips."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay
from scipy.spatial.distance import cdist

from plait.core.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RESOLUTION = 1e-6
"""What part of a cloud's extent counts as nothing: far above the rounding of doubles, far below what features see."""

_NONE: FloatArray = np.zeros((0, 2))


class Diagrams(NamedTuple):
    """When components and loops of a growing cloud appear (birth) and vanish (death), sorted by birth, then death.

    The one component that never vanishes is left out. Every pair has birth < death, both finite.

    Shape: h0 (components, 2), births 0; h1 (loops, 2). Units: distances, those of the points.
    """

    h0: FloatArray
    h1: FloatArray


class _Triangles(NamedTuple):
    """A triangulation of t triangles; the side k of a triangle lies opposite its corner k, t stands for the outside.

    `radius` is the squared radius of the smallest circle around a triangle. Where an angle is right or obtuse, that is
    the circle of its longest side, and `toward` is the triangle across it; an acute one's is itself.

    Shape: corners, beyond (the triangle across each side), squared (lengths of sides) (t, 3); toward, radius (t,).
    """

    corners: IntArray
    beyond: IntArray
    squared: FloatArray
    toward: IntArray
    radius: FloatArray


def alpha(points: npt.ArrayLike) -> Diagrams:
    """Compute the persistence of the alpha complex of points in the plane.

    Discs grow around the points; a birth or death is the diameter 2 r at which it happens, so that H0 equals that of
    `rips` and both are in the unit of the points (alpha filtration values are r^2 = (diameter / 2)^2). H0 dies along
    the shortest spanning tree. H1 comes by duality: seen backwards, shrinking discs open holes at acute triangles, the
    widest first, and holes run together across edges; a union-find over holes and the outside, by edges in decreasing
    order, tells which hole is the younger. A right or obtuse triangle opens together with what lies across its longest
    side, so that the circles of flat triangles, which rounding would spoil, are never computed.

    Equal points count once. Pairs with a persistence of r^2 of at most (`RESOLUTION` extent)^2 are left out: they are
    rounding on lattices and circles. Points within `RESOLUTION` extent of one line are taken as on it and have no
    loops. The extent is the diagonal of the bounding box.

    Shape: (n, 2) -> `Diagrams`; n of 0 and 1 give empty ones. Units: those of the points, in and out.
    Errors: DataError where points are not (n, 2), not finite or too far apart for a double.
    Source: Edelsbrunner & Mücke (1994) alpha shapes; Edelsbrunner & Harer (2010), section VII.1 (the elder rule) and
    V.4 (duality); Bauer & Edelsbrunner (2017), section 3 (which edges and triangles matter).
    """
    sites, extent = _distinct(points, plane=True)
    if len(sites) < 2:
        return Diagrams(_NONE, _NONE)
    ordered = _on_a_line(sites)
    if ordered is not None:
        lengths = np.sum(np.diff(ordered, axis=0) ** 2, axis=1) / 4
        return Diagrams(_kept(np.zeros(len(lengths)), lengths, extent), _NONE)
    return _of_triangles(_triangulate(sites), len(sites), extent)


def rips(points: npt.ArrayLike) -> Diagrams:
    """Compute the persistence of the Vietoris-Rips filtration with ripser, which works in single precision.

    A simplex appears at its longest edge. Equal points count once. H0 is that of `alpha`; H1 has fewer short loops,
    for a triangle is filled as soon as its sides are there.

    Shape: (n, d) -> `Diagrams`. Units: those of the points, in and out.
    Errors: ConfigError where ripser is not installed; DataError as `alpha`.
    Source: Bauer (2021) Ripser.
    """
    try:
        from ripser import ripser
    except ImportError:
        raise ConfigError(
            "the Rips filtration needs ripser, which is not installed",
            where="filtration",
            fix='pip install "plait[rips]", or choose filtration: alpha',
        ) from None
    sites, extent = _distinct(points, plane=False)
    if len(sites) < 2:
        return Diagrams(_NONE, _NONE)
    found = (each.astype(np.float64) for each in ripser(cdist(sites, sites), distance_matrix=True, maxdim=1)["dgms"])
    h0, h1 = (sort_pairs(each[(each[:, 1] > each[:, 0]) & np.isfinite(each[:, 1])] * extent) for each in found)
    return Diagrams(h0, h1)


def _distinct(points: npt.ArrayLike, plane: bool) -> tuple[FloatArray, float]:
    """Check points, centre them, divide by their extent, and keep one of equal ones; give them and the extent."""
    cloud = np.asarray(points, dtype=np.float64)
    if cloud.ndim != 2 or (plane and cloud.shape[1] != 2):
        raise DataError(f"points of shape {cloud.shape}", where="points", fix="give (n, 2)" if plane else "give (n, d)")
    if cloud.size == 0:
        return cloud, 0.0
    low, high = cloud.min(axis=0), cloud.max(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        extent = math.hypot(*(high - low))
    if not math.isfinite(extent):
        raise DataError("points are not finite or too far apart", where="points", fix="leave out or scale such points")
    if extent == 0:
        return cloud[:1], extent
    sites = (cloud - (low / 2 + high / 2)) / extent
    sites = sites[np.lexsort(sites.T)]
    new = (sites[1:] != sites[:-1]).any(axis=1)
    return sites[np.append(True, new)], extent


def _on_a_line(sites: FloatArray) -> FloatArray | None:
    """Give the points in order along a line where all lie within `RESOLUTION` of it, else None."""
    from_first = sites - sites[0]
    along = from_first[np.argmax(np.sum(from_first**2, axis=1))]
    along = along / np.hypot(*along)
    if np.abs(from_first[:, 0] * along[1] - from_first[:, 1] * along[0]).max() > RESOLUTION:
        return None
    return sites[np.argsort(from_first @ along, kind="stable")]


def _triangulate(sites: FloatArray) -> _Triangles:
    """Compute the Delaunay triangulation and what the filtration needs of every triangle."""
    delaunay = Delaunay(sites)
    corners, rows = delaunay.simplices, np.arange(len(delaunay.simplices))
    beyond = np.where(delaunay.neighbors < 0, len(corners), delaunay.neighbors)
    x, y = sites[corners, 0], sites[corners, 1]
    dx, dy = x[:, [2, 0, 1]] - x[:, [1, 2, 0]], y[:, [2, 0, 1]] - y[:, [1, 2, 0]]
    squared = dx * dx + dy * dy
    longest = squared.argmax(axis=1)
    # The two shorter sides meet at a corner of 60 degrees or more, so that nothing cancels in an acute triangle.
    i, j = (longest + 1) % 3, (longest + 2) % 3
    blunt = dx[rows, i] * dx[rows, j] + dy[rows, i] * dy[rows, j] >= 0
    doubled_area = dx[rows, i] * dy[rows, j] - dy[rows, i] * dx[rows, j]
    radius = squared[rows, longest] / 4
    np.divide(squared.prod(axis=1), 4 * doubled_area**2, out=radius, where=~blunt)
    toward = np.where(blunt, beyond[rows, longest], rows)
    return _Triangles(corners, beyond, squared, toward, radius)


def _of_triangles(t: _Triangles, sites: int, extent: float) -> Diagrams:
    """Compute the persistence of a triangulation whose lengths are to be multiplied by `extent`."""
    count = len(t.corners)
    owner, side = np.nonzero(t.beyond > np.arange(count)[:, None])
    squared = t.squared[owner, side]
    order = np.argsort(squared, kind="stable")
    owner, side, radius = owner[order], side[order], squared[order] / 4
    across = t.beyond[owner, side]
    starts, stops = t.corners[owner, (side + 1) % 3], t.corners[owner, (side + 2) % 3]
    tree, _ = _merge([0.0] * sites, starts, stops)

    links = coo_array((np.ones(count, dtype=np.int8), (np.arange(count), t.toward)), shape=(count + 1, count + 1))
    holes, hole = connected_components(links.tocsr(), directed=False)
    filled = np.zeros(holes)
    np.maximum.at(filled, hole[:-1], t.radius)
    filled[hole[-1]] = np.inf
    between = hole[owner] != hole[across]
    between[tree] = False
    rest = np.flatnonzero(between)[::-1]
    begun, ended = _merge(filled.tolist(), hole[owner[rest]], hole[across[rest]])
    return Diagrams(
        _kept(np.zeros(len(tree)), radius[tree], extent), _kept(radius[rest[begun]], np.asarray(ended), extent)
    )


def _merge(value: list[float], ones: IntArray, others: IntArray) -> tuple[list[int], list[float]]:
    """Join sets of one node each by edges in turn; a set has the largest value of its nodes.

    Gives the edges that joined two sets and, for each, the value of the set that ended there: the smaller one.

    Shape: ones, others (edges,) nodes.
    """
    above = list(range(len(value)))
    edges, ended = [], []
    for edge, (a, b) in enumerate(zip(ones.tolist(), others.tolist(), strict=True)):
        while above[a] != a:
            above[a] = a = above[above[a]]
        while above[b] != b:
            above[b] = b = above[above[b]]
        if a != b:
            if value[a] < value[b]:
                a, b = b, a
            above[b] = a
            edges.append(edge)
            ended.append(value[b])
    return edges, ended


def _kept(births: FloatArray, deaths: FloatArray, extent: float) -> FloatArray:
    """Turn squared radii into diameters of the points' unit, without what is rounding."""
    keep = deaths - births > RESOLUTION**2
    return sort_pairs(2 * extent * np.sqrt(np.column_stack([births[keep], deaths[keep]])))


def sort_pairs(pairs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sort pairs by birth, then death. Shape: (n, 2) -> (n, 2)."""
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
