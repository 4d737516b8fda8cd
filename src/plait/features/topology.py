"""Topology of windows of closes: delay embedding, persistence diagrams, and their features on a grid."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from plait.core.errors import ConfigError, DataError, suggest
from plait.features.candle_arrays import read_candles
from plait.features.persistence import Diagrams, FloatArray, IntArray, alpha, rips, sort_pairs

Filtration = Literal["alpha", "rips"]

COVERED = 0.99
"""The share of training windows whose every pair ends within the grid."""

SPREAD = ("range", "volatility")
"""The names of what `window_spread` gives."""


@dataclass(frozen=True, eq=False)
class WindowDiagrams:
    """Hold the diagrams of n windows, laid one after the other in single precision.

    The pairs of window i are ``h0[split0[i] : split0[i + 1]]`` and ``h1[split1[i] : split1[i + 1]]``. Components are
    born at 0, so that h0 holds deaths alone. `vars` of it gives the four arrays to store.

    Shape: h0 (components,), h1 (loops, 2) float32; split0, split1 (n + 1,) int64. Units: as `Diagrams`.
    """

    h0: npt.NDArray[np.float32]
    h1: npt.NDArray[np.float32]
    split0: IntArray
    split1: IntArray

    @classmethod
    def pack(cls, windows: Iterable[Diagrams]) -> "WindowDiagrams":
        """Lay diagrams one after the other; a pair that single precision makes one number is left out."""
        singles = [[dim.astype(np.float32) for dim in window] for window in windows]
        h0 = [pairs[pairs[:, 1] > 0, 1] for pairs, _ in singles]
        # Births that have become equal are put in the order of their deaths.
        h1 = [sort_pairs(pairs[pairs[:, 1] > pairs[:, 0]]) for _, pairs in singles]
        flat0 = np.concatenate([np.zeros(0, dtype=np.float32), *h0])
        flat1 = np.concatenate([np.zeros((0, 2), dtype=np.float32), *h1])
        return cls(flat0, flat1, _splits(map(len, h0)), _splits(map(len, h1)))

    @classmethod
    def join(cls, parts: Sequence["WindowDiagrams"]) -> "WindowDiagrams":
        """Put the windows of several parts one after the other."""
        return cls(
            np.concatenate([np.zeros(0, dtype=np.float32), *(part.h0 for part in parts)]),
            np.concatenate([np.zeros((0, 2), dtype=np.float32), *(part.h1 for part in parts)]),
            _splits(size for part in parts for size in np.diff(part.split0)),
            _splits(size for part in parts for size in np.diff(part.split1)),
        )

    def select(self, windows: Iterable[int]) -> "WindowDiagrams":
        """Keep some windows, in the order asked for."""
        return WindowDiagrams.pack(self[window] for window in windows)

    def __len__(self) -> int:
        return len(self.split0) - 1

    def __iter__(self) -> Iterator[Diagrams]:
        return (self[window] for window in range(len(self)))

    def __getitem__(self, window: int) -> Diagrams:
        """Give the diagrams of one window."""
        window = range(len(self))[window]
        deaths = self.h0[slice(*self.split0[window : window + 2])].astype(np.float64)
        loops = self.h1[slice(*self.split1[window : window + 2])].astype(np.float64)
        return Diagrams(np.column_stack([np.zeros(len(deaths)), deaths]), loops)


@dataclass(frozen=True)
class Grid:
    """Say at which distances features are read: for H0 and for H1 the middles of `bins` equal steps from 0 to a top.

    Units: tops as the pairs, distances in the embedded, standardised closes.
    """

    tops: tuple[float, float]
    bins: int = 100
    layers: int = 5

    def __post_init__(self) -> None:
        if not (all(np.isfinite(top) and top > 0 for top in self.tops) and min(self.bins, self.layers) >= 1):
            raise ConfigError(f"{self}", where="grid", fix="tops above 0, and bins and layers of at least 1")

    @classmethod
    def fit(cls, diagrams: WindowDiagrams, bins: int = 100, layers: int = 5) -> "Grid":
        """Fit the tops on training windows: the last death of a window, at its `COVERED` quantile over the windows.

        A quantile, because one all but flat window with a jump ends far above all others. A dimension without any
        pair has the top 1.

        Errors: DataError where there is no window.
        """
        if len(diagrams) == 0:
            raise DataError("no window to fit the grid on", where="grid", fix="give the diagrams of training windows")
        last = np.array([[dim[:, 1].max(initial=0.0) for dim in window] for window in diagrams])
        h0, h1 = (float(top) or 1.0 for top in np.quantile(last, COVERED, axis=0))
        return cls((h0, h1), bins, layers)

    def points(self, dimension: int) -> FloatArray:
        """The distances at which H0 or H1 is read. Shape: (bins,)."""
        middles: FloatArray = (np.arange(self.bins, dtype=np.float64) + 0.5) * (self.tops[dimension] / self.bins)
        return middles


def feature_names(bins: int = 100, layers: int = 5) -> tuple[str, ...]:
    """Name the features of `vectorise` in their order, 214 by default."""
    return tuple(
        f"h{dimension}_{name}"
        for dimension in (0, 1)
        for name in (
            *(f"betti_{point:0{len(str(bins - 1))}d}" for point in range(bins)),
            "entropy",
            "total_persistence",
            *(f"landscape_{layer}" for layer in range(1, layers + 1)),
        )
    )


def vectorise(diagrams: WindowDiagrams, grid: Grid) -> FloatArray:
    """Describe the diagrams of each window by numbers on a grid, for H0 and then for H1.

    With pairs (b, d), lives ``l = d - b`` and the grid's distances x:

    - Betti curve: ``#{b <= x < d}`` at each x;
    - persistence entropy: ``-sum p ln p, p = l / sum l``, in nats;
    - total persistence: ``sum l``;
    - landscape norms: for layer k the L2 norm over [0, top] of the k-th largest ``max(0, min(x - b, d - x))``, by the
      midpoint rule.

    A window without pairs is 0 everywhere.

    Shape: n windows -> (n, 2 (bins + 2 + layers)), named by `feature_names`. Units: Betti values counts, total
    persistence distances, landscape norms distances^1.5.
    Source: Atienza et al. (2020) entropy; Bubenik (2015) landscapes.
    """
    rows = [
        np.concatenate(
            [_describe(pairs, grid.points(dimension), grid.layers) for dimension, pairs in enumerate(window)]
        )
        for window in diagrams
    ]
    return np.array(rows).reshape(len(rows), 2 * (grid.bins + 2 + grid.layers))


def window_diagrams(
    closes: npt.ArrayLike,
    ends: npt.ArrayLike,
    window: int = 672,
    dim: int = 2,
    delay: int = 12,
    filtration: Filtration = "alpha",
) -> WindowDiagrams:
    """Compute the persistence of windows of closes: standardise, embed by delays, and grow discs around the points.

    The window that ends at bar t reads the closes ``t - window + 1 .. t`` and nothing else, in the same way wherever
    it stands. Windows are independent of each other, so that parts of `ends` may go to several processes and be put
    together by `WindowDiagrams.join`. A window without a move is one point and has no pairs.

    Shape: closes (t,), ends (n,) bars -> n windows. Units: distances, in standard deviations of the window's closes.
    Errors: DataError where a close is missing, infinite or not above 0, or a window would begin before the first bar
    or end after the last (how many bars it needs); ConfigError for an embedding that a window or the filtration
    cannot have, and where ripser is not installed.
    """
    prices, last = _read(closes, ends, window)
    if min(dim, delay) < 1 or (dim - 1) * delay >= window:
        raise ConfigError(
            f"{dim} closes {delay} bars apart in a window of {window}",
            where="topology",
            fix=f"dim and delay of at least 1, and more than {max((dim - 1) * delay, 0)} bars a window",
        )
    if filtration not in get_args(Filtration):
        raise ConfigError(
            f"there is no {filtration!r}", where="filtration", fix=suggest(filtration, get_args(Filtration))
        )
    if filtration == "alpha" and dim != 2:
        raise ConfigError(f"alpha is for dim 2, not {dim}", where="filtration", fix="set dim: 2 or filtration: rips")
    persistence = alpha if filtration == "alpha" else rips
    return WindowDiagrams.pack(
        persistence(takens(standardise(prices[t - window + 1 : t + 1]), dim, delay)) for t in last
    )


def window_spread(closes: npt.ArrayLike, ends: npt.ArrayLike, window: int = 672) -> FloatArray:
    """Compute what standardising a window removes: its range ``ln(max / min)`` and its volatility.

    The volatility is the standard deviation (of the population) of the ``window - 1`` log returns within the window.

    Shape: closes (t,), ends (n,) bars -> (n, 2), named by `SPREAD`. Units: log of prices; for returns a bar.
    Errors: as `window_diagrams`.
    """
    prices, last = _read(closes, ends, window)
    spread = np.zeros((len(last), 2))
    for row, t in enumerate(last):
        inside = np.log(prices[t - window + 1 : t + 1])
        spread[row] = inside.max() - inside.min(), np.diff(inside).std() if window > 1 else 0.0
    return spread


def standardise(x: FloatArray) -> FloatArray:
    """Subtract the mean and divide by the standard deviation (of the population); 0 where x does not move."""
    low, high = x.min(), x.max()
    if low == high:
        return np.zeros(len(x))
    moved: FloatArray = (x - low) / (high - low)
    moved -= moved.mean()
    moved /= moved.std()
    return moved


def takens(x: FloatArray, dim: int = 2, delay: int = 12) -> FloatArray:
    """Embed a series by delays: point i is ``(x[i], x[i + delay], .., x[i + (dim - 1) delay])``.

    Shape: (t,) -> (t - (dim - 1) delay, dim). Units: those of x. Source: Takens (1981).
    """
    points = len(x) - (dim - 1) * delay
    return np.column_stack([x[lag * delay : lag * delay + points] for lag in range(dim)])


def _describe(pairs: FloatArray, points: FloatArray, layers: int) -> FloatArray:
    """Describe the pairs of one dimension. Shape: (pairs, 2), (bins,) -> (bins + 2 + layers,)."""
    births, deaths = pairs.T
    lives = deaths - births
    total = lives.sum()
    shares = lives / total
    # A pair is there at the points from its first one on to before its last one.
    first, last = np.searchsorted(points, births), np.searchsorted(points, deaths)
    bins = len(points)
    steps = np.bincount(first, minlength=bins + 1) - np.bincount(last, minlength=bins + 1)
    seen = first < last
    # Of pairs born together only the longest count. Pairs are sorted.
    seen[:-layers] &= births[:-layers] != births[layers:]
    tents = np.minimum(points[:, None] - births[seen], deaths[seen] - points[:, None])
    tents = np.pad(np.maximum(tents, 0.0), ((0, 0), (layers, 0)))
    largest = np.sort(np.partition(tents, -layers, axis=1)[:, -layers:], axis=1)[:, ::-1]
    norms = np.sqrt((largest**2).sum(axis=0) * 2 * points[0])
    return np.concatenate([np.cumsum(steps[:-1]), [-(shares * np.log(shares)).sum() + 0.0, total], norms])


def _read(closes: npt.ArrayLike, ends: npt.ArrayLike, window: int) -> tuple[FloatArray, list[int]]:
    """Check closes and the last bars of windows."""
    (prices,) = read_candles({"close": closes})
    if window < 1 or len(prices) < window:
        raise DataError(
            f"a window needs {window} bars and there are {len(prices)}", where="topology", fix="give a longer series"
        )
    last = np.asarray(ends)
    if last.ndim != 1 or (last.size and not np.issubdtype(last.dtype, np.integer)):
        raise DataError(f"ends of shape {last.shape}, {last.dtype}", where="topology", fix="give a list of row numbers")
    wrong = last[(last < window - 1) | (last >= len(prices))]
    if len(wrong):
        raise DataError(
            f"{len(wrong)} windows of {window} bars do not fit, the first ends at bar {wrong[0]}",
            where="topology",
            fix=f"windows end at the bars {window - 1} to {len(prices) - 1}",
        )
    return prices, [int(t) for t in last]


def _splits(sizes: Iterable[int]) -> IntArray:
    """Turn sizes into where each begins and the last ends."""
    return np.cumsum([0, *sizes], dtype=np.int64)
