"""A file of random candles, and the fields of a small question about them."""

from pathlib import Path
from typing import Any

import pandas as pd

from candle_series import random_candles
from plait.data.candles import CandleData
from plait.data.sources.candles import CandlesConfig

BARS = 1511
SMALL: dict[str, Any] = {
    "lookback": 11, "threshold": 0.05, "topology": {"window": 31, "delay": 3, "bins": 7, "layers": 2},
    "splits": [0.6, 0.2, 0.2], "jobs": 1,
}  # fmt: skip


def candle_file(path: Path, bars: int = BARS, seed: int = 3) -> str:
    """Write a file of candles; returns its path."""
    named = {"buy": "buy_volume", "sell": "sell_volume"}
    pd.DataFrame({named.get(n, n): v for n, v in random_candles(bars, seed).items()}).to_csv(path, index=False)
    return str(path)


def small_data(folder: Path, seed: int = 0, **fields: Any) -> CandleData:
    """The data of a small file."""
    path = folder / "candles.csv"
    if not path.is_file():
        candle_file(path)
    config = CandlesConfig(path=str(path), cache=str(folder / "cache"), **(SMALL | fields))
    return config.build(config.read(), seed)
