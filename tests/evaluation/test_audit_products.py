"""Each leak that can be planted among products is found, and honest data have none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.product_shop import shop_data, shop_frame, write_shop
from plait.core.errors import ConfigError
from plait.data.products import ProductData
from plait.data.sources.products import ProductsSourceConfig
from plait.evaluation.audit.run import audit
from plait.features.attributes import AttributeFit


def _found(data: ProductData, severity: str = "leak") -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in audit(data)["findings"]:
        if each["severity"] == severity:
            found.setdefault(each["check"], []).extend(each["rows"])
    return found


HONEST = [{}, {"pca": 4}, {"group_by": "owner", "folds": 5}, {"categories": "", "prefix": None}]


@pytest.mark.parametrize("fields", HONEST)
def test_honest_data_have_no_leak(tmp_path: Path, fields: dict[str, Any]) -> None:
    result = audit(shop_data(tmp_path, **fields))
    assert (result["leaks"], result["suspects"]) == (0, 0)
    assert [each["check"] for each in result["checks"]] == ["splits", "fitted", "own prices", "recomputed", "columns"]


def test_a_fit_on_other_rows_is_a_leak(tmp_path: Path) -> None:
    data, other = shop_data(tmp_path), shop_data(tmp_path, split_seed=5)
    assert data.ids("train") != other.ids("train")
    mixed = ProductData(data.table, data.config, fitted=other.fitted)
    assert _found(mixed)["fitted"]


def test_encodings_that_know_a_rows_own_price_are_a_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_own(self: AttributeFit, numbers: Any, cells: Any, log_price: Any) -> Any:
        return self.encode(numbers, cells)

    monkeypatch.setattr(AttributeFit, "encode_train", with_own)
    assert set(_found(shop_data(tmp_path))) == {"own prices"}


def test_inputs_that_read_the_price_of_a_held_out_row_are_a_leak(tmp_path: Path) -> None:
    data = shop_data(tmp_path)
    row = int(data.rows_of["test"][2])
    data._features[row, 0] = np.log(data.table.price[row])
    assert _found(data) == {"recomputed": [data.ids("test")[2]]}


def test_a_row_in_two_splits_is_a_leak_and_one_listed_twice_a_suspect(tmp_path: Path) -> None:
    data = shop_data(tmp_path, categories="", prefix=None)
    twin = int(data.rows_of["train"][4])
    other = int(data.rows_of["test"][3])
    for source in (*data.sources.values(), *data.table.sources.values()):
        source.place[other] = source.place[twin]
    assert any(data.table.ids[twin] in row for row in _found(data, "suspect")["splits"])
    data.rows_of["test"] = np.append(data.rows_of["test"], twin)
    assert _found(data)["splits"] == [data.table.ids[twin], f"the group of {data.table.ids[twin]}"]


def test_a_column_that_is_the_price_in_other_words_is_a_leak(tmp_path: Path) -> None:
    frame = shop_frame()
    frame["cents"] = (frame["price"].astype(float) * 100 + 3).map("{:.0f}".format)
    fields = write_shop(tmp_path, frame=frame) | {"numbers": "size, cents", "ratios": "", "log": ""}
    config = ProductsSourceConfig.model_validate(fields)
    data = config.build(config.read(), 3)
    assert _found(data)["columns"] == ["cents"]


def test_shuffled_sources_are_not_audited(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shuffled sources are of other rows"):
        audit(shop_data(tmp_path, placebo=True))
