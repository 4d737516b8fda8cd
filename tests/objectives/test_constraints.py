"""Each constraint by its formula, its range, its gradient at extremes, and the parameters that it does not have."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from plait.core.errors import ConfigError
from plait.objectives.constraints import CONSTRAINTS, EXP_LIMIT, ConstraintKind, OutputConstraint

LEARNABLE = ("nonnegative-learnable", "learnable", "bounded-learnable")
RAW = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0])
FORMULA = {
    "none": lambda z: z,
    "bounded": lambda z: 1 / (1 + math.exp(-z)),
    "nonnegative": lambda z: math.log1p(math.exp(z)),
    "nonnegative-relu": lambda z: max(z, 0.0),
    "nonnegative-exp": math.exp,
    "nonnegative-learnable": lambda z: math.log1p(math.exp(z)),
    "learnable": lambda z: z,
    "bounded-learnable": lambda z: 1 / (1 + math.exp(-z)),
}


def _gradient(kind: ConstraintKind, z: list[float]) -> tuple[Tensor, Tensor]:
    raw = torch.tensor(z, requires_grad=True)
    out = OutputConstraint(kind, len(z))(raw[None])
    out.sum().backward()
    assert raw.grad is not None
    return out.detach()[0], raw.grad


def test_there_are_eight() -> None:
    assert set(CONSTRAINTS) == set(FORMULA)


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_at_the_start_it_is_its_formula(kind: ConstraintKind) -> None:
    out = OutputConstraint(kind, 5)(RAW.expand(7, 5))
    expected = torch.tensor([FORMULA[kind](z) for z in RAW.tolist()])
    torch.testing.assert_close(out, expected.expand(7, 5))


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_cln_3_only_learnable_kinds_have_parameters(kind: ConstraintKind) -> None:
    parameters = {name: value.tolist() for name, value in OutputConstraint(kind, 3).named_parameters()}
    assert parameters == ({"scale": [1.0] * 3, "bias": [0.0] * 3} if kind in LEARNABLE else {})


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_the_gradient_is_the_one_of_the_formula(kind: ConstraintKind) -> None:
    part = OutputConstraint(kind, 3).double()
    if kind in LEARNABLE:  # Inside the limits, where the projection is smooth.
        torch.nn.init.constant_(part.scale, 0.7)
        torch.nn.init.constant_(part.bias, 0.2)
    raw = torch.tensor([[-30.0, -0.7, 0.3], [1.9, 12.0, 30.0]], dtype=torch.float64, requires_grad=True)
    values = tuple(part.parameters())
    assert torch.autograd.gradcheck(lambda z, *_: part(z), (raw, *values))


@pytest.mark.parametrize("kind", ["bounded", "nonnegative", "nonnegative-exp", "nonnegative-learnable"])
def test_far_from_zero_the_gradient_lives(kind: ConstraintKind) -> None:
    value, gradient = _gradient(kind, [-80.0, -40.0, 40.0, 80.0])
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()
    assert (gradient > 0).all()


def test_bounded_at_one_still_learns_where_sigmoid_does_not() -> None:
    value, gradient = _gradient("bounded", [50.0])
    assert value == 1.0
    assert gradient.item() == pytest.approx(math.exp(-50), rel=1e-5)


def test_relu_has_no_gradient_below_zero() -> None:
    assert _gradient("nonnegative-relu", [-2.0, 2.0])[1].tolist() == [0.0, 1.0]


def test_exp_goes_on_as_its_tangent() -> None:
    value, gradient = _gradient("nonnegative-exp", [EXP_LIMIT - 1, EXP_LIMIT, EXP_LIMIT + 3, 1e6])
    top = math.exp(EXP_LIMIT)
    assert value.tolist() == pytest.approx([top / math.e, top, 4 * top, (1e6 - 19) * top], rel=1e-5)
    assert gradient.tolist() == pytest.approx([top / math.e, top, top, top], rel=1e-5)


@given(
    kind=st.sampled_from(CONSTRAINTS),
    raw=st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3),
    scale=st.floats(-5, 5, width=32),
    bias=st.floats(-5, 5, width=32),
)
def test_no_parameter_leads_out_of_the_range(kind: ConstraintKind, raw: list[float], scale: float, bias: float) -> None:
    part = OutputConstraint(kind, 3)
    if kind in LEARNABLE:
        torch.nn.init.constant_(part.scale, scale)
        torch.nn.init.constant_(part.bias, bias)
    out = part(torch.tensor([raw]))
    assert torch.isfinite(out).all()
    if kind.startswith(("bounded", "nonnegative")):
        assert (out >= 0).all()
    if kind.startswith("bounded"):
        assert (out <= 1).all()


@given(bias=st.floats(0, 1, width=32))
def test_bounded_learnable_does_not_round_above_one(bias: float) -> None:
    part = OutputConstraint("bounded-learnable", 1)
    torch.nn.init.constant_(part.bias, bias)
    assert part(torch.tensor([[200.0]])) <= 1


def test_learned_numbers_by_hand() -> None:
    out = {}
    for kind in ("nonnegative-learnable", "learnable", "bounded-learnable"):
        part = OutputConstraint(kind, 2)
        with torch.no_grad():
            part.scale.copy_(torch.tensor([0.5, -2.0]))
            part.bias.copy_(torch.tensor([0.25, -1.0]))
        out[kind] = part(torch.zeros(1, 2))[0].tolist()
    assert out["nonnegative-learnable"] == pytest.approx([0.5 * math.log(2) + 0.25, 0.0])
    assert out["learnable"] == pytest.approx([0.25, -1.0])
    assert out["bounded-learnable"] == pytest.approx([0.25 + 0.75 * 0.5 * 0.5, 0.0])


@pytest.mark.parametrize(
    ("kind", "scale", "bias", "sign", "learns"),
    [
        ("nonnegative-learnable", 1.0, 0.0, -1, (True, True)),  # Upwards: both may rise.
        ("nonnegative-learnable", 1.0, 0.0, 1, (True, False)),  # Downwards: the bias stands on 0.
        ("nonnegative-learnable", -0.1, -0.1, -1, (True, True)),  # From beyond the limit they come back.
        ("bounded-learnable", 1.0, 0.0, -1, (False, True)),
        ("bounded-learnable", 1.0, 0.0, 1, (True, False)),
        ("bounded-learnable", 0.0, 1.0, 1, (False, True)),
        ("bounded-learnable", 0.5, 0.5, 1, (True, True)),
    ],
)
def test_a_limit_drops_only_what_pushes_beyond(
    kind: ConstraintKind, scale: float, bias: float, sign: int, learns: tuple[bool, bool]
) -> None:
    part = OutputConstraint(kind, 1)
    torch.nn.init.constant_(part.scale, scale)
    torch.nn.init.constant_(part.bias, bias)
    (sign * part(torch.tensor([[0.3]]))).sum().backward()
    assert part.bias.grad is not None
    assert part.scale.grad is not None
    assert bool(part.bias.grad != 0) == learns[1]
    # A bias of 1 leaves the scale no room, whatever its limit.
    assert bool(part.scale.grad != 0) == (learns[0] and bias != 1.0)


def test_a_learnable_scale_finds_the_range_of_the_target() -> None:
    torch.manual_seed(0)
    raw, part = torch.linspace(-4, 4, 101)[:, None], OutputConstraint("nonnegative-learnable", 1)
    target = 3 * torch.nn.functional.softplus(raw) + 2
    optimiser = torch.optim.Adam(part.parameters(), lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        ((part(raw) - target) ** 2).mean().backward()
        optimiser.step()
    assert part.scale.item() == pytest.approx(3, abs=0.05)
    assert part.bias.item() == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_half_precision_is_computed_in_float32(kind: ConstraintKind) -> None:
    out = OutputConstraint(kind, 1)(torch.tensor([[15.0]], dtype=torch.float16))
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_it_exports(kind: ConstraintKind) -> None:
    part = OutputConstraint(kind, 3).eval()
    program = torch.export.export(part, (torch.zeros(5, 3),))
    raw = torch.randn(5, 3)
    torch.testing.assert_close(program.module()(raw), part(raw))


def test_a_misspelt_kind_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean nonnegative-relu") as error:
        OutputConstraint("nonnegative-rel", 1)  # type: ignore[arg-type]
    assert error.value.exit_code == 2
