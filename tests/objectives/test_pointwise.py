"""Losses and row errors by hand on tiny inputs; masked targets are never read."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from plait.objectives.pointwise import LossName, masked_loss, row_errors

POINT = torch.tensor([[[1.0], [2.0]], [[0.0], [4.0]]])
TARGET = torch.tensor([[[0.0], [float("nan")]], [[3.0], [4.5]]])
MASK = torch.tensor([[[True], [False]], [[True], [True]]])


@pytest.mark.parametrize(
    ("kind", "total"), [("mse", 1 + 9 + 0.25), ("mae", 1 + 3 + 0.5), ("huber", 0.5 + (3 - 0.5) + 0.125)]
)
def test_sums_and_weight(kind: str, total: float) -> None:
    point = POINT.clone().requires_grad_()
    value, weight = masked_loss(point, TARGET, MASK, kind)  # type: ignore[arg-type]
    value.backward()
    assert value.item() == pytest.approx(total)
    assert int(weight) == 3
    assert point.grad is not None
    assert point.grad[0, 1, 0] == 0
    assert torch.isfinite(point.grad).all()


def test_row_errors() -> None:
    scores = row_errors(POINT, TARGET, MASK)
    assert scores["se"].tolist() == [1.0, 9.25]
    assert scores["ae"].tolist() == [1.0, 3.5]
    assert scores["n"].tolist() == [1.0, 2.0]


def test_half_precision_sums_are_float32() -> None:
    known = torch.ones(7, 400, 1, dtype=torch.bool)
    value, _ = masked_loss(torch.ones(7, 400, 1, dtype=torch.bfloat16), torch.zeros(7, 400, 1), known, "mse")
    assert value.dtype == torch.float32
    assert float(value) == 2800.0


@pytest.mark.parametrize(
    "name, loss", [("l1", "mae"), ("l2", "mse"), ("smooth_l1", "huber"), ("mae", "mae"), ("huber", "huber")]
)
def test_losses_are_taken_by_the_names_of_other_toolkits(name: str, loss: str) -> None:
    assert TypeAdapter(LossName).validate_python(name) == loss


@pytest.mark.parametrize("name", ["l3", ["l1"], None])
def test_what_is_no_loss_is_refused(name: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(LossName).validate_python(name)
