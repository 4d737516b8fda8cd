"""Tests of assembling a run: starts that do not fit are refused."""

from typing import Any

import pytest

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.models.chimera import ChimeraConfig, start_from_ridge

SCHEMA = Schema("series", {"series": 3}, tuple("abc"), lookback=11, horizon=5, marks=2, seasons=4)


def test_a_head_with_a_hidden_layer_has_no_ridge_start() -> None:
    data: Any = None  # refused before any data are read
    fields: dict[str, Any] = {"series": {"kind": "linear"}, "head": {"kind": "forecast", "hidden": 7}}
    with pytest.raises(ConfigError, match=r"model\.head\.hidden: .* hidden layer .*model\.series\.start: random"):
        start_from_ridge(ChimeraConfig(**fields).build(SCHEMA), data)
    fields["series"]["start"] = "random"
    assert start_from_ridge(ChimeraConfig(**fields).build(SCHEMA), data) is None
