"""Every cell of constraint against transform, and every old flag by its new name (tickets CLN-1 and CLN-2)."""

import itertools

import numpy as np
import pytest
import torch

from plait.core.errors import ConfigError, DataError
from plait.objectives.choice import check_choice, check_reach, renew_constraint, renew_transform
from plait.objectives.constraints import CONSTRAINTS, ConstraintKind, OutputConstraint
from plait.objectives.transforms import TRANSFORMS, TargetTransform, TransformKind

# Columns in the order none, minmax, zscore, zscore-category, log-minmax, log-zscore; x is refused.
TABLE = {
    "none": "......",
    "bounded": "..xx.x",
    "nonnegative": "..xx.x",
    "nonnegative-relu": "..xx.x",
    "nonnegative-exp": "..xx.x",
    "nonnegative-learnable": "..xx.x",
    "learnable": "......",
    "bounded-learnable": "..xx.x",
}
Y = np.array([0.0, 2.0, 3.0, 7.0, 1.0])
CELLS = list(itertools.product(CONSTRAINTS, enumerate(TRANSFORMS)))


def _columns(transform: str) -> list[str]:
    return ["site"] if transform == "zscore-category" else []


@pytest.mark.parametrize(("constraint", "at"), CELLS, ids=lambda cell: cell if isinstance(cell, str) else cell[1])
def test_each_cell(constraint: ConstraintKind, at: tuple[int, TransformKind]) -> None:
    column, transform = at
    if TABLE[constraint][column] == ".":
        check_choice(constraint, transform, _columns(transform))
        return
    with pytest.raises(ConfigError, match="z-score") as error:
        check_choice(constraint, transform, _columns(transform))
    assert error.value.where == f"--output-constraint {constraint} with --target-transform {transform}"
    assert ("not in [0, 1]" in error.value.what) == constraint.startswith("bounded")
    assert ("log(1 + y)" in error.value.what) == transform.startswith("log")
    assert f"take --target-transform {'log-minmax' if transform == 'log-zscore' else 'minmax'}," in error.value.fix


@pytest.mark.parametrize(("constraint", "at"), CELLS, ids=lambda cell: cell if isinstance(cell, str) else cell[1])
def test_the_table_is_what_the_numbers_say(constraint: ConstraintKind, at: tuple[int, TransformKind]) -> None:
    """A cell is refused where transformed training targets lie outside the range that the module gives."""
    transform = at[1]
    if transform == "none":
        return  # The targets themselves decide; see check_reach.
    z = TargetTransform.fit(transform, Y, ["a"] * 5).forward(Y, ["a"] * 5)
    out = OutputConstraint(constraint, 1)(torch.linspace(-60, 60, 1001)[:, None]).detach()
    reached = bool(out.min() <= z.min() + 1e-6 and out.max() >= z.max() - 1e-6)
    assert reached == (TABLE[constraint][at[0]] == ".")


def test_cln_2_normalize_by_goes_with_its_one_transform() -> None:
    check_choice("none", "zscore-category", ["site"])
    with pytest.raises(ConfigError, match="give --normalize-by COLUMN"):
        check_choice("none", "zscore-category")
    for transform in TRANSFORMS:
        if transform != "zscore-category":
            with pytest.raises(ConfigError, match=f"--normalize-by: {transform} does not go by category"):
                check_choice("none", transform, ["site"])


def test_targets_beyond_the_range_are_named() -> None:
    names = [f"s{n}" for n in range(5)]
    with pytest.raises(DataError, match=r"rows s1, s2, s3: .*bounded can give, 0 to 1 \(take --target-transform"):
        check_reach("bounded", Y, names)
    with pytest.raises(DataError, match=r"row 1: .*nonnegative-relu can give, 0 to inf"):
        check_reach("nonnegative-relu", torch.tensor([[1.0, 2.0], [3.0, -0.5]]))
    check_reach("bounded-learnable", np.array([0.0, 1.0, np.nan]))
    check_reach("nonnegative", Y)
    for constraint in ("none", "learnable"):
        check_reach(constraint, -Y)  # type: ignore[arg-type]


ONE = "--bounded-targets"
SCALE = "--learnable-output-scale"


@pytest.mark.parametrize(
    ("bounded", "activation", "learnable", "new", "given"),
    [
        (True, None, False, "bounded", [ONE]),
        (True, "none", False, "bounded", [ONE]),
        (True, None, True, "bounded-learnable", [ONE, SCALE]),
        (False, "softplus", False, "nonnegative", ["--output-activation softplus"]),
        (False, "relu", False, "nonnegative-relu", ["--output-activation relu"]),
        (False, "exp", False, "nonnegative-exp", ["--output-activation exp"]),
        (False, "softplus", True, "nonnegative-learnable", ["--output-activation softplus", SCALE]),
        (False, "relu", True, "nonnegative-learnable", ["--output-activation relu", SCALE, "in place of relu"]),
        (False, "exp", True, "nonnegative-learnable", ["--output-activation exp", SCALE, "in place of exp"]),
        (False, None, True, "learnable", [SCALE]),
        (False, "none", True, "learnable", [SCALE]),
        (False, "none", False, "none", ["--output-activation none"]),
    ],
)
def test_cln_1_old_constraint_flags(
    bounded: bool, activation: str | None, learnable: bool, new: str, given: list[str]
) -> None:
    renewed = renew_constraint(bounded, activation, learnable)
    assert renewed is not None
    assert renewed.fields == {"output_constraint": new}
    assert f"now --output-constraint {new}" in renewed.warning
    assert renewed.warning.endswith("; the old flags go in the next major version")
    assert all(flag in renewed.warning for flag in given)
    assert ("in place of" in renewed.warning) == ("in place of" in given[-1])


BY = "--normalize-targets-by site,season"


@pytest.mark.parametrize(
    ("normalize", "by", "log", "constraint", "new", "given"),
    [
        (True, [], False, "none", "minmax", ["--normalize-targets"]),
        (False, [], False, "none", "none", ["--no-normalize-targets"]),
        (None, ["site", "season"], False, "none", "zscore-category", [BY, "--normalize-by site,season;"]),
        (False, ["site", "season"], False, "none", "zscore-category", ["--no-normalize-targets", BY]),
        (None, [], True, "none", "log-zscore", ["--log-transform-targets", "scales log(1 + y)"]),
        (False, [], True, "learnable", "log-zscore", ["--no-normalize-targets", "--log-transform-targets"]),
        (None, [], True, "nonnegative", "log-minmax", ["--log-transform-targets", "scales log(1 + y)"]),
        (None, [], True, "bounded-learnable", "log-minmax", ["--log-transform-targets"]),
        (True, [], True, "none", "log-minmax", ["--normalize-targets", "--log-transform-targets"]),
    ],
)
def test_cln_2_old_transform_flags(
    normalize: bool | None, by: list[str], log: bool, constraint: ConstraintKind, new: TransformKind, given: list[str]
) -> None:
    renewed = renew_transform(normalize, by, log, constraint)
    assert renewed is not None
    assert renewed.fields == {"target_transform": new} | ({"normalize_by": by} if by else {})
    assert f"now --target-transform {new}" in renewed.warning
    assert renewed.warning.endswith("; the old flags go in the next major version")
    assert all(flag in renewed.warning for flag in given)
    assert ("--output-constraint bounded" in renewed.warning) == bool(normalize and log)
    check_choice(constraint, new, by)


def test_the_old_silent_companion_is_named_and_not_switched_on() -> None:
    renewed = renew_transform(normalize_targets=True, log_transform_targets=True)
    assert renewed is not None
    assert "output_constraint" not in renewed.fields
    assert renewed.warning == (
        "--normalize-targets with --log-transform-targets are now --target-transform log-minmax; the old pair also "
        "switched on --output-constraint bounded, which is now given by name; "
        "the old flags go in the next major version"
    )


def test_without_old_flags_nothing_is_renewed() -> None:
    assert renew_constraint() is None
    assert renew_transform() is None


@pytest.mark.parametrize("activation", ["softplus", "relu", "exp"])
def test_bounded_and_an_activation_exclude_each_other(activation: str) -> None:
    with pytest.raises(ConfigError, match=r"exclude each other.*--output-constraint bounded"):
        renew_constraint(bounded_targets=True, output_activation=activation)


def test_an_unknown_activation_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--output-activation: no activation 'softpuls' \(did you mean softplus"):
        renew_constraint(output_activation="softpuls")


@pytest.mark.parametrize(("normalize", "log", "rival"), [(None, True, "log-transform"), (True, False, "normalize")])
def test_a_category_beside_another_transform_is_refused(normalize: bool | None, log: bool, rival: str) -> None:
    with pytest.raises(
        ConfigError, match=f"--{rival}-targets .*--target-transform zscore-category --normalize-by site"
    ):
        renew_transform(normalize, ["site"], log)
