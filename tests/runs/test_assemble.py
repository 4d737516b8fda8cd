"""Tests of assembling a run: starts that do not fit are refused."""

from typing import Any

import pytest

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.models.chimera import ChimeraConfig, start_from_ridge
from plait.runs.assemble import build_data
from plait.runs.recipe import load_recipe, resolve

SCHEMA = Schema("series", {"series": 3}, tuple("abc"), lookback=11, horizon=5, marks=2, seasons=4)


def test_a_head_with_a_hidden_layer_has_no_ridge_start() -> None:
    data: Any = None  # refused before any data are read
    fields: dict[str, Any] = {"series": {"kind": "linear"}, "head": {"kind": "forecast", "hidden": 7}}
    with pytest.raises(ConfigError, match=r"model\.head\.hidden: .* hidden layer .*model\.series\.start: random"):
        start_from_ridge(ChimeraConfig(**fields).build(SCHEMA), data)
    fields["series"]["start"] = "random"
    assert start_from_ridge(ChimeraConfig(**fields).build(SCHEMA), data) is None


@pytest.mark.parametrize(
    "recipe, fields, words",
    [
        (
            "market",
            {"data.path": "x.csv", "task": "imputation"},
            "imputation is of windows.*--task.kind range_move",
        ),
        ("chimera", {"task": "range_move"}, "the task range_move is of bars, data of kind planted hold windows"),
        ("chimera", {"task": "classification"}, "anomaly or direction or forecast or imputation"),
    ],
)
def test_a_task_of_other_rows_is_refused_before_the_data_are_read(
    recipe: str, fields: dict[str, Any], words: str
) -> None:
    config = resolve(load_recipe(recipe), "tiny", list(fields.items()))
    with pytest.raises(ConfigError, match=words):
        build_data(config)
