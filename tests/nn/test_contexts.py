"""Streams brought to one width: what is refused."""

import pytest
import torch

from plait.core.errors import ConfigError, DataError
from plait.core.kinds import config_class, kinds
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.nn.contexts import Contexts

SEVERAL = [kind for kind in kinds("fusion") if kind != "none"]


@pytest.mark.parametrize("kind", SEVERAL)
@pytest.mark.parametrize("name", ["values", "type", "training", "", "a.b"])
def test_a_name_that_torch_keeps_is_a_config_error(kind: str, name: str) -> None:
    with pytest.raises(ConfigError, match="a stream can't be named"):
        config_class("fusion", kind)().build(Schema("anchor", {"anchor": 8, name: 8}))  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", SEVERAL)
def test_a_stream_that_a_kind_was_not_built_for_is_refused(kind: str) -> None:
    module = config_class("fusion", kind)().build(Schema("a", {"a": 8, "b": 8}))  # type: ignore[attr-defined]
    tokens = Tokens.full(torch.randn(2, 4, 8))
    with pytest.raises(DataError, match="was not built for c"):
        module({"a": tokens, "b": tokens, "c": tokens})


def test_streams_that_are_unknown_or_none_at_all_are_refused() -> None:
    module, tokens = Contexts({"a": 3, "b": 5}, 7), Tokens.full(torch.randn(2, 4, 3))
    with pytest.raises(DataError, match=r"was not built for c.*a, b"):
        module.each({"a": tokens, "c": tokens})
    with pytest.raises(DataError, match="no stream is given"):
        module.each({})
    assert list(module.each({"a": tokens})) == ["a"]
