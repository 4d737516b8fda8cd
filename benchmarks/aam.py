"""What metadata add to the ASVs of global_gut, by kind of fusion and beside every rival: docs/results/aam.md.

Every sample is tested once a seed, by a training that never saw its family (or its sub-study). Resumable: what is
finished is not done again, and `--only` trains a part of it, so that two processes can share the work once the anchors
are trained. The page has the arms that are finished, and names those that are not.
Usage: python benchmarks/aam.py [--seeds 3] [--data FOLDER] [--study NAME] [--only ARM,ARM] [--page]
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from _page import about

from plait.baselines.samples import confounded
from plait.core.files import write_file, write_json
from plait.evaluation.compare import Plan, Raw, Trainings
from plait.evaluation.fusions import fusion_parameters, matched
from plait.evaluation.verdict import Arm, percent, verdict
from plait.objectives.bootstrap import Bootstrap, Interval, RowScores, Units
from plait.runs.folder import write_start
from plait.runs.recipe import load_recipe, resolve

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "aam.md"
RUNS = ROOT / "runs" / "bench-aam"
DATA = Path(os.environ.get("PLAIT_DATA", ROOT.parent / "shared" / "data")) / "microbiome" / "global_gut"
KINDS = ("film", "add", "gmu", "low_rank", "perceiver", "concat", "cross_attention", "bottleneck")
OWN = "film"
"""The recipe's own kind: its placebo is the placebo, and its parameters are what the others are brought to."""
WRITTEN_OUT = "USygt"
"""The sub-study of teenage twins, whose age no model reads: the rest is reported beside the whole."""


@dataclass(frozen=True)
class Study:
    """A question: which samples, what is held out together, which kinds of fusion."""

    name: str
    title: str
    fields: tuple[tuple[str, Any], ...]
    folds: int
    kinds: tuple[str, ...]


FAMILIES = (("group_by", "family_derived"),)
STUDIES = (
    Study("age18", "Age <= 18, 5 folds of families", (*FAMILIES, ("target_max", 18.0)), 5, KINDS),
    Study("all", "All ages, 5 folds of families", FAMILIES, 5, KINDS),
    Study(
        "substudy", "Age <= 18, each sub-study left out whole",
        (("group_by", "sub_study"), ("target_max", 18.0), ("splits", [0.93, 0.02, 0.05])), 7, (),
    ),
)  # fmt: skip


def with_sub_study(data: Path) -> Path:
    """The metadata with the sub-study of each sample as a column: what its id begins with, Malawi's two as one."""
    path = RUNS / "metadata.tsv"
    frame = pd.read_csv(data / "metadata.tsv", sep="\t", dtype=str)
    prefix = frame["sample_id"].str.extract("^(USBld|[A-Za-z]*)")[0]
    frame["sub_study"] = prefix.replace({"h": "Malawi", "k": "Malawi"})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, frame.to_csv(sep="\t", index=False).encode())
    return path


def plan_of(study: Study, data: Path, seeds: int) -> Plan:
    """The trainings of a study: the ASVs alone, and with its kinds the recipe's own and its placebo."""
    recipe = load_recipe("aam")
    files = {"table": "table.biom", "sequences": "rep_seqs.fasta", "tree": "tree.nwk", "taxonomy": "taxonomy.tsv"}
    places = [(name, str(data / file)) for name, file in files.items()]
    fields = [
        *places, ("metadata", str(with_sub_study(data))), ("target", "age_years"), ("fusion", OWN),
        ("categorical_columns", "country,sex"), ("trackers", []), *study.fields,
    ]  # fmt: skip
    arms = {"anchor": recipe.arms["anchor"]}
    if study.kinds:
        arms |= {OWN: {}, "placebo": recipe.arms["placebo"]}
    meanings = {"anchor": "ASVs alone", "placebo": f"{OWN} with shuffled metadata"}
    return Plan(resolve(recipe, None, fields), "metadata", arms, tuple(range(seeds)), meanings, study.folds)


def opened(study: Study, data: Path, seeds: int) -> tuple[Plan, Trainings, dict[str, str]]:
    """A study with every kind at the budget of the recipe's own, as `plait compare --fusions` does it, and the labels
    of the kinds.
    """
    plan, folder = plan_of(study, data, seeds), RUNS / study.name
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.yaml").exists():
        write_start(folder, plan.config)
    trainings = Trainings(plan, folder)
    schema = trainings.data.schema
    budget = fusion_parameters(plan.config, plan.config.model.resolve(schema).fusion, schema)
    others = {kind: matched(plan.config, kind, schema, budget) for kind in study.kinds if kind != OWN}
    arms = {kind: {"model": {"fusion": found.fusion.model_dump(mode="json")}} for kind, found in others.items()}
    labels = {kind: found.label for kind, found in others.items()}
    return replace(plan, arms=plan.arms | arms), trainings, labels


def train(plan: Plan, trainings: Trainings, only: Sequence[str]) -> None:
    """Train the arms of a study, or some of them, one after the other."""
    for arm in plan.arms:
        if (not only or arm in only or arm == "anchor") and not finished(plan, trainings, arm):
            trainings.run(replace(plan, arms={arm: plan.arms[arm]}))


def finished(plan: Plan, trainings: Trainings, arm: str) -> bool:
    """Whether all trainings of an arm have ended."""
    runs = [plan.run_of(arm, seed, fold) for seed in plan.seeds for fold in range(plan.folds)]
    return all((trainings.folder / run / "metrics.json").exists() for run in runs)


def summary(study: Study, plan: Plan, trainings: Trainings, labels: dict[str, str]) -> dict[str, Any]:
    """All figures of what is finished of a study; families are drawn together, crossed with seeds."""
    done = {arm: tree for arm, tree in plan.arms.items() if finished(plan, trainings, arm)}
    raw = trainings.run(replace(plan, arms=done))
    ids = [name for part in trainings.parts for name in part.data.ids("test")]
    facts = trainings.table.metadata.loc[ids]
    seeds = len(raw["anchor"]["test"])
    units = Units(len(ids), groups=pd.factorize(facts["family_derived"])[0])
    bootstrap, scores = Bootstrap(units, seeds), {arm: trainings.rows(splits["test"]) for arm, splits in raw.items()}
    rivals = {name: trainings.rows([[each["test"]]]) for name, each in trainings.rivals.items()}
    validation = {name: trainings.task.metrics(each["val"])["mae"] for name, each in trainings.rivals.items()}
    anchor, outside = scores["anchor"], (facts["sub_study"] != WRITTEN_OUT).to_numpy()
    arms = {}
    for name, found in scores.items():
        kept = [d.accepted for folds in trainings.decide(raw, name) for d in folds] if name != "anchor" else []
        arms[name] = {
            "mae": plain(bootstrap.error(found)), "outside": rows_of(found, outside).mean(),
            "against_anchor": plain(bootstrap.change(found, anchor)), "parameters": trainings.parameters[name],
            "kept": sum(kept), "of": len(kept), "label": labels.get(name, ""),
            "by_seed": [float(t.sum() / found.count.sum()) for t in found.total],
        }  # fmt: skip
    best = min(trainings.task.candidates(validation), key=lambda name: validation[name])
    result = {
        "title": study.title, "samples": len(ids), "families": int(facts["family_derived"].nunique()),
        "folds": len(trainings.parts), "seeds": seeds, "arms": arms,
        "missing": [name for name in plan.arms if name not in done],
        "rivals": {
            name: {
                "mae": plain(bootstrap.error(found)), "outside": rows_of(found, outside).mean(),
                "anchor_less": plain(bootstrap.difference(anchor, found)), "val": validation[name],
            }
            for name, found in rivals.items()
        },
        "best_rival": best,
        "by_sub_study": by_sub_study(facts["sub_study"], {"ASVs alone": anchor, best: rivals[best]}),
        "confounded": confounded({name: found.mean() for name, found in rivals.items()}, anchor.mean()),
    }  # fmt: skip
    if {OWN, "placebo"} <= set(scores):
        lines = {n: Arm(n, scores[n], seeds, "") for n in ("anchor", OWN, "placebo")}
        result["verdict"] = verdict("metadata", lines[OWN], lines["anchor"], lines["placebo"], None, bootstrap)
    if {"gmu", "concat", "add"} <= set(scores):
        plainer = min(("concat", "add"), key=lambda name: validation_error(trainings, raw, name))
        result["gmu"] = {"against": plainer, **plain(bootstrap.difference(scores["gmu"], scores[plainer]))}
    return result


def validation_error(trainings: Trainings, raw: Raw, arm: str) -> float:
    """The validation error of an arm over all folds and seeds."""
    return trainings.rows(raw[arm]["val"]).mean()


def rows_of(scores: RowScores, where: Any) -> RowScores:
    """The scores of some rows."""
    return RowScores(scores.total[:, where], scores.count[where])


def by_sub_study(names: pd.Series, arms: dict[str, RowScores]) -> dict[str, dict[str, Any]]:
    """The mean error of some arms in each sub-study."""
    found = {}
    for name in names.value_counts().index:
        where = (names == name).to_numpy()
        found[str(name)] = {"samples": int(where.sum()), **{arm: rows_of(s, where).mean() for arm, s in arms.items()}}
    return found


def plain(interval: Interval) -> dict[str, float]:
    """An interval for a file."""
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def years(found: dict[str, float], sign: str = "") -> str:
    """A number of years with its interval."""
    return f"{found['value']:{sign}.2f} [{found['low']:{sign}.2f}, {found['high']:{sign}.2f}]"


def section(result: dict[str, Any]) -> list[str]:
    """One study as Markdown."""
    lines = [
        f"\n## {result['title']}", "",
        f"{result['samples']} samples of {result['families']} families; {result['folds']} folds and"
        f" {result['seeds']} seeds.",
    ]  # fmt: skip
    for name in result["confounded"]:
        lines.append(f"**Confounded**: {name.removeprefix('column:')} alone predicts the age about as well.")
    if "verdict" in result:
        lines += ["", f"Verdict ({OWN}, before acceptance): {result['verdict']['text']}."]
    if "gmu" in result:
        lines.append(f"gmu - {result['gmu']['against']} (the better of concat and add on validation), years: ")
        lines[-1] += f"{years(result['gmu'], '+')}."
    if result["missing"]:
        lines += ["", f"Not finished: {', '.join(result['missing'])}."]
    head = ["arm", "MAE, years", f"outside {WRITTEN_OUT}", "against the ASVs alone", "kept", "parameters", "by seed"]
    lines += ["", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, arm in sorted(result["arms"].items(), key=lambda pair: pair[1]["mae"]["value"]):
        change = "" if name == "anchor" else percent(Interval(**arm["against_anchor"]))
        kept = f"{arm['kept']} of {arm['of']}" if arm["of"] else ""
        seeds = ", ".join(f"{value:.2f}" for value in arm["by_seed"])
        shown = {"anchor": "**ASVs alone**", "placebo": f"{OWN}, shuffled metadata"}.get(name, name)
        size = f"{arm['parameters']:,}" + (f" ({arm['label']})" if arm["label"] in ("smaller", "larger") else "")
        cells = [shown, years(arm["mae"]), f"{arm['outside']:.2f}", change, kept, size, seeds]
        lines.append(f"| {' | '.join(cells)} |")
    head = ["rival", "MAE, years", f"outside {WRITTEN_OUT}", "ASVs alone less it", "validation"]
    lines += ["", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, rival in sorted(result["rivals"].items(), key=lambda pair: pair[1]["mae"]["value"]):
        note = " (best on validation)" if name == result["best_rival"] else ""
        cells = [f"{name}{note}", years(rival["mae"]), f"{rival['outside']:.2f}", years(rival["anchor_less"], "+")]
        lines.append(f"| {' | '.join(cells)} | {rival['val']:.2f} |")
    first = next(iter(result["by_sub_study"].values()))
    lines += ["", f"| sub-study | {' | '.join(first)} |", "|---" * (len(first) + 1) + "|"]
    for name, facts in result["by_sub_study"].items():
        cells = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in facts.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def page() -> str:
    """The results page as Markdown, of what is finished."""
    lines = [
        "# ASVs and metadata to age: global_gut", "",
        "Made by `python benchmarks/aam.py`; nothing here is typed in by hand. The recipe `aam` at its size `base`,",
        "metadata columns country and sex, before acceptance (`kept` counts the trainings whose validation gain was",
        f"shown). The kinds of fusion are brought to the parameters of {OWN} within 10 % by their inner width, as",
        "`plait compare aam --fusions all` does it; one without such a width is marked. Each sample is tested once a",
        "seed by a training that saw nobody of its family (or of its sub-study); the seeds are of weights, order and",
        "dropout, the folds are the same. MAE in years; intervals are 95 %, families drawn together, crossed with",
        "seeds. `column:` is one column of the metadata alone, with nothing measured.",
    ]  # fmt: skip
    for study in STUDIES:
        path = RUNS / study.name / "result.json"
        if path.exists():
            lines += section(json.loads(path.read_text(encoding="utf-8")))
        else:
            lines += [f"\n## {study.title}", "", "Not finished."]
    lines += [
        "",
        about(),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train what is asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--study", choices=[study.name for study in STUDIES])
    parser.add_argument("--only", default="", help="arms to train, with commas; the anchor always is")
    parser.add_argument("--page", action="store_true", help="score what is finished, write the page, and train nothing")
    given = parser.parse_args()
    for study in STUDIES:
        if given.study in (None, study.name):
            plan, trainings, labels = opened(study, given.data, given.seeds)
            if not given.page:
                train(plan, trainings, [name for name in given.only.split(",") if name])
            if finished(plan, trainings, "anchor"):
                write_json(RUNS / study.name / "result.json", summary(study, plan, trainings, labels))
    write_file(PAGE, page().encode())
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
