"""A small shop of products whose files a test can change: a table, a source of one token and one of three."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.data.products import ProductData
from plait.data.sources.products import ProductsSourceConfig

PRODUCTS = [f"k{n:03d}" for n in range(101)]
SPLITS = ("train", "val", "test")
USUAL: dict[str, Any] = {
    "numbers": "size, rooms", "categories": "place, make", "log": "size", "ratios": "size/rooms", "prefix": 1,
    "splits": [0.6, 0.2, 0.2],
}  # fmt: skip


def shop_frame() -> pd.DataFrame:
    """Prices that size and place tell; sizes and places with holes; makers of one or two products."""
    chance = np.random.default_rng(5)
    size, place = chance.uniform(20, 200, 101), chance.choice(["n1", "n2", "s1", "s2", ""], 101)
    price = size * np.where(np.char.startswith(place, "n"), 30, 10) * np.exp(chance.normal(0, 0.2, 101))
    frame = pd.DataFrame(
        {
            "id": PRODUCTS, "price": [f"{p:.2f}" for p in price], "size": [f"{s:.1f}" for s in size],
            "rooms": chance.integers(1, 7, 101).astype(str), "place": place, "make": chance.choice(list("abc"), 101),
            "owner": [f"o{n // 2}" if n % 5 else "" for n in range(101)],
        }
    )  # fmt: skip
    frame.loc[::13, "size"] = ""
    return frame


def photos() -> NDArray[np.float32]:
    """Eleven numbers of 97 products: k000 .. k096; k003 is zero."""
    values = np.random.default_rng(7).normal(3, 2, (97, 11)).astype(np.float32)
    values[3] = 0
    return values


def rooms() -> NDArray[np.float16]:
    """Three tokens of five numbers of 103 products from k010 on; of k020 the second is zero, of k021 all."""
    values = np.random.default_rng(11).normal(0, 1, (103, 3, 5)).astype(np.float16)
    values[10, 1], values[11] = 0, 0
    return values


def photo_ids() -> list[str]:
    return PRODUCTS[:97]


def room_ids() -> list[str]:
    return [f"k{n:03d}" for n in range(10, 113)]


def write_shop(folder: Path, shuffle: int | None = None, frame: pd.DataFrame | None = None) -> dict[str, Any]:
    """Write the files, their rows in another order where asked, and give the fields that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    table = shop_frame() if frame is None else frame
    chance = np.random.default_rng(shuffle)

    def order(count: int) -> NDArray[np.int64]:
        return np.arange(count) if shuffle is None else chance.permutation(count)

    table.iloc[order(len(table))].to_csv(folder / "shop.csv", index=False)
    for name, values, ids in (("photos", photos(), photo_ids()), ("rooms", rooms(), room_ids())):
        rows = order(len(ids))
        np.save(folder / f"{name}.npy", values[rows])
        (folder / f"{name}.ids.txt").write_text("\n".join(ids[row] for row in rows) + "\n")
    sources = {name: {"path": f"{name}.npy"} for name in ("photos", "rooms")}
    return {"root": str(folder), "path": "shop.csv", "sources": sources, **USUAL}


def shop_config(folder: Path, shuffle: int | None = None, **fields: Any) -> ProductsSourceConfig:
    """The source of the shop, whose files are written first; a field that is None stays unset."""
    given = {**write_shop(folder, shuffle), **fields}
    return ProductsSourceConfig.model_validate({name: value for name, value in given.items() if value is not None})


def shop_data(folder: Path, seed: int = 3, **fields: Any) -> ProductData:
    """The data of the shop, read from its files."""
    config = shop_config(folder, **fields)
    return config.build(config.read(), seed)
