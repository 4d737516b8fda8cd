"""A series goes back into the unit of the data, an answer of one a row stays as the head gave it."""

from types import SimpleNamespace

import pytest
import torch

from plait.core.errors import ConfigError
from plait.core.tokens import Prediction
from plait.heads._answers import QUANTILES, check_head, in_data_unit, shifted
from plait.nn.window_norm import Scale


def test_a_series_is_undone_and_logits_are_not() -> None:
    scale = Scale(torch.tensor([[[5.0, -3.0]]]), torch.tensor([[[2.0, 7.0]]]))
    series = in_data_unit(Prediction(torch.ones(1, 3, 2)), scale)
    assert series.point.tolist() == [[[7.0, 4.0]] * 3]
    logits = Prediction(torch.ones(1, 2), {"logits": torch.ones(1, 1, 2)})
    assert in_data_unit(logits, scale) is logits


def test_quantiles_go_back_with_the_point_and_move_with_it() -> None:
    scale = Scale(torch.tensor([[[5.0, -3.0]]]), torch.tensor([[[2.0, 7.0]]]))
    levels = torch.tensor([-1.0, 0.0, 2.0])
    found = Prediction(torch.zeros(1, 3, 2), {QUANTILES: levels.expand(1, 3, 2, 3).clone().requires_grad_()})
    series = in_data_unit(found, scale)
    assert series.parts[QUANTILES].tolist() == [[[[3.0, 5.0, 9.0], [-10.0, -3.0, 11.0]]] * 3]
    by = torch.arange(6.0).reshape(1, 3, 2).requires_grad_()
    moved = shifted(series, by)
    assert torch.equal(moved.point, series.point + by)
    assert torch.equal(moved.parts[QUANTILES][..., 1], moved.point)
    moved.parts[QUANTILES].sum().backward()
    assert torch.equal(by.grad, torch.full((1, 3, 2), 3.0))
    assert found.parts[QUANTILES].grad is None


def test_a_head_of_steps_is_refused_where_a_class_is_asked_for() -> None:
    head = SimpleNamespace(kind="forecast")
    with pytest.raises(ConfigError, match="a class a window"):
        check_head(head, SimpleNamespace(outputs=3))
    check_head(head, SimpleNamespace(outputs=0))
    check_head(head, None)
    check_head(SimpleNamespace(kind="classification"), SimpleNamespace(outputs=3))
