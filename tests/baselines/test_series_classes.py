"""The cheap answers to the class of a series: published errors, closed forms, and independent convolutions."""

import numpy as np
import pytest

from data.archive import archive
from plait.baselines.random_kernels import draw, kernel_features
from plait.baselines.series_classes import SERIES_CLASS_RIVALS, ClassPanel, class_shares, nearest_neighbour
from plait.core.config import validate
from plait.data.labelled_series import LabelledSeriesData
from plait.data.sources.labelled_series import LabelledSeriesConfig


def of_archive(name: str) -> LabelledSeriesData:
    config = validate(LabelledSeriesConfig, {"kind": "labelled_series", "root": str(archive()), "path": name})
    return config.build(config.read())


def waves(classes: int = 3, steps: int = 29) -> ClassPanel:
    """Classes that differ in their frequency alone, at any phase."""
    rng = np.random.default_rng(5)
    values, label = {}, {}
    for split, count in (("train", 31), ("val", 11), ("test", 23)):
        label[split] = np.arange(count) % classes
        phase = rng.uniform(0, 2 * np.pi, (count, 1))
        values[split] = np.sin((1 + label[split][:, None]) * np.arange(steps) * 0.35 + phase)[..., None]
    return ClassPanel(values, label, classes)


@pytest.mark.parametrize(
    ("name", "published"), [("GunPoint", 0.0867), ("ArrowHead", 0.2000), ("ItalyPowerDemand", 0.0447)]
)
def test_the_nearest_neighbour_has_the_error_that_the_archive_publishes(name: str, published: float) -> None:
    panel = of_archive(name).panel()
    wrong = nearest_neighbour(panel)["test"].argmax(axis=1) != panel.label["test"]
    assert round(float(wrong.mean()), 4) == published


def test_the_nearest_neighbour_of_several_variates_is_that_of_scikit_learn() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    panel = of_archive("BasicMotions").panel()
    known = [np.concatenate([held["train"], held["val"]]) for held in (panel.values, panel.label)]
    other = KNeighborsClassifier(1, algorithm="brute").fit(known[0].reshape(40, -1), known[1])
    asked = panel.values["test"].reshape(40, -1)
    np.testing.assert_array_equal(nearest_neighbour(panel)["test"].argmax(axis=1), other.predict(asked))


def test_doubt_is_the_share_of_wrong_neighbours() -> None:
    train = np.array([0.0, 1.0, 10.0, 11.0, 5.4])[:, None, None]
    panel = ClassPanel(
        {"train": train, "val": np.array([[[0.2]]]), "test": np.array([[[10.1]]])},
        {"train": np.array([0, 0, 1, 1, 2]), "val": np.array([0]), "test": np.array([1])}, 3,
    )  # fmt: skip
    # The third class alone has a neighbour of another: (1 + 1) / (5 + 2), shared by two others.
    np.testing.assert_allclose(nearest_neighbour(panel)["val"], [[5 / 7, 1 / 7, 1 / 7]])
    np.testing.assert_allclose(class_shares(panel)["val"], [[3 / 8, 3 / 8, 2 / 8]])
    np.testing.assert_allclose(class_shares(panel)["test"], [[4 / 9, 3 / 9, 2 / 9]])


@pytest.mark.parametrize("name", SERIES_CLASS_RIVALS)
def test_answers_are_probabilities_and_no_answer_reads_a_test_label(name: str) -> None:
    panel = waves()
    made = SERIES_CLASS_RIVALS[name](panel)
    assert set(made) == {"val", "test"}
    for split, shares in made.items():
        assert shares.shape == (len(panel.label[split]), 3)
        np.testing.assert_allclose(shares.sum(axis=1), 1)
        assert (shares > 0).all()
    other = ClassPanel(panel.values, {**panel.label, "test": panel.label["test"][::-1].copy()}, 3)
    np.testing.assert_array_equal(SERIES_CLASS_RIVALS[name](other)["test"], made["test"])


def test_random_kernels_tell_frequencies_that_a_linear_map_of_the_values_does_not() -> None:
    panel = waves()
    wrong = {
        name: float((SERIES_CLASS_RIVALS[name](panel)["test"].argmax(axis=1) != panel.label["test"]).mean())
        for name in ("logistic_values", "random_kernels")
    }
    assert wrong["random_kernels"] == 0
    assert wrong["logistic_values"] > 0.2


@pytest.mark.parametrize("variates", [1, 5])
def test_kernel_features_are_those_of_a_plain_convolution(variates: int) -> None:
    rng = np.random.default_rng(3)
    values = {"train": rng.normal(2, 3, (7, 23, variates)), "test": rng.normal(size=(3, 23, variates))}
    made = kernel_features(values, kernels=11)
    mean, sd = (getattr(values["train"], name)(axis=(0, 1)) for name in ("mean", "std"))
    z = (values["test"] - mean) / sd
    for number in range(11):
        kernel = draw(number, 23, variates)
        assert np.abs(kernel.weights.sum(axis=0)).max() < 1e-9
        spread = np.zeros(((len(kernel.weights) - 1) * kernel.dilation + 1, len(kernel.variates)))
        spread[:: kernel.dilation] = kernel.weights
        for row, series in enumerate(z):
            padded = np.pad(series[:, kernel.variates], ((kernel.padding, kernel.padding), (0, 0)))
            answer = kernel.bias + sum(
                np.correlate(padded[:, place], spread[:, place], "valid") for place in range(len(kernel.variates))
            )
            share, most = made["test"][row, 2 * number : 2 * number + 2]
            assert share == pytest.approx((answer > 0).mean())
            assert most == pytest.approx(answer.max(), rel=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_kernels_fit_into_short_series(steps: int) -> None:
    found = kernel_features({"train": np.random.default_rng(1).normal(size=(5, steps, 2))}, kernels=13)["train"]
    assert found.shape == (5, 26)
    assert np.isfinite(found).all()
