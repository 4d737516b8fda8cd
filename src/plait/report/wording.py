"""Numbers, dates and verdicts as people read them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

Row = dict[str, Any]

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
NOT_KNOWN = "not enough data"
METRICS = {
    "brier": "Brier score",
    "precision_at_half": "precision at recall 0.5",
    "size_mae": "size MAE",
    "smape": "SMAPE",
    "rmsle": "RMSLE",
    "least_expert": "least heard expert",
}
"""The names of metrics that are no abbreviation and no plain words."""
RISING = frozenset({"auc", "average_precision", "precision_at_half", "least_expert"})
"""Metrics of which more is better."""
SPLITS = {"train": "training", "val": "validation", "test": "test"}


def change(value: float | None) -> str:
    """A relative change in per cent, signed."""
    words = size(value)
    if value is None or words.startswith("0.0"):
        return words
    return ("−" if value < 0 else "+") + words


def size(value: float | None) -> str:
    """A share in per cent, without its sign."""
    return "not known" if value is None else f"{abs(value) * 100:,.1f}\u00a0%"


def share(value: float | None) -> str:
    """A part of a whole in per cent; only a negative one has a sign."""
    return change(value).removeprefix("+")


def error(value: float | None) -> str:
    """An error with four decimals; very large and very small ones as people write them."""
    if value is None:
        return "not known"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", "−")
    return (f"{value:.2e}" if 0 < abs(value) < 0.0005 else f"{value:.4f}").replace("-", "−")


def movement(value: float | None) -> str:
    """How far a forecast moves, to three digits."""
    return NOT_KNOWN if value is None else f"{value:.3g}".replace("-", "−")


def count(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}"


def amount(value: float) -> str:
    """A quantity in the unit of the data, with three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def quantity(value: float | None) -> str:
    """The same of a number that may be negative or not known."""
    return "not known" if value is None else "0" if value == 0 else amount(value).replace("-", "−")


def weight(value: float | None) -> str:
    """A weight of attention, between 0 and 1."""
    if value is None:
        return NOT_KNOWN
    return "0" if value == 0 else f"{value:.4f}" if value >= 0.00005 else f"{value:.0e}".replace("-", "−")


def told(value: float | None, words: Callable[[float | None], str]) -> str:
    """A number in the given words, or that there is not enough data to tell it."""
    return NOT_KNOWN if value is None else words(value)


def between(found: Row | None, words: Callable[[float | None], str] = change) -> str:
    """An interval in words, or that there is not enough data to tell it."""
    if not found or found.get("low") is None or found.get("high") is None:
        return NOT_KNOWN
    return f"{words(found['low'])} to {words(found['high'])}"


def date(text: str) -> str:
    """An ISO date as 27 Dec 2009, with the time of day unless it is midnight."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    day = f"{moment.day} {MONTHS[moment.month - 1]} {moment.year}"
    return day if (moment.hour, moment.minute, moment.second) == (0, 0, 0) else f"{day} {moment:%H:%M}"


def metric_name(name: str) -> str:
    """A metric as people write it: a short name is an abbreviation."""
    return METRICS.get(name) or (name.upper() if len(name) <= 4 else name.replace("_", " "))


def row_name(result: Row) -> str:
    """What the rows of a result are; what was written before there were others is of windows."""
    return str(result.get("row_name") or "windows")


def fold_count(result: Row) -> int:
    """How many folds a comparison has; 1 where its config's own splits are used."""
    return int(result.get("folds") or 1)


def drawn(result: Row) -> str:
    """What the bootstrap of a result draws."""
    block = result.get("block")
    return str(result.get("drawn") or (f"blocks of {block} origins" if block else "blocks of origins"))


def intervals(result: Row, crossed: str = "") -> str:
    """What the intervals of a table are, or why there are none; and how often each row is tested."""
    words = f"Lines are 95\u00a0% intervals: bootstrap of {drawn(result)}{crossed}."
    if result.get("lacking"):
        words = f"There is not enough data for intervals: {result['lacking']}."
    folds = fold_count(result)
    if folds == 1:
        return words
    return f"{words} Of {folds} folds each is tested once, by a training that held it out."


def not_kept(modality: str, rejected: int, folds: int, made: str) -> str:
    """That what is drawn is the anchor's where validation did not keep the modality."""
    if not rejected:
        return ""
    if folds == 1:
        return f"Validation did not keep {modality} in this seed, so the {made} of the anchor alone."
    where = f"in {rejected} of {folds} folds of this seed"
    return f"Validation did not keep {modality} {where}: there the {made} of the anchor alone."


def headline(found: Row) -> str:
    """The verdict in a few words."""
    name = capital(found["modality"])
    helps, does = ("help", "do") if " and " in found["modality"] else ("helps", "does")
    if found["helps"] is None:
        return f"Not enough data to say whether {found['modality']} {helps}."
    if not found["helps"]:
        return f"{name} {does} not help."
    return f"{name} {helps}, but not beyond the calendar." if found["beyond_calendar"] is False else f"{name} {helps}."


def capital(text: str) -> str:
    """A sentence's beginning."""
    return text[:1].upper() + text[1:]


def reason(found: Row, result: Row) -> str:
    """Why the verdict is what it is, in plain words."""
    name, metric, value = found["modality"], metric_name(result["metric"]), found["effect"]
    if found["helps"] is None:
        return f"{_few(result)} As far as they go, the test {metric} with {name} is {than(value)} without it."
    if not found["helps"] and found.get("accepted") and not any(found["accepted"]):
        each = "seed" if fold_count(result) == 1 else "training"
        return (
            f"Validation kept {name} in no {each}, so the model is the anchor alone and its test error stays as it was."
        )
    span = f"95\u00a0% interval {change(found['low'])} to {change(found['high'])}"
    seen = f"With {name}, the test {metric} is {than(value)} without it ({span})"
    placebo = found["against_placebo"]
    if found["helps"]:
        words = f"{seen}, and {than(placebo['value'])} with shuffled {name}."
        beyond = {
            True: " The gain goes beyond what the calendar explains.",
            False: " The series with the calendar does as well: this is no gain from the content.",
        }
        return words + beyond.get(found["beyond_calendar"], "")
    if found["high"] >= 0:
        return f"{seen}: no gain is shown."
    return (
        f"{seen}, but against shuffled {name} no gain is shown"
        f" ({change(placebo['value'])}, {change(placebo['low'])} to {change(placebo['high'])})."
    )


def _few(result: Row) -> str:
    """That there are too few test rows for an interval, and why."""
    have = f"There are {count(result['windows'])} test {row_name(result)}"
    if result.get("lacking"):
        return f"{have}, too few for an interval: {result['lacking']}."
    return f"{have}, and an interval needs {4 * result['block']}: 4 blocks of {result['block']} origins."


def than(value: float | None) -> str:
    """A relative change as 43.8 % lower than."""
    if value is None:
        return "not comparable with that"
    if size(value).startswith("0.0"):
        return "the same as"
    return f"{size(value)} {'lower' if value < 0 else 'higher'} than"


def says(row: Row) -> str:
    """What an interval of a change says."""
    if row["value"] is None or row["low"] is None:
        return "not enough data for an interval"
    if row["low"] == row["high"] == 0:
        return "the same error"
    return "less error" if row["high"] < 0 else "more error" if row["low"] > 0 else "no difference shown"


def tells(row: Row) -> str:
    """The same, but of a change too small for its decimals, wherever it lies."""
    ends = [row["value"], row["low"], row["high"]]
    if any(end is None or not size(end).startswith("0.0") for end in ends) or not any(ends):
        return says(row)
    return "below 0.05\u00a0% either way"


def best_sentence(best: Row, name: str) -> str:
    """How the fused model stands to the best baseline."""
    who = f"the best baseline, {best['name']} (chosen on {SPLITS.get(best['chosen_on'], best['chosen_on'])})"
    if best["low"] is None or best["high"] is None:
        return f"Whether the model with {name} is better than {who} can't be said: not enough data."
    words = (
        "worse than" if best["fused_is_worse"] else "better than" if best["high"] < 0 else "not shown to differ from"
    )
    return f"The model with {name} is {words} {who}."


def run_lead(result: Row, metric: str, best: str | None) -> str:
    """What the test score of one run means: its interval and the best baseline."""
    test = result["metrics"]["test"]
    low, high = test.get(f"{metric}_low"), test.get(f"{metric}_high")
    span = (
        "there is not enough data for an interval"
        if low is None
        else f"95\u00a0% interval {error(low)} to {error(high)}"
    )
    words = f"{capital(span)}, over {count(result['windows']['test'])} test {row_name(result)}, {result['unit']}."
    rival = result["baselines"].get(best, {}).get(metric)
    if not rival:
        return words
    ahead = than(test[metric] / rival - 1)
    words += f" That is {ahead} the best baseline, {best} ({error(rival)}, chosen on validation)"
    against = result.get("best_baseline") or {}
    if against.get("low") is None:
        return f"{words}."
    shown = "" if against["high"] < 0 or against["low"] > 0 else ": no difference is shown"
    return f"{words}; the interval of the change is {change(against['low'])} to {change(against['high'])}{shown}."
