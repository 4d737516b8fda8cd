"""Tickets CLN-1 and CLN-2 of the seed of `aam`: one flag for the output's range and one for the target's transform."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.sample_study import Study, data_of
from plait.cli.arguments import config_of, raw_config_of
from plait.cli.fields_page import fields_page
from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.objectives.constraints import CONSTRAINTS
from plait.objectives.transforms import TRANSFORMS, TargetTransform, TransformKind
from plait.runs.config import RunConfig

FLAGS = ["aam", "--table", "t.tsv", "--target", "age"]
ENDS = "the old flags go in the next major version"
Renewed = Callable[[str, str], None]


def config(*flags: str) -> RunConfig:
    return config_of([*FLAGS, *" ".join(flags).split()])[2]


@pytest.fixture
def renewed(capsys: pytest.CaptureFixture[str]) -> Renewed:
    """Checks that old flags make the config of new ones, with one warning that names both."""

    def check(old: str, new: str) -> None:
        capsys.readouterr()
        found = config(old)
        (warning,) = capsys.readouterr().err.splitlines()
        for words in (*old.split(" --"), f"now {new}", ENDS):
            assert words in warning
        assert found == config(new)
        assert capsys.readouterr().err == "", "the new form warns of nothing"

    return check


# --- CLN-1: --output-constraint


@pytest.mark.ticket("CLN-1")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--bounded-targets", "bounded"),
        ("--output-activation softplus", "nonnegative"),
        ("--output-activation relu", "nonnegative-relu"),
        ("--output-activation exp", "nonnegative-exp"),
        ("--output-activation softplus --learnable-output-scale", "nonnegative-learnable"),
        ("--output-activation exp --learnable-output-scale", "nonnegative-learnable"),
        ("--learnable-output-scale", "learnable"),
        ("--bounded-targets --learnable-output-scale", "bounded-learnable"),
    ],
)
def test_an_old_combination_is_its_new_constraint_with_one_warning(renewed: Renewed, old: str, new: str) -> None:
    renewed(old, f"--output-constraint {new}")


@pytest.mark.ticket("CLN-1")
def test_without_any_flag_there_is_no_constraint() -> None:
    assert getattr(config().model.head, "constraint", "none") == "none"
    assert config("--output-constraint none").model.head.constraint == "none"


@pytest.mark.ticket("CLN-1")
@pytest.mark.parametrize("activation", ["softplus", "relu", "exp"])
def test_bounded_and_an_activation_are_refused_together(activation: str) -> None:
    with pytest.raises(ConfigError, match=f"--bounded-targets and --output-activation {activation} exclude each other"):
        config(f"--bounded-targets --output-activation {activation}")


@pytest.mark.ticket("CLN-1")
def test_an_old_flag_beside_the_new_one_is_refused_and_says_the_new_form() -> None:
    for new in ("--output-constraint nonnegative", "--model.head.constraint nonnegative"):
        with pytest.raises(ConfigError, match=r"beside old flags .*now --output-constraint bounded"):
            config(f"--bounded-targets {new}")


@pytest.mark.ticket("CLN-1")
def test_a_constraint_or_activation_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"model.head.constraint: .*'bounded', 'nonnegative'.*'positive'"):
        config("--output-constraint positive")
    with pytest.raises(ConfigError, match=r"--output-activation: no activation 'softpls' \(did you mean softplus"):
        config("--output-activation softpls")


@pytest.mark.ticket("CLN-1")
def test_a_constraint_is_of_a_head_of_numbers_and_brings_it_along() -> None:
    found = config("--output-constraint nonnegative")
    assert (found.model.head.kind, found.task.loss) == ("regression", "huber")
    with pytest.raises(ConfigError, match="constraint"):
        config("--output-constraint nonnegative --head distribution")


@pytest.mark.ticket("CLN-1")
def test_the_page_of_fields_shows_the_one_flag_and_all_its_values() -> None:
    page = fields_page(*raw_config_of([*FLAGS, "--head", "regression"])[1:])
    (line,) = [line for line in page.splitlines() if "--output-constraint" in line]
    assert line.startswith("  --model.head.constraint  one of ")
    assert all(kind in line for kind in CONSTRAINTS)
    for old in ("bounded-targets", "output-activation", "learnable-output-scale"):
        assert f"--{old}" not in page


@pytest.mark.ticket("CLN-1")
@torch.no_grad()
def test_a_constrained_answer_never_leaves_its_range() -> None:
    for kind, low, high in (("bounded", 0.0, 1.0), ("nonnegative", 0.0, torch.inf), ("none", -torch.inf, torch.inf)):
        torch.manual_seed(0)
        head = config(f"--output-constraint {kind}").model.head.build(Schema("asv", {"asv": 19}, outputs=1)).eval()
        head.readout.project.weight.mul_(1e3)
        point = head(Tokens.full(torch.randn(31, 1, 19)), {}).point
        assert ((point >= low) & (point <= high)).all()
        assert (point < 0).any() == (kind == "none")


# --- CLN-2: --target-transform


@pytest.mark.ticket("CLN-2")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--normalize-targets", "minmax"),
        ("--no-normalize-targets", "none"),
        ("--normalize-targets-by site,sex", "zscore-category --normalize-by site,sex"),
        ("--log-transform-targets", "log-zscore"),
        ("--log-transform-targets --normalize-targets", "log-minmax"),
    ],
)
def test_an_old_combination_is_its_new_transform_with_one_warning(renewed: Renewed, old: str, new: str) -> None:
    renewed(old, f"--target-transform {new}")


@pytest.mark.ticket("CLN-2")
def test_log_with_normalize_names_bounded_and_does_not_switch_it_on(capsys: pytest.CaptureFixture[str]) -> None:
    found = config("--log-transform-targets --normalize-targets --head regression")
    assert "--output-constraint bounded, which is now given by name" in capsys.readouterr().err
    assert found.model.head.constraint == "none"
    both = config("--log-transform-targets --normalize-targets --bounded-targets")
    assert (both.model.head.constraint, both.data.transform) == ("bounded", "log-minmax")
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.ticket("CLN-2")
def test_the_log_alone_beside_a_constraint_takes_the_transform_that_fits_it() -> None:
    found = config("--log-transform-targets --output-activation softplus")
    assert (found.data.transform, found.model.head.constraint) == ("log-minmax", "nonnegative")


@pytest.mark.ticket("CLN-2")
def test_log_by_category_is_refused_and_offers_the_category_form() -> None:
    with pytest.raises(
        ConfigError, match=r"exclude each other \(take --target-transform zscore-category --normalize-by"
    ):
        config("--log-transform-targets --normalize-targets-by site")


@pytest.mark.ticket("CLN-2")
def test_an_old_flag_beside_the_new_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--target-transform is given beside old flags .*--target-transform minmax"):
        config("--normalize-targets --target-transform zscore")


@pytest.mark.ticket("CLN-2")
@pytest.mark.parametrize("transform", [kind for kind in TRANSFORMS if kind != "zscore-category"])
def test_normalize_by_is_refused_with_any_transform_but_the_category_form(transform: str) -> None:
    with pytest.raises(ConfigError, match=f"--normalize-by: {transform} does not go by category"):
        config(f"--target-transform {transform} --normalize-by site")


@pytest.mark.ticket("CLN-2")
def test_the_category_form_needs_normalize_by() -> None:
    assert config("--target-transform zscore-category --normalize-by site").data.normalize_by == ["site"]
    with pytest.raises(ConfigError, match="give --normalize-by COLUMN"):
        config("--target-transform zscore-category")


@pytest.mark.ticket("CLN-2")
@pytest.mark.parametrize(
    ("constraint", "transform", "why"),
    [
        ("bounded", "zscore", r"not in \[0, 1\]: it is negative below the mean"),
        ("bounded-learnable", "log-zscore", r"log\(1 \+ y\) is not in \[0, 1\]"),
        ("nonnegative", "zscore", "negative for each target below the mean, and the output could never reach it"),
    ],
)
def test_a_range_that_the_transform_leaves_is_refused_and_says_why(constraint: str, transform: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as error:
        config(f"--output-constraint {constraint} --target-transform {transform}")
    assert error.value.where == f"--output-constraint {constraint} with --target-transform {transform}"
    assert "take --target-transform" in error.value.fix


@pytest.mark.ticket("CLN-2")
def test_a_transform_that_is_none_is_refused_with_the_six() -> None:
    with pytest.raises(ConfigError, match=r"data\.transform: ") as error:
        config("--target-transform z-score")
    assert all(kind in str(error.value) for kind in TRANSFORMS)


AGES = np.array([0.0, 2.0, 3.5, 7.0, 1.0, 80.0, 11.0])
SITES = ["gut", "gut", "skin", "skin", "gut", "skin", None]
FORMULAS = {
    "none": AGES,
    "minmax": AGES / 80,
    "zscore": (AGES - AGES.mean()) / AGES.std(),
    "log-minmax": np.log1p(AGES) / np.log(81),
    "log-zscore": (np.log1p(AGES) - np.log1p(AGES).mean()) / np.log1p(AGES).std(),
}


@pytest.mark.ticket("CLN-2")
@pytest.mark.parametrize("kind", TRANSFORMS)
def test_a_transform_is_its_formula_and_its_inverse_is_exact(kind: TransformKind) -> None:
    fitted = TargetTransform.fit(kind, AGES, SITES)
    z = fitted.forward(AGES, SITES)
    if kind in FORMULAS:
        np.testing.assert_allclose(z, FORMULAS[kind], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(fitted.inverse(z, SITES), AGES, rtol=1e-13, atol=1e-13)


@pytest.mark.ticket("CLN-2")
def test_a_small_category_shrinks_to_all_rows_by_its_credibility() -> None:
    y, sites = np.concatenate([np.arange(90.0), [500.0, 502.0]]), ["large"] * 90 + ["small"] * 2
    fitted = TargetTransform.fit("zscore-category", y, sites)
    for name, rows in (("large", slice(90)), ("small", slice(90, 92))):
        own = y[rows]
        w = len(own) / (len(own) + 10)
        centre, scale = fitted.categories[(name,)].centre[0], fitted.categories[(name,)].scale[0]
        assert centre == pytest.approx(w * own.mean() + (1 - w) * y.mean())
        assert scale == pytest.approx(np.sqrt(w * own.var() + (1 - w) * y.var()))
    assert fitted.categories[("small",)].centre[0] < 200, "two rows do not make a mean of 501"


@pytest.mark.ticket("CLN-2")
def test_an_unseen_and_a_missing_category_take_the_statistics_of_all_rows() -> None:
    fitted = TargetTransform.fit("zscore-category", AGES, SITES)
    overall = (AGES - AGES.mean()) / AGES.std()
    for unknown in ("moon", None):
        np.testing.assert_allclose(fitted.forward(AGES, [unknown] * 7), overall, rtol=1e-13)
        np.testing.assert_allclose(fitted.inverse(overall, [unknown] * 7), AGES, rtol=1e-12, atol=1e-12)
    assert np.abs(fitted.forward(AGES, SITES) - overall)[:6].min() > 1e-3


@pytest.mark.ticket("CLN-2")
def test_a_transform_learns_from_train_samples_alone_and_is_saved_with_them(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"transform": "zscore-category", "normalize_by": "site"}
    data = data_of(tmp_path / "a", **fields)
    study = Study()
    for name in data.ids("test"):
        study = study.with_cell(name, "age", "900")
    other = data_of(tmp_path / "b", study, **fields)
    assert other.ids("train") == data.ids("train")
    assert other.fitted.transform == data.fitted.transform
    assert data.fitted.transform is not None
    assert set(data.fitted.transform.categories) == {("gut",), ("mouth",), ("skin",)}
    again = TargetTransform.from_json(data.fitted.transform.to_json())
    assert again == data.fitted.transform
