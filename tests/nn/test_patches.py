"""Tests of patches: how many, what each holds, and gaps that are carried over and marked."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plait.core.config import validate
from plait.core.errors import ConfigError
from plait.nn.patches import Patches, PatchShape

B, V, DIM = 3, 5, 7


def walked(lookback: int, length: int, stride: int) -> list[list[int]]:
    """The steps of each patch, by walking until a patch would leave the window and its repeated last step."""
    steps = [*range(lookback), *[lookback - 1] * stride]
    found, start = [], 0
    while start + length <= len(steps):
        found.append(steps[start : start + length])
        start += stride
    return found


def patches(length: int, stride: int) -> Patches:
    torch.manual_seed(0)
    return Patches(PatchShape(length=length, stride=stride), DIM)


def series(lookback: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(B, lookback, V, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("lookback, count", [(36, 4), (96, 12), (97, 12), (336, 42), (16, 2)])
def test_the_usual_lookbacks_have_as_many_patches_as_counted_by_hand(lookback: int, count: int) -> None:
    assert PatchShape().count(lookback) == count == len(walked(lookback, 16, 8))
    assert patches(16, 8).cut(series(lookback)).shape == (B, V, count, 16)


@settings(deadline=None, max_examples=80)
@given(data=st.data(), lookback=st.integers(1, 50))
def test_each_patch_holds_its_steps_and_past_the_end_the_last_value(data: st.DataObject, lookback: int) -> None:
    length, stride = data.draw(st.integers(1, lookback)), data.draw(st.integers(1, lookback + 3))
    x, steps = series(lookback), walked(lookback, length, stride)
    got = patches(length, stride).cut(x)
    assert got.shape == (B, V, len(steps), length)
    assert PatchShape(length=length, stride=stride).count(lookback) == len(steps)
    for number, inside in enumerate(steps):
        assert torch.equal(got[:, :, number], x[:, inside].transpose(1, 2))


def test_six_steps_by_hand() -> None:
    got = patches(4, 2).cut(torch.arange(1.0, 7.0)[None, :, None])
    assert got[0, 0].tolist() == [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 6, 6]]


def test_a_patch_is_a_linear_map_of_carried_values_and_of_what_is_missing() -> None:
    module, x = patches(4, 3).double(), series(11, torch.float64)
    mask = torch.ones(B, 11, V, dtype=torch.bool)
    mask[0, 4:7, 1], mask[1, :2, 2], mask[1, -3:, 0], mask[2, :, 4] = False, False, False, False
    with torch.no_grad():
        got = module(torch.where(mask, x, math.nan), mask)
        assert got.shape == (B, V, 4, DIM)
        for row in range(B):
            for variate in range(V):
                seen = [step for step in range(11) if mask[row, step, variate]]
                for number, inside in enumerate(walked(11, 4, 3)):
                    want = module.embed.bias.clone()
                    for place, step in enumerate(inside):
                        before = [s for s in seen if s <= step]
                        from_step = before[-1] if before else seen[0] if seen else None
                        if from_step is not None:
                            want += module.embed.weight[:, place] * x[row, from_step, variate]
                        if step not in seen:
                            want += module.missing.weight[:, place]
                    torch.testing.assert_close(got[row, variate, number], want, atol=1e-12, rtol=0)


@pytest.mark.parametrize("junk", [math.nan, math.inf, 1e30])
def test_what_is_missing_is_read_by_no_patch_and_no_gradient(junk: float) -> None:
    mask = torch.rand(B, 11, V, generator=torch.Generator().manual_seed(1)) < 0.7
    mask[1, :, 3] = False
    outcomes = []
    for value in (0.0, junk):
        module = patches(4, 3)
        out = module(torch.where(mask, series(11), value), mask)
        outcomes.append([out.detach(), *torch.autograd.grad(out.square().sum(), list(module.parameters()))])
    for got, want in zip(*outcomes, strict=True):
        assert torch.equal(got, want)


@torch.no_grad()
def test_a_patch_without_a_gap_does_not_read_the_mask() -> None:
    module, x = patches(4, 3), series(11)
    full = torch.ones(B, 11, V, dtype=torch.bool)
    torch.testing.assert_close(module(x, full), module.embed(module.cut(x)))
    gap = full.clone()
    gap[:, 8] = False
    apart = (module(x, gap) - module(x, full)).abs().amax(dim=(0, 1, 3))
    assert (apart > 0).tolist() == [8 in inside for inside in walked(11, 4, 3)] == [False, False, True, False]


def test_patches_longer_than_the_lookback_are_refused_with_the_field() -> None:
    PatchShape(length=11).check(11, "model.series.patch.length")
    with pytest.raises(
        ConfigError,
        match=r"model\.series\.patch\.length: a patch of 12 steps is longer than the lookback of 11 \(shorten it, or",
    ):
        PatchShape(length=12).check(11, "model.series.patch.length")


@pytest.mark.parametrize("name", ["length", "stride"])
def test_patches_without_a_step_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: .*greater than or equal to 1"):
        validate(PatchShape, {name: 0})
