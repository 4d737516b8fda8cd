"""Tests of the classification head: its logits, its errors, class weights, and an overfit of 30 points."""

from typing import Any

import pytest
import torch
from torch import Tensor

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.heads.classification import Classification, ClassificationConfig
from plait.objectives.classification import balanced_class_weights, cross_entropy, row_scores

SCHEMA = Schema("asv", {"asv": 19}, outputs=5)


def head(**fields: Any) -> Classification:
    torch.manual_seed(0)
    return ClassificationConfig(**fields).build(SCHEMA).eval()


def tokens(rows: int = 7) -> Tokens:
    return Tokens.full(torch.randn(rows, 1, 19, generator=torch.Generator().manual_seed(1)))


def fit(part: Classification, x: Tokens, labels: Tensor, weights: Tensor | None = None) -> list[float]:
    optimiser = torch.optim.Adam(part.parameters(), lr=2e-2)
    losses = []
    for _ in range(200):
        optimiser.zero_grad()
        total, weight = cross_entropy(part(x, {}).point, labels, torch.ones_like(labels, dtype=torch.bool), weights)
        (total / weight).backward()
        optimiser.step()
        losses.append(float(total.detach() / weight))
    return losses


@torch.no_grad()
def test_logits_are_the_readout() -> None:
    part, x = head(hidden=0), tokens()
    got = part(x, {})
    pooled = torch.nn.functional.layer_norm(x.x[:, 0], (19,))
    torch.testing.assert_close(got.point, pooled @ part.readout.project.weight.T + part.readout.project.bias)
    assert got.point.shape == (7, 5)
    assert list(got.parts) == ["logits"]
    assert torch.equal(got.parts["logits"], got.point[:, None])


def test_thirty_points_are_learned_by_heart() -> None:
    part, x = head(dropout=0.0).train(), tokens(30)
    labels = torch.arange(30) % 5
    losses = fit(part, x, labels)
    assert losses[0] > 1
    assert losses[-1] < 0.01
    scores = row_scores(part(x, {}).point, labels, torch.ones(30, dtype=torch.bool))
    assert scores["correct"].tolist() == [1.0] * 30


@pytest.mark.parametrize("balanced", [False, True])
def test_of_rows_that_look_alike_weights_make_every_class_as_likely(balanced: bool) -> None:
    labels = torch.tensor([0] * 11 + [1] * 3 + [2] * 7 + [3] * 1 + [4] * 2)
    x = Tokens.full(torch.ones(24, 1, 19))
    part = head(dropout=0.0)
    fit(part, x, labels, balanced_class_weights(labels, 5) if balanced else None)
    shares = part(x, {}).point[0].softmax(-1).detach()
    want = torch.full((5,), 0.2) if balanced else torch.tensor([11, 3, 7, 1, 2]) / 24
    torch.testing.assert_close(shares, want, atol=0.01, rtol=0)


@pytest.mark.parametrize("outputs", [0, 1])
def test_a_target_without_classes_is_refused(outputs: int) -> None:
    with pytest.raises(ConfigError, match=rf"model\.head\.kind: .*2 classes or more.* have {outputs} \(give a target"):
        ClassificationConfig().build(Schema("asv", {"asv": 19}, outputs=outputs))
