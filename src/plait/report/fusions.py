"""The fusion kinds of a comparison side by side: error, change, cost, and what was left out."""

from pathlib import Path

from plait.report.arms import by_error, scaled
from plait.report.changes import against, changes
from plait.report.figures import Spot, cost_figure
from plait.report.finite import finite_json, read_as
from plait.report.wording import (
    NOT_KNOWN,
    Row,
    count,
    error,
    fold_count,
    intervals,
    metric_name,
    row_name,
    told,
)

ANCHOR = "anchor alone"


def fusion_page(path: Path) -> Row:
    """What the page shows of a fusions.json."""
    data = finite_json(path)
    with read_as("comparison of fusions", path, "go on with plait compare and --resume"):
        return ranked(data)


def ranked(data: Row) -> Row:
    """The kinds by error, with their changes, their cost and a figure of the two."""
    kinds = sorted((_flat(each) for each in data["fusions"]), key=by_error)
    anchor = _flat({"kind": ANCHOR, **(data.get("anchor") or {})})
    metric, default = metric_name(str(data["metric"])), str(data["default"])
    return {
        "kind": "fusions",
        "recipe": data.get("recipe"),
        "metric": metric,
        "modality": "the modality",
        "row_name": row_name(data),
        "folds": fold_count(data),
        "caveats": [str(words) for words in data.get("caveats") or []],
        "default": default,
        "headline": _headline(kinds, metric),
        "lead": _lead(kinds, default, metric),
        "budget": told(data.get("budget"), lambda value: count(int(value or 0))),
        "seeds": data.get("seeds") or [],
        "tables": [_errors(kinds, anchor, data, default)],
        "changes": changes(
            kinds, {"against_anchor": "against the anchor alone", "against_default": f"against {default}"}, default
        ),
        "costs": [_cost(each, default) for each in kinds] + [_cost(anchor, default)],
        "quality": _quality(kinds, anchor, metric),
        "left_out": [{name: str(each.get(name) or "") for name in ("kind", "reason")} for each in data["left_out"]],
    }


def _flat(each: Row) -> Row:
    """A kind with its error as the keys of an arm: mean, low and high."""
    found = each.get("error")
    ends = found if isinstance(found, dict) else {"mean": found}
    return {**each, "kind": str(each["kind"]), **{end: ends.get(end) for end in ("mean", "low", "high")}}


def _headline(kinds: list[Row], metric: str) -> str:
    if not kinds or kinds[0]["mean"] is None:
        return "Fusion kinds side by side"
    return f"{kinds[0]['kind']} has the lowest test {metric}"


def _lead(kinds: list[Row], default: str, metric: str) -> str:
    """How the kind with the lowest error stands to the recipe's own and to the anchor alone."""
    if not kinds or kinds[0]["mean"] is None:
        return "There is not enough data to say which kind has the lowest error."
    best = kinds[0]
    words = f"Of {len(kinds)} kinds, {best['kind']} has the lowest test {metric}, {error(best['mean'])}."
    rivals = {"against_anchor": "the anchor alone"}
    if best["kind"] == default:
        words += " It is the recipe’s own fusion."
    else:
        rivals = {"against_default": f"the recipe’s own fusion, {default}", **rivals}
    for name, who in rivals.items():
        words += against(best.get(name), who)
    return words


def _errors(kinds: list[Row], anchor: Row, data: Row, default: str) -> Row:
    """The table of errors in the form of a table of arms, the anchor alone at its place among the kinds."""
    rows = [
        {
            "name": each["kind"], "meaning": "", "tag": "the recipe’s own" if each["kind"] == default else "",
            "below": False, "strong": each is kinds[0], "weak": False, "more": [], "rival": each is anchor,
            **{end: each[end] for end in ("mean", "low", "high")},
        }
        for each in sorted([*kinds, anchor], key=by_error)
        if each is not anchor or anchor["mean"] is not None
    ]  # fmt: skip
    return scaled(rows, anchor["mean"]) | {
        "title": "", "unit": data["unit"], "windows": data["windows"], "row_name": row_name(data),
        "intervals": intervals(data, ", crossed with seeds"),
        "columns": [], "metric": metric_name(str(data["metric"])), "weak": "none", "first": "fusion",
    }  # fmt: skip


def _cost(each: Row, default: str) -> Row:
    """What a kind costs, in words."""
    accepted, inner = each.get("accepted"), each.get("inner") or {}
    return {
        "kind": each["kind"],
        "own": each["kind"] == default,
        "parameters": _whole(each.get("parameters")),
        "label": _label(each),
        "inner": ", ".join(f"{field} {'unset' if value is None else value}" for field, value in inner.items()) or "–",
        "total": _whole(each.get("total_parameters")),
        "ms": told(each.get("train_ms"), lambda value: f"{value:,.1f}"),
        "mib": told(each.get("peak_mib"), lambda value: f"{value:,.1f}"),
        "accepted": "–" if accepted is None else f"{sum(map(bool, accepted))} of {len(accepted)}",
    }


def _whole(number: int | None) -> str:
    return NOT_KNOWN if number is None else count(number)


def _label(each: Row) -> str:
    label, ratio = each.get("label"), each.get("ratio")
    if label is None:
        return "–"
    return str(label) if ratio is None or label not in ("smaller", "larger") else f"{label}, ×{ratio:.2f}"


def _quality(kinds: list[Row], anchor: Row, metric: str) -> Row | None:
    """The error of each kind over the time of a step, for those of which both are known."""
    known = [each for each in [*kinds, anchor] if each["mean"] is not None and each.get("train_ms") is not None]
    if len(known) < 2:
        return None
    spots = [
        Spot(each["kind"], float(each["train_ms"]), float(each["mean"]),
             "muted" if each is anchor else "forecast", each is anchor)
        for each in known
    ]  # fmt: skip
    listed = "; ".join(f"{spot.label} {error(spot.up)} at {spot.across:,.1f} ms" for spot in spots)
    words = f"Scatter chart of test {metric} over the time of a training step: {listed}."
    titles = "milliseconds a training step", f"test {metric}"
    return {"figure": cost_figure(spots, anchor["mean"], titles, words), "left": len(kinds) + 1 - len(known)}
