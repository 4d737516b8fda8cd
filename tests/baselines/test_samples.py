"""The rivals of a model of samples: medians, leaves, neighbours and cells by hand; nothing learnt from val or test."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from plait.baselines import samples
from plait.baselines._conditional_median import leaf_weights, neighbour_weights, weighted_median
from plait.baselines._dual_ridge import STRENGTHS, fit_dual_ridge
from plait.baselines.samples import MEANINGS, RIVALS, SamplePanel, column_rivals, confounded, rivals_of
from plait.core.errors import DataError
from plait.data.sample_table import number_column, read_samples
from plait.features.composition import clr

N, F = 61, 17
ROWS = {"train": np.arange(41), "val": np.arange(41, 48), "test": np.arange(48, 61)}


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here holds for any number of trees."""
    monkeypatch.setattr(samples, "FOREST", 37)
    monkeypatch.setattr(samples, "EXTRA", 53)


def text(values: Any) -> Any:
    return pd.Series([None if value is None else str(value) for value in values], dtype="str")


def panel_of(counts: Any, y: Any, metadata: dict[str, Any] | None = None, **changes: Any) -> SamplePanel:
    """A panel over counts; `inputs` are all columns of the metadata unless they are given."""
    table = sparse.csr_array(counts.astype(float))
    logs = table.copy()
    logs.data = np.log1p(logs.data)
    frame = pd.DataFrame({k: text(v) for k, v in (metadata or {}).items()}, index=range(len(y)))
    given: dict[str, Any] = {
        "classes": 0,
        "inputs": tuple(frame.columns),
        "numbers": (),
        "prefix": ("",) * len(y),
        "rows": ROWS,
        "seed": 3,
    }
    return SamplePanel(clr(table), logs, y, metadata=frame, **(given | changes))


def random_panel(classes: int = 0, **changes: Any) -> SamplePanel:
    """Counts that tell the target, two columns that do in part, one of noise; some targets are unknown."""
    chance = np.random.default_rng(7)
    hidden = chance.normal(size=N)
    counts = chance.poisson(np.exp(np.outer(hidden, chance.normal(size=F)) + 1))
    y: Any = np.exp(hidden)
    if classes:
        y = np.digitize(hidden, np.quantile(hidden, np.linspace(0, 1, classes + 1)[1:-1]))
    metadata = {
        "site": np.where(hidden > 0.3, "a", "b"),
        "sex": chance.choice(["f", "m"], N),
        "depth": counts.sum(axis=1),
    }
    unknown = [2, 43, 50]
    y[unknown] = -1 if classes else np.nan
    given: dict[str, Any] = {"inputs": ("site", "sex"), "prefix": tuple(np.where(hidden > 0, "US", "h"))}
    return panel_of(counts, y, metadata, classes=classes, **(given | changes))


def naive_median(values: Any, weights: Any) -> float:
    """The definition, value by value: the middle of all points with at most half of the weight on either side."""
    total = weights.sum()
    held = [
        v
        for v, w in zip(values, weights, strict=True)
        if w > 0 and weights[values < v].sum() <= total / 2 and weights[values > v].sum() <= total / 2
    ]
    return (min(held) + max(held)) / 2


def test_the_weighted_median_is_that_of_the_definition() -> None:
    chance = np.random.default_rng(11)
    for size in (1, 2, 5, 7, 31):
        values = chance.integers(0, 9, size).astype(float)
        weights = chance.integers(0, 4, (13, size)).astype(float)
        weights[:, 0] += 1
        expected = [naive_median(values, row) for row in weights]
        np.testing.assert_array_equal(weighted_median(values, weights), expected)
        np.testing.assert_array_equal(weighted_median(values, weights / 3), expected)
        assert weighted_median(values, np.full((1, size), 0.1))[0] == np.median(values)


@pytest.mark.parametrize("weights", [np.zeros((1, 3)), np.array([[1.0, -1.0, 1.0]]), np.ones((1, 2)), np.ones(3)])
def test_weights_that_have_no_median_are_refused(weights: Any) -> None:
    with pytest.raises(ValueError, match="weights"):
        weighted_median(np.arange(3.0), weights)


def test_one_tree_gives_equal_weights_to_the_rows_of_its_leaf() -> None:
    train, asked = np.array([[5], [2], [5], [5], [2]]), np.array([[2], [5]])
    expected = [[0, 1 / 2, 0, 0, 1 / 2], [1 / 3, 0, 1 / 3, 1 / 3, 0]]
    np.testing.assert_allclose(leaf_weights(train, asked).toarray(), expected, rtol=1e-15)
    both = leaf_weights(np.hstack([train, [[2], [2], [2], [2], [7]]]), np.hstack([asked, [[7], [2]]])).toarray()
    np.testing.assert_allclose(both[0], [0, 1 / 4, 0, 0, 1 / 4 + 1 / 2], rtol=1e-15)
    np.testing.assert_allclose(both.sum(axis=1), 1.0)
    with pytest.raises(ValueError, match="no training row reaches"):
        leaf_weights(train, np.array([[3]]))


def test_leaf_weights_give_the_mean_of_a_forest_without_bootstrap() -> None:
    panel = random_panel()
    x, y = panel.clr[panel.train], panel.y[panel.train]
    forest = RandomForestRegressor(7, bootstrap=False, max_features=3, min_samples_leaf=3, random_state=0).fit(x, y)
    asked = panel.clr[panel.rows["test"]]
    weights = leaf_weights(forest.apply(x), forest.apply(asked))
    np.testing.assert_allclose(weights @ y, forest.predict(asked), rtol=1e-10)


def test_the_two_forests_are_one_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    panel, fits = random_panel(), []
    fit = RandomForestRegressor.fit
    monkeypatch.setattr(RandomForestRegressor, "fit", lambda *given: (fits.append(1), fit(*given))[1])
    mean, median = RIVALS["forest_mean"](panel)["test"], RIVALS["forest_median"](panel)["test"]
    assert len(fits) == 1
    logs = panel.log_counts.toarray().astype(np.float32)
    leaves = panel.forest.apply(logs)
    np.testing.assert_allclose(mean, panel.forest.predict(logs[panel.rows["test"]]))
    for place, row in enumerate(panel.rows["test"]):
        same = leaves[panel.train] == leaves[row]
        naive = naive_median(panel.y[panel.train], np.round((same / same.sum(axis=0)).mean(axis=1), 12))
        assert median[place] == naive


def test_neighbours_by_hand() -> None:
    there = np.array([[0.0, 0], [3, 4], [0, 1], [9, 9], [3, 4]])
    weights = neighbour_weights(there, np.array([[0.0, 2], [3, 4]]), 3)
    apart = np.linalg.norm(there - [0, 2], axis=1)
    np.testing.assert_allclose(weights[0], [1 / apart[0], 1 / apart[1], 1 / apart[2], 0, 0])
    np.testing.assert_array_equal(weights[1], [0, 1, 0, 0, 1])


def test_the_nearest_ten_are_read_at_their_weighted_median() -> None:
    panel = random_panel()
    answers = RIVALS["knn_median"](panel)
    for split in ("val", "test"):
        for place, row in enumerate(panel.rows[split]):
            apart = np.linalg.norm(panel.clr[panel.train] - panel.clr[row], axis=1)
            near = np.argsort(apart)[:10]
            assert answers[split][place] == naive_median(panel.y[panel.train][near], 1 / apart[near])
    few = replace(panel, rows={**ROWS, "train": np.array([0, 1, 2])})
    assert set(RIVALS["knn_median"](few)["test"]) <= {*few.y[:2], few.y[:2].mean()}


def cells_panel(**changes: Any) -> SamplePanel:
    """Train: site a and f 1, 2, 6; a and m 10 (few); b and m 20, 30, 70; c 5, 5 (few). Test asks each, and new ones."""
    site = [*"aaa", "a", *"bbb", *"cc", "a", "a", "b", "c", "d", None, "a"]
    sex = [*"fff", "m", *"mmm", *"fm", "f", "m", "f", "f", "f", "f", "x"]
    y = np.array([1.0, 2, 6, 10, 20, 30, 70, 5, 5, *[np.nan] * 7])
    rows = {"train": np.arange(9), "val": np.arange(9, 10), "test": np.arange(10, 16)}
    counts = np.random.default_rng(5).poisson(3, (16, 5)) + 1
    return panel_of(counts, y, {"site": site, "sex": sex}, **({"rows": rows} | changes))


def test_cells_of_metadata_back_off_to_fewer_columns() -> None:
    answers = RIVALS["metadata_only"](cells_panel())
    assert answers["val"].tolist() == [2]
    # (a, m) has one row: site a; (b, f) none: site b; c two rows, d and missing none: all; (a, x): site a.
    assert answers["test"].tolist() == [4, 30, 6, 6, 6, 4]
    turned = RIVALS["metadata_only"](cells_panel(inputs=("sex", "site")))
    assert turned["test"].tolist() == [20, 3.5, 3.5, 3.5, 3.5, 6]
    nothing = RIVALS["metadata_only"](cells_panel(inputs=()))
    assert nothing["test"].tolist() == RIVALS["median"](cells_panel())["test"].tolist() == [6] * 6


def test_numbers_of_metadata_are_used_and_may_be_missing() -> None:
    chance = np.random.default_rng(13)
    ph = chance.uniform(4, 9, 151)
    y = np.where(ph > 6, 10.0, 0.0) + chance.uniform(0, 1, 151)
    cells = [None if place % 10 == 0 else value for place, value in enumerate(ph)]
    rows = {"train": np.arange(101), "val": np.arange(101, 103), "test": np.arange(103, 151)}
    counts = chance.poisson(3, (151, 3)) + 1
    panel = panel_of(counts, y, {"ph": cells, "site": ["a"] * 151}, numbers=("ph",), rows=rows)
    answers = RIVALS["metadata_only"](panel)["test"]
    told = np.array([cells[row] is not None for row in rows["test"]])
    assert np.abs(answers - y[rows["test"]])[told].mean() < 0.6
    assert np.isfinite(answers).all()


def test_a_column_alone_answers_with_the_median_of_its_value() -> None:
    answers = column_rivals(cells_panel(prefix=("u",) * 7 + ("v",) * 8 + ("w",)))
    assert list(answers) == ["column:site", "column:sex", "column:(sample id prefix)"]
    # One row is enough here; d and a missing site are unseen.
    assert answers["column:site"]["test"].tolist() == [4, 30, 5, 6, 6, 4]
    assert answers["column:sex"]["test"].tolist() == [20, 3.5, 3.5, 3.5, 3.5, 6]
    assert answers["column:(sample id prefix)"]["test"].tolist() == [5, 5, 5, 5, 5, 6]
    missing = column_rivals(panel_of(np.ones((61, 3)), np.arange(61.0), {"run": [None, "r"] * 30 + [None]}))
    assert missing["column:run"]["test"].tolist() == [20] * 13


def test_which_columns_are_categories() -> None:
    y = np.random.default_rng(17).permutation(N).astype(float)
    metadata = {
        "latitude": np.arange(N) % 19 / 4,
        "many": np.random.default_rng(2).permutation(N),
        "ids": [f"s{row}" for row in range(N)],
        "constant": ["x"] * N,
        "twenty": [f"t{row % 20}" for row in range(N)],
        "more": [f"t{row % 21}" for row in range(N)],
        "empty": [None] * N,
        "raw": y**3,
    }
    answers = column_rivals(panel_of(np.ones((N, 3)), y, metadata))
    assert list(answers) == ["column:latitude", "column:twenty", "column:raw"]
    wide = {name: [f"t{row % 21}" for row in range(101)] for name in ("words",)} | {"numbers": np.arange(101) % 21}
    rows = {"train": np.arange(51), "val": np.arange(51, 61), "test": np.arange(61, 101)}
    mixed = np.random.default_rng(1).normal(size=101)
    assert list(column_rivals(panel_of(np.ones((101, 3)), mixed, wide, rows=rows))) == ["column:words"]


def test_a_copy_of_the_target_is_shown_and_named() -> None:
    panel = random_panel()
    raw = [None if np.isnan(value) else -np.log(value) for value in panel.y]
    panel = replace(panel, metadata=panel.metadata.assign(raw=text(raw)))
    known = panel.rows["test"][panel.known[panel.rows["test"]]]
    errors = {
        name: float(np.nanmean(np.abs(answers["test"] - panel.y[panel.rows["test"]])))
        for name, answers in column_rivals(panel).items()
    }
    gaps = [np.abs(panel.y[panel.train] - panel.y[row]).min() for row in known]
    assert errors["column:raw"] < 2 * np.mean(gaps) + 0.01
    assert errors["column:raw"] < errors["column:site"] / 2
    assert confounded(errors, own=2 * errors["column:raw"]) == ["column:raw"]
    labels = random_panel(classes=3)
    shown = column_rivals(replace(labels, metadata=labels.metadata.assign(raw=text(raw))))
    assert "column:raw" in shown
    right = shown["column:raw"]["test"].argmax(axis=1) == labels.y[labels.rows["test"]]
    assert right[labels.known[labels.rows["test"]]].mean() > 0.8
    assert "column:depth" not in shown


def test_confounded_names_columns_and_metadata_within_the_factor() -> None:
    errors = {"column:a": 1.1, "column:b": 1.11, "metadata_only": 0.5, "knn_median": 0.1, "column:c": float("nan")}
    assert confounded(errors, own=1.0) == ["metadata_only", "column:a"]
    assert confounded(errors, own=1.0, factor=1.2) == ["metadata_only", "column:a", "column:b"]
    assert confounded(errors, own=0.4) == []


def test_dual_ridge_is_ridge_and_its_strength_the_best_of_validation() -> None:
    chance = np.random.default_rng(19)
    x, x_val = chance.normal(size=(31, 47)), chance.normal(size=(13, 47))
    w = chance.normal(size=47)
    y, y_val = x @ w + 3 + 20 * chance.normal(size=31), x_val @ w + 3
    fit = fit_dual_ridge(x, y, x_val, y_val)
    inner = x - x.mean(axis=0)
    scale = np.trace(inner @ inner.T) / 31
    errors = []
    for strength in STRENGTHS:
        reference = Ridge(alpha=strength * scale).fit(x, y)
        alone = fit_dual_ridge(x, y, x_val, y_val, [strength])
        np.testing.assert_allclose(alone.predict(x_val)[:, 0], reference.predict(x_val), rtol=1e-6)
        errors.append(np.abs(reference.predict(x_val) - y_val).mean())
    assert fit.strengths[0] == pytest.approx(STRENGTHS[int(np.argmin(errors))] * scale)
    assert 0 < np.argmin(errors) < len(STRENGTHS) - 1
    blind = fit_dual_ridge(x, y, x_val[:0], y_val[:0])
    assert blind.strengths[0] == pytest.approx(STRENGTHS[-1] * scale)
    np.testing.assert_allclose(fit_dual_ridge(x[:1], y[:1], x_val, y_val).predict(x_val), y[0])


@pytest.mark.parametrize("classes", [0, 3])
def test_targets_of_val_and_test_change_nothing_but_the_strength_of_ridge(classes: int) -> None:
    panel = random_panel(classes)
    y = panel.y.copy()
    held = np.concatenate([panel.rows["val"], panel.rows["test"]])
    y[held] = (panel.y[held] + 1) % 3 if classes else 1e3
    only_test = panel.y.copy()
    only_test[panel.rows["test"]] = y[panel.rows["test"]]
    changed, tested = replace(panel, y=y), replace(panel, y=only_test)
    for name, rival in rivals_of(panel).items():
        before, after = rival(panel), rival(tested if name == "ridge_clr" else changed)
        for split in ("val", "test"):
            np.testing.assert_array_equal(before[split], after[split], err_msg=name)
    if not classes:
        assert not np.array_equal(RIVALS["ridge_clr"](panel)["test"], RIVALS["ridge_clr"](changed)["test"])
    before, after = column_rivals(panel), column_rivals(changed)
    for name, answers in before.items():
        np.testing.assert_array_equal(answers["test"], after[name]["test"], err_msg=name)


@pytest.mark.parametrize("classes", [0, 3])
def test_every_rival_answers_in_shape_again_the_same_and_has_a_meaning(classes: int) -> None:
    panel = random_panel(classes)
    again = random_panel(classes)
    for name, rival in (rivals_of(panel) | {"columns": lambda p: column_rivals(p)["column:site"]}).items():
        answers, same = rival(panel), rival(again)
        assert list(answers) == ["val", "test"]
        for split, values in answers.items():
            assert values.dtype == np.float64
            assert values.shape == (len(ROWS[split]), classes) if classes else (len(ROWS[split]),)
            np.testing.assert_array_equal(values, same[split], err_msg=name)
            assert np.isfinite(values).all()
            if classes:
                np.testing.assert_allclose(values.sum(axis=1), 1.0, rtol=1e-12)
                assert values.min() > 0.9e-6
    assert set(rivals_of(panel)) <= set(RIVALS) == set(MEANINGS)
    assert set(rivals_of(panel)) == set(samples.CLASSIFICATION if classes else samples.REGRESSION)


def test_rivals_that_read_counts_beat_the_constant() -> None:
    for classes in (0, 3):
        panel = random_panel(classes)
        at = panel.rows["test"][panel.known[panel.rows["test"]]]
        place = at - panel.rows["test"][0]

        def error(rival: Any, panel: Any = panel, at: Any = at, place: Any = place) -> float:
            answers = rival(panel)["test"][place]
            wrong = (
                -np.log(answers[np.arange(len(at)), panel.y[at]]) if panel.classes else np.abs(answers - panel.y[at])
            )
            return float(wrong.mean())

        rivals = rivals_of(panel)
        bar = error(rivals.pop("majority" if classes else "median"))
        for name, rival in rivals.items():
            assert error(rival) < bar, name


def test_a_class_that_training_never_saw_and_training_of_one_class() -> None:
    panel = random_panel(classes=3)
    y = panel.y.copy()
    y[ROWS["train"]] = np.minimum(y[ROWS["train"]], 1)
    for name, rival in rivals_of(replace(panel, y=y)).items():
        answers = rival(replace(panel, y=y))["test"]
        assert answers.shape == (13, 3), name
        assert answers[:, 2].max() < 2e-6, name
    y[ROWS["train"]] = 1
    for name, rival in rivals_of(replace(panel, y=y)).items():
        np.testing.assert_allclose(rival(replace(panel, y=y))["test"], [[1e-6, 1, 1e-6]] * 13, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("classes", [0, 3])
def test_a_split_may_be_empty(classes: int) -> None:
    panel = random_panel(classes, rows={**ROWS, "val": np.arange(0)})
    for name, rival in rivals_of(panel).items():
        assert rival(panel)["val"].shape == ((0, 3) if classes else (0,)), name


@pytest.mark.parametrize(
    "change, message",
    [
        ({"y": np.zeros(N - 1)}, r"y \(n,\)"),
        ({"prefix": ("",)}, "1 prefixes"),
        ({"numbers": ("depth",)}, "numbers some of inputs"),
        ({"inputs": ("sight",)}, "columns of the metadata"),
        ({"rows": {"train": np.arange(3)}}, "exactly the splits"),
        ({"classes": 2, "y": np.full(N, 2)}, r"-1\.\.1"),
    ],
)
def test_a_panel_that_disagrees_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(random_panel(), **change)


def test_training_without_any_target_is_refused() -> None:
    with pytest.raises(DataError, match="no training sample has a known target"):
        replace(random_panel(), y=np.full(N, np.nan))


def test_the_median_of_extra_trees_beats_the_mean_of_a_forest_on_real_guts(shared: Any) -> None:
    folder = shared / "data" / "microbiome" / "global_gut"
    table = read_samples(folder / "table.biom", metadata=folder / "metadata.tsv", target="age_years")
    age = number_column(table.metadata, "age_years", "", "")
    young = np.flatnonzero(age <= 18)
    assert len(young) == 305
    counts, y, metadata = table.counts[young], age[young], table.metadata.iloc[young].drop(columns="age_years")
    folds = GroupKFold(5, shuffle=True, random_state=0).split(y, groups=metadata.family_derived)
    train, test = next(folds)
    common = np.bincount(counts[train].indices, minlength=counts.shape[1]) >= 0.05 * len(train)
    counts = counts[:, common]
    logs = counts.copy()
    logs.data = np.log1p(logs.data)
    rows = {"train": train, "val": test[:0], "test": test}
    panel = SamplePanel(clr(counts), logs, y, 0, metadata, (), (), ("",) * 305, rows, 0)
    error = {
        name: np.abs(RIVALS[name](panel)["test"] - y[test]).mean()
        for name in ("median", "forest_mean", "extra_trees_median")
    }
    assert error["extra_trees_median"] < 0.9 * error["forest_mean"] < 0.5 * error["median"]
    columns = {name: np.abs(a["test"] - y[test]).mean() for name, a in column_rivals(panel).items()}
    assert columns["column:age_raw"] < 0.3
    assert confounded(columns, own=error["extra_trees_median"])[0] == "column:age_raw"
    assert "column:family_derived" not in columns
