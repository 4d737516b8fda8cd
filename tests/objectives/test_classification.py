"""Cross-entropy and scores by hand and against torch; masked rows are never read, neither value nor gradient."""

import math

import numpy as np
import pytest
import torch

from plait.core.errors import DataError
from plait.objectives.classification import balanced_class_weights, cross_entropy, row_scores

NAN = float("nan")


def test_balanced_weights_make_classes_weigh_the_same() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2, 0])
    weights = balanced_class_weights(labels, 3)
    assert weights.tolist() == pytest.approx([7 / 12, 7 / 3, 7 / 6])
    shares = torch.stack([weights[labels[labels == c]].sum() for c in range(3)])
    torch.testing.assert_close(shares, torch.full((3,), 7 / 3))
    with pytest.raises(DataError, match="no training row has class 3, 4"):
        balanced_class_weights(labels, 5)
    with pytest.raises(DataError, match=r"labels \[-1, 7\] are not among the 3 classes"):
        balanced_class_weights(torch.tensor([0, 1, 2, -1, 7]), 3)


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_torchs_over_known_rows(weighted: bool) -> None:
    torch.manual_seed(0)
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0, 0.1]) if weighted else None
    logits = torch.randn(7, 5)
    labels = torch.tensor([0, 4, -1, 2, 999, 1, 3])
    mask = (labels >= 0) & (labels < 5)
    logits[2] = NAN
    logits.requires_grad_()
    total, weight = cross_entropy(logits, labels, mask, weights)
    (total / weight).backward()
    expected = torch.nn.functional.cross_entropy(logits[mask], labels[mask], weights)
    torch.testing.assert_close(total / weight, expected)
    assert float(weight) == pytest.approx(5 if weights is None else float(weights.sum()))
    assert logits.grad is not None
    assert (logits.grad[~mask] == 0).all()
    assert torch.isfinite(logits.grad).all()


def test_cross_entropy_of_half_precision_is_float32() -> None:
    mask = torch.ones(5, dtype=torch.bool)
    assert cross_entropy(torch.randn(5, 7).bfloat16(), torch.zeros(5), mask)[0].dtype == torch.float32


def test_a_batch_without_a_known_row_weighs_nothing() -> None:
    nothing = torch.zeros(3, dtype=torch.bool)
    y, logits = torch.full((3,), NAN), torch.full((3, 7), NAN, requires_grad=True)
    total, weight = cross_entropy(logits, y, nothing)
    assert (total.item(), weight.item()) == (0.0, 0.0)
    (gradient,) = torch.autograd.grad(total, logits)
    assert (gradient == 0).all()
    assert all(values.tolist() == [0.0] * 3 for values in row_scores(logits, y, nothing).values())


def test_row_scores_by_hand() -> None:
    """Shares 1/2, 1/3, 1/6; the last row is unknown and holds what is no number and no class."""
    logits = torch.tensor([3.0, 2.0, 1.0]).log().expand(4, 3).clone()
    logits[3] = NAN
    found = row_scores(logits, torch.tensor([0, 1, 2, -7]), torch.tensor([True, True, True, False]))
    np.testing.assert_allclose(found["log_loss"], [math.log(2), math.log(3), math.log(6), 0.0], rtol=1e-6)
    assert found["correct"].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert found["n"].tolist() == [1.0, 1.0, 1.0, 0.0]
    assert {values.dtype for values in found.values()} == {torch.float64}


def test_row_scores_sum_over_the_labels_of_a_row_and_add_up_to_the_loss() -> None:
    maker = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, 7, generator=maker)
    labels = torch.randint(7, (5, 3), generator=maker)
    mask = torch.rand(5, 3, generator=maker) > 0.3
    found = row_scores(logits, labels, mask)
    total, weight = cross_entropy(logits.double(), labels, mask)
    torch.testing.assert_close(found["log_loss"].sum(), total)
    assert found["n"].tolist() == mask.sum(1).tolist()
    assert float(found["n"].sum()) == float(weight)
    for row in range(5):
        named = [max(range(7), key=logits[row, place].tolist().__getitem__) for place in range(3)]
        right = sum(named[i] == int(labels[row, i]) for i in range(3) if mask[row, i])
        assert found["correct"][row] == right


def test_row_scores_do_not_depend_on_the_batch() -> None:
    logits, labels = torch.randn(11, 5), torch.randint(5, (11, 1))[:, 0]
    mask = torch.ones(11, dtype=torch.bool)
    whole = row_scores(logits, labels, mask)
    for name, values in whole.items():
        parts = [row_scores(logits[i : i + 1], labels[i : i + 1], mask[i : i + 1])[name] for i in range(11)]
        assert torch.equal(values, torch.cat(parts))
