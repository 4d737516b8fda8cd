"""Tests of the linear encoder: its inputs, its formula, and its start from a closed-form fit."""

import math

import pytest
import torch
from torch import Tensor, nn

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.encoders.linear import Linear, LinearConfig

B, T, V, P, K, SEASONS = 3, 11, 5, 7, 2, 13
SCHEMA = Schema("series", {"series": V}, tuple("abcde"), lookback=T, horizon=P, marks=K, seasons=SEASONS)
WIDTHS = {"plain": T, "marks": T + K, "prior": T + P, "calendar": T + SEASONS, "all": T + P + K + SEASONS}


def encoder(which: str, dim: int = 17) -> Linear:
    torch.manual_seed(0)
    fields = {name: which in (name, "all") for name in ("marks", "prior", "calendar")}
    return LinearConfig(dim=dim, **fields).build(SCHEMA)


def fields(seed: int = 0) -> dict[str, Tensor]:
    maker = torch.Generator().manual_seed(seed)
    mask = torch.ones(B, T, V, dtype=torch.bool)
    mask[1, 3:6, 2], mask[2, :, 4] = False, False
    return {
        "values": torch.where(mask, torch.randn(B, T, V, generator=maker), math.nan),
        "mask": mask,
        "marks": torch.randn(B, T, K, generator=maker),
        "prior": torch.randn(B, P, V, generator=maker),
        "season": torch.tensor([0, 12, 5]),
    }


@pytest.mark.parametrize("which", WIDTHS)
def test_features_come_in_the_order_window_prior_marks_season(which: str) -> None:
    given = fields()
    features = encoder(which).features(given)
    assert features.shape == (B, V, WIDTHS[which])
    for row in range(B):
        for variate in range(V):
            window = [float(given["values"][row, t, variate]) for t in range(T)]
            if (row, variate) == (1, 2):
                window[3:6] = [window[2]] * 3
            if (row, variate) == (2, 4):
                window = [0.0] * T
            want = window
            if which in ("prior", "all"):
                want = want + given["prior"][row, :, variate].tolist()
            if which in ("marks", "all"):
                want = want + given["marks"][row, -1].tolist()
            if which in ("calendar", "all"):
                want = want + [float(s == int(given["season"][row])) for s in range(SEASONS)]
            assert features[row, variate].tolist() == want


def test_tokens_equal_the_formula() -> None:
    module, given = encoder("all"), fields()
    x, mask = module(given)
    features = module.features(given)
    for row in range(B):
        for variate in range(V):
            want = module.embed.weight @ features[row, variate] + module.embed.bias
            torch.testing.assert_close(x[row, variate], want)
    assert mask.tolist() == [[True] * 5, [True] * 5, [True] * 4 + [False]]


@pytest.mark.parametrize("which", WIDTHS)
@pytest.mark.parametrize("dim", [P, 17])
@torch.no_grad()
def test_start_from_reproduces_a_fit(which: str, dim: int) -> None:
    module, head = encoder(which, dim), nn.Linear(dim, P)
    before = module.embed.weight.clone()
    coef = torch.randn(P, WIDTHS[which], dtype=torch.float64)
    intercept = torch.randn(P, dtype=torch.float64)
    module.start_from(coef, head, intercept)
    want = torch.einsum("bvf,pf->bvp", module.features(fields()).double(), coef) + intercept
    got = head(module(fields()).x)
    gap = (got - want).abs() / want.abs().clamp(min=1.0)
    assert gap.max() <= 1e-5
    # What is left of the width is the fusion's: random units that the head does not read yet.
    assert torch.equal(module.embed.weight[P:], before[P:])
    assert (head.weight[:, P:] == 0).all()


@torch.no_grad()
def test_start_from_a_fit_with_fewer_inputs_than_steps() -> None:
    schema = Schema("series", {"series": 1}, ("a",), lookback=3, horizon=7)
    module, head = LinearConfig(dim=5, marks=False).build(schema), nn.Linear(5, 7)
    coef, intercept = torch.randn(7, 3, dtype=torch.float64), torch.zeros(7, dtype=torch.float64)
    module.start_from(coef, head, intercept)
    values = torch.randn(11, 3, 1)
    got = head(module({"values": values, "mask": torch.ones(11, 3, 1, dtype=torch.bool)}).x)[:, 0]
    torch.testing.assert_close(got.double(), values[..., 0].double() @ coef.T, atol=1e-5, rtol=1e-5)


def test_start_from_refuses_a_width_that_cannot_hold_the_fit() -> None:
    module = encoder("plain", dim=P - 1)
    with pytest.raises(
        ConfigError, match=r"model\.series\.dim: width 6 can't hold a ridge of rank 7 \(give at least 7"
    ):
        module.start_from(torch.randn(P, T, dtype=torch.float64), nn.Linear(P - 1, P), torch.zeros(P))


@pytest.mark.parametrize("horizon, dim", [(13, 32), (32, 32), (36, 40), (48, 48)])
def test_without_a_width_it_is_as_wide_as_a_start_from_the_ridge_needs(horizon: int, dim: int) -> None:
    schema = Schema("series", {"series": 5}, tuple("abcde"), lookback=37, horizon=horizon, marks=2)
    built = LinearConfig().build(schema)
    assert built.dim == dim
    assert LinearConfig(start="random").build(schema).dim == 32
    coef, intercept = torch.randn(horizon, 39, dtype=torch.float64), torch.randn(horizon, dtype=torch.float64)
    head = nn.Linear(built.dim, horizon)
    built.start_from(coef, head, intercept)
    x = torch.randn(7, 39)
    torch.testing.assert_close(head(built.embed(x)), x @ coef.float().T + intercept.float(), rtol=1e-4, atol=1e-4)
