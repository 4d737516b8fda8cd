"""A scale and a shift by category: written out for each row, at rest at the start, blind to what is unknown."""

import numpy as np
import torch
from torch import Tensor

from plait.nn.category_scaling import CategoryScaling

ROWS, COLUMNS = 13, {1: 5, 3: 2}
OUTPUTS = 3


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Answers, codes and masks of four columns, of which two are read; what is unknown is far out of range."""
    maker = torch.Generator().manual_seed(0)
    answer = torch.randn(ROWS, OUTPUTS, generator=maker)
    codes = torch.stack([torch.randint(size, (ROWS,), generator=maker) for size in (7, 5, 3, 2)], dim=1)
    mask = torch.rand(ROWS, 4, generator=maker) < 0.7
    mask[0], mask[1] = True, False
    return answer, torch.where(mask, codes, 10**12), mask


def opened() -> CategoryScaling:
    module = CategoryScaling(COLUMNS, OUTPUTS)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    return module


def test_it_starts_as_the_identity_bit_for_bit() -> None:
    answer, codes, mask = inputs()
    assert torch.equal(CategoryScaling(COLUMNS, OUTPUTS)(answer, codes, mask), answer)


@torch.no_grad()
def test_every_row_is_scaled_by_the_product_and_shifted_by_the_sum_of_its_categories() -> None:
    module, (answer, codes, mask) = opened(), inputs()
    want = answer.double().numpy().copy()
    for row in range(ROWS):
        scale, shift = np.ones(OUTPUTS), np.zeros(OUTPUTS)
        for place, column in enumerate(COLUMNS):
            if mask[row, column]:
                scale *= module.scale[place][codes[row, column]].double().numpy()
                shift += module.shift[place][codes[row, column]].double().numpy()
        want[row] = want[row] * scale + shift
    np.testing.assert_allclose(module(answer, codes, mask).numpy(), want, rtol=1e-5, atol=1e-6)
    assert torch.equal(module(answer, codes, mask)[1], answer[1])


def test_each_category_that_is_there_learns_and_no_other() -> None:
    module, (answer, codes, mask) = opened(), inputs()
    module(answer, codes, mask).square().sum().backward()
    for place, (column, size) in enumerate(COLUMNS.items()):
        seen = set(codes[mask[:, column], column].tolist())
        for each in (module.scale[place], module.shift[place]):
            assert each.grad is not None
            learns = {code for code in range(size) if bool((each.grad[code] != 0).any())}
            assert learns == seen
