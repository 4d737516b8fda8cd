"""The table of products: usual columns, prices and ids that are refused by row, and joins counted both ways."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from data.product_shop import PRODUCTS, photo_ids, photos, room_ids, rooms, shop_frame
from plait.core.errors import ConfigError, DataError
from plait.data.embedding_files import Embeddings
from plait.data.product_table import ProductTable, group_numbers, product_table


def table_of(frame: pd.DataFrame | None = None, **fields: Any) -> ProductTable:
    return product_table(shop_frame() if frame is None else frame, "in/shop.csv", **fields)


def test_rows_come_in_the_order_of_their_ids() -> None:
    frame = shop_frame()
    mixed = frame.sample(frac=1, random_state=3)
    fields: dict[str, Any] = {"numbers": ["size"], "categories": ["place"], "group_by": "owner"}
    sources = [Embeddings.of("photos", photo_ids(), photos())]
    made, plain = (table_of(each, sources=sources, **fields) for each in (mixed, frame))
    assert made.ids == plain.ids == tuple(PRODUCTS)
    np.testing.assert_array_equal(made.price, frame["price"].astype(float))
    np.testing.assert_array_equal(made.numbers["size"], pd.to_numeric(frame["size"]))
    assert made.categories["place"] == tuple(frame["place"])
    assert made.groups == tuple(frame["owner"])
    assert made.fingerprint() == plain.fingerprint()
    assert made.fingerprint() != table_of(frame, **fields).fingerprint()
    frame.loc[100, "place"] = "n9"
    assert made.fingerprint() != table_of(frame, sources=sources, **fields).fingerprint()


@pytest.mark.parametrize("name", ["id", "house_id", "sample_id", "product_id", "shop_id"])
def test_ids_are_found_by_usual_names(name: str) -> None:
    assert table_of(shop_frame().rename(columns={"id": name, "price": "price_usd"})).ids == tuple(PRODUCTS)
    assert table_of(shop_frame().rename(columns={"id": "own"}), id="own").ids == tuple(PRODUCTS)


def test_columns_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match=r"no column is called id or .* or shop_id: there is make, .*\(name it by"):
        table_of(shop_frame().rename(columns={"id": "x"}))
    with pytest.raises(ConfigError, match=r"no column is called price or price_usd.*data\.price"):
        table_of(shop_frame().rename(columns={"price": "x"}))
    with pytest.raises(DataError, match=r"no column 'sise' \(did you mean size\? set data\.numbers\)"):
        table_of(numbers=["sise"])
    with pytest.raises(DataError, match=r"set data\.group_by"):
        table_of(group_by="ownr")
    with pytest.raises(ConfigError, match="the price 'price' is among what the model is told"):
        table_of(numbers=["price"])
    with pytest.raises(ConfigError, match="the id 'id' is among"):
        table_of(categories=["id"])
    with pytest.raises(DataError, match="the table has no rows"):
        table_of(shop_frame().iloc[:0])


def test_prices_that_are_no_prices_name_their_rows() -> None:
    frame = shop_frame()
    frame.loc[[2, 7, 11, 13], "price"] = ["0", "-3", "", "many"]
    want = r"4 of 101 rows have no price above 0: row 3 \(id k002\) '0', row 8 \(id k007\) '-3', row 12 \(id k011\) ''"
    with pytest.raises(DataError, match=want):
        table_of(frame)
    new = table_of(frame, new=True)
    assert np.flatnonzero(np.isnan(new.price)).tolist() == [2, 7, 11, 13]
    assert any("count" in str(found) and str(found).startswith("4 rows have no price") for found in new.findings)
    without = table_of(frame.drop(columns=["price", "size"]), new=True, numbers=["size"], categories=["place"])
    assert np.isnan(without.price).all()
    assert np.isnan(without.numbers["size"]).all()
    assert any("rows have no column size" in str(found) for found in without.findings)


def test_ids_that_are_empty_or_stand_twice() -> None:
    frame = shop_frame()
    frame.loc[[4, 6], "id"] = ["k003", " "]
    with pytest.raises(DataError, match="1 rows have no id: row 7"):
        table_of(frame)
    frame.loc[6, "id"] = "k005"
    with pytest.raises(DataError, match="2 ids stand more than once: k003, k005"):
        table_of(frame)


def test_joins_are_counted_both_ways() -> None:
    made = table_of(sources=[Embeddings.of("photos", photo_ids(), photos()), Embeddings.of("r", room_ids(), rooms())])
    said = [str(found) for found in made.findings]
    assert "4 rows of the table have no row of source photos: it is absent there: k097, k098, k099, k100" in said
    assert any(each.startswith("10 rows of the table have no row of source r:") for each in said)
    beyond = "12 rows of source r are of no row of the table and are left out: k101, k102, k103, k104, k105"
    assert beyond in said
    assert not any("source photos are of no row" in each for each in said)
    assert made.sources["r"].place[[9, 10, 100]].tolist() == [-1, 0, 90]
    assert np.flatnonzero(~made.sources["photos"].there).tolist() == [3, 97, 98, 99, 100]
    with pytest.raises(DataError, match=r"0 of 97 rows of the source \(0, 1, 2, 3, 4, \.\.\.\) and 0 of 101 of the"):
        table_of(sources=[Embeddings.of("photos", [str(n) for n in range(97)], photos())])


def test_rows_of_one_group_share_a_number() -> None:
    codes = group_numbers(("b", "", "a", "b", "", "x"), ("b", "q", "x", "y", "a", "z"))
    assert len(set(codes)) == 5
    assert codes[0] == codes[3]
    assert group_numbers(None, ("a", "b", "c")).tolist() == [0, 1, 2]
