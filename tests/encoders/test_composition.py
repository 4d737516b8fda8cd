"""Tests of the composition token: against the dense table of log ratios, in which every absence has its place."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from plait.core.errors import ConfigError, DataError
from plait.core.schema import Schema
from plait.encoders.composition import Composition, CompositionConfig
from plait.features.composition import clr

ROWS, COUNT, FEATURES, DIM = 5, 7, 31, 11
BLOCKS = {"kmers": 3, "tree": 2}
SCHEMA = Schema("asv", {"asv": 5}, features=FEATURES, blocks=BLOCKS, letters=13)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def encoder() -> Composition:
    torch.manual_seed(0)
    module = CompositionConfig(dim=DIM).build(SCHEMA).eval()
    module.fill({"blocks": drawn(FEATURES, 5), "clr_mean": drawn(FEATURES, seed=1)})
    return module


def fields(seed: int = 0) -> dict[str, Tensor]:
    """The last row has no ASV; what is absent is NaN or out of range."""
    maker = torch.Generator().manual_seed(seed)
    values = torch.stack([torch.randperm(FEATURES, generator=maker)[:COUNT] for _ in range(ROWS)])
    mask = torch.rand(ROWS, COUNT, generator=maker) < 0.7
    mask[0], mask[:, 0], mask[-1] = True, True, False
    counts = torch.rand(ROWS, COUNT, generator=maker) * 997
    return {
        "values": torch.where(mask, values, 10**12),
        "mask": mask,
        "counts": torch.where(mask, counts, math.nan),
    }


@torch.no_grad()
def test_it_equals_the_dense_formula() -> None:
    module, given = encoder(), fields()
    dense = np.zeros((ROWS, FEATURES))
    for row, place in given["mask"].nonzero().tolist():
        dense[row, given["values"][row, place]] = given["counts"][row, place]
    ratios = torch.from_numpy(clr(dense)) - module.clr_mean.double()
    want = ratios @ (module.table.double() @ module.project.weight.double().T) / 30
    x, mask = module(given)
    assert x.shape == (ROWS, 1, DIM)
    assert mask[:, 0].tolist() == [True] * (ROWS - 1) + [False]
    torch.testing.assert_close(x[:-1, 0].double(), want[:-1], rtol=1e-5, atol=1e-5)
    assert bool((x[-1] == 0).all())


@torch.no_grad()
def test_an_absence_counts() -> None:
    module, given = encoder(), fields()
    hidden = dict(given, mask=given["mask"].clone())
    hidden["mask"][0, 3] = False
    assert float((module(hidden).x[0] - module(given).x[0]).abs().max()) > 1e-3


@torch.no_grad()
def test_the_order_of_asvs_is_irrelevant() -> None:
    module, given = encoder(), fields()
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    moved = module({name: tensor[:, order] for name, tensor in given.items()})
    torch.testing.assert_close(moved.x, module(given).x, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_autocast_does_not_round_the_sums() -> None:
    module, given = encoder(), fields()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = module(given).x.float()
    # The projection alone is rounded: 8 bits of the token, not of sums that are larger and cancel.
    torch.testing.assert_close(rounded, module(given).x, rtol=0.01, atol=0.01 * float(module(given).x.abs().max()))


def test_tables_must_be_there_and_fit() -> None:
    module = encoder()
    with pytest.raises(DataError, match="the table 'clr_mean' is missing"):
        module.fill({"blocks": drawn(FEATURES, 5)})
    with pytest.raises(DataError, match=r"tables.blocks: \(31, 4\) does not fit \(31, 5\)"):
        module.fill({"blocks": drawn(FEATURES, 4), "clr_mean": drawn(FEATURES)})
    with pytest.raises(ConfigError, match="no blocks"):
        CompositionConfig().build(Schema("asv", {"asv": 1}, features=FEATURES))
