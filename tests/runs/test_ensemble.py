"""Several runs of `products` as one: the mean of log prices, weights from validation rows, and what has no mean."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data.product_shop import shop_frame
from plait.core.errors import ConfigError, DataError
from plait.runs.ensemble import Ensemble
from plait.runs.run import Run, load_run
from runs.folders import trained
from runs.product_runs import cheap, of_shop


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Two runs that learned something, one that hardly did, and one on other validation rows."""
    place = tmp_path_factory.mktemp("ensemble")
    asked: dict[str, dict[str, Any]] = {
        "one": {"epochs": 31, "fusion": "none"},
        "two": {"epochs": 31, "fusion": "hierarchical", "seed": 1},
        "weak": {"epochs": 1, "lr": 1e-5},
        "elsewhere": {"epochs": 1, "data.split_seed": 5},
    }
    made = {}
    for name, fields in asked.items():
        config = of_shop(place / "shop", **{"data.splits": [0.6, 0.2, 0.2], "training.batch_size": 31, **fields})
        made[name] = trained(place / name, config, cheap(config))
    return made


def smape(frame: pd.DataFrame) -> float:
    return float((200 * (frame["price"] - frame["actual"]).abs() / (frame["price"] + frame["actual"])).mean())


def mixed(frames: list[pd.DataFrame], weights: Any) -> pd.DataFrame:
    """The weighted geometric mean of prices."""
    logs = np.stack([np.log(frame["price"]) for frame in frames])
    return frames[0].drop(columns=["low", "high"]).assign(price=np.exp(np.asarray(weights) @ logs))


def test_the_mean_is_that_of_log_prices(runs: dict[str, Run]) -> None:
    some = [runs[name] for name in ("one", "two", "weak")]
    found = Ensemble.of(some).predict(split="test")
    frames = [run.predict(split="test") for run in some]
    assert list(found) == ["id", "price", "actual"]  # an interval is of one model
    pd.testing.assert_frame_equal(found, mixed(frames, [1 / 3] * 3), rtol=1e-9)
    assert not np.allclose(found["price"], np.mean([frame["price"] for frame in frames], axis=0), rtol=1e-6)


def test_weights_of_two_are_the_best_on_validation_rows(runs: dict[str, Run]) -> None:
    some = [runs["one"], runs["two"]]
    together = Ensemble.of(some, "val")
    frames = [run.predict(split="val") for run in some]
    errors = [smape(mixed(frames, (share / 100, 1 - share / 100))) for share in range(101)]
    found = smape(together.predict(split="val"))
    assert found == pytest.approx(min(errors), rel=1e-3)
    assert found < min(errors[0], errors[50], errors[100])  # neither alone, nor both alike


def test_weights_sum_to_one_and_lose_to_no_member(runs: dict[str, Run]) -> None:
    some = [runs[name] for name in ("weak", "one", "two")]
    together = Ensemble.of(some, "val")
    assert together.weights.min() >= 0
    assert together.weights.sum() == pytest.approx(1)
    assert together.weights[0] < together.weights[1:].max()
    found = smape(together.predict(split="val"))
    assert found <= min(smape(run.predict(split="val")) for run in some) + 1e-9
    assert found <= smape(Ensemble.of(some).predict(split="val")) + 1e-9
    pd.testing.assert_frame_equal(
        together.predict(split="test"), mixed([run.predict(split="test") for run in some], together.weights), rtol=1e-9
    )


def test_new_rows_are_answered_together(runs: dict[str, Run]) -> None:
    some = [runs["one"], runs["two"]]
    shop = runs["one"].config.data.root
    test = Ensemble.of(some).predict(split="test")
    every = Ensemble.of(some).predict(table=f"{shop}/shop.csv", sources=shop)
    found = every[every["id"].isin(test["id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, test, rtol=1e-5)


def test_new_rows_are_answered_without_the_files_that_were_learned_from(runs: dict[str, Run]) -> None:
    shop = Path(runs["one"].config.data.root)
    away = shop.rename(shop.with_name("away"))
    try:
        some = [load_run(runs[name].folder) for name in ("one", "two")]
        made = Ensemble.of(some).predict(table=str(away / "shop.csv"), sources=str(away))
    finally:
        away.rename(shop)
    assert len(made) == len(shop_frame())


def test_the_shares_are_told_by_folder(runs: dict[str, Run]) -> None:
    one, two = runs["one"], runs["two"]
    assert Ensemble.of([one, two, one]).shares() == {
        str(one.folder): pytest.approx(2 / 3), str(two.folder): pytest.approx(1 / 3),
    }  # fmt: skip


def test_weights_need_the_same_validation_rows(runs: dict[str, Run]) -> None:
    some = [runs["one"], runs["elsewhere"]]
    with pytest.raises(DataError, match=r"elsewhere: its validation rows are not those of .*one"):
        Ensemble.of(some, "val")
    with pytest.raises(DataError, match="the runs do not predict the same rows"):
        Ensemble.of(some).predict(split="test")


@pytest.mark.parametrize("split", ["test", "train"])
def test_weights_are_fitted_on_validation_rows_only(runs: dict[str, Run], split: str) -> None:
    with pytest.raises(ConfigError, match=rf"validation rows, not on '{split}' \(val\)"):
        Ensemble.of([runs["one"], runs["two"]], split)
