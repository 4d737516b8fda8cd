"""Tests of the regression head: its constraint in and out of reach, its errors, and an overfit of 30 points."""

from typing import Annotated, Any

import pytest
import torch
import torch.nn.functional as F

from plait.core.config import Config, PartOf, validate
from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.heads.regression import Regression, RegressionConfig
from plait.objectives.constraints import CONSTRAINTS, ConstraintKind

SCHEMA = Schema("asv", {"asv": 19}, outputs=3)

RANGES: dict[str, tuple[float, float]] = {"bounded": (0.0, 1.0), "nonnegative": (0.0, float("inf"))}


def head(constraint: ConstraintKind = "none", schema: Schema = SCHEMA, **fields: Any) -> Regression:
    torch.manual_seed(0)
    return RegressionConfig(constraint=constraint, **fields).build(schema).eval()


def tokens(rows: int = 5) -> Tokens:
    return Tokens.full(torch.randn(rows, 1, 19, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@torch.no_grad()
def test_the_answer_is_the_constrained_readout(constraint: ConstraintKind) -> None:
    part, x = head(constraint), tokens()
    part.readout.project.weight.mul_(5)
    z = part.readout(x, {})
    if "learnable" in constraint:
        part.constraint.scale.copy_(torch.tensor([0.5, 1.0, 0.25]))
        part.constraint.bias.copy_(torch.tensor([0.25, 0.0, 0.5]))
    s, c = (torch.tensor(each) for each in ([0.5, 1.0, 0.25], [0.25, 0.0, 0.5]))
    want = {
        "none": z,
        "bounded": 1 / (1 + (-z).exp()),
        "nonnegative": (1 + z.exp()).log(),
        "nonnegative-relu": z.clamp(min=0),
        "nonnegative-exp": z.exp(),
        "nonnegative-learnable": s * (1 + z.exp()).log() + c,
        "learnable": s * z + c,
        "bounded-learnable": c + (1 - c) * s / (1 + (-z).exp()),
    }[constraint]
    got = part(x, {})
    torch.testing.assert_close(got.point, want)
    assert got.point.shape == (5, 3)
    assert list(got.parts) == ["points"]
    assert torch.equal(got.parts["points"], got.point[:, None])


@pytest.mark.parametrize("constraint", [c for c in CONSTRAINTS if c.split("-")[0] in RANGES])
@torch.no_grad()
def test_no_answer_leaves_the_range(constraint: ConstraintKind) -> None:
    part = head(constraint)
    part.readout.project.weight.mul_(1e3)
    raw, point = part.readout(tokens(101), {}), part(tokens(101), {}).point
    assert raw.min() < -50
    assert raw.max() > 50
    low, high = RANGES[constraint.split("-")[0]]
    assert ((point >= low) & (point <= high)).all()


@pytest.mark.parametrize(
    ("constraint", "scale", "bias"),
    [("learnable", 3.0, -2.0), ("nonnegative-learnable", 3.0, 2.0), ("bounded-learnable", 0.5, 0.2)],
)
def test_a_learnable_constraint_reaches_what_the_readout_alone_could_not(
    constraint: ConstraintKind, scale: float, bias: float
) -> None:
    """Scale and bias are found from answers made with others, while the readout stands still."""
    part, x = head(constraint), tokens(31)
    part.readout.requires_grad_(False)
    with torch.no_grad():
        shape = {"learnable": lambda z: z, "nonnegative-learnable": F.softplus, "bounded-learnable": torch.sigmoid}
        own = shape[constraint](part.readout(x, {}))
        y = bias + (1 - bias if "bounded" in constraint else 1) * scale * own
        assert ((part(x, {}).point - y).abs() > 0.05).any()
    learned = [p for p in part.parameters() if p.requires_grad]
    assert len(learned) == 2
    optimiser = torch.optim.Adam(learned, lr=0.1)
    for _ in range(800):
        optimiser.zero_grad()
        ((part(x, {}).point - y) ** 2).sum().backward()
        optimiser.step()
    torch.testing.assert_close(part.constraint.scale, torch.full((3,), scale), atol=1e-3, rtol=0)
    torch.testing.assert_close(part.constraint.bias, torch.full((3,), bias), atol=1e-3, rtol=0)


@pytest.mark.parametrize("constraint", ["none", "bounded-learnable"])
def test_thirty_points_are_learned_by_heart(constraint: ConstraintKind) -> None:
    part, x = head(constraint, Schema("asv", {"asv": 19}, outputs=1), dropout=0.0).train(), tokens(30)
    y = torch.rand(30, 1, generator=torch.Generator().manual_seed(2)) * 0.8 + 0.1
    optimiser = torch.optim.Adam(part.parameters(), lr=2e-2)
    losses = []
    for _ in range(200):
        optimiser.zero_grad()
        loss = ((part(x, {}).point - y) ** 2).mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 0.03
    assert losses[-1] < 1e-4


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"model\.head\.kind: .*one number a row.*\(give a numeric target"):
        RegressionConfig().build(Schema("asv", {"asv": 19}))

    class Model(Config):
        head: Annotated[Any, PartOf("heads")] = {"kind": "regression"}

    class Run(Config):
        model: Model = Model()

    with pytest.raises(ConfigError, match=r"model\.head\.constraint: .*'bounded'.*\(got 'bound'\)"):
        validate(Run, {"model": {"head": {"kind": "regression", "constraint": "bound"}}})
