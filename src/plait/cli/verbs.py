"""What each verb does: take its tokens apart, call the library, say the result, return it as plain data."""

import re
import shutil
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from plait.cli.arguments import COMMON, config_of, count_of, guide_of, only_options, raw_config_of
from plait.cli.convert import data_convert
from plait.cli.embed import embed
from plait.cli.evaluate import evaluate
from plait.cli.features import features
from plait.cli.fetch import data_fetch
from plait.cli.pretrain import pretrain
from plait.cli.training import train_run
from plait.cli.verdict import tell_ablation, tell_comparison, tell_fusions
from plait.core.console import say
from plait.core.errors import ConfigError, FileError, PlaitError, Terminated


def _usage(tokens: list[str], text: str) -> bool:
    if "--help" in tokens or "-h" in tokens:
        say(f"usage: plait {text}\n\nEverywhere: {COMMON}")
        return True
    return False


def init(tokens: list[str]) -> Any:
    """Print a recipe as commented YAML."""
    if _usage(tokens, "init RECIPE [--size tiny|base|seed] [fields]  > run.yaml"):
        return {}
    from plait.cli.fields_page import commented_yaml

    _, _, config = config_of(tokens)
    text = commented_yaml(config)
    say(text, end="")
    return {"yaml": text}


def train(tokens: list[str]) -> Any:
    """Train into a new run folder, or go on in one."""
    guide = guide_of(tokens)
    if guide is not None:
        say(guide)
        return {"guide": guide}
    if "--help" in tokens or "-h" in tokens:
        return _train_help([t for t in tokens if t not in ("--help", "-h")])
    return train_run(tokens)[0]


def _train_help(tokens: list[str]) -> Any:
    from plait.runs.recipe import recipe_names

    say("usage: plait train RECIPE|run.yaml [--size tiny|base|seed] [--out FOLDER] [fields]")
    say("       plait train --resume FOLDER\n")
    say("Fields: --a.b v, --a.b=v or a.b=v; booleans --flag or --no-flag; lists [a, b]; a last name that is unique,")
    say(f"or an alias, stands for the whole; - and _ are the same. Everywhere: {COMMON}\n")
    if not tokens:
        say(f"All fields of a recipe: plait train RECIPE --help. Recipes: {', '.join(recipe_names())}")
        return {}
    from plait.cli.fields_page import fields_page

    _, recipe, raw = raw_config_of(tokens, valued=("out", "resume"))
    say(fields_page(recipe, raw))
    return {}


def predict(tokens: list[str]) -> Any:
    """Predict with a run."""
    if _usage(
        tokens,
        "predict RUN [--split val|test | --ahead] [--output FILE.csv] [--device auto|cpu|cuda|mps] [new data]\n"
        "       plait predict RUN RUN ... --mean|--weights-from val [...]\n\n"
        "New data of a series: --path SERIES.csv [--text-path TEXTS.csv]; the forecast is from its last row, without\n"
        "it from the last row of the run's own data; --ahead gives it a line a step, with dates and intervals.\n"
        "Of samples: --table FILE [--metadata FILE] [--sequences FILE].\n"
        "Of products: --table FILE [--sources FOLDER], the folder of arrays named as the run's own.\n"
        "With --split: every row of that split of the run's own data. Several runs answer together: with equal\n"
        "weights, or with those that are best on the validation rows they share.",
    ):
        return {}
    from plait.cli.predict import predict_verb

    return predict_verb(tokens)


def compare(tokens: list[str]) -> Any:
    """Train the arms and print the verdict, or rank the fusion kinds."""
    if _usage(
        tokens,
        "compare RECIPE [--seeds N] [--fusions all|KIND,KIND] [--out FOLDER | --resume FOLDER]\n"
        "                   [--size ...] [fields]\n\n"
        "Trains the anchor alone, fused and placebo arms; the verdict says whether the modality helps. A recipe of\n"
        "one modality (calf) sets parts of its model side by side instead.\n"
        "--fusions: trains the recipe with each kind of fusion in turn, brought to the size of its own kind where one\n"
        "has a width to set; parameters, time and memory stand beside the error. No placebo is among these arms: they\n"
        "rank the kinds, and the verdict on the modality comes from plait compare without --fusions.",
    ):
        return {}
    parsed, recipe, config = config_of(tokens, valued=("seeds", "fusions", "out", "resume"))
    seeds = count_of(parsed.options.get("seeds", "3"), "--seeds")
    if {"out", "resume"} <= set(parsed.options):
        raise ConfigError("--out is of a new comparison, --resume of one that began", fix="give one of the two")
    from plait.evaluation.compare import Plan
    from plait.evaluation.comparisons import comparison_of
    from plait.evaluation.fusions import named_kinds
    from plait.report.page import write_report
    from plait.runs.folder import check_same, new_folder, new_or_nothing, write_start

    plan = Plan.of_recipe(recipe, config, tuple(range(config.seed, config.seed + seeds)))
    kinds = named_kinds(parsed.options["fusions"]) if "fusions" in parsed.options else None
    resume = parsed.options.get("resume")
    if resume:
        folder = Path(resume)
        check_same(folder, config)
        check_resumes(folder, plan.arms, kinds)
    else:
        folder = new_folder(config, parsed.options.get("out"), verb="compare")
    with nullcontext() if resume else new_or_nothing(folder):
        if not resume:
            write_start(folder, config)
        comparison = comparison_of(plan, kinds, folder)
        say(f"folder: {folder} (go on with the same command and --resume {folder})")
        try:
            result = comparison.run()
        except Terminated:
            raise Terminated(f"stopped as asked; go on with the same command and --resume {folder}") from None
    if not plan.modality:
        tell_ablation(result)
    elif kinds is None:
        tell_comparison(result)
    else:
        tell_fusions(result)
        say(f"figures: {folder / 'fusions.json'}")
    say(f"report: {write_report(folder)}")
    return {"folder": str(folder), **result}


def check_resumes(folder: Path, arms: Iterable[str], kinds: list[str] | None) -> None:
    """Refuse a folder of the other comparison: the one for the verdict, or the one of fusions."""
    begun = {re.sub(r"(-fold\d+)?-seed\d+$", "", path.name) for path in folder.glob("arms/*-seed*")} - {"anchor"}
    ranks = bool(begun - set(arms)) or (folder / "fusions.json").exists()
    if ranks if kinds is None else bool(begun & set(arms)) or (folder / "compare.json").exists():
        what = "compares fusions" if kinds is None else "is for the verdict"
        raise ConfigError(
            f"the comparison in {folder} {what}", where="--resume",
            fix="add --fusions as it began" if kinds is None else "leave out --fusions, or give a new --out",
        )  # fmt: skip


def audit(tokens: list[str]) -> Any:
    """Prove that nothing leaks."""
    if _usage(
        tokens,
        "audit RECIPE|RUN [--output FILE.csv] [fields]\n\n"
        "Of a recipe: the data that the fields name. Of a run: its data with the preprocessing it kept.\n"
        "Exit code 3 where something leaks; what may be a leak is listed as suspect.",
    ):
        return {}
    from plait.cli.audit import audit_verb

    return audit_verb(tokens)


def explain(tokens: list[str]) -> Any:
    """Write what a run's model looked at."""
    if _usage(
        tokens,
        "explain RUN [--split test|val|train] [--raw] [--device auto|cpu|cuda|mps]\n\n"
        "Writes attention and gates of every window or sample into RUN/explain/SPLIT, checks them, and says whether\n"
        "the attention is faithful and what each modality adds. --raw explains the model before acceptance\n"
        "(RUN/explain/SPLIT-raw). Exit code 4 where a check fails.",
    ):
        return {}
    from plait.cli.explain import explain_verb

    return explain_verb(tokens)


def demo(tokens: list[str]) -> Any:
    """The planted control end to end."""
    if _usage(tokens, "demo [--seeds N] [--out FOLDER]\n\nReplaces runs/demo."):
        return {}
    parsed = only_options(tokens, (), valued=("seeds", "out"))
    from plait.cli.demo import run_demo

    folder = Path(parsed.options.get("out", "runs/demo"))
    if "out" not in parsed.options:
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        raise FileError("is there already", where=str(folder), fix="give a new --out; only runs/demo is replaced")
    return run_demo(folder, count_of(parsed.options.get("seeds", "2"), "--seeds"))


def data_list(tokens: list[str]) -> Any:
    """List what can be named in `kind` fields, without importing any of it."""
    if _usage(tokens, "data list"):
        return {}
    only_options(tokens, ())
    from importlib.resources import files

    from plait.core.kinds import kinds

    found = {"recipes": sorted(p.name[:-5] for p in files("plait.recipes").iterdir() if p.name.endswith(".yaml"))}
    for title, room in (
        ("data", "data.sources"), ("embedders", "embedders"), ("images", "image_embedders"), ("encoders", "encoders"),
        ("fusion", "fusion"), ("heads", "heads"), ("tasks", "tasks"),
    ):  # fmt: skip
        found[title] = list(kinds(room))
    for title, names in found.items():
        say(f"{title:<10} {', '.join(names)}")
    return found


def data_check(tokens: list[str]) -> Any:
    """Read and check a recipe's data."""
    if _usage(tokens, "data check RECIPE [fields]"):
        return {}
    from plait.data.table import refuse

    _, _, config = config_of(tokens)
    table = config.data.read()
    for finding in table.findings:
        say(f"{'DECIDE ' if finding.decide else ''}{finding}{f' (by {finding.decide})' if finding.decide else ''}")
    refuse(table.findings, config.data.kind)
    data = config.data.build(table, config.seed)
    for finding in data.findings[len(table.findings) :]:
        say(str(finding))
    lines, facts = data.describe()
    for line in lines:
        say(line)
    return {**facts, "splits": data.split_summary(), "findings": [str(f) for f in data.findings]}


def report(tokens: list[str]) -> Any:
    """Write the page of a run or comparison."""
    if _usage(tokens, "report FOLDER"):
        return {}
    parsed = only_options(tokens, ("FOLDER",))
    from plait.report.page import write_report

    path = write_report(Path(parsed.words[0]))
    say(f"report: {path}")
    return {"report": str(path)}


def doctor(tokens: list[str]) -> Any:
    """Say what this machine and installation can do."""
    if _usage(tokens, "doctor"):
        return {}
    only_options(tokens, ())
    from plait.data.store import store_root
    from plait.runs.folder import environment

    facts: dict[str, Any] = environment()
    import torch

    facts["devices"] = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    facts["devices"] += ["mps"] if torch.backends.mps.is_available() else []
    facts["store"] = str(store_root())
    try:
        from plait.embedders.wordllama import WordLlama

        facts["wordllama"] = WordLlama().revision
    except PlaitError as error:
        facts["wordllama"] = str(error)
    for name, value in facts.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        shown = ", ".join(value) if isinstance(value, list) else shown
        say(f"{name:<10} {shown}")
    return facts


__all__ = [
    "audit", "compare", "data_check", "data_convert", "data_fetch", "data_list", "demo", "doctor", "embed", "evaluate",
    "explain", "features", "init", "predict", "pretrain", "report", "train",
]  # fmt: skip
