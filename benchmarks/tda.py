"""What the topology of a candle window costs and how near it comes to Rips: docs/results/tda.md.

All 214 features of windows of 672 closes of the perpetual, evenly spread over the file: by plait's alpha complex, and
by ripser on the same windows. One thread; CPU milliseconds of the process, which other processes disturb little.
Usage: OMP_NUM_THREADS=1 python benchmarks/tda.py [windows]
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import gudhi  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import ripser  # noqa: E402
import scipy  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from plait.features.persistence import alpha  # noqa: E402
from plait.features.topology import (  # noqa: E402
    Filtration,
    Grid,
    WindowDiagrams,
    feature_names,
    standardise,
    takens,
    vectorise,
    window_diagrams,
)

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "tda.md"
DATA = Path(os.environ.get("PLAIT_DATA", ROOT.parent / "shared" / "data")) / "candles"
FILE = "btcusdt_perp_15m_2025-07-03_2025-12-30.csv.gz"
WINDOW, REPEATS, MANY = 672, 5, 100_000
GOAL_MS, GOAL_RATIO, GOAL_HOURS = 20, 20, 0.5
GROUPS = ("betti", "entropy", "total_persistence", "landscape")

Floats = NDArray[np.float64]


def cpu_ms(run: Callable[[], Any]) -> tuple[float, Any]:
    """CPU milliseconds of one call, and what it gave."""
    began = time.process_time()
    out = run()
    return 1000 * (time.process_time() - began), out


def timed(closes: Floats, ends: list[int], filtration: Filtration, repeats: int) -> tuple[list[float], WindowDiagrams]:
    """CPU milliseconds of each window's diagrams, the median of some repeats, and the diagrams."""
    times, parts = [], []
    for end in ends:
        runs = [cpu_ms(lambda end=end: window_diagrams(closes, [end], filtration=filtration)) for _ in range(repeats)]
        times.append(statistics.median(took for took, _ in runs))
        parts.append(runs[0][1])
    return times, WindowDiagrams.join(parts)


def features(diagrams: WindowDiagrams, grid: Grid) -> tuple[float, Floats]:
    """CPU milliseconds a window of the step from diagrams to features, the median of some repeats, and the features."""
    runs = [cpu_ms(lambda: vectorise(diagrams, grid)) for _ in range(REPEATS)]
    return statistics.median(took for took, _ in runs) / len(diagrams), runs[0][1]


def verdict(held: bool) -> str:
    """Say whether a goal is reached."""
    return "held" if held else "missed"


def cost(ours: list[float], theirs: list[float], vector: float) -> list[str]:
    """Time of a window by both routes, the ratio and what many windows take."""
    whole, rips = [each + vector for each in ours], [each + vector for each in theirs]
    middle, ratio = statistics.median(whole), statistics.median(b / a for a, b in zip(whole, rips, strict=True))
    hours = statistics.mean(whole) * MANY / 3.6e6
    return [
        "## Cost",
        "",
        f"{len(ours)} windows. From closes to diagrams: alpha the median of {REPEATS} runs of each window, ripser one",
        "run. From diagrams to features is the same step for both. The ratio is the median of the ratios of a window.",
        "",
        "| CPU ms a window | alpha | ripser |",
        "|---|---|---|",
        f"| closes to diagrams, median | {statistics.median(ours):.2f} | {statistics.median(theirs):.1f} |",
        f"| closes to diagrams, largest | {max(ours):.2f} | {max(theirs):.1f} |",
        f"| diagrams to features | {vector:.2f} | {vector:.2f} |",
        f"| all 214 features, median | {middle:.2f} | {statistics.median(rips):.1f} |",
        "",
        f"- A window: {middle:.2f} ms, goal {GOAL_MS}: {verdict(middle <= GOAL_MS)}.",
        f"- Ripser to alpha: {ratio:.0f}, goal {GOAL_RATIO}: {verdict(ratio >= GOAL_RATIO)}.",
        f"- {MANY:,} windows at the mean of these: {hours:.2f} core-hours, goal {GOAL_HOURS}: "
        f"{verdict(hours <= GOAL_HOURS)}.",
        "",
    ]


def exactness(closes: Floats, ends: list[int]) -> list[str]:
    """The largest bottleneck distance to gudhi's alpha complex, in squared radii over the squared diameter."""
    worst = 0.0
    for end in ends:
        points = takens(standardise(closes[end - WINDOW + 1 : end + 1]))
        diameter = float(scipy.spatial.distance.pdist(points, "sqeuclidean").max())
        tree = gudhi.AlphaComplex(points=points, precision="exact").create_simplex_tree()
        tree.compute_persistence()
        for dimension, pairs in enumerate(alpha(points)):
            theirs = tree.persistence_intervals_in_dimension(dimension)
            finite = theirs[np.isfinite(theirs[:, 1])]
            worst = max(worst, gudhi.bottleneck_distance((pairs / 2) ** 2, finite) / diameter)
    return [
        "## Against gudhi",
        "",
        f"The largest bottleneck distance to gudhi's alpha complex (exact arithmetic) over these {len(ends)} windows,",
        f"in squared radii: {worst:.1e} of the squared diameter.",
        "",
    ]


def likeness(ours: Floats, theirs: Floats) -> list[str]:
    """Correlation of each feature with its Rips counterpart over the windows, by group."""
    names = np.array(feature_names())
    varies = (ours.std(axis=0) > 0) & (theirs.std(axis=0) > 0)
    lines = [
        "## Alpha and Rips features",
        "",
        f"Pearson correlation of a feature by alpha with the same feature by Rips over {len(ours)} windows, on one",
        "grid (fitted on the alpha diagrams): the median and the extremes over the features of a group that vary.",
        "",
        "| group | features that vary | median | smallest | largest |",
        "|---|---|---|---|---|",
    ]
    for dimension in (0, 1):
        for group in GROUPS:
            columns = np.flatnonzero(varies & np.char.startswith(names, f"h{dimension}_{group}"))
            found = [np.corrcoef(ours[:, column], theirs[:, column])[0, 1] for column in columns]
            lines.append(
                f"| H{dimension} {group.replace('_', ' ')} | {len(found)} | "
                f"{np.median(found):.3f} | {min(found):.3f} | {max(found):.3f} |"
            )
    return [*lines, ""]


def main() -> None:
    """Measure, print, and write the page."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 61
    closes = pd.read_csv(DATA / FILE)["close"].to_numpy(dtype=np.float64)
    ends = [int(end) for end in np.linspace(WINDOW - 1, len(closes) - 1, count)]
    timed(closes, ends[:3], "alpha", 1)  # warms up
    ours, diagrams = timed(closes, ends, "alpha", REPEATS)
    theirs, other = timed(closes, ends, "rips", 1)
    grid = Grid.fit(diagrams)
    vector, described = features(diagrams, grid)
    lines = [
        "# Topology of candle windows: alpha complex against Rips",
        "",
        "Made by `OMP_NUM_THREADS=1 python benchmarks/tda.py`; nothing here is typed in by hand. Windows of",
        f"{WINDOW} closes of `{FILE}`,",
        "evenly spread; 660 points in the plane, H0 and H1, 214 features.",
        "",
        *cost(ours, theirs, vector),
        *exactness(closes, ends),
        *likeness(described, vectorise(other, grid)),
        f"NumPy {np.__version__}, SciPy {scipy.__version__}, gudhi {gudhi.__version__}, ripser {ripser.__version__}, "
        f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, 1 thread.",
        "",
    ]
    print("\n".join(lines))
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
