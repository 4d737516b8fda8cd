"""Tests of the six cheap forecasts: closed forms, loops, causality, scikit-learn and the reference scores."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from plait.baselines import FORECASTS
from plait.baselines.panel import Panel
from plait.baselines.ridge import STRENGTHS, RidgeFit, features, fit_panel, fit_ridge
from plait.core.schema import SPLITS
from plait.features.seasonal_prior import FloatArray, IntArray, seasonal_prior

NAIVE = ("last_value", "seasonal_naive", "seasonal_prior")
RIDGES: dict[str, dict[str, bool]] = {
    "nlinear_ridge": {},
    "ridge_prior": {"prior": True},
    "ridge_season_dummies": {"dummies": True},
}
DOMAINS = {
    "Agriculture": "M",
    "Climate": "W",
    "Economy": "M",
    "Energy": "W",
    "Health_US": "W",
    "Traffic": "M",
}


def split_origins(rows: int, lookback: int, horizon: int) -> tuple[dict[str, IntArray], int]:
    """Cut rows 70/10/20 in time; validation and test windows reach back one lookback."""
    train, test = int(0.7 * rows), int(0.2 * rows)
    test_start = rows - test
    origins = {
        "train": np.arange(lookback - 1, train - horizon),
        "val": np.arange(train - 1, test_start - horizon),
        "test": np.arange(test_start - 1, rows - horizon),
    }
    return origins, train


def random_panel(seed: int = 0, rows: int = 167, variates: int = 3, horizon: int = 5, missing: float = 0.0) -> Panel:
    """Draw a random walk with a season of 7 rows, lookback 11, and a share of missing cells."""
    draw = np.random.default_rng(seed)
    z = draw.normal(size=(rows, variates)).cumsum(0) * 0.1 + np.sin(np.arange(rows) * 2 * np.pi / 7)[:, None]
    z[draw.random(z.shape) < missing] = np.nan
    origins, train = split_origins(rows, 11, horizon)
    return Panel(z, 7, np.arange(rows) % 7, 7, 11, horizon, origins, train)


def last_seen(z: FloatArray, row: int, variate: int) -> float:
    """Walk back from a row to the last observed value."""
    for r in range(row, -1, -1):
        if not np.isnan(z[r, variate]):
            return float(z[r, variate])
    return 0.0


def test_the_six_names_in_order() -> None:
    assert list(FORECASTS) == [*NAIVE, *RIDGES]


def test_panel_gathers_windows_like_a_loop() -> None:
    panel = random_panel(missing=0.2)
    for split in SPLITS:
        seen, asked = panel.lookbacks(split), panel.targets(split)
        assert seen.shape == (len(panel.origins[split]), 11, 3)
        for i, o in enumerate(panel.origins[split]):
            np.testing.assert_array_equal(asked[i], panel.z[o + 1 : o + 6])
            for k, r in enumerate(range(o - 10, o + 1)):
                assert [last_seen(panel.z, r, v) for v in range(3)] == seen[i, k].tolist()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("season", np.full(167, 7), "season codes"),
        ("season", np.zeros(5, dtype=int), "must be"),
        ("train_rows", 111, "train: every origin"),
        ("z", np.full((167, 3), np.inf), "infinity"),
        ("period", 0, ">= 1"),
        ("origins", {"train": np.array([10])}, "exactly the splits"),
        ("lookback", 12, "train: every origin must lie in 11.."),
    ],
)
def test_panel_refuses(field: str, value: Any, message: str) -> None:
    good = random_panel()
    with pytest.raises(ValueError, match=message):
        replace(good, **{field: value})


@pytest.mark.parametrize("horizon", [5, 17])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_naive_forecasts_equal_loops(horizon: int, missing: float) -> None:
    panel = random_panel(1, horizon=horizon, missing=missing)
    got = {name: FORECASTS[name](panel) for name in NAIVE}
    for split in SPLITS:
        for i, o in enumerate(panel.origins[split]):
            for h in range(1, horizon + 1):
                for v in range(3):
                    last = last_seen(panel.z, o, v)
                    r = o + h
                    while r > o:
                        r -= 7
                    value = panel.z[r, v] if r >= 0 else np.nan
                    past = [panel.z[q, v] for q in range(r, r - 49, -7) if q >= 0 and not np.isnan(panel.z[q, v])]
                    assert got["last_value"][split][i, h - 1, v] == last
                    assert got["seasonal_naive"][split][i, h - 1, v] == (last if np.isnan(value) else value)
                    expected = np.mean(past) if past else last
                    assert got["seasonal_prior"][split][i, h - 1, v] == pytest.approx(expected, rel=1e-12)


def test_a_pure_season_is_forecast_exactly() -> None:
    season = np.array([2.0, -1.0, 0.5, 3.0, -4.0, 1.0, 0.0])
    z = np.tile(season, 23)[:, None] * np.array([1.0, 10.0, 100.0])
    origins, train = split_origins(161, 11, 17)
    panel = Panel(z, 7, np.arange(161) % 7, 7, 11, 17, origins, train)
    np.testing.assert_array_equal(FORECASTS["seasonal_naive"](panel)["test"], panel.targets("test"))
    np.testing.assert_allclose(FORECASTS["seasonal_prior"](panel)["test"], panel.targets("test"), rtol=1e-14)


def test_a_straight_line_is_forecast_by_nlinear_ridge() -> None:
    z = np.arange(167.0)[:, None] * np.array([0.01, 0.01, 0.01])
    origins, train = split_origins(167, 11, 5)
    panel = Panel(z, 7, np.arange(167) % 7, 7, 11, 5, origins, train)
    np.testing.assert_allclose(FORECASTS["nlinear_ridge"](panel)["test"], panel.targets("test"), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    window=st.integers(0, 20),
    horizon=st.sampled_from([3, 13]),
    missing=st.sampled_from([0.0, 0.2]),
    new=st.sampled_from([np.nan, 1e9, -3.0]),
)
def test_nothing_after_the_origin_changes_a_forecast(
    seed: int, window: int, horizon: int, missing: float, new: float
) -> None:
    panel = random_panel(seed, horizon=horizon, missing=missing)
    window %= len(panel.origins["test"])
    z = panel.z.copy()
    z[panel.origins["test"][window] + 1 :] = new
    changed = replace(panel, z=z)
    for name, forecast in FORECASTS.items():
        before, after = forecast(panel)["test"], forecast(changed)["test"]
        assert np.abs(before[: window + 1] - after[: window + 1]).max() == 0.0, name


@pytest.mark.parametrize("name", list(FORECASTS))
def test_the_row_of_the_origin_does_change_the_forecast(name: str) -> None:
    panel = random_panel(horizon=13)
    z = panel.z.copy()
    z[panel.origins["test"][2]] += 1.0
    changed = replace(panel, z=z)
    assert np.abs(FORECASTS[name](panel)["test"][2] - FORECASTS[name](changed)["test"][2]).max() > 0.01


def test_features_are_in_the_documented_order() -> None:
    panel = random_panel(2, missing=0.1)
    x = features(panel, "val", prior=True, dummies=True)
    assert x.shape == (len(panel.origins["val"]), 3, 10 + 5 + 7)
    expected, _ = seasonal_prior(panel.z, 7, panel.origins["val"], 5)
    for i, o in enumerate(panel.origins["val"]):
        for v in range(3):
            last = last_seen(panel.z, o, v)
            np.testing.assert_array_equal(x[i, v, :10], [last_seen(panel.z, r, v) - last for r in range(o - 10, o)])
            np.testing.assert_array_equal(x[i, v, 10:15], expected[i, :, v] - last)
            np.testing.assert_array_equal(x[i, v, 15:], np.arange(7) == o % 7)
    np.testing.assert_array_equal(features(panel, "val"), x[:, :, :10])
    np.testing.assert_array_equal(features(panel, "val", dummies=True)[:, :, 10:], x[:, :, 15:])


def ridge_data(seed: int = 3) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Draw 101 train and 31 validation rows, 7 features (one constant, one repeated), 5 targets."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(132, 7)) + 3.0
    x[:, 5], x[:, 6] = 2.0, x[:, 0]
    y = x @ draw.normal(size=(7, 5)) + draw.normal(size=(132, 5)) * np.array([0.1, 1.0, 5.0, 20.0, 100.0]) + 11.0
    return x[:101], y[:101], x[101:], y[101:]


def reference_fit(
    x: FloatArray, y: FloatArray, x_val: FloatArray, y_val: FloatArray
) -> tuple[float, FloatArray, float]:
    """Fit one step with scikit-learn on centred data, and choose the strength by a loop."""
    kept, scored = ~np.isnan(y), ~np.isnan(y_val)
    x_mean, y_mean = x[kept].mean(0), y[kept].mean()
    best = (np.inf, 0.0, np.zeros(x.shape[1]), 0.0)
    for strength in STRENGTHS:
        model = Ridge(alpha=strength, fit_intercept=False).fit(x[kept] - x_mean, y[kept] - y_mean)
        residual = y_val[scored] - (model.predict(x_val[scored] - x_mean) + y_mean)
        error = float(np.mean(residual**2))
        if error < best[0]:
            best = (error, strength, model.coef_, float(y_mean - x_mean @ model.coef_))
    return best[1:]


def check_against_scikit_learn(fit: RidgeFit, data: tuple[FloatArray, FloatArray, FloatArray, FloatArray]) -> None:
    x, y, x_val, y_val = data
    for step in range(y.shape[1]):
        strength, coef, intercept = reference_fit(x, y[:, step], x_val, y_val[:, step])
        assert fit.strengths[step] == pytest.approx(strength)
        np.testing.assert_allclose(fit.coef[step], coef, rtol=1e-8, atol=1e-10)
        assert fit.intercept[step] == pytest.approx(intercept, rel=1e-8)


def test_ridge_equals_scikit_learn() -> None:
    data = ridge_data()
    fit = fit_ridge(*data)
    assert len(set(fit.strengths)) > 1
    check_against_scikit_learn(fit, data)


def test_masked_targets_equal_deleted_rows() -> None:
    x, y, x_val, y_val = ridge_data(5)
    draw = np.random.default_rng(7)
    y[draw.random(y.shape) < 0.3] = np.nan
    y_val[draw.random(y_val.shape) < 0.3] = np.nan
    y[:, 1] = y[:, 3]
    fit = fit_ridge(x, y, x_val, y_val)
    check_against_scikit_learn(fit, (x, y, x_val, y_val))
    for step in range(5):
        kept, scored = ~np.isnan(y[:, step]), ~np.isnan(y_val[:, step])
        alone = fit_ridge(x[kept], y[kept, step, None], x_val[scored], y_val[scored, step, None])
        np.testing.assert_allclose(fit.coef[step], alone.coef[0], rtol=1e-10, atol=1e-13)
        assert fit.intercept[step] == pytest.approx(alone.intercept[0], rel=1e-10)


def test_a_step_without_targets_gets_zeros_and_no_validation_the_strongest() -> None:
    x, y, x_val, y_val = ridge_data()
    y[:, 2] = np.nan
    y_val[:, 4] = np.nan
    fit = fit_ridge(x, y, x_val, y_val)
    assert not fit.coef[2].any()
    assert fit.intercept[2] == 0.0
    assert fit.strengths[4] == 1e5
    assert fit_ridge(x[:0], y[:0], x_val, y_val).predict(x_val).tolist() == np.zeros((31, 5)).tolist()


def test_a_shared_strength_is_the_best_over_all_steps() -> None:
    x, y, x_val, y_val = ridge_data(11)
    y_val[::3, 3] = np.nan
    fit = fit_ridge(x, y, x_val, y_val, shared_strength=True)
    assert len(set(fit.strengths)) == 1
    single = [fit_ridge(x, y, x_val, y_val, [strength]) for strength in STRENGTHS]
    scores = [np.nanmean((y_val - one.predict(x_val)) ** 2) for one in single]
    assert fit.strengths[0] == STRENGTHS[int(np.argmin(scores))]


def test_ridge_shrinks_to_the_mean() -> None:
    x, y, x_val, y_val = ridge_data()
    fit = fit_ridge(x, y, x_val, y_val, [1e15])
    np.testing.assert_allclose(fit.predict(x_val), np.broadcast_to(y.mean(0), (31, 5)), rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strengths": [0.0, 1.0]}, "positive"),
        ({"strengths": []}, "positive"),
        ({"x": np.full((101, 7), np.nan)}, "finite"),
        ({"x": np.zeros((100, 7))}, "shapes disagree"),
        ({"y_val": np.zeros((31, 3))}, "shapes disagree"),
    ],
)
def test_fit_ridge_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_ridge(**(dict(zip(("x", "y", "x_val", "y_val"), ridge_data(), strict=True)) | change))


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_windows_of_all_variates_are_pooled_and_windows_without_prior_left_out(missing: float) -> None:
    panel = random_panel(13, horizon=11, missing=missing)
    fit = fit_panel(panel, prior=True)
    assert fit.coef.shape == (11, 10 + 11)
    assert len(set(fit.strengths)) == 1
    rows: dict[str, list[tuple[FloatArray, FloatArray]]] = {"train": [], "val": []}
    for split, kept in rows.items():
        x = features(panel, split, prior=True)
        for i, o in enumerate(panel.origins[split]):
            _, known = seasonal_prior(panel.z, 7, [o], 11)
            for v in range(3):
                if split == "val" or known[0, :, v].all():
                    kept.append((x[i, v], panel.z[o + 1 : o + 12, v] - last_seen(panel.z, o, v)))
    assert 0 < len(rows["train"]) <= 3 * len(panel.origins["train"])
    (x, y), (x_val, y_val) = ([np.stack(part) for part in zip(*kept, strict=True)] for kept in rows.values())
    expected = fit_ridge(x, y, x_val, y_val, shared_strength=True)
    np.testing.assert_allclose(fit.coef, expected.coef, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit.intercept, expected.intercept, rtol=1e-9, atol=1e-12)


def test_a_lookback_of_one_row_leaves_the_intercept() -> None:
    panel = replace(random_panel(), lookback=1)
    assert features(panel, "train").shape == (len(panel.origins["train"]), 3, 0)
    drift = (panel.targets("train") - panel.lookbacks("train")).mean(axis=(0, 2))
    expected = panel.lookbacks("test") + drift[:, None]
    np.testing.assert_allclose(FORECASTS["nlinear_ridge"](panel)["test"], expected, rtol=1e-10)


def test_no_window_with_a_prior_leaves_the_last_value() -> None:
    z = np.random.default_rng(17).normal(size=(167, 1))
    origins, train = split_origins(167, 11, 5)
    panel = Panel(z, 163, np.zeros(167, dtype=int), 1, 11, 5, origins, train)
    np.testing.assert_array_equal(FORECASTS["ridge_prior"](panel)["test"], FORECASTS["last_value"](panel)["test"])


def read_time_mmd(shared: Path, name: str) -> Any:
    """Read one target by the reference's rules: last of equal dates, full calendar, gaps missing."""
    domain = name.removesuffix("_rows_as_filed")
    table = pd.read_csv(shared / "data" / "time_mmd" / "numerical" / domain / f"{domain}.csv", low_memory=False)
    value = pd.to_numeric(table["OT"], errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)
    series = pd.Series(value.to_numpy(), index=pd.to_datetime(table["end_date"])).sort_index(kind="stable")
    if name != domain:
        return series
    series = series[~series.index.duplicated(keep="last")]
    first, last = series.index[0], series.index[-1]
    if DOMAINS[domain] == "M":
        series.index = pd.PeriodIndex(series.index, freq="M")
        return series.reindex(pd.period_range(first, last, freq="M"))
    return series.reindex(pd.date_range(first, last, freq="7D"))


def time_mmd_panel(series: Any, frequency: str, lookback: int, horizon: int) -> Panel:
    """Standardise with the train rows and cut the windows."""
    origins, train = split_origins(len(series), lookback, horizon)
    values = series.to_numpy(dtype=float)
    z = (values - np.nanmean(values[:train])) / np.nanstd(values[:train])
    monthly = frequency == "M"
    code = series.index.month if monthly else np.minimum(series.index.isocalendar().week.to_numpy(int), 52)
    n_seasons = 12 if monthly else 52
    return Panel(z[:, None], n_seasons, np.asarray(code) - 1, n_seasons, lookback, horizon, origins, train)


@pytest.mark.parametrize("name", [*DOMAINS, "Health_US_rows_as_filed"])
def test_forecasts_reach_the_reference_scores(shared: Path, name: str) -> None:
    table: Any = pd.read_csv(shared / "reference" / "time_mmd_baselines.csv")
    wanted = table[(table.domain == name) & (table.horizon != "mean")]
    series = read_time_mmd(shared, name)
    assert set(wanted.rows) == {len(series)}
    checked = 0
    for (frequency, lookback, horizon), rows in wanted.groupby(["frequency", "lookback", "horizon"]):
        panel = time_mmd_panel(series, frequency, lookback, int(horizon))
        target = panel.targets("test")
        for row in rows.itertuples():
            residual = target - FORECASTS[row.baseline](panel)["test"]
            counts = [len(panel.origins[split]) for split in SPLITS]
            assert counts == [row.train_windows, row.val_windows, row.test_windows]
            assert np.isfinite(target).sum() == row.test_values
            assert np.nanmean(residual**2) == pytest.approx(row.mse, rel=1e-4), (row.baseline, horizon)
            assert np.nanmean(np.abs(residual)) == pytest.approx(row.mae, rel=1e-4), (row.baseline, horizon)
            if row.baseline in RIDGES:
                fit = fit_panel(panel, **RIDGES[row.baseline])
                assert fit.strengths == pytest.approx(np.full(int(horizon), float(row.ridge_strength)))
            checked += 1
    assert checked == 24
