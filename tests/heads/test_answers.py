"""A series goes back into the unit of the data, an answer of one a row stays as the head gave it."""

from types import SimpleNamespace

import pytest
import torch

from plait.core.errors import ConfigError
from plait.core.tokens import Prediction
from plait.heads._answers import check_head, in_data_unit
from plait.nn.window_norm import Scale


def test_a_series_is_undone_and_logits_are_not() -> None:
    scale = Scale(torch.tensor([[[5.0, -3.0]]]), torch.tensor([[[2.0, 7.0]]]))
    series = in_data_unit(Prediction(torch.ones(1, 3, 2)), scale)
    assert series.point.tolist() == [[[7.0, 4.0]] * 3]
    logits = Prediction(torch.ones(1, 2), {"logits": torch.ones(1, 1, 2)})
    assert in_data_unit(logits, scale) is logits


def test_a_head_of_steps_is_refused_where_a_class_is_asked_for() -> None:
    head = SimpleNamespace(kind="forecast")
    with pytest.raises(ConfigError, match="a class a window"):
        check_head(head, SimpleNamespace(outputs=3))
    check_head(head, SimpleNamespace(outputs=0))
    check_head(head, None)
    check_head(SimpleNamespace(kind="classification"), SimpleNamespace(outputs=3))
