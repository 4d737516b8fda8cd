"""The cheap rivals of a model of samples: constants, metadata, each column alone, forests, neighbours, linear, MLP."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from plait.baselines._column_cells import by_cell, codes_of, copies, nearest_seen, number_of
from plait.baselines._conditional_median import (
    class_frequencies,
    kept_off_zero,
    leaf_weights,
    neighbour_weights,
    weighted_median,
)
from plait.baselines._dual_ridge import fit_dual_ridge
from plait.core.errors import DataError
from plait.core.schema import SCORED, SPLITS
from plait.core.seeding import seed_for
from plait.features.seasonal_prior import FloatArray, IntArray

Predictions = dict[str, FloatArray]
"""What a rival answers for the splits "val" and "test"."""

NEIGHBOURS, BLOCK = 10, 256
FOREST, EXTRA, BINS = 300, 500, 20
FEWEST = 3
"""A cell of metadata with fewer training rows backs off to fewer columns."""
MOST_VALUES = 20
"""Columns of numbers with more values, and of words with more than that and than a quarter of the rows, are none."""
PREFIX = "(sample id prefix)"


@dataclass(frozen=True, eq=False)
class SamplePanel:
    """Hold samples as the cheap rivals see them, with the rows of each split.

    Rivals are fitted on the train rows whose target is known; they answer for all rows of "val" and "test".

    Shape: n samples, f features; clr and log_counts (n, f), y (n,), each array of rows (r,).
    Units: y is in the unit of the files, or a label 0 .. classes - 1; NaN, or -1, where unknown.
    Errors: ValueError where shapes, splits, columns or labels disagree; DataError without a train row of known target.
    """

    clr: FloatArray
    """Centred log ratios over the run's features, dense."""
    log_counts: Any
    """log(1 + count) of the same features, a SciPy CSR array or matrix."""
    y: Any
    """float64 targets, or whole labels."""
    classes: int
    """Number of classes, 0 for a regression."""
    metadata: pd.DataFrame
    """All columns but the target, as text, NA where missing."""
    inputs: tuple[str, ...]
    """The columns of metadata that the model is given, in the user's order."""
    numbers: tuple[str, ...]
    """Those of `inputs` that are numbers."""
    prefix: tuple[str, ...]
    """What each sample's id begins with: the letters before the first digit or separator."""
    rows: Mapping[str, IntArray]
    """Row numbers of "train", "val" and "test"."""
    seed: int

    def __post_init__(self) -> None:
        """Refuse what can't be read, before any of it is."""
        n, shapes = len(self.clr), (self.clr.shape, self.log_counts.shape, np.shape(self.y))
        if self.clr.ndim != 2 or shapes[1:] != (self.clr.shape, (n,)):
            raise ValueError(f"clr and log_counts must be (n, f) and y (n,), got {shapes}")
        if len(self.metadata) != n or len(self.prefix) != n:
            raise ValueError(f"{len(self.metadata)} rows of metadata and {len(self.prefix)} prefixes for {n} samples")
        if not set(self.numbers) <= set(self.inputs) <= set(self.metadata.columns):
            raise ValueError("inputs must be columns of the metadata, and numbers some of inputs")
        if set(self.rows) != set(SPLITS):
            raise ValueError(f"rows need exactly the splits {SPLITS}, got {tuple(self.rows)}")
        if self.classes and not np.isin(self.y, np.arange(-1, self.classes)).all():
            raise ValueError(f"labels must lie in -1..{self.classes - 1}")
        if not len(self.train):
            raise DataError("no training sample has a known target", where="baselines", fix="split the samples anew")

    @property
    def known(self) -> Any:
        """Whether the target of each row is known. Shape: (n,), bool."""
        return np.asarray(self.y) >= 0 if self.classes else np.isfinite(self.y)

    @cached_property
    def train(self) -> IntArray:
        """The train rows whose target is known, which is all that a fit sees of the targets. Shape: (t,)."""
        rows = self.rows["train"]
        return np.asarray(rows[self.known[rows]])

    @cached_property
    def forest(self) -> Any:
        """The random forest that the mean and the conditional median read; fitted when first asked for."""
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        kind = RandomForestClassifier if self.classes else RandomForestRegressor
        share = {} if self.classes else {"max_features": 1 / 3}
        forest = kind(FOREST, random_state=_seed(self, "forest"), n_jobs=1, **share)
        return forest.fit(_logs(self, self.train), self.y[self.train])


def constant(panel: SamplePanel) -> Predictions:
    """Answer the median of the train rows, or the frequencies of their classes.

    Shape: per split (r,), or (r, classes). Units: those of panel.y, or probabilities.
    """
    return _cells(panel, np.zeros((len(panel.y), 0), dtype=np.int64), 1)


def metadata_only(panel: SamplePanel) -> Predictions:
    """Answer from the columns of metadata that the model is given, and from nothing else.

    Of categories: the median (the class frequencies) of the train rows in the same cell of all columns, where a
    missing value is a value; a cell of fewer than 3 train rows backs off to all columns but the last, and so on to
    no column, which is `constant`. With a column of numbers: the leaf weights of 500 extra trees of at least 5 rows
    a leaf on one-hot categories of the train rows, numbers (the train median where missing) and which are missing,
    read at the conditional median, or as class frequencies.

    Shape: per split (r,), or (r, classes). Units: those of panel.y, or probabilities.
    """
    words = [name for name in panel.inputs if name not in panel.numbers]
    if not panel.numbers:
        return _cells(panel, codes_of(panel.metadata[words]), FEWEST)
    codes = codes_of(panel.metadata[words])
    seen = [np.unique(column[panel.train]) for column in codes.T]
    parts = [column[:, None] == values for column, values in zip(codes.T, seen, strict=True)]
    for name in panel.numbers:
        number = number_of(panel.metadata[name])
        there = number[panel.train][np.isfinite(number[panel.train])]
        gone = ~np.isfinite(number)
        parts += [np.where(gone, np.median(there) if len(there) else 0.0, number)[:, None], gone[:, None]]
    return _extra_trees(panel, np.hstack(parts).astype(np.float32), "metadata_only", min_samples_leaf=5)


def forest_mean(panel: SamplePanel) -> Predictions:
    """Answer the mean of a random forest's 300 trees on log counts, a third of the features tried a split.

    Shape: per split (r,). Units: those of panel.y.
    Source: Breiman (2001), Random Forests.
    """
    return _each(panel, lambda rows: panel.forest.predict(_logs(panel, rows)))


def forest_median(panel: SamplePanel) -> Predictions:
    """Read the forest of `forest_mean` at the conditional median, through the weights of its leaves.

    Shape: per split (r,). Units: those of panel.y.
    Source: Meinshausen (2006), Quantile Regression Forests.
    """
    train = panel.forest.apply(_logs(panel, panel.train))
    return _by_weights(panel, lambda rows: leaf_weights(train, panel.forest.apply(_logs(panel, rows))))


def extra_trees_median(panel: SamplePanel) -> Predictions:
    """Read 500 extra trees on log counts, sqrt(f) features tried a split, at the conditional median.

    Shape: per split (r,). Units: those of panel.y.
    Source: Geurts, Ernst & Wehenkel (2006); Meinshausen (2006).
    """
    return _extra_trees(panel, _logs(panel, np.arange(len(panel.y))), "extra_trees", max_features="sqrt")


def nearest(panel: SamplePanel) -> Predictions:
    """Read the 10 nearest train samples by Aitchison distance, weighted by 1 / distance: median or class frequencies.

    Neighbours at a distance of 0 take all the weight.

    Shape: per split (r,), or (r, classes). Units: those of panel.y, or probabilities.
    Source: Aitchison (1986), section 8.3: the Euclidean distance of centred log ratios.
    """
    there = panel.clr[panel.train]
    return _by_weights(panel, lambda rows: neighbour_weights(there, panel.clr[rows], min(NEIGHBOURS, len(there))))


def ridge_clr(panel: SamplePanel) -> Predictions:
    """Fit ridge regression on the CLR in its dual form; its strength has the smallest MAE on the known val rows.

    Shape: per split (r,). Units: those of panel.y. Source: as `fit_dual_ridge`.
    """
    told = panel.rows["val"][panel.known[panel.rows["val"]]]
    fit = fit_dual_ridge(panel.clr[panel.train], panel.y[panel.train], panel.clr[told], panel.y[told])
    return _each(panel, lambda rows: fit.predict(panel.clr[rows])[:, 0])


def mlp_clr(panel: SamplePanel) -> Predictions:
    """Fit a perceptron of one hidden layer of 64 on the CLR, standardised by the train rows, with log loss.

    A regression's target is cut at train quantiles into 20 bins, fewer below 100 train rows, each read at its median:
    the answer is the median of the predicted distribution. At most 200 epochs of Adam, weight decay 1, no row held out.

    Shape: per split (r,), or (r, classes). Units: those of panel.y, or probabilities.
    """
    from sklearn.neural_network import MLPClassifier

    net = MLPClassifier(hidden_layer_sizes=(64,), alpha=1.0, max_iter=200, random_state=_seed(panel, "mlp"))
    x, y = _standardised(panel), panel.y[panel.train]
    if panel.classes:
        return _classified(panel, net, x)
    cuts = np.linspace(0, 1, max(2, min(BINS, len(y) // 5)) + 1)[1:-1]
    kinds, bins = np.unique(np.searchsorted(np.quantile(y, cuts), y), return_inverse=True)
    if len(kinds) < 2:
        return constant(panel)
    middles = np.array([np.median(y[bins == kind]) for kind in range(len(kinds))])
    _quietly(net, x[panel.train], bins)
    return _each(panel, lambda rows: weighted_median(middles, net.predict_proba(x[rows])))


def forest(panel: SamplePanel) -> Predictions:
    """Answer the mean class frequencies of a random forest's 300 trees on log counts.

    Shape: per split (r, classes). Units: probabilities.
    Source: Breiman (2001), Random Forests.
    """
    found = panel.forest
    return _each(panel, lambda rows: _spread(panel, found.predict_proba(_logs(panel, rows)), found.classes_))


def logistic_clr(panel: SamplePanel) -> Predictions:
    """Fit multinomial logistic regression with an L2 penalty on the CLR, standardised by the train rows.

    Columns are divided by sqrt(f), so that rows have a length near 1; C is 10.

    Shape: per split (r, classes). Units: probabilities.
    """
    from sklearn.linear_model import LogisticRegression

    x = _standardised(panel) / np.sqrt(max(1, panel.clr.shape[1]))
    return _classified(panel, LogisticRegression(C=10.0, max_iter=1000), x)


Rival = Callable[[SamplePanel], Predictions]

REGRESSION: dict[str, Rival] = {
    "median": constant,
    "metadata_only": metadata_only,
    "forest_mean": forest_mean,
    "forest_median": forest_median,
    "extra_trees_median": extra_trees_median,
    "knn_median": nearest,
    "ridge_clr": ridge_clr,
    "mlp_clr": mlp_clr,
}

CLASSIFICATION: dict[str, Rival] = {
    "majority": constant,
    "metadata_only": metadata_only,
    "forest": forest,
    "knn": nearest,
    "logistic_clr": logistic_clr,
    "mlp_clr": mlp_clr,
}

RIVALS: dict[str, Rival] = REGRESSION | CLASSIFICATION

MEANINGS = {
    "median": "the median of the training samples",
    "majority": "the class frequencies of the training samples",
    "metadata_only": "the metadata that the model is given, without the counts",
    **dict.fromkeys(("forest_mean", "forest"), "a random forest on log counts"),
    "forest_median": "the same random forest, read at the conditional median",
    "extra_trees_median": "extra trees on log counts, read at the conditional median",
    **dict.fromkeys(("knn_median", "knn"), "the ten nearest samples by Aitchison distance"),
    "ridge_clr": "ridge on centred log ratios",
    "logistic_clr": "logistic regression on centred log ratios",
    "mlp_clr": "a small perceptron on centred log ratios",
}
"""What each rival is, for tables."""


def rivals_of(panel: SamplePanel) -> dict[str, Rival]:
    """The rivals that fit the target: those of a regression, or those of a classification."""
    return dict(CLASSIFICATION if panel.classes else REGRESSION)


def column_rivals(panel: SamplePanel) -> dict[str, Predictions]:
    """Answer from each column of the metadata alone, and from the sample ids' prefix: what a batch or study tells.

    The median (the class frequencies) of the train rows with the same value, a missing one being a value; those of
    all train rows where none has it. Columns have 2 values or more and at most 20, or a quarter of the rows unless
    they are of numbers. A column of more numbers counts where it is a copy of the target (|Spearman's rho| >= 0.99 on
    the train rows, or classes that do not interleave along it): it is read at the nearest number of a train row.

    Shape: `column:NAME` -> per split (r,), or (r, classes). Units: those of panel.y, or probabilities.
    """
    columns = {str(name): panel.metadata[name] for name in panel.metadata.columns}
    columns[PREFIX] = pd.Series(panel.prefix, dtype=object)
    found: dict[str, Predictions] = {}
    for name, column in columns.items():
        codes = codes_of(column.to_frame())
        number = number_of(column)
        most, values = max(MOST_VALUES, len(codes) // 4), len(np.unique(codes))
        if values > MOST_VALUES and np.array_equal(np.isfinite(number), column.notna().to_numpy()):
            most = len(codes) if copies(number[panel.train], panel.y[panel.train], panel.classes) else MOST_VALUES
            codes = nearest_seen(number, panel.train)[:, None]
        if 2 <= values <= most:
            found[f"column:{name}"] = _cells(panel, codes, 1)
    return found


def confounded(errors: Mapping[str, float], own: float, factor: float = 1.1) -> list[str]:
    """Name the columns, and `metadata_only`, that alone come within `factor` of the model's own error, best first.

    Other rivals among the errors are passed over: they read the counts.
    """
    near = [
        (error, name)
        for name, error in errors.items()
        if (name.startswith("column:") or name == "metadata_only") and error <= factor * own
    ]
    return [name for _, name in sorted(near)]


def _seed(panel: SamplePanel, name: str) -> int:
    """A seed of its own for each rival, of the 32 bits that scikit-learn takes."""
    return seed_for(panel.seed, "baselines", name) % 2**32


def _each(panel: SamplePanel, read: Callable[[IntArray], FloatArray]) -> Predictions:
    """What is read for the rows of each split that is asked; readers never see a split without rows."""
    none = np.zeros((0, panel.classes) if panel.classes else 0)
    return {split: read(panel.rows[split]) if len(panel.rows[split]) else none for split in SCORED}


def _cells(panel: SamplePanel, codes: IntArray, fewest: int) -> Predictions:
    y = panel.y[panel.train]

    def centre(members: IntArray) -> Any:
        return (
            np.bincount(y[members], minlength=panel.classes) / len(members) if panel.classes else np.median(y[members])
        )

    answers = by_cell(codes, panel.train, fewest, centre)
    return _each(panel, lambda rows: kept_off_zero(answers[rows]) if panel.classes else answers[rows])


def _by_weights(panel: SamplePanel, weights: Callable[[IntArray], Any]) -> Predictions:
    """The weighted median, or class frequencies, of the train rows; in blocks, for weights are made dense."""
    y = panel.y[panel.train]

    def read(rows: IntArray) -> FloatArray:
        parts = []
        for begin in range(0, len(rows), BLOCK):
            some = weights(rows[begin : begin + BLOCK])
            dense = np.asarray(some.toarray() if sparse.issparse(some) else some)
            parts.append(class_frequencies(y, dense, panel.classes) if panel.classes else weighted_median(y, dense))
        return np.concatenate(parts)

    return _each(panel, read)


def _extra_trees(panel: SamplePanel, x: Any, name: str, **settings: Any) -> Predictions:
    """Fit 500 extra trees on the train rows of x, and read the weights of their leaves."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    kind = ExtraTreesClassifier if panel.classes else ExtraTreesRegressor
    trees = kind(EXTRA, random_state=_seed(panel, name), n_jobs=1, **settings).fit(x[panel.train], panel.y[panel.train])
    train = trees.apply(x[panel.train])
    return _by_weights(panel, lambda rows: leaf_weights(train, trees.apply(x[rows])))


def _classified(panel: SamplePanel, model: Any, x: FloatArray) -> Predictions:
    """Fit a classifier on the train rows of x; where they are of one class, answer `constant`."""
    if len(np.unique(panel.y[panel.train])) < 2:
        return constant(panel)
    _quietly(model, x[panel.train], panel.y[panel.train])
    return _each(panel, lambda rows: _spread(panel, model.predict_proba(x[rows]), model.classes_))


def _quietly(model: Any, x: FloatArray, y: Any) -> None:
    """Fit without the warning that the last epoch came before the loss stood still: the number is fixed."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)


def _spread(panel: SamplePanel, probabilities: FloatArray, labels: Sequence[int]) -> FloatArray:
    """Put the probabilities of the labels that a fit saw in the columns of all classes."""
    out = np.zeros((len(probabilities), panel.classes))
    out[:, labels] = probabilities
    return kept_off_zero(out)


def _logs(panel: SamplePanel, rows: IntArray) -> Any:
    """Log counts of some rows, dense in float32 as trees read them: half of what the CLR holds."""
    return panel.log_counts[rows].toarray().astype(np.float32)


def _standardised(panel: SamplePanel) -> FloatArray:
    train = panel.clr[panel.train]
    sd = train.std(axis=0)
    return np.asarray((panel.clr - train.mean(axis=0)) / np.where(sd > 0, sd, 1.0))
