"""Tests of the gate: its entropy by the formula, also where it saturates."""

import math

import pytest
import torch

from plait.nn.gate import Gate, gate_entropy


def test_entropy_equals_its_formula() -> None:
    logits = torch.linspace(-5, 5, 11, dtype=torch.float64)
    for z, got in zip(logits.tolist(), gate_entropy(logits).tolist(), strict=True):
        g = 1 / (1 + math.exp(-z))
        assert got == pytest.approx(-g * math.log(g) - (1 - g) * math.log(1 - g))
    assert gate_entropy(torch.zeros(1)).item() == pytest.approx(math.log(2))


def test_a_decided_gate_has_no_entropy_and_a_finite_gradient() -> None:
    logits = torch.tensor([-1e4, -200.0, 200.0, 1e4], requires_grad=True)
    entropy = gate_entropy(logits)
    assert torch.equal(entropy, torch.zeros(4))
    entropy.sum().backward()
    assert torch.equal(logits.grad, torch.zeros(4))


@pytest.mark.parametrize("kind, width", [("mlp", 5), ("linear", 5), ("token_scalar", 1), ("global_scalar", 1)])
def test_values_a_token(kind: str, width: int) -> None:
    torch.manual_seed(0)
    gate = Gate(kind, 7, 11, 5)  # type: ignore[arg-type]
    x = torch.randn(2, 3, 7)
    logits = gate(x)
    assert logits.shape == (2, 3, width)
    # Only the global one gives every token the same.
    assert torch.equal(logits[0, 0], logits[1, 2]) == (kind == "global_scalar")
