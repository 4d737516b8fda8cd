"""The pinball loss against its definition, and the quantile that it has its least at."""

import numpy as np
import torch

from plait.objectives.quantile import masked_pinball, pinball

LEVELS = (0.1, 0.5, 0.9)


def test_pinball_is_its_definition_on_numbers_done_by_hand() -> None:
    y, quantiles = torch.tensor([[[2.0]], [[-1.0]]]), torch.tensor([[[[1.0, 3.0, 6.0]]], [[[0.0, 1.0, 1.0]]]])
    got = pinball(quantiles, y, torch.ones(2, 1, 1, dtype=torch.bool), LEVELS)
    # 0.1 * 1, 0.5 * 1, 0.1 * 4; then below all three: 0.9 * 1, 0.5 * 2, 0.1 * 2.
    torch.testing.assert_close(got, torch.tensor([[[1.0 / 3]], [[2.1 / 3]]]))


def test_a_target_that_is_not_known_is_never_read_and_never_counted() -> None:
    maker = torch.Generator().manual_seed(0)
    y, quantiles = torch.randn(5, 7, 3, generator=maker), torch.randn(5, 7, 3, 3, generator=maker)
    mask = torch.rand(5, 7, 3, generator=maker) < 0.6
    quantiles.requires_grad_()
    total, count = masked_pinball(quantiles, torch.where(mask, y, torch.nan), mask, LEVELS)
    total.backward()
    assert int(count) == int(mask.sum())
    error = (y[..., None] - quantiles.detach())[mask].numpy()
    level = np.array(LEVELS)
    want = np.where(error > 0, level * error, (level - 1) * error).mean(axis=-1).sum()
    np.testing.assert_allclose(float(total.detach()), want, rtol=1e-5)
    assert quantiles.grad is not None
    assert not quantiles.grad[~mask].any()
    assert quantiles.grad[mask].abs().min() > 0


def test_one_value_for_all_levels_costs_half_its_absolute_error() -> None:
    y, point = torch.randn(3, 5, 2), torch.randn(3, 5, 2)
    got = pinball(point[..., None].expand(-1, -1, -1, 3), y, torch.ones_like(y, dtype=torch.bool), LEVELS)
    torch.testing.assert_close(got, (y - point).abs() / 2)


def test_the_least_loss_is_at_the_quantile_of_the_data() -> None:
    y = torch.from_numpy(np.random.default_rng(0).gamma(2.0, size=997))[:, None, None]
    grid = torch.linspace(0, 8, 1601, dtype=torch.float64)
    for level in (0.07, 0.5, 0.93):
        loss = torch.stack([pinball(torch.full((997, 1, 1, 1), float(q)), y, y > -1, [level]).sum() for q in grid])
        assert abs(float(grid[loss.argmin()]) - float(np.quantile(y.numpy(), level))) < 0.02


def test_half_precision_is_summed_in_single() -> None:
    quantiles = torch.full((1, 3, 1, 3), 1.0, dtype=torch.bfloat16)
    y = torch.full((1, 3, 1), 1.001)
    found = pinball(quantiles, y, y > 0, LEVELS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full((1, 3, 1), 0.0005), rtol=1e-3, atol=0)
