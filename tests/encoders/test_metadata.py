"""Tests of the metadata encoder: each column has rows or a line of its own, in the order of the columns."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.encoders.metadata import Metadata, MetadataConfig

COLUMNS = {"ph": 0, "site": 3, "age": 0, "season": 5, "study": 2}
ROWS, DIM = 3, 7


def schema(columns: dict[str, int]) -> Schema:
    return Schema("asv", {"asv": 1, "metadata": len(columns)}, columns=columns)


def encoder() -> Metadata:
    torch.manual_seed(0)
    module = MetadataConfig(dim=DIM).build(schema(COLUMNS)).double().eval()
    torch.nn.init.normal_(module.bias)
    torch.nn.init.normal_(module.norm.weight)
    torch.nn.init.normal_(module.norm.bias)
    return module


def fields() -> dict[str, Tensor]:
    """Row 0 is known, rows 1 and 2 lack some columns; what is absent is NaN or out of range."""
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 0, 1], [1, 0, 0, 1, 0]]).bool()
    codes = torch.tensor([[0, 2, 0, 4, 1], [0, 0, 0, 0, 0], [0, 0, 0, 3, 0]])
    numbers = torch.tensor([[0.3, 0, -1.1, 0, 0], [0, 0, 2.5, 0, 0], [-0.7, 0, 0, 0, 0]]).double()
    return {
        "values": torch.where(mask, codes, -(10**12)),
        "numbers": torch.where(mask, numbers, math.nan),
        "mask": mask,
    }


@torch.no_grad()
def test_a_category_has_a_row_and_a_number_a_line() -> None:
    module, given = encoder(), fields()
    x, mask = module(given)
    assert x.shape == (ROWS, len(COLUMNS), DIM)
    assert torch.equal(mask, given["mask"])
    first, number = 0, 0
    for column, size in enumerate(COLUMNS.values()):
        for row in range(ROWS):
            if mask[row, column]:
                if size:
                    said = module.rows[first + int(given["values"][row, column])]
                else:
                    said = module.weight[number] * given["numbers"][row, column] + module.bias[number]
                total = module.column[column] + said
                want = F.layer_norm(total, (DIM,)) * module.norm.weight + module.norm.bias
                torch.testing.assert_close(x[row, column], want, rtol=0, atol=1e-12)
        first, number = first + size, number + (not size)
    assert (first, number) == (len(module.rows), len(module.weight))
    assert torch.isfinite(x).all()


def test_absent_content_reaches_no_gradient() -> None:
    module, given = encoder(), fields()
    x, mask = module(given)
    parameters = [module.rows, module.weight, module.bias, module.column]
    found = torch.autograd.grad(torch.where(mask[..., None], x, 0.0).square().sum(), parameters)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in found)
    # Codes that no row has: the second of `site`, the first of `season`.
    assert bool((found[0][[1, 3]] == 0).all())


def test_buffers_are_no_part_of_the_state() -> None:
    assert set(encoder().state_dict()) == {"column", "rows", "weight", "bias", "norm.weight", "norm.bias"}


def test_without_columns_there_is_nothing_to_encode() -> None:
    with pytest.raises(ConfigError, match="no column of metadata"):
        MetadataConfig().build(schema({}))
