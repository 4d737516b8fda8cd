"""The explanations of a run as the page draws them: checks, contributions, faithfulness, time, texts and taxa."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from plait.core.errors import FileError
from plait.report.arms import Scale, change_axis
from plait.report.figures import Line, time_figure
from plait.report.finite import finite_json, read_as
from plait.report.shading import Room, shade, shaded_sample
from plait.report.taxa import counterfactual_table, taxa_figures
from plait.report.wording import (
    SPLITS,
    Row,
    between,
    capital,
    change,
    count,
    date,
    metric_name,
    movement,
    row_name,
    share,
    tells,
    than,
    told,
)

AGAIN = "run plait explain again"
ORDER = ("test", "val", "train")
WINDOWS = "windows"
"""The rows whose answers are forecasts."""
PICKS = {
    "most": "the most attended token",
    "random": "one of the others at random",
    "least": "the least attended token",
}
AGAINST = {
    "most_against_random": ("the most attended token", "a random one"),
    "most_against_least": ("the most attended token", "the least attended one"),
    "random_against_least": ("a random token", "the least attended one"),
}


def explanations(run: Path) -> list[Row]:
    """Every explanation that lies in `explain/` of a run folder: test first, before acceptance last."""
    # A name with a dot is one that is being written, or the one that it replaces.
    files = [path for path in (run / "explain").glob("*/explain.json") if not path.parent.name.startswith(".")]
    found = sorted(((path, _read(path)) for path in files), key=lambda pair: _rank(*pair))
    room = Room.shared(sum(len(data["samples"]) for _, data in found))
    return [_drawn(path, data, room, f"e{number}") for number, (path, data) in enumerate(found)]


def _read(path: Path) -> Row:
    data = finite_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("samples"), list):
        raise FileError("holds no explanation: it has no samples", where=str(path), fix=AGAIN)
    return data


def _rank(path: Path, data: Row) -> tuple[bool, int, str]:
    split = data.get("split")
    return bool(data.get("raw")), ORDER.index(split) if split in ORDER else len(ORDER), path.parent.name


def _drawn(path: Path, data: Row, room: Room, prefix: str) -> Row:
    with read_as("explanation", path, AGAIN):
        return explained(data, room, prefix)


def explained(data: Row, room: Room, prefix: str) -> Row:
    """One explanation in the parts of the page; `prefix` begins every id of its figures."""
    split = SPLITS.get(data["split"], str(data["split"]))
    faithfulness, rows = data.get("faithfulness"), row_name(data)
    answer = "forecast" if rows == WINDOWS else "prediction"
    return {
        "rows": rows,
        "row": rows.removesuffix("s"),
        "answer": answer,
        "title": f"{capital(split)} {rows}{', before acceptance' if data['raw'] else ''}",
        "id": prefix,
        "facts": _facts(data, rows),
        "sentence": _faithful_sentence(faithfulness, data.get("no_faithfulness"), answer),
        "checks": _checks(data, answer),
        "maps": _maps(data["maps"]),
        "what": f"{split} {metric_name(str(data['metric']))}",
        "contributions": _contributions(data["contributions"], rows),
        "faithfulness": _faithfulness(faithfulness, answer) if faithfulness else None,
        "between": _between(data["between"], data["contributions"]) if data.get("between") else None,
        "time": _time(data["over_time"], prefix, rows),
        "samples": [shaded_sample(sample, room) for sample in data["samples"]],
        "taxa": taxa_figures(data.get("taxa")),
        "counterfactuals": counterfactual_table(data.get("counterfactuals") or []),
    }


def _facts(data: Row, rows: str) -> str:
    words = f"{count(data['windows'])} {rows}, fusion {data['fusion']}."
    if not data["raw"]:
        return words
    kept = {"True": ", which validation kept", "False": ", which validation did not keep"}
    return f"{words} The model as it was trained{kept.get(str(data.get('accepted')), '')}."


def _faithful_sentence(found: Row | None, reason: str | None, answer: str) -> str:
    if not found:
        return f"Faithfulness was not measured{f': {reason}' if reason else ''}."
    name = f"the attention on {found['stream']}"
    than_others = f"the {answer} moves more without the most attended token than without another one"
    if found["faithful"] is None:
        return f"There is not enough data to say whether {name} is faithful."
    if found["faithful"]:
        return f"{capital(name)} is faithful: {than_others}."
    return f"{capital(name)} is not shown to be faithful: it is not shown that {than_others}."


def _checks(data: Row, answer: str) -> Row:
    """One sentence on all checks and a row of each; the agreement with the fast path is one of them."""
    rows = [
        {"map": str(each["map"]), "what": each["what"], "rows": count(each["rows"]), "holds": bool(each["holds"]),
         "largest": "no number" if each["largest"] is None else f"{each['largest']:.2g}".replace("-", "−")}
        for each in data["checks"]
    ]  # fmt: skip
    agreement = data["agreement"]
    largest = agreement["largest"]
    rows.append({
        "map": "all", "what": f"the {answer} with maps is that without", "rows": count(data["windows"]),
        "largest": "no number" if largest is None else f"{largest:.2g}".replace("-", "−"),
        "holds": bool(agreement["holds"]),
    })  # fmt: skip
    failed = [f"{row['map']}: {row['what']}" for row in rows if not row["holds"]]
    if not failed:
        return {"rows": rows, "good": True, "sentence": f"All {len(rows)} checks of the maps hold."}
    fails = "1 check fails" if len(failed) == 1 else f"{len(failed)} checks fail"
    return {"rows": rows, "good": False, "sentence": f"Do not trust these maps: {fails} ({'; '.join(failed)})."}


def _maps(maps: Row) -> list[str]:
    words = []
    for name, about in maps.items():
        keys = ", ".join(f"{count(places)} {key}" for key, places in about["keys"])
        shape = " × ".join(count(size) for size in about["shape"])
        words.append(f"{name}: {shape} ({', '.join(about['axes'])}){f'; keys: {keys}' if keys else ''}")
    return words


def _contributions(found: Sequence[Row], rows: str) -> Row | None:
    """What the error does without each modality and with that of another row, on one scale, and the gates."""
    if not found:
        return None
    measures = {"drop": "without it", "permute": f"with that of another {rows.removesuffix('s')}"}
    ends = [each[how][end] for each in found for how in measures for end in ("value", "low", "high")]
    scale = Scale.over(ends, least=0.01)
    return {
        "axis": change_axis(scale),
        "rows": [
            {
                "modality": str(each["modality"]),
                "present": told(each.get("present"), share),
                "measures": [
                    *(_measure(words, each[how], scale) for how, words in measures.items()),
                    *([_gate(each["gate"])] if each.get("gate") else []),
                ],
            }
            for each in found
        ],
        "gates": any(each.get("gate") for each in found),
    }


def _measure(what: str, found: Row, scale: Scale) -> Row:
    known = found["low"] is not None and found["high"] is not None
    return {
        "what": what, "says": tells(found) if known else "", "value": told(found["value"], change),
        "interval": between(found), "bar": scale.bar(found["value"], found["low"], found["high"]),
        "meter": None,
    }  # fmt: skip


def _gate(found: Row) -> Row:
    return {
        "what": "its gate is open by", "says": "", "value": told(found["value"], share),
        "interval": between(found, share), "bar": None, "meter": Scale(0.0, 1.0).at(found["value"] or 0.0),
    }  # fmt: skip


def _faithfulness(found: Row, answer: str) -> Row:
    """How far the answer moves without a token of each kind, as bars and as changes in words."""
    known = [found[pick] for pick in PICKS if found[pick] is not None]
    scale = Scale(0.0, max(known, default=0.0) or 1.0)
    return {
        "windows": count(found["windows"]),
        "stream": str(found["stream"]),
        "bars": [
            {"what": words, "value": told(found[pick], movement), "meter": scale.at(found[pick] or 0.0), "pick": pick}
            for pick, words in PICKS.items()
        ],
        "changes": [_moves(*pair, found[name], answer) for name, pair in AGAINST.items()],
    }


def _between(found: Row, contributions: Sequence[Row]) -> Row:
    """Attention between modalities as a shaded matrix, and beside it what the error does without each."""
    names, mean = [str(name) for name in found["names"]], found["mean"]
    leans = {each["modality"]: each for each in contributions}
    if any(len(each) != len(names) for each in (mean, *mean, found["received"], found["even"], found["tokens"])):
        raise ValueError("the matrix does not fit its modalities")
    return {
        "names": names,
        "tokens": [count(int(number)) for number in found["tokens"]],
        "rows": [
            {
                "name": name,
                "cells": [_cell(name, other, value) for other, value in zip(names, cells, strict=True)],
            }
            for name, cells in zip(names, mean, strict=True)
        ],
        "maps": len(found["maps"]),
        "beside": [
            {
                "name": name, "received": share(received), "even": share(even),
                **{how: _short(leans.get(name), how) for how in ("drop", "permute")},
            }
            for name, received, even in zip(names, found["received"], found["even"], strict=True)
        ],
    }  # fmt: skip


def _cell(name: str, other: str, value: float) -> Row:
    words = f"{value:.3f}"
    return {"number": words, "level": shade(value, 1.0), "title": f"{name} looks at {other}: {words}"}


def _short(found: Row | None, how: str) -> str:
    """A change of the error; a dash for what can't be taken away."""
    return "–" if found is None or found[how]["value"] is None else change(found[how]["value"])


def _moves(one: str, other: str, found: Row, answer: str) -> str:
    if found["value"] is None:
        return f"{capital(one)} beside {other}: not enough data."
    much = than(found["value"]).replace("lower than", "less than").replace("higher than", "more than")
    words = f"Without {one} the {answer} moves {much} without {other}"
    if found["low"] is None or found["high"] is None:
        return f"{words}; there is not enough data for an interval."
    shown = "" if found["low"] > 0 or found["high"] < 0 else ": no difference is shown"
    return f"{words} (95\u00a0% interval {between(found)}){shown}."


def _time(points: Sequence[Row], prefix: str, rows: str) -> Row | None:
    """Gate and attention of each window in order of time, None where the operator has neither."""
    named = {"gate": "how far gates open", "attention": "attention that is not on null"}
    values = {name: [point[name] for point in points] for name in named}
    lines = [Line(words, [float("nan") if v is None else float(v) for v in values[name]], name)
             for name, words in named.items() if any(v is not None for v in values[name])]  # fmt: skip
    if not lines:
        return None
    origins = [str(point["origin"]) for point in points]
    spans = " and ".join(f"{line.label} from {min(line.known):.3f} to {max(line.known):.3f}" for line in lines)
    words = f"Line chart over {count(len(points))} {rows}, {date(origins[0])} to {date(origins[-1])}: {spans}."
    figure: Markup = time_figure(origins, lines, f"{prefix}t", words)
    return {"figure": figure, "words": f"{capital(spans)}.", "points": count(len(points))}
