"""The cheap answers to a direction: shares counted by hand, and a rule that logistic regression finds."""

import numpy as np
import pytest

from plait.baselines.directions import DIRECTION_RIVALS, MEANINGS, DirectionPanel

SPLITS = ("train", "val", "test")


def panel(rows: int = 211) -> DirectionPanel:
    rng = np.random.default_rng(0)
    windows = {split: rng.normal(size=(rows, 5)) * [1, 100, 0.01, 1, 1] for split in SPLITS}
    score = {split: x[:, 0] + x[:, 1] / 100 for split, x in windows.items()}
    label = {split: np.digitize(each, [-0.6, 0.6]) for split, each in score.items()}
    previous = {split: np.where(rng.random(rows) < 0.6, label[split], rng.integers(-1, 3, rows)) for split in SPLITS}
    for each in label.values():
        each[rng.random(rows) < 0.1] = -1
    return DirectionPanel(windows, label, previous, 3)


@pytest.mark.parametrize("name", DIRECTION_RIVALS)
def test_answers_are_probabilities_above_nothing(name: str) -> None:
    for made in DIRECTION_RIVALS[name](panel()).values():
        assert made.shape == (211, 3)
        np.testing.assert_allclose(made.sum(axis=1), 1)
        assert made.min() > 0
    assert name in MEANINGS


def test_shares_are_those_of_train_each_class_counted_once_more() -> None:
    cheap = panel()
    known = [c for c in cheap.label["train"] if c >= 0]
    want = [(known.count(c) + 1) / (len(known) + 3) for c in range(3)]
    np.testing.assert_allclose(DIRECTION_RIVALS["class_shares"](cheap)["test"][7], want)
    answers = DIRECTION_RIVALS["last_direction"](cheap)["test"]
    for row in (0, 5, 11, 17):
        before = int(cheap.previous["test"][row])
        pairs = zip(cheap.label["train"], cheap.previous["train"], strict=True)
        same = [c for c, p in pairs if c >= 0 and before in (p, -1)]
        want = [(same.count(c) + 1) / (len(same) + 3) for c in range(3)]
        np.testing.assert_allclose(answers[row], want)


def test_logistic_regression_finds_a_rule_whatever_the_scale_of_its_parts() -> None:
    cheap = panel()
    answer, label = DIRECTION_RIVALS["logistic_window"](cheap)["test"], cheap.label["test"]
    known = label >= 0
    assert (answer.argmax(axis=1) == label)[known].mean() > 0.9
    shuffled = DirectionPanel(
        {**cheap.windows, "val": cheap.windows["val"][::-1], "test": cheap.windows["test"][::-1]},
        cheap.label, cheap.previous, 3,
    )  # fmt: skip
    # Validation, not train, chooses the strength: where the rule does not hold there, the weakest is taken.
    assert DIRECTION_RIVALS["logistic_window"](shuffled)["test"].max() < 0.5
