"""Tiny runs of `products` on the shop and on the generator, for tests."""

from pathlib import Path
from typing import Any

import numpy as np

from data.product_shop import write_shop
from plait.runs.assemble import build_data
from plait.runs.config import RunConfig
from plait.runs.recipe import load_recipe, resolve

USUAL: dict[str, Any] = {"device": "cpu", "training.trackers": [], "epochs": 2, "accept": "always"}


def of_shop(folder: Path, shuffle: int | None = None, **fields: Any) -> RunConfig:
    """The tiny run on the shop, whose files are written first."""
    files = {f"data.{name}": value for name, value in write_shop(folder, shuffle).items()}
    own = {"data.pca": None, "data.splits": [0.5, 0.25, 0.25], "training.batch_size": 13}
    return resolve(load_recipe("products"), "tiny", list({**files, **own, **USUAL, **fields}.items()))


def of_generator(size: str = "tiny", **fields: Any) -> RunConfig:
    """The run on a small draw of the generator."""
    own = {"data.kind": "synthetic_products", "data.rows": 199, "data.missing": 0.1}
    return resolve(load_recipe("products"), size, list({**own, **USUAL, **fields}.items()))


def cheap(config: RunConfig) -> Any:
    """One rival alone: the median of the train rows."""
    data = build_data(config)
    task, middle = config.task.build(data), float(np.log(np.median(data.prices("train"))))
    said = {split: np.full(len(data.rows(split)), middle) for split in ("val", "test")}
    return {"constant": {split: task._of_rival(data, split, said[split]) for split in said}}


def smape(said: Any, truth: Any) -> Any:
    """The formula, in float64."""
    said, truth = (np.asarray(values, dtype=np.float64) for values in (said, truth))
    return 200 * np.abs(said - truth) / (said + truth)
