"""Vectors through layers, by the formula."""

import torch

from plait.core.schema import Schema
from plait.encoders.vector import VectorConfig


def test_the_formula() -> None:
    torch.manual_seed(0)
    schema = Schema("candles", {"candles": 3, "odd": 5})
    module = VectorConfig(modality="odd", hidden=[7, 11], dim=13, dropout=0).build(schema)
    x, mask = torch.randn(2, 3, 5), torch.tensor([[True, False, True], [True, True, True]])
    w = module.state_dict()
    h = torch.relu(x @ w["layers.0.weight"].T + w["layers.0.bias"])
    h = torch.relu(h @ w["layers.3.weight"].T + w["layers.3.bias"])
    want = h @ w["layers.6.weight"].T + w["layers.6.bias"]
    tokens = module({"values": x, "mask": mask})
    torch.testing.assert_close(tokens.x[mask], want[mask])
    assert torch.equal(tokens.mask, mask)


def test_without_hidden_layers_it_is_one_linear_map() -> None:
    module = VectorConfig(hidden=[], dim=7).build(Schema("candles", {"candles": 3, "topology": 5}))
    assert sum(parameter.numel() for parameter in module.parameters()) == 5 * 7 + 7
