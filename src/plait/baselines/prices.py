"""The cheap rivals of a model of prices: constant, attributes, each source alone, all side by side, late blends."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.baselines._price_attributes import Attributes
from plait.baselines._price_blend import blended, crossed, taught
from plait.baselines._price_ridge import Reader, fit_price_ridge
from plait.core.errors import DataError
from plait.core.schema import SCORED, SPLITS
from plait.core.seeding import seed_for
from plait.features.seasonal_prior import FloatArray, IntArray

SourceReader = Callable[[IntArray], tuple[NDArray[np.float32], NDArray[np.bool_]]]
"""Row numbers (n,) -> the vectors of these rows (n, w), 0 where there is none, and which rows have one (n,)."""
Predictions = dict[str, FloatArray]
"""The logarithm of the price that a rival says for each row of the splits "val" and "test"."""

REPEATS = 3
"""Fits with other seeds whose answers are averaged, where a fit is drawn by lot."""
STEPS = 20_000
"""A net of attributes takes about so many steps at most."""


@dataclass(frozen=True, eq=False)
class PricePanel:
    """Hold products as the cheap rivals see them, with the rows of each split.

    Rivals are fitted on the train rows whose price is known, and answer for all rows of "val" and "test". Prices of
    validation rows are read by `late_fitted` alone, those of test rows by none.

    Shape: N rows; log_price (N,), numbers (N, k), categories (N, c); each array of rows (n,).
    Units: log_price is the natural logarithm, NaN where the price is not known.
    Errors: ValueError where shapes or splits disagree; DataError without a train row of known price.
    """

    log_price: FloatArray
    rows: Mapping[str, IntArray]
    numbers: FloatArray
    number_names: tuple[str, ...]
    categories: pd.DataFrame
    """As text, "" where missing."""
    sources: Mapping[str, SourceReader]
    """Vectors by the name of their source, as they are in the files; tokens of a row averaged."""
    seed: int

    def __post_init__(self) -> None:
        """Refuse what can't be read, before any of it is."""
        n = len(self.log_price)
        if self.numbers.shape != (n, len(self.number_names)) or len(self.categories) != n:
            raise ValueError(
                f"{n} prices, numbers of shape {self.numbers.shape} by {len(self.number_names)} names,"
                f" {len(self.categories)} rows of categories"
            )
        if set(self.rows) != set(SPLITS):
            raise ValueError(f"rows need exactly the splits {SPLITS}, got {tuple(self.rows)}")
        if not len(self.train):
            raise DataError("no training row has a known price", where="baselines", fix="split the rows anew")

    @cached_property
    def train(self) -> IntArray:
        """The train rows whose price is known. Shape: (t,)."""
        rows = self.rows["train"]
        return np.asarray(rows[np.isfinite(self.log_price[rows])])

    @cached_property
    def median(self) -> float:
        """The median log price of the train rows."""
        return float(np.median(self.log_price[self.train]))

    @cached_property
    def attributes(self) -> Attributes:
        """The table's own columns."""
        return Attributes(self.numbers, self.categories)

    @cached_property
    def columns(self) -> Any:
        """The attributes as standardised numbers and a column for each category. Shape: a CSR array (N, f)."""
        return self.attributes.as_columns(self.train)

    @property
    def has_attributes(self) -> bool:
        """Whether the table has any."""
        return bool(self.numbers.shape[1] or self.categories.shape[1])


def constant(panel: PricePanel) -> Predictions:
    """Answer the median of the train rows."""
    return {split: np.full(len(panel.rows[split]), panel.median) for split in SCORED}


def ridge_attributes(panel: PricePanel) -> Predictions:
    """Fit ridge regression on numbers and a column for each category; its penalty by the train rows alone."""
    return _ridge(panel, lambda rows: np.asarray(panel.columns[rows].toarray()), panel.train)


def boosting_attributes(panel: PricePanel) -> Predictions:
    """Fit boosted trees with absolute errors on numbers and mean prices of categories; the mean of three fits.

    The settings are fixed. A train row's mean price is of other folds' rows (`Attributes.as_prices`).
    Source: Friedman (2001), algorithm 3; the trees are scikit-learn's.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    def fit(seed: int) -> Predictions:
        x, train = panel.attributes.as_prices(panel.train, panel.log_price, seed), panel.train
        model = HistGradientBoostingRegressor(
            loss="absolute_error", learning_rate=0.05, max_iter=300, max_leaf_nodes=15, min_samples_leaf=10,
            early_stopping=False, random_state=seed,
        ).fit(x[train], panel.log_price[train])  # fmt: skip
        return _each(panel, lambda rows: model.predict(x[rows]))

    return _repeated(panel, "boosting", fit)


def net_attributes(panel: PricePanel) -> Predictions:
    """Fit a perceptron of layers of 64 and 32 on what `ridge_attributes` reads; the mean of three fits.

    Adam for 100 epochs, fewer where they are more than about 20,000 steps; no row held out.
    """
    from sklearn.neural_network import MLPRegressor

    y, train = panel.log_price[panel.train], panel.train
    batch = min(64 if len(train) < 5000 else 256, len(train))
    epochs = max(1, min(100, STEPS * batch // len(train)))
    scale = float(y.std()) or 1.0

    def fit(seed: int) -> Predictions:
        net = MLPRegressor(
            hidden_layer_sizes=(64, 32), alpha=0.1, batch_size=batch, learning_rate_init=3e-3, max_iter=epochs,
            n_iter_no_change=epochs, random_state=seed,
        )  # fmt: skip
        _quietly(net, panel.columns[train], (y - y.mean()) / scale)
        return _each(panel, lambda rows: net.predict(panel.columns[rows]) * scale + y.mean())

    return _repeated(panel, "net", fit)


def ridge_source(panel: PricePanel, name: str) -> Predictions:
    """Fit ridge regression on the vectors of one source; a row that lacks it is the median of the train rows."""
    read = panel.sources[name]
    train = panel.train[_present(read, panel.train)]
    if not len(train):
        return constant(panel)
    found = _ridge(panel, lambda rows: read(rows)[0].astype(np.float64), train)
    return {split: np.where(_present(read, panel.rows[split]), found[split], panel.median) for split in SCORED}


def concat_ridge(panel: PricePanel) -> Predictions:
    """Fit ridge regression on all vectors and attributes side by side, zeros where a source is lacking."""

    def read(rows: IntArray) -> FloatArray:
        own = [panel.columns[rows].toarray()] if panel.has_attributes else []
        return np.hstack([*own, *(source(rows)[0] for source in panel.sources.values())])

    return _ridge(panel, read, panel.train)


def price_rivals(panel: PricePanel, check: Callable[[], None] = lambda: None) -> dict[str, Predictions]:
    """The log prices that all rivals say which these data allow; `check` is called before each is fitted.

    The blends are of the rivals before them: `late_equal` of the boosted trees and the ridge of each source,
    `late_fitted` also of the other rivals of attributes.
    Shape: by name and split (n,). Units: natural logarithm of the price.
    """
    asked: dict[str, Callable[[PricePanel], Predictions]] = {"constant": constant}
    if panel.has_attributes:
        asked |= {
            "ridge_attributes": ridge_attributes, "boosting_attributes": boosting_attributes,
            "net_attributes": net_attributes,
        }  # fmt: skip
    for name in panel.sources:
        asked[f"{RIDGE}{name}"] = lambda given, name=name: ridge_source(given, name)  # type: ignore[misc]
    if len(panel.sources) + panel.has_attributes > 1:
        asked["concat_ridge"] = concat_ridge
    made = {}
    for name, rival in asked.items():
        check()
        made[name] = rival(panel)
    check()
    return made | late_blends(panel, made)


def late_blends(panel: PricePanel, made: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """The blends of given rivals, with equal and with fitted weights; none of fewer than two members.

    Of a row that lacks a source the others have its weight. Weights are fitted on the validation rows, each of which is
    itself predicted by the weights of the other folds.
    """
    sources = [f"{RIDGE}{name}" for name in panel.sources]
    equal = [name for name in ("boosting_attributes", *sources) if name in made]
    if len(equal) < 2:
        return {}
    wide = [name for name in ("ridge_attributes", "net_attributes", *equal) if name in made]
    there = {split: {name: _there(panel, name, split) for name in wide} for split in SCORED}

    def stack(names: list[str], split: str) -> tuple[FloatArray, NDArray[np.bool_]]:
        return np.stack([made[name][split] for name in names]), np.stack([there[split][name] for name in names])

    even = np.full(len(equal), 1 / len(equal))
    log_price = panel.log_price[panel.rows["val"]]
    weights = taught(*stack(wide, "val"), log_price, np.ones(len(log_price), dtype=np.bool_))
    return {
        "late_equal": {split: blended(even, *stack(equal, split), panel.median) for split in SCORED},
        "late_fitted": {
            "val": crossed(*stack(wide, "val"), log_price, panel.median),
            "test": blended(weights, *stack(wide, "test"), panel.median),
        },
    }


RIDGE = "ridge_"
MEANINGS = {
    "constant": "the median price of the training rows",
    "ridge_attributes": "ridge on the attributes",
    "boosting_attributes": "boosted trees on the attributes, without any source",
    "net_attributes": "a small perceptron on the attributes, without any source",
    "concat_ridge": "ridge on all sources and attributes side by side, the naive fusion",
    "late_equal": "the mean of the boosted trees and each source's ridge, in logarithms",
    "late_fitted": "the same with the other rivals of attributes, its weights fitted on validation",
}


def meanings_of(sources: Iterable[str]) -> dict[str, str]:
    """What each rival is, for tables."""
    return {f"{RIDGE}{name}": f"ridge on {name} alone" for name in sources} | MEANINGS


def _there(panel: PricePanel, name: str, split: str) -> NDArray[np.bool_]:
    """Of which rows of a split a rival says something of their own."""
    rows, source = panel.rows[split], name.removeprefix(RIDGE)
    own = name != "ridge_attributes" and name.startswith(RIDGE)
    return _present(panel.sources[source], rows) if own else np.ones(len(rows), dtype=np.bool_)


def _present(read: SourceReader, rows: IntArray) -> NDArray[np.bool_]:
    parts = [read(rows[start : start + 1024])[1] for start in range(0, len(rows), 1024)]
    return np.concatenate([np.zeros(0, dtype=np.bool_), *parts])


def _ridge(panel: PricePanel, read: Reader, train: IntArray) -> Predictions:
    fit = fit_price_ridge(read, train, panel.log_price[train])
    return _each(panel, lambda rows: fit.predict(read, rows))


def _each(panel: PricePanel, read: Callable[[IntArray], FloatArray]) -> Predictions:
    """What is read for the rows of each split that is asked; readers never see a split without rows."""
    return {split: read(panel.rows[split]) if len(panel.rows[split]) else np.zeros(0) for split in SCORED}


def _repeated(panel: PricePanel, name: str, fit: Callable[[int], Predictions]) -> Predictions:
    """The mean of several fits, each with a seed of its own."""
    found = [fit(seed_for(panel.seed, "baselines", name, number) % 2**32) for number in range(REPEATS)]
    return {split: np.mean([each[split] for each in found], axis=0) for split in SCORED}


def _quietly(model: Any, x: Any, y: FloatArray) -> None:
    """Fit without the warning that the last epoch came before the loss stood still: the number is fixed."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)
