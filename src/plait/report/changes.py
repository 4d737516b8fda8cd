"""Relative changes of error, in a sentence and in lists on one scale."""

from collections.abc import Mapping, Sequence

from plait.report.arms import Scale, change_axis
from plait.report.wording import NOT_KNOWN, Row, between, change, tells, than, told


def changes(arms: Sequence[Row], titles: Mapping[str, str], own: str = "") -> Row:
    """A list for each key of `titles`, titled by its value: the change that each arm has under that key.

    The arm `own` stands in the first list alone: it is what the others are compared with.
    """
    found = [each.get(name) or {} for each in arms for name in titles]
    scale = Scale.over([one.get(end) for one in found for end in ("value", "low", "high")], least=0.005)
    first = next(iter(titles))
    return {
        "axis": change_axis(scale),
        "lists": [
            {"title": title, "rows": [_row(each["kind"], each.get(name), scale) for each in arms
                                      if name == first or each["kind"] != own]}
            for name, title in titles.items()
        ],
    }  # fmt: skip


def against(found: Row | None, who: str) -> str:
    """A sentence, with the space before it: how an error stands to that of `who`, by its change."""
    found = found or {}
    if found.get("value") is None:
        return f" Against {who}: {NOT_KNOWN}."
    if found.get("low") is None or found.get("high") is None:
        return f" That is {than(found['value'])} {who}; there is not enough data for an interval."
    shown = "" if found["high"] < 0 or found["low"] > 0 else ": no difference is shown"
    return f" That is {than(found['value'])} {who} (95\u00a0% interval {between(found)}){shown}."


def _row(kind: str, found: Row | None, scale: Scale) -> Row:
    known = {end: (found or {}).get(end) for end in ("value", "low", "high")}
    return {
        "what": kind, "value": told(known["value"], change), "says": tells(known),
        "interval": None if known["low"] is None or known["high"] is None else between(known),
        "bar": scale.bar(known["value"], known["low"], known["high"]),
    }  # fmt: skip
