"""The generator of products: that only picture and text together tell the price, and how well they can."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from plait.features.synthetic_products import CLASSES, SOURCES, WIDTHS, bayes_smape, generate


@pytest.mark.parametrize("noise", [0.1, 0.3, 1.1])
def test_the_bayes_error_is_the_integral_over_the_noise(noise: float) -> None:
    want = 2 * quad(lambda e: 200 * np.tanh(noise * e / 2) * norm.pdf(e), 0, 12)[0]
    assert bayes_smape(noise) == pytest.approx(want, rel=3e-3)


def test_no_other_centre_has_a_smaller_error() -> None:
    noise = 0.3 * np.random.default_rng(1).standard_normal(200_001)
    errors = [200 * np.tanh(np.abs(noise - centre) / 2).mean() for centre in (-0.1, -0.03, 0.0, 0.03, 0.1)]
    assert np.argmin(errors) == 2


def test_the_table_leaves_nothing_that_adds_up() -> None:
    table = generate(rows=7, seed=5).table
    np.testing.assert_allclose(table.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(table.mean(axis=1), 0, atol=1e-12)
    assert table.std() == pytest.approx(0.6)


def test_prices_are_the_table_and_the_noise() -> None:
    made = generate(rows=20_011, noise=0.3, seed=2)
    left = np.log(made.price) - np.log(25) - made.table[made.image, made.text]
    assert abs(left.mean()) < 0.01
    assert left.std() == pytest.approx(0.3, rel=0.03)
    pairs = np.bincount(made.image * CLASSES + made.text, minlength=CLASSES**2)
    assert pairs.min() > 0.85 * 20_011 / CLASSES**2


def test_every_source_tells_its_class_and_not_the_other() -> None:
    made = generate(rows=3001, seed=7)
    for name in SOURCES:
        x, own, other = made.sources[name], made.image, made.text
        if name.startswith("text"):
            own, other = other, own
        # Least squares on the classes of the first rows, read on the others.
        fit, read = np.column_stack([x, np.ones(3001)])[:1501], np.column_stack([x, np.ones(3001)])[1501:]
        for classes, low, high in ((own, 1.0, 1.0), (other, 0.0, 0.4)):
            weights = np.linalg.lstsq(fit, np.eye(CLASSES)[classes[:1501]], rcond=None)[0]
            assert low <= ((read @ weights).argmax(axis=1) == classes[1501:]).mean() <= high


def test_the_loudest_directions_say_nothing() -> None:
    made = generate(rows=5003, seed=3)
    x = made.sources["text_b"] - made.sources["text_b"].mean(axis=0)
    loudest = np.linalg.svd(x, full_matrices=False)[2][:5] @ x.T
    centres = np.stack([loudest[:, made.text == c].mean(axis=1) for c in range(CLASSES)])
    assert np.abs(centres).max() < 0.5 * loudest.std()


def test_rows_do_not_change_the_world_and_seeds_do() -> None:
    few, many, other = generate(rows=11, seed=1), generate(rows=503, seed=1), generate(rows=11, seed=2)
    np.testing.assert_array_equal(few.table, many.table)
    assert not np.allclose(few.table, other.table)
    again = generate(rows=11, seed=1)
    for name, width in zip(SOURCES, WIDTHS, strict=True):
        np.testing.assert_array_equal(few.sources[name], again.sources[name])
        assert few.sources[name].shape == (11, width)
        assert few.present[name].all()


def test_missing_sources_are_zero_and_leave_their_twin() -> None:
    whole, made = generate(rows=7001, seed=1), generate(rows=7001, missing=0.3, seed=1)
    np.testing.assert_array_equal(whole.price, made.price)
    for one, other in (SOURCES[:2], SOURCES[2:]):
        assert (made.present[one] | made.present[other]).all()
    for name in SOURCES:
        there = made.present[name]
        assert (~there).mean() == pytest.approx(0.3, abs=0.03)
        assert not made.sources[name][~there].any()
        np.testing.assert_array_equal(made.sources[name][there], whole.sources[name][there])


@pytest.mark.parametrize(
    "fields", [{"rows": 0}, {"widths": (23, 31, 19)}, {"widths": (23, 31, 19, 8)}, {"noise": -1.0}, {"missing": 0.6}]
)
def test_what_can_not_be_drawn_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no such products"):
        generate(**fields)  # type: ignore[arg-type]
