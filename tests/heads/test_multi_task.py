"""A readout for every number."""

import pytest
import torch

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.heads.multi_task import MultiTaskConfig


def test_numbers_share_nothing_but_the_tokens() -> None:
    torch.manual_seed(0)
    head = MultiTaskConfig(hidden=7).build(Schema("candles", {"candles": 5}, outputs=3)).eval()
    tokens = Tokens.full(torch.randn(11, 2, 5))
    point = head(tokens, {}).point
    assert point.shape == (11, 3)
    point[:, 1].sum().backward()
    learn = {name.split(".")[1] for name, p in head.named_parameters() if p.grad is not None and p.grad.any()}
    assert learn == {"1"}


def test_without_a_target_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="no target"):
        MultiTaskConfig().build(Schema("candles", {"candles": 5}))
