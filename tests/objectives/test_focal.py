"""The focal loss in closed form, and where nothing is known."""

import math

import pytest
import torch

from plait.objectives.focal import focal

EVERY = torch.tensor([True])


@pytest.mark.parametrize("gamma, alpha", [(2.0, None), (0.0, None), (1.5, 0.25), (0.0, 0.7)])
@pytest.mark.parametrize("event", [0.0, 1.0])
def test_closed_form(gamma: float, alpha: float | None, event: float) -> None:
    logit = 0.7
    chance = 1 / (1 + math.exp(-logit))
    given = chance if event else 1 - chance
    weight = 1.0 if alpha is None else alpha if event else 1 - alpha
    want = -weight * (1 - given) ** gamma * math.log(given)
    found = focal(torch.tensor([logit]), torch.tensor([event]), EVERY, gamma, alpha)
    assert float(found) == pytest.approx(want, rel=1e-6)


def test_far_logits_have_finite_losses_and_gradients() -> None:
    logit = torch.tensor([-200.0, 200.0, 200.0, -200.0, 0.0], requires_grad=True)
    event = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])
    rows = focal(logit, event, torch.ones(5, dtype=torch.bool))
    rows.sum().backward()
    assert torch.isfinite(rows).all()
    assert logit.grad is not None
    assert torch.isfinite(logit.grad).all()
    assert float(rows[2]) == pytest.approx(200.0)


def test_unknown_rows_are_never_read_and_half_precision_is_widened() -> None:
    logit = torch.tensor([0.5, float("nan")], dtype=torch.bfloat16, requires_grad=True)
    event, mask = torch.tensor([1.0, float("nan")]), torch.tensor([True, False])
    rows = focal(logit, event, mask)
    rows.sum().backward()
    assert rows.dtype == torch.float32
    assert rows[1] == 0
    assert logit.grad is not None
    assert logit.grad[1] == 0
