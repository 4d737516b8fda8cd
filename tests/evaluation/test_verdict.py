"""The verdict says `helps` only under both of its conditions, and says when there is too little to say anything."""

import numpy as np
import pytest

from plait.evaluation.verdict import Arm, verdict
from plait.objectives.bootstrap import Bootstrap, RowScores, Units

ROWS, SEEDS = 240, 3


def _arm(name: str, level: float, noise: float = 0.05) -> Arm:
    base = 1 + 0.3 * np.sin(np.arange(ROWS) / 20)
    jitter = np.random.default_rng(len(name)).normal(0, noise, (SEEDS, ROWS))
    return Arm(name, RowScores(level * base + jitter, np.ones(ROWS)), SEEDS, "")


BOOTSTRAP = Bootstrap(Units(ROWS, 24), SEEDS)


@pytest.mark.parametrize(
    ("fused", "placebo", "calendar", "helps", "beyond"),
    [
        (0.7, 1.0, 1.0, True, True),
        (0.7, 1.0, 0.6, True, False),
        (0.7, 0.6, 1.0, False, False),
        (1.0, 1.0, 1.5, False, False),
        (1.0, 1.0, 1.0, False, False),
        (1.2, 1.0, 1.0, False, False),
    ],
)
def test_both_conditions(fused: float, placebo: float, calendar: float, helps: bool, beyond: bool) -> None:
    found = verdict(
        "text",
        _arm("fused", fused),
        _arm("anchor", 1.0),
        _arm("placebo", placebo),
        _arm("calendar", calendar),
        BOOTSTRAP,
    )
    assert found["helps"] is helps
    assert found["beyond_calendar"] is beyond
    assert found["effect"] == pytest.approx(fused - 1, abs=0.02)
    assert found["low"] <= found["effect"] <= found["high"]
    assert found["placebo_effect"] == pytest.approx(placebo - 1, abs=0.02)
    assert ("text helps" in found["text"]) is helps
    assert ("not beyond the calendar" in found["text"]) is not beyond


def test_the_placebo_gains_only_when_its_interval_lies_below_zero() -> None:
    anchor, fused = _arm("anchor", 1.0), _arm("fused", 0.7)
    assert verdict("text", fused, anchor, _arm("placebo", 0.8), None, BOOTSTRAP)["placebo_gains"] is True
    assert verdict("text", fused, anchor, anchor, None, BOOTSTRAP)["placebo_gains"] is False


def test_without_enough_blocks_there_is_no_verdict() -> None:
    found = verdict("text", _arm("fused", 0.1), _arm("anchor", 1.0), _arm("placebo", 1.0), None, None)
    assert found["helps"] is None
    assert found["low"] is None
    assert "not enough data" in found["text"]
