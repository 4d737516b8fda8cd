"""The source of synthetic products: the same data set as of files, with what the generator drew."""

import numpy as np
import pytest

from plait.baselines._price_ridge import fit_price_ridge
from plait.core.config import validate
from plait.core.errors import ConfigError
from plait.core.kinds import config_class
from plait.data.sources.synthetic_products import SyntheticProductsConfig
from plait.features.synthetic_products import SOURCES, WIDTHS, bayes_smape, generate


def test_the_kind_is_found_and_builds_a_data_set() -> None:
    assert config_class("data.sources", "synthetic_products") is SyntheticProductsConfig
    config = validate(SyntheticProductsConfig, {"kind": "synthetic_products", "rows": 307, "missing": 0.2, "draw": 3})
    data = config.build(config.read())
    assert data.schema.streams == dict(zip(SOURCES, WIDTHS, strict=True))
    assert tuple(data.schema.streams) == config.streams
    assert config.contexts == SOURCES[1:]
    made = generate(307, missing=0.2, seed=3)
    rows = np.concatenate([data.rows_of[split] for split in ("train", "val", "test")])
    assert sorted(rows) == list(range(307))
    np.testing.assert_array_equal(data.log_prices(), np.log(made.price))
    batch = data.batch("test", data.rows("test"))
    for name in SOURCES:
        values, there = data.panel().sources[name](np.arange(307))
        np.testing.assert_array_equal(values, made.sources[name])
        np.testing.assert_array_equal(there, made.present[name])
        np.testing.assert_array_equal(batch.inputs[f"{name}_mask"][:, 0], made.present[name][data.rows_of["test"]])


def test_fields_of_files_are_refused() -> None:
    for field, value in (("path", "a.csv"), ("numbers", ["a"]), ("group_by", "a")):
        with pytest.raises(ConfigError, match=rf"data\.{field}: synthetic products bring their own"):
            validate(SyntheticProductsConfig, {field: value}).read()


def test_what_adds_up_is_half_as_good_as_what_can_be_known() -> None:
    config = SyntheticProductsConfig(rows=3001)
    data = config.build(config.read())
    panel = data.panel()

    def read(rows: np.ndarray) -> np.ndarray:
        return np.hstack([panel.sources[name](rows)[0] for name in SOURCES]).astype(np.float64)

    train, test = data.rows_of["train"], data.rows_of["test"]
    said = fit_price_ridge(read, train, panel.log_price[train]).predict(read, test)
    error = 200 * np.tanh(np.abs(said - panel.log_price[test]) / 2).mean()
    assert error >= 1.5 * bayes_smape(0.3)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_small_net_learns_the_interaction(seed: int) -> None:
    from sklearn.neural_network import MLPRegressor

    made = generate(6000, seed=seed)
    x, y = np.hstack([made.sources[name] for name in SOURCES]).astype(np.float64), np.log(made.price / 25)
    x = (x - x[:4000].mean(axis=0)) / x[:4000].std(axis=0)
    net = MLPRegressor(
        hidden_layer_sizes=(64, 64), alpha=1.0, max_iter=12, n_iter_no_change=12, learning_rate_init=2e-3,
        batch_size=100, random_state=0,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="Maximum iterations"):
        net.fit(x[:4000], y[:4000])
    error = 200 * np.tanh(np.abs(net.predict(x[4000:]) - y[4000:]) / 2).mean()
    assert error <= 1.15 * bayes_smape(0.3)
