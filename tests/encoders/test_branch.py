"""A branch of embeddings by its formula, its tokens, and its scale."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.encoders.branch import Branch, BranchConfig

SCHEMA = Schema("image", {"image": 5, "words": 5}, stream_tokens={"image": 1, "words": 7})


def branch(**fields: object) -> Branch:
    torch.manual_seed(0)
    return BranchConfig.model_validate({"hidden": [7, 11], "dim": 13, "tokens": 3, **fields}).build(SCHEMA)


def by_hand(module: Branch, x: Tensor, hidden: int) -> Tensor:
    """The layers one by one; every vector of 5 becomes (tokens, 13)."""
    w = module.state_dict()
    x = x * w["scale"]
    for layer in range(hidden):
        a, b = f"layers.{4 * layer}", f"layers.{4 * layer + 1}"
        x = x @ w[f"{a}.weight"].T + w[f"{a}.bias"]
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        x = F.gelu(x * w[f"{b}.weight"] + w[f"{b}.bias"])
    x = x @ w[f"layers.{4 * hidden}.weight"].T + w[f"layers.{4 * hidden}.bias"]
    x = x.reshape(*x.shape[:-1], -1, 13)
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return x * w["norm.weight"] + w["norm.bias"]


@torch.no_grad()
@pytest.mark.parametrize("hidden", [[], [7], [7, 11]])
def test_one_vector_gives_several_tokens_by_the_formula(hidden: list[int]) -> None:
    module = branch(hidden=hidden).eval()
    module.scale.fill_(1.7)
    x, mask = torch.randn(3, 1, 5), torch.tensor([[True], [False], [True]])
    tokens = module({"values": x, "mask": mask})
    assert tokens.x.shape == (3, 3, 13)
    assert torch.equal(tokens.mask, mask.expand(3, 3))
    torch.testing.assert_close(tokens.x[tokens.mask], by_hand(module, x[:, 0], len(hidden))[mask[:, 0]].flatten(0, 1))


@torch.no_grad()
def test_several_vectors_give_a_token_each() -> None:
    module = branch(modality="words").eval()
    x, mask = torch.randn(2, 7, 5), torch.rand(2, 7) < 0.5
    tokens = module({"values": x, "mask": mask})
    assert tokens.x.shape == (2, 7, 13)
    assert torch.equal(tokens.mask, mask)
    torch.testing.assert_close(tokens.x[mask], by_hand(module, x, 2)[:, :, 0][mask])


def test_the_scale_starts_at_1_and_learns() -> None:
    module = branch()
    assert module.scale.tolist() == [1.0]
    x = torch.randn(11, 1, 5)
    module({"values": x, "mask": torch.ones(11, 1, dtype=torch.bool)}).x[..., 0].sum().backward()
    assert module.scale.grad is not None
    assert float(module.scale.grad.abs()) > 1e-4


def test_the_embeddings_are_dropped_out_in_training_alone() -> None:
    module = branch(hidden=[], dropout=0.0, input_dropout=0.5)
    fields = {"values": torch.randn(11, 1, 5), "mask": torch.ones(11, 1, dtype=torch.bool)}
    one, other = module(fields).x, module(fields).x
    assert not torch.allclose(one, other)
    module.eval()
    torch.testing.assert_close(module(fields).x, by_hand(module, fields["values"][:, 0], 0))


def test_widths_as_the_design_document_writes_them() -> None:
    one, other = branch(dims=[5, 3, 7]).state_dict(), branch(hidden=[3, 7]).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ConfigError, match=r"model\.branches\.image\.dims: image has embeddings of width 5, not 6"):
        branch(dims=[6, 3])


def test_parameters_are_those_of_the_layers() -> None:
    count = sum(p.numel() for p in branch().parameters())
    assert count == 1 + (5 * 7 + 7) + 14 + (7 * 11 + 11) + 22 + (11 * 39 + 39) + 26
