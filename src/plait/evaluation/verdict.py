"""The verdict: does a modality help, beyond a shuffled placebo and beyond the calendar?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plait.objectives.bootstrap import Bootstrap, Interval, RowScores


@dataclass(frozen=True, eq=False)
class Arm:
    """One line of a comparison: its per-row scores over seeds, and what is known of it."""

    name: str
    scores: RowScores
    seeds: int
    meaning: str
    parameters: int = 0
    also: Mapping[str, Interval] = field(default_factory=dict)
    """Numbers beside the error that are no sums over rows, where the task has such."""

    def to_json(self, bootstrap: Bootstrap | None) -> dict[str, Any]:
        """The arm's error with its interval, None without enough data."""
        interval = bootstrap.error(self.scores) if bootstrap else None
        return {
            "name": self.name,
            "mean": self.scores.mean(),
            "low": interval.low if interval else None,
            "high": interval.high if interval else None,
            "seeds": self.seeds,
            "parameters": self.parameters,
            "meaning": self.meaning,
            **({"also": {name: _plain(found) for name, found in self.also.items()}} if self.also else {}),
        }


def change(arm: Arm, rival: Arm, bootstrap: Bootstrap | None) -> dict[str, float | None]:
    """Mean over seeds of the relative change of test error, with an interval where there is enough data for one."""
    if bootstrap is None:
        value = float((arm.scores.total.sum(1) / rival.scores.total.sum(1) - 1).mean())
        return {"value": value, "low": None, "high": None}
    return {**_plain(bootstrap.change(arm.scores, rival.scores))}


def verdict(
    modality: str,
    fused: Arm,
    anchor: Arm,
    placebo: Arm,
    calendar: Arm | None,
    bootstrap: Bootstrap | None,
    placebo_raw: Arm | None = None,
) -> dict[str, Any]:
    """Whether `modality` helps.

    effect = mean over seeds of the paired relative change of test error, fused against the anchor alone; helps = the
    upper bound of fused against anchor < 0 and of fused against placebo < 0; beyond the calendar = it helps, and the
    upper bound of fused against anchor + calendar dummies + seasonal prior < 0. Without 4 blocks of origins
    (`bootstrap` None) there is no verdict. `placebo_raw` is the placebo before acceptance, shown beside it: one that
    was not accepted equals the anchor, and its change is 0 whatever the training did.
    """
    plain = {"modality": modality, "helps": None, "beyond_calendar": None}
    if bootstrap is None:
        change = float((fused.scores.total.sum(1) / anchor.scores.total.sum(1) - 1).mean())
        return plain | {
            "effect": change, "low": None, "high": None, "placebo_effect": None,
            "text": f"{modality}: not enough data for a verdict",
        }  # fmt: skip
    effect = bootstrap.change(fused.scores, anchor.scores)
    shuffled = bootstrap.change(placebo.scores, anchor.scores)
    against = bootstrap.change(fused.scores, placebo.scores)
    helps = effect.high < 0 and against.high < 0
    beyond = bootstrap.change(fused.scores, calendar.scores) if calendar else None
    return {
        "modality": modality,
        "effect": effect.value,
        "low": effect.low,
        "high": effect.high,
        "placebo_effect": shuffled.value,
        "placebo_low": shuffled.low,
        "placebo_high": shuffled.high,
        "placebo_gains": shuffled.high < 0,
        "placebo_raw": _plain(bootstrap.change(placebo_raw.scores, anchor.scores)) if placebo_raw else None,
        "against_placebo": _plain(against),
        "against_calendar": _plain(beyond) if beyond else None,
        "helps": helps,
        "beyond_calendar": helps and beyond.high < 0 if beyond else None,
        "text": _words(modality, effect, shuffled, against, helps, beyond),
    }


def _plain(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def percent(interval: Interval) -> str:
    """A relative change with its interval: -40.1% [-45.0%, -35.2%]; with more digits where these would all be 0."""
    digits = 3 if 0 < max(abs(interval.low), abs(interval.high)) < 5e-4 else 1
    return f"{interval.value:+.{digits}%} [{interval.low:+.{digits}%}, {interval.high:+.{digits}%}]"


def _words(
    modality: str,
    effect: Interval,
    shuffled: Interval,
    against: Interval,
    helps: bool,
    beyond: Interval | None,
) -> str:
    several = " and " in modality
    verb = ("help" if several else "helps") if helps else f"{'do' if several else 'does'} not help"
    words = f"{modality} {verb}: test error {percent(effect)} against the anchor alone"
    words += f", {percent(against)} against shuffled {modality}; the placebo itself {percent(shuffled)}"
    if beyond is not None:
        further = "beyond the calendar" if helps and beyond.high < 0 else "not beyond the calendar"
        why = "" if helps else "as it does not help; "
        words += f"; {further} ({why}{percent(beyond)} against series and calendar)"
    return words
