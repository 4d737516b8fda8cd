"""The cheap rivals of a model of moves: what they read, and that what is there to be found is found."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from plait.baselines.moves import RIVALS, MovePanel
from plait.objectives.ranking import roc_auc

ROWS = 701


def panel(seed: int = 0, tells: str = "spread") -> MovePanel:
    """Bars whose moves depend on one thing alone."""
    rng = np.random.default_rng(seed)
    views = {
        "spread": np.exp(rng.standard_normal(ROWS)), "numbers": rng.standard_normal((ROWS, 7)),
        "clock": rng.standard_normal((ROWS, 3)), "topology": rng.standard_normal((ROWS, 11)),
        "indicators": rng.standard_normal((ROWS, 6)),
    }  # fmt: skip
    cause = np.log(views["spread"]) if tells == "spread" else views[tells][:, -1]
    moves = rng.random(ROWS) < 1 / (1 + np.exp(-(3 * cause - 1)))
    views["numbers"][:, :3] = views["clock"]
    rows = {"train": np.arange(400), "val": np.arange(410, 540), "test": np.arange(550, ROWS)}
    return MovePanel(moves=moves, rows=rows, **views)


TOLD = {
    "last_bar_range": "spread", "time_of_week": "clock", "logistic_numbers": "numbers",
    "logistic_topology": "topology", "gradient_boosting": "indicators",
}  # fmt: skip


@pytest.mark.parametrize("rival", TOLD)
def test_a_rival_finds_what_stands_in_its_view(rival: str) -> None:
    given = panel(tells=TOLD[rival])
    chances = RIVALS[rival](given)
    test = given.rows["test"]
    assert {split: len(each) for split, each in chances.items()} == {"val": 130, "test": len(test)}
    assert float(roc_auc(chances["test"], given.moves[test])[0]) > 0.8
    assert ((chances["test"] > 0) & (chances["test"] < 1)).all()


@pytest.mark.parametrize("rival", ["base_rate", *TOLD])
def test_no_rival_reads_a_test_label_or_a_bar_between_splits(rival: str) -> None:
    given = panel()
    want = RIVALS[rival](given)
    used = np.concatenate([given.rows["train"], given.rows["val"]])
    moves = given.moves.copy()
    moves[~np.isin(np.arange(ROWS), used)] ^= True
    changed = {name: getattr(given, name).copy() for name in ("spread", "numbers", "clock", "topology", "indicators")}
    between = ~np.isin(np.arange(ROWS), np.concatenate(list(given.rows.values())))
    for values in changed.values():
        values[between] = 1e6
    found = RIVALS[rival](MovePanel(moves=moves, rows=given.rows, **changed))
    for split, chance in want.items():
        np.testing.assert_array_equal(found[split], chance)


def test_the_base_rate_is_that_of_the_train_rows() -> None:
    given = panel()
    assert (RIVALS["base_rate"](given)["test"] == given.moves[:400].mean()).all()


def test_the_last_bar_is_scikit_learn_s_regression_with_the_best_penalty_of_validation() -> None:
    given = panel()
    x = np.log(given.spread + 1e-6)
    z = ((x - x[:400].mean()) / x[:400].std())[:, None]
    train, val, test = (given.rows[split] for split in ("train", "val", "test"))
    found = []
    for strength in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        model = LogisticRegression(C=strength).fit(z[train], given.moves[train])
        chance = model.predict_proba(z[val])[:, 1]
        loss = -np.log(np.where(given.moves[val], chance, 1 - chance)).mean()
        found.append((loss, model.predict_proba(z[test])[:, 1]))
    np.testing.assert_allclose(RIVALS["last_bar_range"](given)["test"], min(found, key=lambda f: f[0])[1], rtol=1e-6)
