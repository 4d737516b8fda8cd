"""Parts of a model side by side: the error of each arm, and what it changes against the anchor."""

from pathlib import Path

from plait.report.arms import arm_table, by_error
from plait.report.changes import against, changes
from plait.report.finite import finite_json, read_as
from plait.report.wording import Row, error, fold_count, metric_name, row_name


def ablation_page(path: Path) -> Row:
    """What the page shows of an ablation.json."""
    data = finite_json(path)
    with read_as("comparison of parts", path, "go on with plait compare and --resume"):
        return sides(data)


def sides(data: Row) -> Row:
    """The arms by error with the baselines among them, and their changes."""
    arms, metric = sorted(data["arms"], key=by_error), metric_name(str(data["metric"]))
    others = [arm for arm in arms if arm["name"] != data["anchor"]]
    return {
        "kind": "ablation",
        "recipe": data.get("recipe"),
        "metric": metric,
        "row_name": row_name(data),
        "folds": fold_count(data),
        "caveats": [],
        "accepted": None,
        "headline": f"{arms[0]['name']} has the lowest test {metric}"
        if arms[0]["mean"] is not None
        else "Parts of the model",
        "lead": _lead(arms[0], data, metric),
        "tables": [arm_table("", {**data, "arms": [*data["arms"], *data["rivals"]]})],
        "changes": changes(others, {"against_anchor": f"against {data['anchor']}"}),
    }


def _lead(best: Row, data: Row, metric: str) -> str:
    """How the arm with the lowest error stands to the anchor."""
    if best["mean"] is None:
        return "There is not enough data to say which arm has the lowest error."
    words = f"Of {len(data['arms'])} arms, {best['name']} has the lowest test {metric}, {error(best['mean'])}."
    return words if best["name"] == data["anchor"] else words + against(best.get("against_anchor"), data["anchor"])
