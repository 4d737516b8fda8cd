"""Tests of per-window scaling and of values carried over gaps."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plait.nn.window_norm import WindowScaling, carry, window_scale

B, T, V = 3, 11, 5


def window(seed: int = 0, share: float = 0.7) -> tuple[Tensor, Tensor]:
    maker = torch.Generator().manual_seed(seed)
    x = torch.randn(B, T, V, generator=maker, dtype=torch.float64) * 3 + 5
    mask = torch.rand(B, T, V, generator=maker) < share
    mask[1, :, 2] = False
    return x, mask


def test_carry_by_hand() -> None:
    nan = math.nan
    x = torch.tensor([nan, 2.0, nan, nan, 5.0, nan])[None, :, None]
    assert carry(x, ~x.isnan()).flatten().tolist() == [2.0, 2.0, 2.0, 2.0, 5.0, 5.0]


@settings(deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=5))
def test_carry_equals_a_loop_whatever_is_missing(bits: list[list[bool]]) -> None:
    mask = torch.tensor(bits)[..., None]
    x = torch.arange(1.0, mask.numel() + 1).view(mask.shape)
    got = carry(torch.where(mask, x, math.nan), mask)
    for row, present in enumerate(bits):
        held = next((float(x[row, t, 0]) for t in range(7) if present[t]), 0.0)
        for t in range(7):
            held = float(x[row, t, 0]) if present[t] else held
            assert float(got[row, t, 0]) == held


def test_carry_leaves_a_full_window_bit_for_bit() -> None:
    x, mask = window()
    assert torch.equal(carry(x, torch.ones_like(mask)), x)


@pytest.mark.parametrize("scaling", ["standardise", "last", "none"])
def test_undo_undoes_apply(scaling: WindowScaling) -> None:
    x, mask = window()
    scale = window_scale(x, mask, scaling)
    assert scale.shift.shape == scale.scale.shape == (B, 1, V)
    torch.testing.assert_close(scale.undo(scale.apply(x)), x)


def test_standardise_equals_a_loop_over_observed_values() -> None:
    x, mask = window()
    scale = window_scale(torch.where(mask, x, math.nan), mask, "standardise", eps=1e-3)
    for row in range(B):
        for variate in range(V):
            seen = [float(x[row, t, variate]) for t in range(T) if mask[row, t, variate]]
            mean = sum(seen) / len(seen) if seen else 0.0
            spread = math.sqrt(sum((s - mean) ** 2 for s in seen) / len(seen) + 1e-3) if seen else 1.0
            assert float(scale.shift[row, 0, variate]) == pytest.approx(mean, abs=1e-12)
            assert float(scale.scale[row, 0, variate]) == pytest.approx(spread, abs=1e-12)


def test_last_shifts_by_the_last_observed_value() -> None:
    x, mask = window()
    scale = window_scale(torch.where(mask, x, math.nan), mask, "last")
    assert torch.equal(scale.scale, torch.ones(B, 1, V, dtype=x.dtype))
    for row in range(B):
        for variate in range(V):
            seen = [float(x[row, t, variate]) for t in range(T) if mask[row, t, variate]]
            assert float(scale.shift[row, 0, variate]) == (seen[-1] if seen else 0.0)


@pytest.mark.parametrize("scaling", ["standardise", "last", "none"])
def test_a_window_without_an_observed_value_keeps_its_unit(scaling: WindowScaling) -> None:
    x, mask = window()
    scale = window_scale(x, mask, scaling)
    assert float(scale.shift[1, 0, 2]) == 0.0
    assert float(scale.scale[1, 0, 2]) == 1.0


@pytest.mark.parametrize("scaling", ["standardise", "last"])
def test_scaling_takes_the_level_out(scaling: WindowScaling) -> None:
    x, mask = window()
    low, high = (window_scale(each, mask, scaling) for each in (x, x + 100))
    seen = mask.any(dim=1, keepdim=True).expand_as(mask)
    torch.testing.assert_close(high.apply(x + 100)[seen], low.apply(x)[seen])


def test_a_constant_window_stays_finite() -> None:
    x = torch.full((1, 7, 1), 3.0)
    assert window_scale(x, torch.ones_like(x, dtype=torch.bool), "standardise").apply(x).abs().max() == 0
