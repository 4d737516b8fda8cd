"""Relative changes of error in lists, all on one scale."""

from collections.abc import Mapping, Sequence

from plait.report.arms import Scale, change_axis
from plait.report.wording import Row, between, change, tells, told


def changes(arms: Sequence[Row], against: Mapping[str, str], own: str = "") -> Row:
    """A list for each key of `against`, titled by its value: the change that each arm has under that key.

    The arm `own` stands in the first list alone: it is what the others are compared with.
    """
    found = [each.get(name) or {} for each in arms for name in against]
    scale = Scale.over([one.get(end) for one in found for end in ("value", "low", "high")], least=0.005)
    first = next(iter(against))
    return {
        "axis": change_axis(scale),
        "lists": [
            {"title": title, "rows": [_row(each["kind"], each.get(name), scale) for each in arms
                                      if name == first or each["kind"] != own]}
            for name, title in against.items()
        ],
    }  # fmt: skip


def _row(kind: str, found: Row | None, scale: Scale) -> Row:
    known = {end: (found or {}).get(end) for end in ("value", "low", "high")}
    return {
        "what": kind, "value": told(known["value"], change), "says": tells(known),
        "interval": None if known["low"] is None or known["high"] is None else between(known),
        "bar": scale.bar(known["value"], known["low"], known["high"]),
    }  # fmt: skip
