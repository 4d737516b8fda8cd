"""The mixture of experts against a loop over its experts, its gate, and what may be left of it."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.heads.mixture_of_experts import MixtureOfExperts, MixtureOfExpertsConfig

SCHEMA = Schema("image", {"image": 19}, outputs=1)


def head(schema: Schema = SCHEMA, **fields: Any) -> MixtureOfExperts:
    torch.manual_seed(0)
    return MixtureOfExpertsConfig(**{"hidden": 13, **fields}).build(schema).eval()


def tokens(rows: int = 11) -> Tokens:
    maker = torch.Generator().manual_seed(1)
    mask = torch.rand(rows, 5, generator=maker) < 0.7
    return Tokens(torch.randn(rows, 5, 19, generator=maker), mask)


def by_a_loop(part: MixtureOfExperts, given: Tokens, outputs: int) -> tuple[Tensor, Tensor]:
    """The gate's logits and each expert's answer, one expert and one row after the other."""
    w = part.state_dict()
    experts = len(w["gate.bias"])
    hidden = len(w["hidden.bias"]) // experts
    logits, answers = [], []
    for x, mask in zip(*given, strict=True):
        mean = x[mask].mean(dim=0) if mask.any() else torch.zeros(x.shape[1])
        mean = F.layer_norm(mean, mean.shape, w["norm.weight"], w["norm.bias"])
        logits.append(w["gate.weight"] @ mean + w["gate.bias"])
        own = []
        for i in range(experts):
            inside, outside = slice(i * hidden, (i + 1) * hidden), slice(i * outputs, (i + 1) * outputs)
            h = F.gelu(w["hidden.weight"][inside] @ mean + w["hidden.bias"][inside])
            own.append(w["project.weight"][outside] @ h + w["project.bias"][outside])
        answers.append(torch.stack(own))
    return torch.stack(logits), torch.stack(answers)


@torch.no_grad()
@pytest.mark.parametrize("experts, top_k", [(3, None), (2, None), (5, 2), (5, 3), (3, 3)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_it_is_the_loop_over_its_experts(experts: int, top_k: int | None, outputs: int) -> None:
    part, given = head(Schema("image", {"image": 19}, outputs=outputs), experts=experts, top_k=top_k), tokens()
    logits, answers = by_a_loop(part, given, outputs)
    gate = torch.zeros_like(logits)
    for row, own in zip(gate, logits, strict=True):
        best = sorted(range(experts), key=lambda i: -float(own[i]))[: top_k or experts]
        row[best] = own[best].exp() / own[best].exp().sum()
    point, parts = part(given, {})
    torch.testing.assert_close(parts["gate"][:, 0], gate, atol=1e-6, rtol=0)
    assert torch.equal(parts["gate"][:, 0] == 0, gate == 0)
    torch.testing.assert_close(parts["experts"][:, 0], answers.flatten(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(point, (gate[..., None] * answers).sum(1), atol=1e-6, rtol=0)
    assert torch.equal(parts["points"][:, 0], point)
    torch.testing.assert_close(part.together({"points": torch.stack([point, point + 2], 1)}), point + 1)


def test_of_equal_logits_the_first_are_heard() -> None:
    part = head(experts=5, top_k=3)
    with torch.no_grad():
        part.gate.weight.zero_()
        part.gate.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]))
    gate = part(tokens(), {}).parts["gate"][:, 0]
    e = torch.e
    torch.testing.assert_close(gate[0], torch.tensor([1, e, 1, 0, 0]) / (2 + e))
    assert (gate == gate[0]).all()


@pytest.mark.parametrize("top_k, heard", [(None, 3), (2, 2)])
def test_every_expert_and_gate_learns_from_the_answer(top_k: int | None, heard: int) -> None:
    part = head(top_k=top_k)
    part(tokens(rows=1), {}).point.sum().backward()
    rows = {"gate.weight": 1, "hidden.weight": 13, "project.weight": 1}
    for name, size in rows.items():
        gradient = part.get_parameter(name).grad
        assert gradient is not None
        assert int((gradient.unflatten(0, (3, size)) != 0).flatten(1).any(1).sum()) == heard


def test_one_expert_is_a_perceptron_s_and_refused() -> None:
    for fields, message in (
        ({"experts": 1}, "experts"),
        ({"top_k": 1}, "top_k"),
        ({"experts": 3, "top_k": 5}, "there are 3 experts, no row can hear 5"),
    ):
        with pytest.raises(ValidationError, match=message):
            MixtureOfExpertsConfig(**fields)


def test_without_a_target_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="no target"):
        MixtureOfExpertsConfig().build(Schema("image", {"image": 5}))
