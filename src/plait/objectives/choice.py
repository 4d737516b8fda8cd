"""Which output constraint goes with which target transform, and what the old flags are called now."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from plait.core.errors import ConfigError, DataError, suggest
from plait.objectives.constraints import ConstraintKind
from plait.objectives.transforms import FloatArray, TransformKind, name_rows

_ENDS = "the old flags go in the next major version"

# (range of the constraint, transform) -> why not, and what to take instead. What is not listed fits. `minmax` and
# `log-minmax` put the smallest training target at 0, so a bounded or nonnegative output has its floor there.
_CLASHES: dict[tuple[str, TransformKind], tuple[str, str]] = {
    ("bounded", "zscore"): (
        "a z-score is not in [0, 1]: it is negative below the mean and has no upper end",
        "take --target-transform minmax, or --output-constraint none",
    ),
    ("bounded", "zscore-category"): (
        "a z-score within a category is not in [0, 1]: it is negative below the category's mean and has no upper end",
        "take --target-transform minmax, or --output-constraint none",
    ),
    ("bounded", "log-zscore"): (
        "a z-score of log(1 + y) is not in [0, 1]: it is negative below the mean and has no upper end",
        "take --target-transform log-minmax, or --output-constraint none",
    ),
    ("nonnegative", "zscore"): (
        "a z-score is negative for each target below the mean, and the output could never reach it",
        "take --target-transform minmax, or --output-constraint none",
    ),
    ("nonnegative", "zscore-category"): (
        "a z-score within a category is negative for each target below the category's mean, "
        "and the output could never reach it",
        "take --target-transform minmax, or --output-constraint none",
    ),
    ("nonnegative", "log-zscore"): (
        "a z-score of log(1 + y) is negative for each target below the mean, and the output could never reach it",
        "take --target-transform log-minmax, or --output-constraint none",
    ),
}


def check_choice(constraint: ConstraintKind, transform: TransformKind, normalize_by: Sequence[str] = ()) -> None:
    """Refuse an output constraint whose range the transformed targets leave, and `--normalize-by` where it is not read.

    Errors: ConfigError that says why and what to take instead.
    """
    clash = _CLASHES.get((_range(constraint), transform))
    if clash:
        why, fix = clash
        raise ConfigError(why, where=f"--output-constraint {constraint} with --target-transform {transform}", fix=fix)
    if transform == "zscore-category" and not normalize_by:
        raise ConfigError(
            "zscore-category has no category to go by", where="--target-transform", fix="give --normalize-by COLUMN"
        )
    if normalize_by and transform != "zscore-category":
        raise ConfigError(
            f"{transform} does not go by category",
            where="--normalize-by",
            fix="take --target-transform zscore-category",
        )


def check_reach(constraint: ConstraintKind, z: FloatArray | Tensor, names: Sequence[str] | None = None) -> None:
    """Refuse training targets that the constrained output could never be; the last word where there is no transform.

    Shape: z (n,) or (n, outputs), after the transform; names (n,). An unknown target is NaN and passes.
    Errors: DataError that names rows.
    """
    array = z.detach().cpu().numpy() if isinstance(z, Tensor) else np.asarray(z)
    bounds = {"bounded": (0.0, 1.0), "nonnegative": (0.0, np.inf)}.get(_range(constraint), (-np.inf, np.inf))
    beyond = (array < bounds[0]) | (array > bounds[1])
    if beyond.any():
        raise DataError(
            f"a target lies outside what --output-constraint {constraint} can give, {bounds[0]:g} to {bounds[1]:g}",
            where=name_rows(beyond, names),
            fix="take --target-transform minmax, or --output-constraint none",
        )


def _range(constraint: ConstraintKind) -> str:
    return constraint.split("-")[0]


@dataclass(frozen=True)
class Renewed:
    """The new fields that old flags stand for, and the sentence that warns of the change."""

    fields: dict[str, object]
    warning: str


def renew_constraint(
    bounded_targets: bool = False, output_activation: str | None = None, learnable_output_scale: bool = False
) -> Renewed | None:
    """The output constraint that old flags stand for; None where none of them is given.

    --bounded-targets: bounded; --output-activation softplus, relu, exp: nonnegative, nonnegative-relu, nonnegative-exp;
    any of these activations with --learnable-output-scale: nonnegative-learnable (softplus); --bounded-targets with it:
    bounded-learnable; it alone: learnable.  Errors: ConfigError for an unknown activation, or one with bounded targets.
    """
    named: dict[str, ConstraintKind] = {
        "none": "none",
        "softplus": "nonnegative",
        "relu": "nonnegative-relu",
        "exp": "nonnegative-exp",
    }
    if output_activation is not None and output_activation not in named:
        fix = suggest(output_activation, named)
        raise ConfigError(f"no activation {output_activation!r}", where="--output-activation", fix=fix)
    active = output_activation not in (None, "none")
    if bounded_targets and active:
        raise ConfigError(
            f"--bounded-targets and --output-activation {output_activation} exclude each other",
            fix="take --output-constraint bounded, or one of its nonnegative kinds",
        )
    given = ["--bounded-targets"] * bounded_targets
    given += [f"--output-activation {output_activation}"] * (output_activation is not None)
    given += ["--learnable-output-scale"] * learnable_output_scale
    if not given:
        return None
    note = ""
    kind: ConstraintKind
    if learnable_output_scale:
        kind = "bounded-learnable" if bounded_targets else "nonnegative-learnable" if active else "learnable"
        note = f", with softplus in place of {output_activation}" if output_activation in ("relu", "exp") else ""
    else:
        kind = "bounded" if bounded_targets else named[output_activation or "none"]
    return _renewed(given, {"output_constraint": kind}, f"--output-constraint {kind}{note}")


def renew_transform(
    normalize_targets: bool | None = None,
    normalize_targets_by: Sequence[str] = (),
    log_transform_targets: bool = False,
    constraint: ConstraintKind = "none",
) -> Renewed | None:
    """The target transform that old flags stand for; None where none of them is given (`normalize_targets` unset).

    --normalize-targets: minmax; --no-normalize-targets: none; --normalize-targets-by COLUMNS: zscore-category;
    --log-transform-targets with --normalize-targets: log-minmax, and the warning names `bounded`, which the old pair
    switched on by itself; --log-transform-targets alone: log-zscore, or log-minmax beside a bounded or nonnegative
    `constraint`, which no z-score fits.  Errors: ConfigError for a category with the log or with --normalize-targets.
    """
    columns = list(normalize_targets_by)
    given = (
        [] if normalize_targets is None else ["--normalize-targets" if normalize_targets else "--no-normalize-targets"]
    )
    given += [f"--normalize-targets-by {','.join(columns)}"] * bool(columns)
    given += ["--log-transform-targets"] * log_transform_targets
    if not given:
        return None
    if columns and (log_transform_targets or normalize_targets):
        rival = "--log-transform-targets" if log_transform_targets else "--normalize-targets"
        raise ConfigError(
            f"{rival} and --normalize-targets-by exclude each other",
            fix=f"take --target-transform zscore-category --normalize-by {','.join(columns)} alone",
        )
    if columns:
        form = f"--target-transform zscore-category --normalize-by {','.join(columns)}"
        return _renewed(given, {"target_transform": "zscore-category", "normalize_by": columns}, form)
    kind: TransformKind = "minmax" if normalize_targets else "none"
    note = ""
    if log_transform_targets and normalize_targets:
        kind = "log-minmax"
        note = "; the old pair also switched on --output-constraint bounded, which is now given by name"
    elif log_transform_targets:
        kind = "log-zscore" if _range(constraint) in ("none", "learnable") else "log-minmax"
        note = ", which scales log(1 + y) too"
    return _renewed(given, {"target_transform": kind}, f"--target-transform {kind}{note}")


def _renewed(given: list[str], fields: dict[str, object], form: str) -> Renewed:
    verb = "is" if len(given) == 1 else "are"
    return Renewed(fields, f"{' with '.join(given)} {verb} now {form}; {_ENDS}")
