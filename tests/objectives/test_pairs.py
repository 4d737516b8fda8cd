"""Distances of embeddings: a metric below 1 with a gradient everywhere, and their squared errors over pairs."""

import math

import pytest
import torch
from torch import Tensor

from plait.objectives.pairs import ROUND, pair_loss, predicted_distances

ROWS, WIDTH = 7, 5


def _embedding(seed: int = 0) -> Tensor:
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _by_hand(one: Tensor, other: Tensor) -> float:
    r = math.sqrt(sum(float(a - b) ** 2 for a, b in zip(one, other, strict=True)) + ROUND**2) - ROUND
    return r / (1 + r)


def test_a_right_triangle_by_hand() -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    found = predicted_distances(points[:, None], points[None])
    assert found.diagonal().tolist() == [0, 0, 0]
    wanted = torch.tensor([3 / 4, 4 / 5, 5 / 6], dtype=torch.float64)
    torch.testing.assert_close(found[torch.triu_indices(3, 3, 1).unbind()], wanted, atol=ROUND, rtol=0)


def test_it_is_a_metric_below_one() -> None:
    points = 50 * _embedding()
    found = predicted_distances(points[:, None], points[None])
    assert torch.equal(found, found.T)
    assert float(found.max()) < 1
    assert (found[:, :, None] + found[None] - found[:, None] > -1e-12).all()


def test_the_loss_is_the_sum_over_the_pairs_above_the_diagonal() -> None:
    points = _embedding()
    truth = torch.rand(ROWS, ROWS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    total, count = pair_loss(points, truth)
    pairs = [(i, j) for i in range(ROWS) for j in range(i + 1, ROWS)]
    wanted = sum((_by_hand(points[i], points[j]) - float(truth[i, j])) ** 2 for i, j in pairs)
    assert float(total) == pytest.approx(wanted, rel=1e-12)
    assert float(count) == ROWS * (ROWS - 1) / 2
    below = truth.clone()
    below[tuple(torch.tril_indices(ROWS, ROWS))] = torch.nan
    assert torch.equal(pair_loss(points, below)[0], total)


def test_masked_rows_are_never_read() -> None:
    mask = torch.arange(ROWS) % 3 != 1
    points, truth = _embedding(), torch.rand(ROWS, ROWS, dtype=torch.float64)
    wanted = pair_loss(points[mask], truth[mask][:, mask])
    broken, holes = points.clone(), truth.clone()
    broken[~mask], holes[~mask], holes[:, ~mask] = torch.nan, torch.nan, torch.nan
    broken.requires_grad_()
    total, count = pair_loss(broken, holes, mask)
    (gradient,) = torch.autograd.grad(total, broken)
    assert torch.equal(total, wanted[0])
    assert torch.equal(count, wanted[1])
    assert not gradient[~mask].any()
    assert gradient[mask].all()


def test_the_pairs_of_several_first_rows_add_up_to_all() -> None:
    points, truth = _embedding(), torch.rand(ROWS, ROWS, dtype=torch.float64)
    owner = torch.arange(ROWS) % 3
    parts = [pair_loss(points, truth, first=owner == each) for each in range(3)]
    total, count = pair_loss(points, truth)
    assert float(sum(part[0] for part in parts)) == pytest.approx(float(total), rel=1e-12)
    assert [float(part[1]) for part in parts] == [6 + 3 + 0, 5 + 2, 4 + 1]
    assert float(count) == 21


def test_gradients_are_right_also_where_embeddings_are_equal() -> None:
    truth = torch.rand(ROWS, ROWS, dtype=torch.float64)
    apart = _embedding().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pair_loss(x, truth)[0], apart)
    points = _embedding()
    points[1] = points[0]
    points.requires_grad_()
    (gradient,) = torch.autograd.grad(pair_loss(points, truth)[0], points)
    assert torch.isfinite(gradient).all()
    # Of a pair of equal embeddings the gradient is 0: the rest is what the other pairs say.
    others = points.detach().clone().requires_grad_()
    mask = torch.tensor([True, False, *[True] * (ROWS - 2)])
    (alone,) = torch.autograd.grad(pair_loss(others, truth, mask)[0], others)
    torch.testing.assert_close(gradient[0], alone[0])


def test_far_pairs_still_learn() -> None:
    far = torch.tensor([[0.0] * WIDTH, [30.0] * WIDTH], requires_grad=True)
    (gradient,) = torch.autograd.grad(pair_loss(far, torch.zeros(2, 2))[0], far)
    assert float(gradient.norm()) > 1e-4


def test_a_single_row_has_no_pair() -> None:
    total, count = pair_loss(torch.randn(1, 3, requires_grad=True), torch.zeros(1, 1))
    assert (total.item(), count.item()) == (0, 0)
    total.backward()
