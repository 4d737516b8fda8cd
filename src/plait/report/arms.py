"""The tables of arms and the comparisons of a verdict, each laid on one scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plait.report.wording import (
    RISING,
    Row,
    best_sentence,
    count,
    error,
    fold_count,
    headline,
    intervals,
    metric_name,
    reason,
    row_name,
    says,
)

COLUMN = "column:"
"""How the name begins of a rival that answers from one column of the data alone."""


@dataclass(frozen=True)
class Scale:
    """A stretch of numbers laid over the width of a bar; places are per cent of that width."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float | None], least: float = 0.0) -> "Scale":
        """From the lowest to the highest value and 0, a little wider; `least` on both sides of 0 in any case."""
        known = [value for value in values if value is not None]
        low, high = min([-least, *known]), max([least, *known])
        room = (high - low) * 0.03 or 1.0
        return cls(low - room if low < 0 else 0.0, high + room)

    def at(self, value: float) -> float:
        """The place of a value, at the edge where it lies outside."""
        return round(100 * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0), 2)

    def bar(self, value: float | None, low: float | None, high: float | None) -> Row | None:
        """Where a value and its interval are drawn; `beyond`: the value lies outside, `cut`: the upper end does."""
        if value is None:
            return None
        start, end = (value if bound is None else bound for bound in (low, high))
        return {
            "dot": self.at(value), "left": self.at(start), "width": round(self.at(end) - self.at(start), 2),
            "beyond": value > self.high, "cut": end > self.high,
        }  # fmt: skip

    def ticks(self, most: int = 5) -> list[tuple[float, float]]:
        """Round numbers of the stretch, as (place, number)."""
        raw = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
        numbers = range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        return [(self.at(n * step), n * step) for n in numbers]


def arm_table(title: str, result: Row) -> Row:
    """The arms of a comparison by error, each with its raw form below it."""
    arms = {arm["name"]: arm for arm in result["arms"]}
    raw = {name for name in arms if name.endswith("_raw") and name.removesuffix("_raw") in arms}
    rows = []
    for arm in sorted((arm for arm in arms.values() if arm["name"] not in raw), key=by_error):
        rows.append(_arm_row(arm, result))
        if f"{arm['name']}_raw" in raw:
            rows.append(_arm_row(arms[f"{arm['name']}_raw"], result, below=arm))
    weak = sum(row["weak"] for row in rows)
    return scaled(rows, arms.get("anchor", {}).get("mean")) | {
        "title": title, "unit": result["unit"], "windows": result["windows"], "row_name": row_name(result),
        "intervals": intervals(result, ", crossed with seeds"),
        "columns": [*map(_column, _beside(result)), "seeds", "parameters"],
        "rising": any(name in RISING for name in _beside(result)), "metric": metric_name(result["metric"]),
        "weak": "none" if not weak else "all" if weak == len(rows) else "some",
    }  # fmt: skip


def by_error(row: Row) -> tuple[bool, float]:
    """The key that puts the lowest error first, and what has none last."""
    return row["mean"] is None, row["mean"] or 0.0


def _arm_row(arm: Row, result: Row, below: Row | None = None) -> Row:
    name, parameters = arm["name"], arm.get("parameters") or 0
    tag = "ceiling" if name == "oracle" else "" if parameters else _rival_tag(name, result["best_baseline"]["name"])
    meaning = arm.get("meaning", "")
    if below is not None and below["mean"] == arm["mean"]:
        meaning += " (the same here: every seed was kept)"
    return {
        "name": name.removeprefix(COLUMN), "meaning": meaning, "tag": "" if below else tag,
        "below": below is not None, "strong": name == "fused",
        "mean": arm["mean"], "low": arm.get("low"), "high": arm.get("high"), "weak": bool(arm.get("weak")),
        "more": [
            *(_with_ends(_ends(arm.get("also", {}).get(other)), "value") for other in _beside(result)),
            f"{arm['seeds']}", count(parameters) if parameters else "–",
        ],
    }  # fmt: skip


def _beside(result: Row) -> list[str]:
    """The numbers that the arms of a comparison have beside their error."""
    return list(dict.fromkeys(name for arm in result["arms"] for name in arm.get("also", {})))


def _ends(found: Row | None) -> Row:
    found = found or {}
    return {"value": found.get("value"), "value_low": found.get("low"), "value_high": found.get("high")}


def _rival_tag(name: str, best: str | None) -> str:
    return "best baseline" if name == best else "column alone" if name.startswith(COLUMN) else "baseline"


def best_of(result: Row, metric: str) -> str | None:
    """The best baseline of a run: the one it names, in older folders the lowest on validation; None without any."""
    chosen = (result.get("best_baseline") or {}).get("name")
    if chosen is not None:
        return str(chosen)
    known = {name: scores.get(f"val_{metric}") for name, scores in result["baselines"].items()}
    return min((name for name, value in known.items() if value is not None), key=lambda name: known[name], default=None)


def others_of(scores: Row, metric: str) -> list[str]:
    """The metrics of a run beside its own."""
    return [name for name in scores if name != metric and not name.endswith(("_low", "_high"))]


def scaled(rows: list[Row], mark: float | None) -> Row:
    """The rows with their bars. The scale ends at twice the better half, so that a hopeless rival squeezes none."""
    ends = sorted(row["high"] or row["mean"] for row in rows if row["mean"] is not None)
    scale = Scale.over([min(ends[-1], 2 * ends[len(ends) // 2])] if ends else [1.0])
    return {
        "rows": [row | {"bar": scale.bar(row["mean"], row["low"], row["high"])} for row in rows],
        "ticks": [(place, f"{number:g}") for place, number in scale.ticks(6)],
        "mark": None if mark is None else scale.at(mark),
    }


def run_table(result: Row, metric: str, best: str | None) -> Row:
    """One run, its raw form where the two differ, and the baselines, by error."""
    metrics, raw = result["metrics"], result.get("raw") or result["metrics"]
    others, asked = others_of(metrics["test"], metric), result.get("intervals")

    def row(name: str, meaning: str, test: Row, val: float | None, **more: Any) -> Row:
        return {
            "name": name, "meaning": meaning, "tag": "", "below": False, "strong": False, "weak": False,
            "mean": test.get(metric), "low": test.get(f"{metric}_low"), "high": test.get(f"{metric}_high"),
            "more": [*(_with_ends(test, other) for other in others), error(val)], **more,
        }  # fmt: skip

    rows = [row("this run", "the model that was kept", metrics["test"], metrics["val"].get(metric), strong=True)]
    for name, scores in result["baselines"].items():
        tag = _rival_tag(name, best)
        rows.append(
            row(name.removeprefix(COLUMN), scores.get("meaning", ""), scores, scores.get(f"val_{metric}"), tag=tag)
        )
    rows.sort(key=by_error)
    if raw != metrics:
        place = next(number for number, each in enumerate(rows) if each["strong"])
        words = "before acceptance, which closed the added path"
        rows.insert(place + 1, row("this run, raw", words, raw["test"], raw["val"].get(metric), below=True))
    return scaled(rows, None) | {
        "title": "", "unit": result["unit"], "windows": result["windows"]["test"], "weak": "none",
        "row_name": row_name(result),
        "intervals": intervals(result) if any(row["low"] is not None for row in rows) else "",
        "columns": [*(_column(other, asked) for other in others), f"validation {metric_name(metric)}"],
        "rising": any(other in RISING for other in others),
        "metric": metric_name(metric),
    }  # fmt: skip


def _column(metric: str, intervals: Row | None = None) -> str:
    if metric == "coverage" and intervals:
        return f"test coverage ({100 * intervals['asked']:g}\u00a0% asked)"
    return f"test {metric_name(metric)}{' ↑' if metric in RISING else ''}"


def _with_ends(scores: Row, name: str) -> str:
    """A score, and on a second line its interval where it has one."""
    low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
    return error(scores.get(name)) + (f"\n{error(low)} to {error(high)}" if None not in (low, high) else "")


def effects(found: Row, result: Row) -> list[Row]:
    """Each pair the verdict rests on: what is compared, the change with its interval, and what it says."""
    name, best = found["modality"], result["best_baseline"]
    meaning = {arm["name"]: arm.get("meaning", "") for arm in result["arms"]}
    alone = {"value": found["effect"], "low": found["low"], "high": found["high"]}
    shuffled = found.get("against_placebo") or {"value": None, "low": None, "high": None}
    rows: list[Row] = [
        {"what": "against the anchor alone", "gloss": meaning.get("anchor"), **alone},
        {"what": f"against shuffled {name}", "gloss": meaning.get("placebo"), **shuffled},
    ]
    if found.get("against_calendar"):
        words = "beyond the calendar" if found["beyond_calendar"] else "not beyond the calendar"
        gloss = meaning.get("calendar")
        rows.append({"what": "against the calendar", "gloss": gloss, "says": words, **found["against_calendar"]})
    rows.append({
        "what": "against the best baseline", "gloss": best["name"],
        "value": best["change"], "low": best["low"], "high": best["high"],
    })  # fmt: skip
    gains = found.get("placebo_gains")
    rows.append({
        "what": "the placebo against the anchor alone", "gloss": f"shuffled {name}", "apart": True,
        "value": found.get("placebo_effect"), "low": found.get("placebo_low"), "high": found.get("placebo_high"),
        "says": None if gains is None else "gains" if gains else "gains nothing",
    })  # fmt: skip
    if found.get("placebo_raw"):
        # A placebo that was not accepted equals the anchor: only its raw form can show that it learned nothing.
        what = "the placebo before acceptance"
        rows.append({"what": what, "gloss": "as it was trained", "apart": True, **found["placebo_raw"]})
    return [{"apart": False, **row, "says": row.get("says") or says(row)} for row in rows]


def card(title: str, result: Row, found: Row, scale: Scale, seeds: list[int]) -> Row:
    """One verdict with all it rests on; `scale` is shared by the cards of a page."""
    name = found["modality"]
    decisions = {f"with {name}": found.get("accepted"), f"with shuffled {name}": found.get("placebo_accepted")}
    return {
        "title": title,
        "modality": name,
        "helps": found["helps"],
        "headline": headline(found),
        "reason": reason(found, result),
        "effects": [row | {"bar": scale.bar(row["value"], row["low"], row["high"])} for row in effects(found, result)],
        "kept": [_kept(what, made, seeds, fold_count(result)) for what, made in decisions.items() if made],
        "best": best_sentence(result["best_baseline"], name),
        "recovery": result.get("recovery"),
        "oracle": next((arm.get("meaning") for arm in result["arms"] if arm["name"] == "oracle"), ""),
        "line": found["text"],
    }


def _kept(what: str, decisions: list[bool], seeds: list[int], folds: int) -> Row:
    """How often validation kept an arm, in all and by seed; decisions are those of the first seed's folds first."""
    by_seed = [decisions[start : start + folds] for start in range(0, len(decisions), folds)]
    numbers = seeds if len(seeds) == len(by_seed) else list(range(len(by_seed)))
    of = "seeds" if folds == 1 else f"trainings ({len(by_seed)} seed{'s' * (len(by_seed) > 1)} × {folds} folds)"
    return {
        "words": f"{what}: {sum(decisions)} of {len(decisions)} {of}",
        "seeds": [
            {
                "mark": "✓" if all(made) else "◐" if any(made) else "○",
                "words": f"seed {seed}" if folds == 1 else f"seed {seed}: {sum(made)} of {len(made)}",
                "kept": any(made), "unseen": " kept" if folds > 1 or all(made) else " not kept",
            }
            for seed, made in zip(numbers, by_seed, strict=True)
        ],
    }  # fmt: skip


def change_axis(scale: Scale) -> Row:
    """The zero line and the ticks of a scale of relative changes."""
    ticks = [(place, f"{number * 100:+.3g}" if round(number, 9) else "0") for place, number in scale.ticks()]
    return {"zero": scale.at(0), "ticks": [(place, words.replace("-", "−")) for place, words in ticks]}
