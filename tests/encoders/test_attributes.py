"""The attributes of a row to a token by the formula; noise and unknown categories in training alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from plait.core.schema import Schema
from plait.encoders.attributes import Attributes, AttributesConfig, first_rows

SCHEMA = Schema("attributes", {"attributes": 5}, columns={"zip": 7, "state": 2})


def encoder(schema: Schema = SCHEMA, **fields: object) -> Attributes:
    torch.manual_seed(0)
    return AttributesConfig.model_validate({"hidden": [11], "dim": 13, "embed": 3, **fields}).build(schema)


def fields(rows: int = 17) -> dict[str, Tensor]:
    maker = torch.Generator().manual_seed(1)
    codes = torch.stack([torch.randint(0, n + 1, (rows,), generator=maker) for n in (7, 2)], 1)
    values = torch.randn(rows, 1, 5, generator=maker)
    return {"values": values, "mask": torch.ones(rows, 1, dtype=torch.bool), "codes": codes}


@torch.no_grad()
def test_the_formula() -> None:
    module, given = encoder().eval(), fields()
    w = module.state_dict()
    zips, states = w["rows"][:8], w["rows"][8:]
    x = torch.cat([given["values"][:, 0], zips[given["codes"][:, 0]], states[given["codes"][:, 1]]], 1)
    h = F.gelu(x @ w["layers.0.weight"].T + w["layers.0.bias"])
    tokens = module(given)
    torch.testing.assert_close(tokens.x[:, 0], h @ w["layers.3.weight"].T + w["layers.3.bias"])
    assert torch.equal(tokens.mask, given["mask"])


def test_columns_share_no_row() -> None:
    assert first_rows([7, 2, 3]).tolist() == [0, 8, 11]
    module = encoder()
    assert module.rows is not None
    assert module.rows.shape == (11, 3)
    given = {**fields(2), "codes": torch.tensor([[7, 2], [7, 2]])}
    module.eval()(given).x.sum().backward()
    assert module.rows.grad is not None
    assert module.rows.grad.abs().sum(1).nonzero().flatten().tolist() == [7, 10]


@torch.no_grad()
def test_noise_has_its_deviation_and_ends_with_training() -> None:
    module = encoder(Schema("attributes", {"attributes": 5}), hidden=[], dim=5, noise=0.25)
    module.layers[0].weight.copy_(torch.eye(5))
    module.layers[0].bias.zero_()
    given = {"values": torch.randn(4001, 1, 5), "mask": torch.ones(4001, 1, dtype=torch.bool)}
    change = module(given).x - given["values"]
    assert float(change.std()) == pytest.approx(0.25, rel=0.03)
    assert abs(float(change.mean())) < 0.01
    assert torch.equal(module.eval()(given).x, given["values"])


@torch.no_grad()
def test_categories_are_read_as_unknown_at_their_rate() -> None:
    module = encoder(noise=0.0, dropout=0.0, category_dropout=0.3)
    given = {**fields(4001), "values": torch.zeros(4001, 1, 5)}
    given["codes"][:] = torch.tensor([3, 1])
    found = module(given).x[:, 0]
    module.eval()
    kept = torch.tensor([[3, 1], [0, 1], [3, 0], [0, 0]])
    want = module({"values": torch.zeros(4, 1, 5), "mask": torch.ones(4, 1, dtype=torch.bool), "codes": kept}).x[:, 0]
    shares = [float(((found - each).abs().max(1).values < 1e-6).double().mean()) for each in want]
    assert shares == pytest.approx([0.49, 0.21, 0.21, 0.09], abs=0.03)


@torch.no_grad()
def test_codes_of_an_absent_row_may_be_anything() -> None:
    module, given = encoder().eval(), fields(3)
    given["mask"][1] = False
    want = module(given)
    given["codes"][1], given["values"][1] = 10**12, float("nan")
    torch.testing.assert_close(module(given).x, torch.where(want.mask[..., None], want.x, module(given).x))
    assert torch.isfinite(module(given).x).all()
