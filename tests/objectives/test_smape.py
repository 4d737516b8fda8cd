"""SMAPE from logarithms of prices: the textbook formula, both ends, gradients that live, tiers to the edge."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from plait.core.errors import ConfigError
from plait.objectives.smape import (
    SEED_EDGES,
    TIER_WEIGHTS,
    focal_smape_rows,
    hybrid_focal_smape_rows,
    log_price,
    price_of,
    smape,
    smape_rows,
    tier_weights,
    weighted_smape_rows,
    weights_of_rows,
    z_of,
)

PRICES = np.geomspace(0.01, 1e7, 101)
LOSSES: dict[str, Any] = {
    "smape": smape_rows,
    "weighted": weighted_smape_rows,
    "focal": focal_smape_rows,
    "focal of a root": lambda z, y, mask: focal_smape_rows(z, y, mask, 0.5),
    "hybrid": hybrid_focal_smape_rows,
}


def known(z: Tensor) -> Tensor:
    return torch.ones_like(z, dtype=torch.bool)


def test_it_is_the_textbook_formula_over_all_pairs_of_prices() -> None:
    p, t = PRICES[:, None], PRICES[None, :]
    want = 200 * np.abs(p - t) / (p + t)
    np.testing.assert_allclose(smape(np.log(p), np.log(t)), want, rtol=1e-12, atol=1e-11)
    z = torch.from_numpy(np.log1p(PRICES))
    both = torch.broadcast_tensors(z[:, None], z[None, :])
    rows = smape_rows(both[0].double(), both[1].double(), known(both[0]))
    np.testing.assert_allclose(rows.numpy(), want, rtol=1e-10, atol=1e-9)


@given(st.floats(-3, 17), st.floats(-3, 17))
def test_it_is_symmetric_and_within_its_range(one: float, other: float) -> None:
    a, b = torch.tensor([one], dtype=torch.float64), torch.tensor([other], dtype=torch.float64)
    assert torch.equal(smape(a, b), smape(b, a))
    assert 0 <= float(smape(a, b)) <= 200
    assert float(smape(a, b)) == pytest.approx(200 * math.tanh(abs(one - other) / 2), rel=1e-13, abs=1e-11)


def test_from_a_cent_on_z_is_log1p_of_the_price() -> None:
    z = np.log1p(PRICES)
    np.testing.assert_allclose(price_of(z), PRICES, rtol=1e-12)
    np.testing.assert_allclose(log_price(z), np.log(PRICES), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(z_of(PRICES), z, rtol=1e-15)


def test_below_a_cent_the_logarithm_goes_on_and_meets_it() -> None:
    edge = math.log1p(0.01)
    assert float(log_price(np.array(edge - 2.5))) == pytest.approx(math.log(0.01) - 2.5)
    sides = log_price(np.array([edge - 1e-12, edge, edge + 1e-12]))
    np.testing.assert_allclose(sides, math.log(0.01), atol=1e-9)
    assert (np.diff(log_price(np.linspace(-1, 1, 2003))) > 0).all()


@given(st.floats(-30, 30))
def test_price_and_z_are_inverse(z: float) -> None:
    assert float(z_of(price_of(np.array(z)))) == pytest.approx(z, rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_z_stand_for_prices_that_can_be_held(dtype: torch.dtype) -> None:
    z = torch.tensor([-1e4, -200.0, 200.0, 1e4], dtype=dtype, requires_grad=True)
    price = price_of(z)
    price.sum().backward()
    assert torch.isfinite(price).all()
    assert (price > 0).all()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    want = [math.log(0.01) - 1e4 - math.log1p(0.01), 1e4]
    torch.testing.assert_close(log_price(z.detach())[[0, -1]], torch.tensor(want, dtype=dtype))


def test_tensors_and_arrays_give_the_same() -> None:
    z = np.linspace(-3, 15, 31)
    for of in (log_price, price_of):
        np.testing.assert_array_equal(of(torch.from_numpy(z)).numpy(), of(z))
    assert log_price(z.astype(np.float32)).dtype == np.float64


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("price", [0.5, 10.0, 3e5])
def test_gradients_are_finite_and_point_to_the_price(kind: str, price: float) -> None:
    z = torch.tensor([-20.0, -5.0, -3.0, -0.5, 0.0, 1e-3, 12.0], requires_grad=True)
    y = torch.full_like(z, math.log1p(price))
    LOSSES[kind](z, y, known(z)).sum().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert torch.equal(z.grad.sign(), (z.detach() - y).sign())


def test_the_gradient_near_200_is_that_of_the_formula() -> None:
    """100 / cosh^2(gap / 2), in float32, where 1 - tanh^2 has long rounded to 0."""
    gap = torch.tensor([0.5, 0.999, 1.001, 5.0, 12.0, 20.0, 40.0], requires_grad=True)
    smape(gap, torch.zeros_like(gap)).sum().backward()
    assert gap.grad is not None
    want = [100 / math.cosh(float(g) / 2) ** 2 for g in gap.detach()]
    np.testing.assert_allclose(gap.grad.numpy(), want, rtol=1e-5)


@pytest.mark.parametrize("kind", LOSSES)
def test_nothing_overflows(kind: str) -> None:
    z = torch.tensor([-1e4, 1e4, 1e4, -1e4, 3.0], requires_grad=True)
    y = torch.tensor([1e4, -1e4, 2.0, 2.0, 3.0])
    rows = LOSSES[kind](z, y, known(z))
    rows.sum().backward()
    assert torch.isfinite(rows).all()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert float(rows.detach()[-1]) == 0


@pytest.mark.parametrize("kind", LOSSES)
def test_unknown_rows_are_never_read_and_half_precision_is_widened(kind: str) -> None:
    nan = float("nan")
    z = torch.tensor([[2.0], [nan], [1.0]], dtype=torch.bfloat16, requires_grad=True)
    y, mask = torch.tensor([[1.0], [nan], [nan]]), torch.tensor([[True], [False], [False]])
    rows = LOSSES[kind](z, y, mask)
    rows.sum().backward()
    assert rows.dtype == torch.float32
    assert float(rows.detach()[0]) > 0
    assert rows[1:].tolist() == [[0.0], [0.0]]
    assert z.grad is not None
    assert torch.isfinite(z.grad[0]).all()
    assert z.grad[1:].tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("gamma, share", [(0.0, 0.3), (2.0, 0.5), (0.5, 1.0), (3.0, 0.0)])
def test_focal_and_hybrid_in_closed_form(gamma: float, share: float) -> None:
    p, t = 7.0, 19.0
    s = 200 * (t - p) / (p + t)
    z, y = (torch.tensor([math.log1p(price)], dtype=torch.float64) for price in (p, t))
    focal = focal_smape_rows(z, y, known(z), gamma)
    hybrid = hybrid_focal_smape_rows(z, y, known(z), gamma, share)
    assert float(focal) == pytest.approx(s * (s / 200) ** gamma)
    assert float(hybrid) == pytest.approx((1 - share) * s + share * s * (s / 200) ** gamma)


@pytest.mark.parametrize(
    "price, weight",
    [
        *((0.01, 10), (4.999, 10), (5.0, 8), (9.999, 8), (10.0, 6), (29.999, 6)),
        *((30.0, 4), (59.999, 4), (60.0, 2), (199.99, 2), (200.0, 1), (1e6, 1)),
    ],
)
def test_every_tier_of_the_seed_to_its_edge(price: float, weight: float) -> None:
    assert float(tier_weights(torch.tensor([price], dtype=torch.float64))) == weight
    y = torch.from_numpy(np.log1p(np.array([price])).astype(np.float32))
    assert float(weights_of_rows(y, known(y))) == weight
    z = y + 0.25
    assert float(weighted_smape_rows(z, y, known(z))) == pytest.approx(float(smape_rows(z, y, known(z))) * weight)


def test_the_weighted_mean_is_in_units_of_smape() -> None:
    """Every price twice what is said: whatever the weights, the mean is the one SMAPE of 2 : 1."""
    price = np.array([2.0, 7.0, 19.0, 41.0, 101.0, 499.0])
    y, z = (torch.from_numpy(z_of(p)) for p in (price, price / 2))
    rows, weights = weighted_smape_rows(z, y, known(y)), weights_of_rows(y, known(y))
    assert weights.tolist() == list(TIER_WEIGHTS)
    assert float(rows.sum() / weights.sum()) == pytest.approx(200 / 3)


def test_edges_of_quantiles_and_unknown_rows() -> None:
    y = torch.tensor([math.log1p(3), float("nan"), math.log1p(1000)])
    found = weights_of_rows(y, torch.tensor([True, False, True]), (11.0,), (3.0, 0.5))
    assert found.tolist() == [3.0, 0.0, 0.5]


@pytest.mark.parametrize(
    "edges, weights, message",
    [
        ((5.0, 5.0), (3.0, 2.0, 1.0), "must rise"),
        ((5.0, float("nan")), (3.0, 2.0, 1.0), "must rise"),
        (SEED_EDGES, TIER_WEIGHTS[:-1], "5 edges part prices into 6 tiers, but there are 5 weights"),
        ((5.0,), (1.0, 0.0), "must be positive"),
    ],
)
def test_tables_that_are_none_are_refused(edges: Any, weights: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tier_weights(torch.ones(3), edges, weights)


def test_shares_and_powers_out_of_range_are_refused() -> None:
    z = torch.ones(3)
    with pytest.raises(ConfigError, match="gamma"):
        focal_smape_rows(z, z, known(z), -0.1)
    with pytest.raises(ConfigError, match="share"):
        hybrid_focal_smape_rows(z, z, known(z), share=1.1)
