"""The report: one self-contained HTML page from a run folder or a comparison folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plait.core.errors import FileError, suggest
from plait.core.files import write_file
from plait.report.ablation import ablation_page
from plait.report.arms import Scale, arm_table, best_of, card, change_axis, effects, run_table
from plait.report.attention import fading
from plait.report.explanation import explanations
from plait.report.figures import Curve, forecast_figure, training_figure
from plait.report.finite import finite, finite_json, read_as
from plait.report.fusions import fusion_page
from plait.report.moves import moves
from plait.report.prices import prices
from plait.report.samples import predictions
from plait.report.splits import split_table
from plait.report.trainings import caveats, of_first_seed, trainings
from plait.report.wording import (
    RISING,
    Row,
    amount,
    capital,
    change,
    count,
    date,
    error,
    fold_count,
    headline,
    metric_name,
    not_kept,
    row_name,
    run_lead,
    share,
)

BARE: Row = {
    "recipe": None, "caveats": [], "folds": 1, "row_name": "windows", "forecasts": None, "predictions": None,
    "moves": None, "prices": None, "explained": [], "fading": None, "curves": [],
}  # fmt: skip
"""What a page has unless its folder holds more."""


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder or a comparison folder, from the files that lie there."""
    folder = Path(folder)
    if (folder / "compare.json").is_file():
        page = _comparison(folder)
    elif (folder / "fusions.json").is_file():
        page = fusion_page(folder / "fusions.json") | {"name": folder.resolve().name}
        page["caveats"] = page["caveats"] or caveats(of_first_seed(folder, page["default"]))
    elif (folder / "ablation.json").is_file():
        page = ablation_page(folder / "ablation.json") | {"name": folder.resolve().name}
    else:
        page = _run(folder)
    path = folder / "report.html"
    # A lone surrogate, which JSON can hold and UTF-8 can not, becomes a question mark.
    write_file(path, _render(BARE | page | _settings(folder)).encode("utf-8", "replace"))
    return path


def _render(page: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    room = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(room), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=lambda value: "not known" if value is None else value,
    )  # fmt: skip
    environment.filters |= {"change": change, "error": error, "date": date, "share": share, "count": count}
    style = (room / "style.css").read_text(encoding="utf-8")
    return environment.get_template("template.html").render(**page, style=style)


def _comparison(folder: Path) -> Row:
    result = finite_json(folder / "compare.json")
    control = result.get("control") or finite_json(folder / "control" / "compare.json", optional=True)
    compared = [("", result, folder)] + ([("Control", control, folder / "control")] if control else [])
    pairs = [row for _, each, _ in compared for found in each["verdicts"] for row in effects(found, each)]
    scale = Scale.over([row[end] for row in pairs for end in ("value", "low", "high")], least=0.05)
    first = {arm: of_first_seed(folder, arm) for arm in ("fused", "anchor", "placebo")}
    runs, anchors = ([each.folder for each in first[arm]] for arm in ("fused", "anchor"))
    modality = " and ".join(found["modality"] for found in result["verdicts"])
    curves = {f"with {modality}": first["fused"][:1], f"with shuffled {modality}": first["placebo"][:1]}
    return {
        "kind": "comparison",
        "name": folder.resolve().name,
        "recipe": result.get("recipe"),
        "headline": " ".join(headline(found) for found in result["verdicts"]),
        "caveats": [str(words) for words in result.get("caveats") or []] or caveats(first["fused"]),
        "folds": fold_count(result),
        "row_name": row_name(result),
        "metric": metric_name(result["metric"]),
        "modality": modality,
        "cards": [
            card(title, each, found, scale, each.get("seeds") or _seeds(place))
            for title, each, place in compared
            for found in each["verdicts"]
        ],
        "axis": change_axis(scale),
        "tables": [arm_table(title, each) for title, each, _ in compared],
        "forecasts": _said(_forecasts(runs, anchors), runs, modality, "forecast is that"),
        "predictions": _said(
            predictions(runs, anchors, (f"with {modality}", "anchor alone")), runs, modality, "predictions are those"
        ),
        "explained": explanations(runs[0]) if runs else [],
        "explained_run": first["fused"][0].words if runs else "",
        "curves": _curves({name: each.folder for name, found in curves.items() for each in found}, result["metric"]),
    }


def _seeds(folder: Path) -> list[int]:
    """The seeds that the modality's arm was trained with."""
    return sorted({each.seed for each in trainings(folder, "fused")})


def _said(drawn: Row | None, runs: Sequence[Path], modality: str, made: str) -> Row | None:
    """The same with its seed, and with what is drawn there of the anchor alone, as validation chose."""
    if drawn is None:
        return None
    metrics = [finite_json(run / "metrics.json", optional=True) or {} for run in runs]
    rejected = sum(each.get("accepted") is False for each in metrics)
    return drawn | {"seed": metrics[0].get("seed"), "rejected": not_kept(modality, rejected, len(runs), made)}


def _run(folder: Path) -> Row:
    if not (folder / "metrics.json").is_file():
        raise _no_report(folder)
    result = finite_json(folder / "metrics.json")
    test = result["metrics"]["test"]
    interval = next((name.removesuffix("_low") for name in test if name.endswith("_low")), next(iter(test)))
    metric = result.get("metric") or interval
    best = best_of(result, metric)
    added = str(result.get("modality") or "the added modality")
    return {
        "kind": "run",
        "name": folder.resolve().name,
        "recipe": result["recipe"],
        "headline": f"Test {metric_name(metric)} {error(test[metric])}",
        "caveats": [str(words) for words in result.get("caveats") or []],
        "lead": run_lead(result, metric, best),
        "row_name": row_name(result),
        "metric": metric_name(metric),
        "added": f"{capital(added)} {'were' if ' and ' in added else 'was'}",
        "accepted": result.get("accepted"),
        "acceptance": result.get("acceptance"),
        "tables": [run_table(result, metric, best)],
        "forecasts": _forecasts([folder], []),
        "predictions": predictions([folder], [], ("this run", "")),
        "moves": moves(folder, result),
        "prices": prices(folder),
        "explained": explanations(folder),
        "fading": fading(folder),
        "curves": _curves({"this run": folder}, metric),
    }


def _no_report(folder: Path) -> FileError:
    """Why a folder has no report, and what to do."""
    if not folder.is_dir():
        near = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
        return FileError("no such folder", where=str(folder), fix=suggest(folder.name, near) if near else "")
    if (folder / "arms").is_dir():
        return FileError(
            "the comparison has not ended", where=str(folder), fix="go on with the same plait compare and --resume"
        )
    if (folder / "config.yaml").is_file():
        return FileError("the run has not ended", where=str(folder), fix=f"plait train --resume {folder}")
    what = "holds neither metrics.json, compare.json, ablation.json nor fusions.json, so there is nothing to report"
    return FileError(what, where=str(folder), fix="give the folder that plait train, plait compare or plait demo wrote")


def _forecasts(runs: Sequence[Path], anchors: Sequence[Path]) -> Row | None:
    """A figure each sampled window of some runs, with what its origin could read."""
    pages = [(run, finite_json(run / "page.json", optional=True)) for run in runs]
    pages = [(run, page) for run, page in pages if page and page.get("kind") == "forecasts"]
    if not pages:
        return None
    rivals = [
        sample
        for anchor in anchors
        for sample in (finite_json(anchor / "page.json", optional=True) or {}).get("samples", [])
    ]
    beside = {(sample["origin"], sample["variate"]): sample["forecast"] for sample in rivals}
    windows: list[Row] = []
    for run, page in pages:
        with read_as("page data", run / "page.json", "train this run again"):
            for sample in page["samples"]:
                rival = beside.get((sample["origin"], sample["variate"]))
                windows.append(_window(sample, rival, f"w{len(windows)}"))
    return {
        "title": pages[0][1].get("title") or "Forecasts",
        "intervals": _intervals([page for _, page in pages]),
        "windows": windows,
        "texts": any(window["texts"] for window in windows),
        "rejected": "",
        "seed": None,
    }


def _intervals(pages: Sequence[Row]) -> str:
    """What the intervals of the figures are; empty where there are none."""
    asked = {page["intervals"]["asked"] for page in pages if "intervals" in page}
    if not asked:
        return ""
    shares = " or ".join(f"{100 * each:g}\u00a0%" for each in sorted(asked))
    return f"Bands are to hold {shares} of the truth; how wide they are, validation says."


def _window(sample: Row, rival: Sequence[float | None] | None, prefix: str) -> Row:
    errors = {"forecast": _miss(sample["actual"], sample["forecast"])}
    if rival is not None:
        errors["anchor alone"] = _miss(sample["actual"], rival)
    shown = " and ".join(f"{amount(value)} ({name})" for name, value in errors.items() if value is not None)
    steps = len(sample["forecast"])
    seen = f"the history up to {date(sample['origin'])}, then {steps} steps of truth and forecast"
    words = f"Line chart of {sample['variate']}: {seen}."
    return {
        "variate": sample["variate"],
        "origin": sample["origin"],
        "figure": forecast_figure(sample, rival, prefix, words),
        "miss": f"Mean absolute error over {steps} steps: {shown}." if shown else "The truth is not known here.",
        "texts": sorted(sample.get("texts") or [], key=lambda text: str(text["date"]), reverse=True),
    }


def _miss(actual: Sequence[float | None], forecast: Sequence[float | None]) -> float | None:
    known = [abs(a - f) for a, f in zip(actual, forecast, strict=True) if a is not None and f is not None]
    return sum(known) / len(known) if known else None


def _curves(runs: Mapping[str, Path], metric: str) -> list[Row]:
    """The training curves of some runs on one scale, without those that logged none."""
    by = {name: _chosen_by(run, metric) for name, run in runs.items()}
    read = {name: _curve(run / "metrics.jsonl", -1 if by[name] in RISING else 1) for name, run in runs.items()}
    drawn = {name: curve for name, curve in read.items() if curve.train and curve.val}
    spans = [curve.span for curve in drawn.values() if curve.span]
    limits = (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None
    made = []
    for number, (name, curve) in enumerate(drawn.items()):
        assert curve.best is not None
        epoch, value = curve.best
        last = curve.stages[-1]["end"]
        best = f"{'highest' if by[name] in RISING else 'lowest'} validation {metric_name(by[name])}"
        words = f"Line chart of the training of {name}: {last} epochs, {best} {error(value)}."
        made.append({
            "name": name, "stages": curve.stages, "epoch": epoch, "value": value, "last": last, "best": capital(best),
            "figure": training_figure(curve, limits, by[name], f"t{number}", words),
        })  # fmt: skip
    return made


def _chosen_by(run: Path, metric: str) -> str:
    """By what validation chose the epochs of a run: its metric, unless it says otherwise."""
    result = finite_json(run / "metrics.json", optional=True) or {}
    return str(result.get("chosen_by") or metric)


def _curve(path: Path, sign: int) -> Curve:
    curve = Curve(sign)
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            entry = finite(json.loads(line))
        except ValueError:
            continue  # the last line of a run that was killed may be half written
        if isinstance(entry, dict):
            curve.add(entry)
    return curve


def _settings(folder: Path) -> Row:
    """Configuration, splits, findings and environment, as far as they lie in the folder."""
    runs = [folder, *sorted((folder / "arms").glob("fused-*")), *sorted((folder / "arms").glob("*-seed*"))]
    splits = next((run / "splits.json" for run in runs if (run / "splits.json").is_file()), None)
    found = finite_json(splits) if splits else None
    config = folder / "config.yaml"
    facts = finite_json(folder / "environment.json", optional=True) or {}
    return {
        "splits": split_table(found["splits"]) if found else None,
        "findings": found.get("findings") if found else [],
        "audit": finite_json(folder / "audit.json", optional=True),
        "config": config.read_text(encoding="utf-8", errors="replace") if config.is_file() else None,
        "packages": facts.pop("packages", {}),
        "environment": facts,
    }
