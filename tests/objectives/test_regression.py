"""Losses by hand and against independent NumPy forms; masked rows are never read, neither value nor gradient."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from plait.core.errors import ConfigError, DataError
from plait.objectives.pointwise import masked_loss
from plait.objectives.regression import (
    asymmetric_loss,
    cdf_of_bins,
    crps_of_bins,
    median_of_bins,
    quantile_loss,
    quantiles_of_bins,
    thresholds_of,
)

NAN = float("nan")
GRID = torch.tensor([0.0, 1.0, 1.5, 4.0, 6.0, 11.0, 13.0], dtype=torch.float64)
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
ALL = torch.ones(1, dtype=torch.bool)


def _mass_at(bin: int, bins: int = 7) -> Tensor:
    return torch.where(torch.arange(bins) == bin, 0.0, -1e4).double()[None]


def _crps_by_integration(shares: np.ndarray, y: float, grid: np.ndarray) -> float:
    """Riemann sum of (F(t) - 1[y <= t])^2 for the step function F, on a fine grid of midpoints."""
    edges = np.linspace(min(grid[0], y) - 1, max(grid[-1], y) + 1, 400_001)
    middle = (edges[1:] + edges[:-1]) / 2
    steps = np.concatenate([[0.0], np.cumsum(shares)])
    f = steps[np.searchsorted(grid, middle, side="right")]
    return float(((f - (y <= middle)) ** 2).sum() * (edges[1] - edges[0]))


def test_asymmetric_by_hand() -> None:
    point = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    total, weight = asymmetric_loss(point, torch.tensor([1.0, 4.0, NAN]), torch.tensor([True, True, False]), 2.0, 0.5)
    total.backward()
    assert (total.item(), int(weight)) == (2 * 2 + 0.5 * 3, 2)
    assert point.grad is not None
    assert point.grad.tolist() == [2.0, -0.5, 0.0]


def test_asymmetric_with_equal_weights_is_the_mae() -> None:
    point, y, mask = torch.randn(5, 3), torch.randn(5, 3), torch.rand(5, 3) > 0.3
    torch.testing.assert_close(asymmetric_loss(point, y, mask), masked_loss(point, y, mask, "mae"))


def test_asymmetric_is_least_at_its_quantile() -> None:
    y = torch.arange(101.0)
    points = torch.arange(101.0)
    sums = torch.stack([asymmetric_loss(p.expand(101), y, torch.ones(101, dtype=torch.bool), 1, 3)[0] for p in points])
    assert sums.argmin() == 75


def test_pinball_by_hand() -> None:
    predicted = torch.tensor([[1.0, 2.0, 4.0], [NAN, NAN, NAN]], requires_grad=True)
    total, weight = quantile_loss(predicted, torch.tensor([3.0, 7.0]), torch.tensor([True, False]), (0.1, 0.5, 0.9))
    total.backward()
    assert total.item() == pytest.approx(0.1 * 2 + 0.5 * 1 + 0.1 * 1)
    assert int(weight) == 3
    assert total.dtype == torch.float32
    assert predicted.grad is not None
    torch.testing.assert_close(predicted.grad, torch.tensor([[-0.1, -0.5, 0.1], [0.0, 0.0, 0.0]]))


def test_pinball_of_the_median_is_half_the_mae_and_is_least_at_the_quantile() -> None:
    y, mask = torch.arange(101.0), torch.ones(101, dtype=torch.bool)
    point = torch.randn(101)
    half = quantile_loss(point[:, None], y, mask, (0.5,))[0]
    torch.testing.assert_close(half, masked_loss(point, y, mask, "mae")[0] / 2)
    sums = torch.stack([quantile_loss(p.expand(101, 1), y, mask, (0.3,))[0] for p in torch.arange(101.0)])
    assert sums.argmin() == 30


@pytest.mark.parametrize("at", range(7))
@pytest.mark.parametrize("known", range(7))
def test_crps_of_a_point_mass_is_the_distance(at: int, known: int) -> None:
    total, weight = crps_of_bins(_mass_at(at), GRID[known : known + 1], ALL, GRID)
    assert total.item() == pytest.approx(abs(float(GRID[known] - GRID[at])), abs=1e-12)
    assert int(weight) == 1


@pytest.mark.parametrize("y", [-3.0, 0.2, 1.2, 5.9, 12.0, 20.0])
@pytest.mark.parametrize("at", range(7))
def test_off_the_grid_it_is_the_distance_up_to_the_gap(y: float, at: int) -> None:
    total = crps_of_bins(_mass_at(at), torch.tensor([y]).double(), ALL, GRID)[0].item()
    above = min((t for t in GRID.tolist() if t >= y), default=y)
    gap = above - y if y >= 0 else 0.0
    assert abs(total - abs(y - float(GRID[at]))) <= gap + 1e-12


@given(
    logits=arrays(np.float64, 7, elements=st.floats(-5, 5)),
    y=st.one_of(st.sampled_from(GRID.tolist()), st.floats(-4, 0), st.floats(13, 20)),
)
def test_crps_is_the_integral(logits: np.ndarray, y: float) -> None:
    shares = np.exp(logits) / np.exp(logits).sum()
    total = crps_of_bins(torch.from_numpy(logits)[None], torch.tensor([y]).double(), ALL, GRID)[0]
    assert total.item() == pytest.approx(_crps_by_integration(shares, y, GRID.numpy()), abs=2e-4)


def test_crps_is_half_the_mean_difference_form() -> None:
    """E|X - y| - E|X - X'| / 2 of Gneiting & Raftery, eq. 21, for the distribution of masses on the thresholds."""
    torch.manual_seed(0)
    logits, y = torch.randn(5, 7, dtype=torch.float64), GRID[[0, 2, 3, 5, 6]]
    shares, x = logits.softmax(-1), GRID
    spread = (x[:, None] - x).abs()
    expected = (shares * (x - y[:, None]).abs()).sum() - 0.5 * torch.einsum("bi,bj,ij->", shares, shares, spread)
    total, weight = crps_of_bins(logits, y, torch.ones(5, dtype=torch.bool), GRID)
    torch.testing.assert_close(total, expected)
    assert int(weight) == 5


def test_crps_asks_for_the_distribution_of_the_targets() -> None:
    """Fitted freely, F at a threshold is the share of targets up to it: the loss is proper also off the grid."""
    y = torch.rand(211, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 12 + 0.5
    logits = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], lr=1, max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        total, weight = crps_of_bins(logits.expand(211, 7), y, torch.ones(211, dtype=torch.bool), GRID)
        (total / weight).backward()
        return total / weight

    optimiser.step(closure)
    share = (y[:, None] <= GRID).double().mean(0)
    torch.testing.assert_close(cdf_of_bins(logits.detach()), share, atol=2e-3, rtol=0)


def test_crps_and_readouts_have_the_gradient_of_their_formula() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    y, mask = torch.tensor([-1.0, 5.0, 99.0]).double(), torch.tensor([True, True, False])
    assert torch.autograd.gradcheck(lambda z: crps_of_bins(z, y, mask, GRID)[0], logits)
    assert torch.autograd.gradcheck(lambda z: quantiles_of_bins(cdf_of_bins(z), GRID, LEVELS), logits)


def test_masked_rows_of_bins_are_never_read() -> None:
    logits = torch.randn(3, 2, 7)
    logits[1, 0] = NAN
    logits.requires_grad_()
    y = torch.tensor([[1.0, 2.0], [NAN, 3.0], [4.0, float("inf")]])
    mask = torch.tensor([[True, True], [False, True], [True, False]])
    total, weight = crps_of_bins(logits, y, mask, GRID.float())
    total.backward()
    parts = [crps_of_bins(logits[b, o], y[b, o], mask[b, o], GRID.float())[0] for b, o in mask.nonzero().tolist()]
    torch.testing.assert_close(total, torch.stack(parts).sum())
    assert int(weight) == 4
    assert logits.grad is not None
    assert (logits.grad[~mask] == 0).all()
    assert (logits.grad[mask].abs().sum(-1) > 0).all()


def test_losses_of_half_precision_are_float32() -> None:
    logits, y, mask = torch.randn(5, 7).bfloat16(), torch.rand(5), torch.ones(5, dtype=torch.bool)
    assert crps_of_bins(logits, y, mask, GRID.float())[0].dtype == torch.float32
    assert asymmetric_loss(logits[:, 0], y, mask)[0].dtype == torch.float32
    assert quantile_loss(logits, y, mask, [0.1 + n / 10 for n in range(7)])[0].dtype == torch.float32


@given(logits=arrays(np.float32, (5, 41), elements=st.floats(-80, 80, width=32)))
def test_the_distribution_function_never_falls(logits: np.ndarray) -> None:
    cdf = cdf_of_bins(torch.from_numpy(logits))
    assert (cdf.diff(dim=-1) >= 0).all()
    assert (cdf >= 0).all()
    assert (cdf <= 1).all()
    torch.testing.assert_close(cdf, torch.from_numpy(logits).softmax(-1).cumsum(-1), atol=1e-6, rtol=0)
    torch.testing.assert_close(cdf[:, -1], torch.ones(5))


@given(
    logits=arrays(np.float32, (5, 7), elements=st.floats(-60, 60, width=32)),
    levels=st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=11),
)
def test_quantiles_do_not_cross_and_stay_in_the_support(logits: np.ndarray, levels: list[float]) -> None:
    values = quantiles_of_bins(cdf_of_bins(torch.from_numpy(logits)), GRID.float(), sorted(levels))
    assert values.shape == (5, len(levels))
    assert (values.diff(dim=-1) >= 0).all()
    assert (values >= 0).all()
    assert (values <= 13).all()


def test_quantiles_are_numpys_interpolation() -> None:
    torch.manual_seed(0)
    cdf = cdf_of_bins(torch.randn(3, 5, 7, dtype=torch.float64))
    expected = np.array([[np.interp(LEVELS, row, GRID.numpy()) for row in rows] for rows in cdf.numpy()])
    values = quantiles_of_bins(cdf, GRID, LEVELS)
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-12)
    np.testing.assert_array_equal(median_of_bins(cdf, GRID).numpy(), values[..., 2].numpy())


def test_a_quantile_at_a_threshold_does_not_round_beyond_it() -> None:
    edges = torch.randn(1009, 2, generator=torch.Generator().manual_seed(0)).sort(-1).values
    assert (edges[:, 0] + edges.diff(dim=-1)[:, 0] > edges[:, 1]).any()
    cdf = torch.tensor([[0.25, 0.75]])
    for thresholds in edges:
        assert quantiles_of_bins(cdf, thresholds, (0.75,)) <= thresholds[1]


def test_quantiles_at_the_ends() -> None:
    low, high = (cdf_of_bins(_mass_at(at)) for at in (0, 6))
    assert quantiles_of_bins(low, GRID, LEVELS).tolist() == [[0.0] * 5]
    between = quantiles_of_bins(high, GRID, LEVELS)
    np.testing.assert_allclose(between, 11 + 2 * np.array([LEVELS]))
    short = torch.tensor([[0.5, 0.8]])  # A sum that stops short of the level.
    assert quantiles_of_bins(short, torch.tensor([1.0, 2.0]), (0.9,)).tolist() == [[2.0]]


def test_thresholds_are_quantiles_without_repeats() -> None:
    y = np.concatenate([np.zeros(50), np.arange(1.0, 51.0)])
    thresholds = thresholds_of(y, 11)
    assert thresholds.tolist() == pytest.approx(np.unique(np.quantile(y, np.linspace(0, 1, 11))).tolist())
    assert (thresholds.diff() > 0).all()
    assert (thresholds[0], thresholds[-1]) == (0, 50)
    assert len(thresholds_of(np.random.default_rng(0).random(307))) == 40
    for bad in (np.ones(7), np.array([0.0, np.nan]), np.array([np.nan])):
        with pytest.raises(DataError, match="do not spread over two bins"):
            thresholds_of(bad)


def test_levels_weights_and_bins_are_checked() -> None:
    y, mask = torch.zeros(3), torch.ones(3, dtype=torch.bool)
    for levels in ((), (0.0,), (0.5, 1.0), (NAN,)):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            quantile_loss(torch.zeros(3, len(levels)), y, mask, levels)
    for over, under in ((0.0, 1.0), (1.0, -1.0), (NAN, 1.0)):
        with pytest.raises(ConfigError, match="positive"):
            asymmetric_loss(y, y, mask, over, under)
    with pytest.raises(ConfigError, match="5 bins, but 7 thresholds"):
        crps_of_bins(torch.zeros(3, 5), y, mask, GRID)


def test_a_batch_without_a_known_row_weighs_nothing() -> None:
    nothing = torch.zeros(3, dtype=torch.bool)
    y, logits = torch.full((3,), NAN), torch.full((3, 7), NAN, requires_grad=True)
    for total, weight in (
        crps_of_bins(logits, y, nothing, GRID),
        quantile_loss(logits, y, nothing, [0.1 + n / 10 for n in range(7)]),
        asymmetric_loss(logits[:, 0], y, nothing),
    ):
        assert (total.item(), weight.item()) == (0.0, 0.0)
        (gradient,) = torch.autograd.grad(total, logits)
        assert (gradient == 0).all()
