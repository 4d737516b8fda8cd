"""Tests of the distribution head: its median by other means, its thresholds, and an overfit of 30 points."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from plait.core.errors import ConfigError, DataError
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.heads.distribution import Distribution, DistributionConfig
from plait.objectives.regression import crps_of_bins, thresholds_of

GRID = torch.tensor([-3.0, -1.5, 0.0, 0.25, 2.0, 5.0, 11.0])
SCHEMA = Schema("asv", {"asv": 19}, outputs=1, bins=7)


def head(bins: int = 7, seed: int = 0, **fields: Any) -> Distribution:
    torch.manual_seed(seed)
    return DistributionConfig(**fields).build(Schema("asv", {"asv": 19}, outputs=1, bins=bins)).eval()


def tokens(rows: int = 5) -> Tokens:
    return Tokens.full(torch.randn(rows, 1, 19, generator=torch.Generator().manual_seed(1)))


@torch.no_grad()
def test_the_answer_is_the_median_by_numpy() -> None:
    part, x = head(), tokens(101)
    part.readout.project.weight.mul_(9)
    part.fill({"thresholds": GRID})
    got = part(x, {})
    logits = part.readout(x, {}).double().numpy()
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    want = [np.interp(0.5, np.cumsum(row), GRID.double().numpy()) for row in shares]
    assert got.point.shape == (101, 1)
    np.testing.assert_allclose(got.point[:, 0].numpy(), want, atol=1e-4)
    assert len({round(value, 2) for value in want}) > 50
    assert -3.0 in want  # more than half of the mass up to the first threshold
    assert list(got.parts) == ["logits"]
    assert got.parts["logits"].shape == (101, 1, 7)
    assert torch.equal(got.parts["logits"][:, 0], part.readout(x, {}))


@torch.no_grad()
def test_medians_by_hand() -> None:
    """Equal shares of 4 bins: F = 1/4, 1/2, ...; all mass in bin j: half way from t_{j-1} to t_j; in bin 1: t_1."""
    part = head(4, hidden=0)
    part.fill({"thresholds": torch.tensor([1.0, 2.0, 5.0, 7.0])})
    part.readout.project.weight.zero_()
    for logits, want in (
        ([0.0, 0.0, 0.0, 0.0], 2.0),
        ([99.0, 0.0, 0.0, 0.0], 1.0),
        ([0.0, 0.0, 99.0, 0.0], 3.5),
        ([0.0, 0.0, 0.0, 99.0], 6.0),
    ):
        part.readout.project.bias.copy_(torch.tensor(logits))
        torch.testing.assert_close(part(tokens(3), {}).point, torch.full((3, 1), want))


@torch.no_grad()
def test_the_unit_is_that_of_the_thresholds() -> None:
    part, x = head(), tokens()
    part.fill({"thresholds": GRID})
    before = part(x, {}).point
    part.fill({"thresholds": 3 * GRID - 2})
    torch.testing.assert_close(part(x, {}).point, 3 * before - 2)


@torch.no_grad()
def test_a_saved_head_brings_its_thresholds(tmp_path: Path) -> None:
    part, fresh, x = head(), head(seed=1), tokens()
    part.fill({"thresholds": GRID, "clr_mean": torch.zeros(3)})
    assert torch.equal(fresh.thresholds, torch.arange(7.0))
    save_file(part.state_dict(), tmp_path / "head.safetensors")
    fresh.load_state_dict(load_file(tmp_path / "head.safetensors"))
    assert torch.equal(fresh.thresholds, GRID)
    assert torch.equal(fresh(x, {}).point, part(x, {}).point)


def test_filling_keeps_dtype_and_takes_no_part_of_the_table() -> None:
    part, given = head().double(), GRID.clone()
    part.fill({"thresholds": given})
    given.zero_()
    assert part.thresholds.dtype == torch.float64
    assert part.thresholds.tolist() == GRID.tolist()
    assert not any("thresholds" in name for name, _ in part.named_parameters())


def test_thirty_points_are_learned_by_heart() -> None:
    y = torch.randn(30, generator=torch.Generator().manual_seed(2))
    grid, x, mask = thresholds_of(y.double().numpy(), 41), tokens(30), torch.ones(30, dtype=torch.bool)
    part = head(len(grid), dropout=0.0).train()
    part.fill({"thresholds": grid})
    optimiser = torch.optim.Adam(part.parameters(), lr=1e-2)
    losses = []
    for _ in range(400):
        optimiser.zero_grad()
        total, weight = crps_of_bins(part(x, {}).parts["logits"][:, 0], y, mask, part.thresholds)
        (total / weight).backward()
        optimiser.step()
        losses.append(float(total.detach() / weight))
    assert losses[0] > 0.3
    assert losses[-1] < 0.003
    assert ((part(x, {}).point[:, 0] - y).abs() <= grid.diff().max() + 0.01).all()


@pytest.mark.parametrize("bins", [0, 1])
def test_a_target_without_bins_is_refused(bins: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"model\.head\.kind: .*2 bins or more.* have {bins} \(give a numeric target"
    ):
        DistributionConfig().build(Schema("asv", {"asv": 19}, outputs=1, bins=bins))


@pytest.mark.parametrize(
    ("tables", "what"),
    [
        ({}, "the tables have no thresholds"),
        ({"thresholds": GRID[:5]}, r"thresholds of shape \(5,\) for 7 bins"),
        ({"thresholds": GRID[None]}, r"thresholds of shape \(1, 7\) for 7 bins"),
        ({"thresholds": GRID.flip(0)}, "do not increase"),
        ({"thresholds": torch.where(GRID == 2, 0.25, GRID)}, "do not increase"),
        ({"thresholds": torch.where(GRID == 2, torch.nan, GRID)}, "do not increase"),
        ({"thresholds": torch.where(GRID == 11, torch.inf, GRID)}, "do not increase"),
    ],
)
def test_thresholds_that_do_not_fit_are_refused(tables: dict[str, torch.Tensor], what: str) -> None:
    part = head()
    with pytest.raises(DataError, match=what):
        part.fill(tables)
    assert torch.equal(part.thresholds, torch.arange(7.0))
