"""Candles for tests: real ones, random ones, and the law that no feature reads a later bar."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Columns = dict[str, NDArray[Any]]
Feature = Callable[[Columns], NDArray[np.float64]]

PERPETUAL = "btcusdt_perp_15m_2025-07-03_2025-12-30.csv.gz"
LABELLED = "btcusdt_spot_15m_labelled_2025-09-30_2025-12-29.csv.gz"


def real_candles(shared: Path, name: str = PERPETUAL) -> Columns:
    table = pd.read_csv(shared / "data" / "candles" / name, parse_dates=["open_time"])
    table = table.rename(columns={"buy_volume": "buy", "sell_volume": "sell"})
    return {column: table[column].to_numpy() for column in table}


def random_candles(bars: int, seed: int, volatility: float = 0.007) -> Columns:
    """Candles of a random walk with gaps, its volatility wandering; every eleventh bar has no trade and no move."""
    rng = np.random.default_rng(seed)
    step = rng.standard_normal(bars) * volatility * np.exp(0.5 * rng.standard_normal(bars))
    still = np.arange(bars) % 11 == 3
    step[still] = 0.0
    close = 137.0 * np.exp(np.cumsum(step))
    wick = np.where(still, 0.0, rng.exponential(volatility, (2, bars)))
    gap = np.where(still, 0.0, rng.standard_normal(bars) * volatility)
    start = np.concatenate([[137.0], close[:-1]]) * np.exp(gap)
    buy, sell = np.where(still, 0.0, rng.exponential(53.0, (2, bars)))
    return {
        "open_time": np.datetime64("2025-07-03T15:00", "s") + np.arange(bars) * np.timedelta64(900, "s"),
        "open": start,
        "high": np.maximum(start, close) * (1 + wick[0]),
        "low": np.minimum(start, close) / (1 + wick[1]),
        "close": close,
        "volume": buy + sell,
        "buy": buy,
        "sell": sell,
    }


def flat_candles(bars: int, volume: float) -> Columns:
    """Candles of a price that never moves, at a price that binary numbers cannot hold."""
    columns = random_candles(bars, seed=0)
    prices = {name: np.full(bars, 109_669.9) for name in ("open", "high", "low", "close")}
    return columns | prices | {"volume": np.full(bars, volume), "buy": np.full(bars, volume), "sell": np.zeros(bars)}


def between(columns: Columns, first: int, last: int) -> Columns:
    return {name: column[first:last].copy() for name, column in columns.items()}


def assert_causal(feature: Feature, columns: Columns, warm_up: int, cuts: Sequence[int]) -> None:
    """At every cut, exactly: no later bar matters, none at all, and no bar before the warm-up does."""
    whole = feature(columns)
    bars = len(columns["close"])
    assert whole.shape[0] == bars
    assert np.isnan(whole[:warm_up]).any(axis=1).all()
    assert np.isfinite(whole[warm_up:]).all()
    for t in cuts:
        assert warm_up <= t < bars
        cut = feature(between(columns, 0, t + 1))
        assert np.array_equal(cut, whole[: t + 1], equal_nan=True), f"cut at {t}"
        alone = feature(between(columns, t - warm_up, t + 1))
        assert np.array_equal(alone[-1], whole[t]), f"bars {t - warm_up}..{t} alone"
