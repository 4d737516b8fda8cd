"""Time UniFrac and Faith PD against scikit-bio and write docs/results/unifrac.md.

Three tables: a drawn one of 500 samples x 5,000 features, the real `global_gut`, and a drawn one of 10,000 samples x
100,000 features that stays sparse. One thread; scikit-bio with its defaults, once; ours the median of several runs.
Usage: OMP_NUM_THREADS=1 python benchmarks/unifrac.py [folder of global_gut]
"""

import io
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import biom  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402
import scipy  # noqa: E402
import skbio  # noqa: E402
from scipy import sparse  # noqa: E402

from plait.features.tree import Tree, read_newick  # noqa: E402
from plait.features.unifrac import Metric, UniFrac  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "unifrac.md"
DATA = Path(os.environ.get("PLAIT_DATA", ROOT.parent / "shared" / "data")) / "microbiome" / "global_gut"
METRICS: tuple[Metric, ...] = ("unweighted", "weighted", "weighted_normalized")
REPEATS = 5


class Row(NamedTuple):
    """One measure on one table: CPU seconds of both, and the largest absolute difference."""

    what: str
    ours: float
    theirs: float
    difference: float


class Case(NamedTuple):
    """A table (samples x features, sparse), its feature ids and its tree."""

    title: str
    counts: Any
    tips: list[str]
    text: str


def draw_tree(generator: np.random.Generator, tips: int) -> str:
    """Join tips at random, two by two, with exponential lengths."""
    order = generator.permutation(tips)
    parts = [f"t{n}:{length:.6f}" for n, length in zip(order, generator.exponential(0.05, tips), strict=True)]
    while len(parts) > 1:
        kept = parts[2 * (len(parts) // 2) :]
        # A part in five waits for a later round, so that depths differ.
        waits = generator.random(len(parts) // 2) < 0.2
        joined = []
        for n, wait in enumerate(waits):
            pair = parts[2 * n : 2 * n + 2]
            joined += pair if wait and len(parts) > 4 else [f"({pair[0]},{pair[1]}):{generator.exponential(0.05):.6f}"]
        parts = joined + kept
    return parts[0].rsplit(":", 1)[0] + ";"


def draw_counts(generator: np.random.Generator, samples: int, features: int, density: float) -> Any:
    """Draw sparse counts: few features are common and most are rare, counts are heavy-tailed."""
    prevalence = generator.beta(0.4, 0.4 * (1 / density - 1), features)
    columns = [np.flatnonzero(generator.random(samples) < share) for share in prevalence]
    indptr = np.concatenate([[0], np.cumsum([len(rows) for rows in columns])])
    values = np.ceil(generator.lognormal(1.0, 1.5, indptr[-1]))
    return sparse.csc_array((values, np.concatenate(columns), indptr), shape=(samples, features)).tocsr()


def seconds(run: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """The median CPU time of some runs, which other processes disturb little, and what the last gave."""
    times, out = [], None
    for _ in range(repeats):
        start = time.process_time()
        out = run()
        times.append(time.process_time() - start)
    return statistics.median(times), out


def against(case: Case) -> list[Row]:
    """Every measure on a table by both, from parsed trees on; ours with the making of `UniFrac`."""
    tree = read_newick(case.text)
    other = skbio.TreeNode.read(io.StringIO(case.text), convert_underscores=False)
    dense = case.counts.toarray().astype(np.int64)
    rows = []
    for metric in METRICS:
        options = {} if metric == "unweighted" else {"normalized": metric == "weighted_normalized"}
        name = "unweighted_unifrac" if metric == "unweighted" else "weighted_unifrac"
        ours, mine = seconds(lambda m=metric: UniFrac(tree, case.tips, m).matrix(case.counts), REPEATS)
        theirs, found = seconds(
            lambda n=name, o=options: skbio.diversity.beta_diversity(n, dense, taxa=case.tips, tree=other, **o), 1
        )
        rows.append(Row(metric, ours, theirs, float(np.abs(mine - found.data).max())))
        print(case.title, rows[-1], flush=True)
    ours, mine = seconds(lambda: UniFrac(tree, case.tips).faith_pd(case.counts), REPEATS)
    theirs, found = seconds(lambda: skbio.diversity.alpha_diversity("faith_pd", dense, taxa=case.tips, tree=other), 1)
    rows.append(Row("Faith PD", ours, theirs, float(np.abs(mine - np.asarray(found)).max())))
    print(case.title, rows[-1], flush=True)
    return rows


def real(folder: Path) -> Case:
    """Read global_gut."""
    table = biom.load_table(str(folder / "table.biom"))
    counts = sparse.csr_array(table.matrix_data.T)
    return Case("global_gut", counts, list(table.ids("observation")), (folder / "tree.nwk").read_text(encoding="utf-8"))


def drawn(samples: int, features: int, density: float) -> Case:
    """Draw a table and a tree."""
    generator = np.random.default_rng(0)
    text = draw_tree(generator, features)
    tips = [f"t{n}" for n in range(features)]
    return Case("drawn", draw_counts(generator, samples, features, density), tips, text)


class Peak:
    """The most resident memory (MiB) of the process while a block runs, looked at every 5 ms."""

    def __enter__(self) -> "Peak":
        self.process, self.done = psutil.Process(), threading.Event()
        self.before = self.most = self.process.memory_info().rss / 2**20
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        """Look until the block ends."""
        while not self.done.wait(0.005):
            self.most = max(self.most, self.process.memory_info().rss / 2**20)

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()


def large() -> list[str]:
    """The 10,000 x 100,000 case: reading the tree, Faith PD of all samples, and blocks of a batch."""
    case = drawn(10_000, 100_000, 0.005)
    counts, generator = case.counts, np.random.default_rng(1)
    lines = ["| what | CPU seconds | peak MiB | MiB before |", "|---|---|---|---|"]

    def line(what: str, run: Callable[[], Any], repeats: int) -> Any:
        with Peak() as peak:
            took, out = seconds(run, repeats)
        lines.append(f"| {what} | {took:.4f} | {peak.most:.0f} | {peak.before:.0f} |")
        print(lines[-1], flush=True)
        return out

    tree: Tree = line("tree of 100,000 tips from text", lambda: read_newick(case.text), 1)
    made = line("`UniFrac(tree, tips)`", lambda: UniFrac(tree, case.tips), 1)
    line("Faith PD of 10,000 samples", lambda: made.faith_pd(counts), 1)
    for metric in METRICS:
        unifrac = UniFrac(tree, case.tips, metric)
        rows = generator.permutation(10_000)[:64]
        a, b = counts[rows[:32]], counts[rows[32:]]
        line(f"32 x 32 within a batch, {metric}", lambda u=unifrac, x=a: u.pairs(x), REPEATS)
        line(f"32 x 32 between two batches, {metric}", lambda u=unifrac, x=a, y=b: u.pairs(x, y), REPEATS)
    share = counts.nnz / np.prod(counts.shape)
    head = (
        f"{counts.nnz:,} counts above 0 ({share:.2%}), {counts.nnz / counts.shape[0]:.0f} a sample; a dense table of\n"
        f"float64 would take {np.prod(counts.shape) * 8 / 2**30:.1f} GiB. Peak: resident memory of the "
        "process,\nwith the table, the tree's text and the libraries."
    )
    return [head, "", *lines]


def table(rows: list[Row]) -> list[str]:
    """Write a comparison."""
    lines = ["| what | ours, s | scikit-bio, s | ratio | largest difference |", "|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row.what} | {row.ours:.4f} | {row.theirs:.2f} | {row.theirs / row.ours:.0f} | {row.difference:.1e} |"
        )
    return lines


def size(case: Case) -> str:
    """Say how large a table is."""
    samples, features = case.counts.shape
    return f"{samples:,} samples x {features:,} features, {case.counts.nnz / (samples * features):.1%} above 0."


def main() -> None:
    """Measure and write the page."""
    small, gut = drawn(500, 5_000, 0.075), real(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
    found = {"small": against(small), "gut": against(gut)}
    lines = [
        "# UniFrac and Faith PD against scikit-bio",
        "",
        "Made by `OMP_NUM_THREADS=1 python benchmarks/unifrac.py`; nothing here is typed in by hand. All distances of",
        "a table, from a parsed tree and a sparse table on; one thread. scikit-bio with its defaults on the dense",
        f"table of integers, one run; ours the median of {REPEATS}. CPU seconds; differences are absolute, over all",
        "values.",
        "",
        "## A drawn table",
        "",
        size(small),
        "",
        *table(found["small"]),
        "",
        "## global_gut",
        "",
        size(gut),
        "",
        *table(found["gut"]),
        "",
        "## 10,000 samples x 100,000 features, sparse",
        "",
        *large(),
        "",
        f"NumPy {np.__version__}, SciPy {scipy.__version__}, scikit-bio {skbio.__version__}, "
        f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, 1 thread.",
        "",
    ]
    print("\n".join(lines))
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
