"""Transforms by their formulas, exact inverses, shrinkage, what is saved, and the targets that they refuse."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plait.core.errors import ConfigError, DataError, FileError
from plait.objectives.transforms import TRANSFORMS, TargetTransform, TransformKind, check_targets

Y = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0])
CATEGORIES = ["a", "b", "a", None, "b", "a", "b"]
NAN = float("nan")


def _fit(kind: TransformKind, y: np.ndarray = Y) -> TargetTransform:
    return TargetTransform.fit(kind, y, CATEGORIES if kind == "zscore-category" else None)


@pytest.mark.parametrize(
    ("kind", "centre", "scale"),
    [
        ("none", 0, 1),
        ("minmax", 1, 8),
        ("zscore", Y.mean(), Y.std()),
        ("zscore-category", Y.mean(), Y.std()),
        ("log-minmax", np.log(2), np.log(5)),
        ("log-zscore", np.log1p(Y).mean(), np.log1p(Y).std()),
    ],
)
def test_statistics_are_the_formulas(kind: TransformKind, centre: float, scale: float) -> None:
    fitted = _fit(kind)
    assert fitted.overall.centre == pytest.approx((centre,))
    assert fitted.overall.scale == pytest.approx((scale,))
    if kind != "zscore-category":
        logged = np.log1p(Y) if kind.startswith("log") else Y
        np.testing.assert_allclose(fitted.forward(Y), (logged - centre) / scale, rtol=1e-12)


@pytest.mark.parametrize("kind", ["minmax", "log-minmax"])
def test_minmax_of_training_rows_is_zero_to_one_exactly(kind: TransformKind) -> None:
    z = _fit(kind).forward(Y)
    assert (z.min(), z.max()) == (0.0, 1.0)


@given(
    kind=st.sampled_from(TRANSFORMS),
    y=arrays(np.float64, 11, elements=st.floats(0, 1e6, allow_subnormal=False)),
    codes=st.lists(st.sampled_from(["a", "b", None]), min_size=11, max_size=11),
    tensor=st.booleans(),
)
def test_the_inverse_is_exact(kind: TransformKind, y: np.ndarray, codes: list[str | None], tensor: bool) -> None:
    try:
        fitted = TargetTransform.fit(kind, y, codes)
    except DataError:
        assert np.ptp(y) < 1e-9 * max(1, y.max())
        return
    values = torch.from_numpy(y) if tensor else y
    back = np.asarray(fitted.inverse(fitted.forward(values, codes), codes))
    # A log is flat far out: what is lost there is relative to the largest target.
    np.testing.assert_allclose(back, y, rtol=1e-12, atol=1e-12 * max(1, y.max()))


@given(
    kind=st.sampled_from(TRANSFORMS),
    z=arrays(np.float64, 13, elements=st.floats(-30, 30)),
)
def test_quantiles_stay_in_order(kind: TransformKind, z: np.ndarray) -> None:
    z = np.sort(z)
    assert (np.diff(_fit(kind).inverse(z)) >= 0).all()


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_numpy_and_torch_agree(kind: TransformKind) -> None:
    fitted, codes = _fit(kind), CATEGORIES
    z = fitted.forward(Y, codes)
    np.testing.assert_allclose(fitted.forward(torch.from_numpy(Y), codes).numpy(), z, rtol=1e-14, atol=1e-15)
    single = fitted.inverse(torch.from_numpy(z).float(), codes)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), Y, rtol=1e-5)
    assert fitted.forward(torch.from_numpy(Y).half(), codes).dtype == torch.float32


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_the_inverse_is_differentiable(kind: TransformKind) -> None:
    fitted = _fit(kind)
    z = torch.linspace(-1.3, 1.7, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: fitted.inverse(z, CATEGORIES), z)


def test_small_categories_shrink_to_all_rows() -> None:
    y = np.concatenate([np.full(30, 10.0), [2.0, 4.0], [0.0]])
    codes = ["large"] * 30 + ["small"] * 2 + ["one"]
    fitted = TargetTransform.fit("zscore-category", y, codes, shrinkage=10)
    mean, variance = y.mean(), y.var()
    for name, n, own_mean, own_variance in [("large", 30, 10, 0), ("small", 2, 3, 1), ("one", 1, 0, 0)]:
        w = n / (n + 10)
        assert fitted.categories[(name,)].centre[0] == pytest.approx(w * own_mean + (1 - w) * mean)
        scale = np.sqrt(w * own_variance + (1 - w) * variance)
        assert fitted.categories[(name,)].scale[0] == pytest.approx(scale)
    rough = TargetTransform.fit("zscore-category", Y, CATEGORIES, shrinkage=0)
    assert rough.categories[("a",)].centre[0] == pytest.approx(16 / 3)


def test_the_usual_shrinkage_is_ten_rows() -> None:
    y = np.concatenate([np.zeros(10), np.ones(10)])
    fitted = TargetTransform.fit("zscore-category", y, ["a"] * 10 + ["b"] * 10)
    assert fitted.categories[("a",)].centre == pytest.approx((0.25,))


def test_unseen_and_missing_categories_use_all_rows() -> None:
    fitted = _fit("zscore-category")
    plain = _fit("zscore").forward(Y)
    np.testing.assert_array_equal(fitted.forward(Y, ["new"] * 7), plain)
    np.testing.assert_array_equal(fitted.forward(Y, [None] * 7), plain)
    np.testing.assert_array_equal(fitted.forward(Y), plain)
    assert not np.allclose(fitted.forward(Y, CATEGORIES), plain)


def test_categories_of_several_columns() -> None:
    pairs = [("x", "y"), ("x / y", ""), ("x", None), ("x", "y"), ("x / y", ""), (None, None), ("x", "y")]
    fitted = TargetTransform.fit("zscore-category", Y, pairs)
    assert set(fitted.categories) == {("x", "y"), ("x / y", "")}
    z = fitted.forward(Y, pairs)
    assert z[2] == _fit("zscore").forward(Y)[2]


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_what_is_saved_comes_back_to_the_bit(kind: TransformKind) -> None:
    y = np.stack([Y, Y**2 / 3], 1)
    fitted = TargetTransform.fit(kind, y, CATEGORIES)
    again = TargetTransform.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted
    np.testing.assert_array_equal(again.forward(y, CATEGORIES), fitted.forward(y, CATEGORIES))


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "cube", "centre": [0], "scale": [1], "categories": []},
        {"kind": "zscore", "centre": [0], "scale": [0], "categories": []},
        {"kind": "zscore", "centre": [0, 1], "scale": [1], "categories": []},
        {"kind": "zscore", "centre": [0], "scale": [NAN], "categories": []},
        {"kind": "zscore", "centre": [0], "scale": [1], "categories": [{"category": ["a"]}]},
        {"kind": "zscore", "centre": None, "scale": [1], "categories": []},
    ],
)
def test_a_damaged_record_is_a_file_error(data: dict[str, object]) -> None:
    with pytest.raises(FileError, match="not a saved target transform"):
        TargetTransform.from_json(data)


def test_outputs_have_statistics_of_their_own_and_masks_select() -> None:
    y = np.stack([Y, 10 * Y], 1)
    mask = np.ones((7, 2), dtype=bool)
    y[3, 0], mask[3, 0] = NAN, False
    fitted = TargetTransform.fit("zscore", y, mask=mask)
    assert fitted.overall.centre == pytest.approx((np.delete(Y, 3).mean(), 10 * Y.mean()))
    z = fitted.forward(y)
    assert np.isnan(z[3, 0])
    assert np.isfinite(z[mask]).all()
    same = TargetTransform.fit("zscore", torch.from_numpy(y), mask=torch.from_numpy(mask))
    assert same == fitted
    logged = TargetTransform.fit("log-minmax", y, mask=mask)
    assert logged.overall.scale == pytest.approx((np.log(5), np.log(91 / 11)))
    grouped = TargetTransform.fit("zscore-category", y, CATEGORIES, mask=mask)
    whole = TargetTransform.fit("zscore-category", y[mask.all(1)], [c for c in CATEGORIES if c is not None])
    for key in (("a",), ("b",)):
        assert np.isfinite(grouped.categories[key].centre).all()
        assert grouped.categories[key].centre[0] == pytest.approx(whole.categories[key].centre[0])
    unknown = TargetTransform.fit("zscore-category", y, ["a"] * 3 + ["c"] + ["a"] * 3, mask=mask)
    assert unknown.categories[("c",)].centre[0] == unknown.overall.centre[0]
    with pytest.raises(DataError, match="2 outputs"):
        fitted.forward(Y)


def test_quantiles_of_outputs_and_of_one_output() -> None:
    two = TargetTransform.fit("minmax", np.stack([Y, 10 * Y], 1))
    assert two.inverse(np.ones((5, 2, 3)))[4].tolist() == [[9.0] * 3, [90.0] * 3]
    one = _fit("zscore-category")
    z = np.zeros((7, 3))
    by_row = one.inverse(z, CATEGORIES)
    assert by_row.shape == (7, 3)
    np.testing.assert_array_equal(by_row[:, 0], one.inverse(z[:, 0], CATEGORIES))


def test_a_spread_goes_through_quantiles() -> None:
    z, sd = np.array([0.2, -1.0]), np.array([0.5, 0.1])
    np.testing.assert_allclose(_fit("minmax").inverse_spread(z, sd), 8 * sd)
    fitted = _fit("log-zscore")
    low, high = fitted.inverse(z - sd), fitted.inverse(z + sd)
    np.testing.assert_allclose(fitted.inverse_spread(z, sd), (high - low) / 2)
    assert isinstance(fitted.inverse_spread(torch.zeros(3), torch.ones(3)), torch.Tensor)


@pytest.mark.parametrize("kind", ["log-minmax", "log-zscore"])
def test_a_log_refuses_negative_targets_and_names_the_rows(kind: TransformKind) -> None:
    y = np.array([1.0, -0.5, 2.0, -3.0])
    with pytest.raises(DataError, match="rows 1, 3: a target is negative"):
        TargetTransform.fit(kind, y)
    for values in (y, torch.from_numpy(y)):
        with pytest.raises(DataError, match="rows 1, 3"):
            _fit(kind).forward(values)
    check_targets("zscore", y)


def test_rows_are_named_where_names_are_known_and_cut_at_five() -> None:
    y = np.full(11, -1.0)
    with pytest.raises(DataError, match=r"rows s0, s1, s2, s3, s4 and 6 more: .*take minmax or zscore"):
        check_targets("log-zscore", y, names=[f"s{n}" for n in range(11)])
    with pytest.raises(DataError, match="row s7: the target is not a finite number"):
        check_targets("none", np.where(np.arange(11) == 7, NAN, y), names=[f"s{n}" for n in range(11)])


@pytest.mark.parametrize("kind", [kind for kind in TRANSFORMS if kind != "none"])
@pytest.mark.parametrize("y", [np.full(3, 0.1), np.array([7.0])])
def test_a_constant_target_is_refused(kind: TransformKind, y: np.ndarray) -> None:
    with pytest.raises(DataError, match="no spread") as error:
        TargetTransform.fit(kind, y, ["a"] * len(y))
    assert error.value.exit_code == 3


def test_a_spread_beyond_floats_is_refused_without_a_warning() -> None:
    with pytest.raises(DataError, match="no spread"):
        TargetTransform.fit("zscore", np.array([-1e308, 1e308]))
    assert np.isinf(_fit("log-zscore").inverse(np.array([1e6])))


def test_unknown_rows_and_wrong_calls_are_named() -> None:
    with pytest.raises(DataError, match="no training row has a target"):
        TargetTransform.fit("none", np.array([NAN, NAN]), mask=np.zeros(2, dtype=bool))
    with pytest.raises(DataError, match="row 1: the target is not a finite number"):
        TargetTransform.fit("none", np.array([0.0, np.inf]))
    with pytest.raises(ConfigError, match="did you mean zscore"):
        TargetTransform.fit("z-score", Y)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="give --normalize-by"):
        TargetTransform.fit("zscore-category", Y)
    with pytest.raises(DataError, match="2 categories for 7 targets"):
        TargetTransform.fit("zscore-category", Y, ["a", "b"])
    with pytest.raises(DataError, match="a category is text or None, not 3"):
        TargetTransform.fit("zscore-category", Y, [3] * 7)  # type: ignore[list-item]
