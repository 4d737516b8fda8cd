"""Intervals around forecasts: their ends, what they hold, and what they leave unsaid."""

import numpy as np
import pytest
import torch

from plait.baselines.panel import Panel
from plait.core.tokens import Prediction
from plait.heads._answers import QUANTILES
from plait.objectives.quantile import pinball
from plait.tasks._forecast_rivals import Asked, forecast_spreads
from plait.tasks._intervals import ROUNDING, Intervals, misses, pair_of

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)


def test_the_pair_is_that_of_the_coverage_or_the_outermost() -> None:
    assert pair_of(LEVELS, 0.4) == (1, 3)
    assert pair_of(LEVELS, 0.8) == (0, 4)
    assert pair_of(LEVELS, 0.9) == (0, 4)
    assert pair_of((), 0.9) is None


def test_the_ends_of_an_interval_hold_the_point_and_may_lack() -> None:
    point = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    quantiles = point[..., None] + torch.tensor([-1.0, 0.0, 3.0])
    reach = torch.tensor([[0.5, -0.75], [-2.0, torch.inf]], dtype=torch.float64)
    low, high = Intervals(0.8, reach, (0, 2)).bounds(Prediction(point, {QUANTILES: quantiles}))
    # Drawn in by 2, the lower end would pass the point.
    np.testing.assert_allclose(low, [[[-0.5, 1.75], [3.0, np.nan]]])
    np.testing.assert_allclose(high, [[[4.5, 4.25], [4.0, np.nan]]])


def test_what_is_held_is_counted_over_known_and_bounded_targets() -> None:
    maker = torch.Generator().manual_seed(0)
    point, y = (torch.randn(11, 3, 2, generator=maker) for _ in range(2))
    mask = torch.rand(11, 3, 2, generator=maker) < 0.6
    reach = torch.tensor([[0.5, 1.0], [torch.inf, 1.5], [0.25, 2.0]], dtype=torch.float64)
    sums = Intervals(0.9, reach).row_sums(Prediction(point), torch.where(mask, y, torch.nan), mask)
    asked = mask & ~reach.isinf()
    inside = asked & ((y - point).abs() <= reach)
    assert torch.equal(sums["asked"], asked.sum(dim=(1, 2)).double())
    assert torch.equal(sums["covered"], inside.sum(dim=(1, 2)).double())
    want = torch.where(asked, 2 * reach, 0.0).sum(dim=(1, 2))
    torch.testing.assert_close(sums["width"], want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pair", [None, (0, 4)])
def test_on_the_rows_they_were_measured_on_intervals_hold_exactly_the_rank(pair: tuple[int, int] | None) -> None:
    maker = torch.Generator().manual_seed(2)
    point, y = (torch.randn(31, 5, 2, generator=maker) for _ in range(2))
    found = Prediction(point, {QUANTILES: point[..., None] + torch.tensor([-0.2, -0.1, 0.0, 0.1, 0.4])})
    mask = torch.ones_like(y, dtype=torch.bool)
    mask[::4, 1] = False
    intervals = Intervals.of(misses(found, torch.where(mask, y, torch.nan), mask, pair).numpy(), 0.75, pair)
    held = intervals.held(found, y, mask)
    # ceil(32 * 0.75) of 31; where 8 of 31 are not known ceil(24 * 0.75) of 23.
    assert held.covered.sum(dim=0).tolist() == [[24, 24], [18, 18], [24, 24], [24, 24], [24, 24]]


def test_a_rival_has_the_intervals_and_quantiles_of_its_own_validation_errors() -> None:
    rng = np.random.default_rng(3)
    z = rng.standard_normal((97, 2))
    z[rng.random((97, 2)) < 0.1] = np.nan
    origins = {"train": np.arange(4, 30), "val": np.arange(31, 58), "test": np.arange(60, 93)}
    panel = Panel(z, 1, np.zeros(97, dtype=np.int64), 1, 5, 3, origins, 40)
    forecast = {split: rng.standard_normal((len(at), 3, 2)) for split, at in origins.items()}
    found = forecast_spreads(panel, forecast, Asked(0.8, LEVELS))[1]
    covered, asked, loss = np.zeros(33), np.zeros(33), np.zeros(33)
    for step in range(3):
        for variate in range(2):
            errors = panel.targets("val")[:, step, variate] - forecast["val"][:, step, variate]
            errors = errors[~np.isnan(errors)]
            reach = np.sort(np.abs(errors))[int(np.ceil((len(errors) + 1) * 0.8)) - 1] + ROUNDING
            for row in range(33):
                y, point = panel.targets("test")[row, step, variate], forecast["test"][row, step, variate]
                if np.isnan(y):
                    continue
                asked[row] += 1
                covered[row] += abs(y - point) <= reach
                said = torch.tensor(point + np.quantile(errors, LEVELS)).reshape(1, 1, 1, 5)
                loss[row] += float(pinball(said, torch.full((1, 1, 1), y), torch.ones(1, 1, 1) > 0, LEVELS))
    np.testing.assert_array_equal(found["covered"], covered)
    np.testing.assert_array_equal(found["asked"], asked)
    np.testing.assert_allclose(found["pinball"], loss)
