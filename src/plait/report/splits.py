"""The table of splits: one line a split, one column for each thing that is told of them."""

from collections.abc import Mapping
from typing import Any

from plait.report.wording import SPLITS, Row, count, date, error


def split_table(splits: Mapping[str, Mapping[str, Any]]) -> Row:
    """The splits with whatever is told of each: rows and dates of a series, samples and targets of a table."""
    names = list(dict.fromkeys(name for facts in splits.values() for name in facts))
    columns = [
        {
            "name": name.replace("_", " "),
            "kind": "number" if all(_is_number(facts.get(name)) for facts in splits.values())
            else "words" if any(isinstance(facts.get(name), Mapping) for facts in splits.values()) else "",
        }
        for name in names
    ]  # fmt: skip
    return {
        "columns": columns,
        "rows": [
            (SPLITS.get(split, split), [told_fact(facts[name]) if name in facts else "–" for name in names])
            for split, facts in splits.items()
        ],
    }


def told_fact(value: Any) -> str:
    """A fact of a split: a number, a date, or a number for each of several names."""
    if value is None:
        return "not known"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {told_fact(each)}" for name, each in value.items()) or "none"
    if not _is_number(value):
        return date(str(value))
    return count(int(value)) if value == int(value) else error(value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
