"""The command as people type it: verbs, their output and exit codes, and one run from data to report."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait.cli import verbs
from plait.cli.fields_page import commented_yaml
from plait.core import signals, yaml
from plait.runs.recipe import load_recipe, names_of, raw_config, recipe_names, resolve
from plait.training.checkpoint import read_folder, write_folder
from typed_command import Command, Said, typed

DESIGNED = {
    "demo", "init", "data", "embed", "features", "pretrain", "train", "evaluate", "predict", "compare", "audit",
    "explain", "report", "doctor",
}  # fmt: skip


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedding store of these tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def process(cache: Path) -> Command:
    """Runs the command as a process of its own."""

    def run(*tokens: object, cwd: Path | None = None, python: tuple[str, ...] = ()) -> Said:
        line = [sys.executable, *python, "-m", "plait.cli.main", *map(str, tokens)]
        env = {**os.environ, "PLAIT_CACHE": str(cache)}
        done = subprocess.run(line, capture_output=True, text=True, cwd=cwd, env=env)
        return Said(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def plait(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Runs the command's entry point in this process, in an empty folder: torch is imported once for all."""
    monkeypatch.setenv("PLAIT_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    with typed(monkeypatch, capsys) as run:
        yield run


# --- the verbs and what they import


def listed(page: str) -> set[str]:
    return set(re.findall(r"^  ([a-z]+)  ", page.split("Commands:")[1], re.MULTILINE))


def test_help_lists_exactly_the_verbs_that_work(plait: Command) -> None:
    page = plait("--help")
    names = listed(page.out)
    assert page.code == 0
    assert {"demo", "init", "data", "train", "evaluate", "predict", "compare", "report", "doctor"} <= names <= DESIGNED
    inner = {f"data {name}" for name in listed(plait("data", "--help").out)}
    for verb in sorted(names - {"data"} | inner):
        for flag in ("--help", "-h"):
            said = plait(*verb.split(), flag)
            assert (said.code, said.err) == (0, ""), verb
            assert said.out.startswith(f"usage: plait {verb}"), verb
        assert callable(getattr(verbs, verb.replace(" ", "_")))
    assert plait("-h") == page


def test_no_verb_is_help_and_a_usage_error(plait: Command) -> None:
    for tokens in ((), ("data",)):
        said = plait(*tokens)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith("Usage: plait")


def test_version(plait: Command) -> None:
    assert re.fullmatch(r"plait \d+\.\d+\.\d+\n", plait("--version").out)


LIGHT: list[tuple[str, ...]] = [
    ("-m", "plait.cli.main", "--help"),
    ("-m", "plait.cli.main", "data", "list"),
    ("-m", "plait.cli.main", "doctor", "--help"),
    ("-c", "import plait; dir(plait)"),
]


@pytest.mark.parametrize("line", LIGHT, ids=lambda line: " ".join(line[-2:]))
def test_light_commands_import_nothing_heavy(line: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", *line], capture_output=True, text=True, check=True)
    imported = {row.rsplit("|", 1)[-1].strip() for row in done.stderr.splitlines()}
    assert "plait" in imported
    assert not {name for name in imported if name.split(".")[0] in ("torch", "pandas", "pydantic", "numpy")}


def test_data_list_names_every_kind(plait: Command) -> None:
    said = plait("data", "list", "--json")
    assert said.code == 0
    assert said.data["recipes"] == recipe_names()
    assert {"csv", "ett", "planted"} <= set(said.data["data"])
    assert {"add", "concat", "cross_attention", "none"} <= set(said.data["fusion"])
    assert not [name for names in said.data.values() for name in names if name.startswith("_")]
    assert "cross_attention" in said.err


def test_doctor(plait: Command) -> None:
    said = plait("doctor", "--json")
    assert said.code == 0
    assert said.data["devices"][0] == "cpu"
    assert said.data["packages"]["torch"] != "absent"
    assert len(said.err.splitlines()) == len(said.data)


# --- fields: help, init, aliases


@pytest.mark.parametrize("name", recipe_names())
def test_help_of_train_lists_every_field(plait: Command, name: str) -> None:
    said = plait("train", name, "--help")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    recipe = load_recipe(name)
    aliases: dict[str, list[str]] = {}
    for alias, path in recipe.aliases.items():
        aliases.setdefault(path, []).append(f"--{alias}")
    for path, field in names_of(raw_config(recipe), recipe).fields.items():
        (row,) = [number for number, line in enumerate(lines) if line.startswith(f"  --{path}  ")]
        assert f"  {field.type}, " in lines[row]
        assert re.search(r", default \S|must be given", lines[row])
        assert field.meaning, f"{path} says nothing about itself"
        assert lines[row + 1].strip() == field.meaning
        if path in aliases:
            assert lines[row].endswith(f"(alias {', '.join(aliases[path])})")
        for item in field.items:
            assert item.meaning
            shown = f"--{path}.NAME.{item.path}" if field.keyed else item.path
            assert any(line.strip().startswith(f"{shown}: {item.type}, ") for line in lines)
    for path in set(aliases) - set(names_of(raw_config(recipe), recipe).fields):
        assert f"  {', '.join(aliases[path])}  {path} needs --" in said.out


def test_help_follows_the_kinds_that_are_named(plait: Command) -> None:
    page = plait("train", "chimera", "--data.kind", "csv", "--fusion", "concat", "--help").out
    assert "  --data.path  text, must be given (alias --data-path, --data.name)\n" in page
    assert "  --model.fusion.form  one of residual, seed, default residual\n" in page
    assert "--data.weeks" not in page
    tiny = plait("train", "chimera", "--size", "tiny", "--help").out
    assert "  --model.series.dim  integer, default 32 (alias --d-model)\n" in tiny
    assert "chimera" in plait("train", "--help").out


def holder(raw: Any, path: str) -> Any:
    """What holds the field at a path; None where a part above it is left out."""
    for step in path.split(".")[:-1]:
        raw = raw.get(step) if raw is not None else None
    return raw


@pytest.mark.parametrize("size", ["tiny", "base", "seed"])
@pytest.mark.parametrize("name", recipe_names())
def test_init_reads_back(plait: Command, name: str, size: str) -> None:
    paths = {"aam": "data.table", "market": "data.path", "products": "data.path"}
    needed = [(paths[name], "table.csv")] if name in paths else []
    said = plait("init", name, "--size", size, *(f"{path}={value}" for path, value in needed))
    assert (said.code, said.err) == (0, "")
    Path("run.yaml").write_text(said.out, encoding="utf-8")
    assert resolve(load_recipe("run.yaml")) == resolve(load_recipe(name), size, needed)
    again = plait("init", "run.yaml", "--json")
    assert again.data["yaml"] == said.out == again.err
    raw = yaml.read(Path("run.yaml"))
    fields = names_of(raw, load_recipe(name)).fields.values()
    unset = [f.path.removesuffix("kind") for f in fields if f.path.endswith(".kind") and f.default is None]
    unset += [f"{f.path.rpartition('.')[0]}." for f in fields if holder(raw, f.path) is None]
    meanings = [f.meaning for f in fields if not any(f.path.startswith(part) for part in unset)]
    assert len(meanings) > 50
    assert all(f"# {meaning}" in said.out for meaning in meanings)


@pytest.mark.parametrize("odd", ["a, b", "a]b", "x: y", " # no note", "line\nbreak", "on", "3", "", "'", "word " * 60])
def test_odd_texts_come_through_init(tmp_path: Path, odd: str) -> None:
    fields = [("data.kind", "csv"), ("data.path", odd), ("targets", [odd, "b"]), ("time", odd)]
    config = resolve(load_recipe("chimera"), "tiny", fields)
    path = tmp_path / "run.yaml"
    path.write_text(commented_yaml(config), encoding="utf-8")
    assert resolve(load_recipe(str(path))) == config


def test_names_without_effect_do_not_spoil_what_init_prints(plait: Command) -> None:
    said = plait("init", "chimera", "--label-len", 48, "--is-training", 1)
    assert said.out == plait("init", "chimera").out
    assert said.err == "".join(f"--{n} is accepted and has no effect here\n" for n in ("label-len", "is-training"))


# --- everything that can be typed wrong


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good table, and tables with one fault each."""
    folder = tmp_path_factory.mktemp("files")
    days = pd.date_range("2020-01-01", periods=400, freq="D").strftime("%Y-%m-%d")
    good = pd.DataFrame({"date": days, "a": np.sin(np.arange(400) / 3), "b": np.cos(np.arange(400) / 5)})
    tables = {
        "good": good,
        "short": good.head(11),
        "twice": good.iloc[[*range(400), 5]].sort_values("date"),
        "gap": good.drop(index=[7, 8]),
        "words": good.assign(a="x"),
        "renamed": good.rename(columns={"date": "when"}),
        "bad_date": good.replace({"2020-01-03": "3rd of May"}),
        "texts_without_dates": pd.DataFrame({"text": ["rain"] * 3, "day": ["2020-01-01"] * 3}),
        "texts_without_text": pd.DataFrame({"words": ["rain"] * 3, "date": ["2020-01-01"] * 3}),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    (folder / "empty.csv").touch()
    (folder / "header.csv").write_text("date,a\n")
    (folder / "latin.csv").write_bytes("date,a\n2020-01-01,é\n".encode("latin-1"))
    (folder / "broken.yaml").write_text("recipe: chimera\nseed: 1\nseed: 2\n")
    (folder / "tagged.yaml").write_text("recipe: chimera\nseed: !!python/object/apply:os.getpid []\n")
    (folder / "misspelt.yaml").write_text("recipe: chimera\ndata: planted\nmodel: chimera\ntrainng: {}\n")
    (folder / "a_folder").mkdir()
    return folder


CSV = "train chimera --pred-len 7 --data.kind csv --data.path"
USAGE: dict[str, str] = {
    "trian chimera": "no verb 'trian' (did you mean train?)",
    "data lst": "no verb 'lst' (did you mean list?)",
    "--jsn train": "No such option: --jsn",
    "train": "name a recipe or a run.yaml (recipes: ",
    "train chimra": "no recipe 'chimra' (did you mean chimera?)",
    "train misspelt": "no recipe 'misspelt' (did you mean misspelt.yaml?)",
    "train broken.yaml": "broken.yaml, line 3, column 1: not readable as YAML: the key 'seed' stands twice",
    "train tagged.yaml": "tagged.yaml, line 2, column 7: not readable as YAML: the tag ",
    "train misspelt.yaml": "misspelt.yaml: no field 'trainng': did you mean training?",
    "train ./good.csv": "good.csv: ",
    "train chimera --size tinny": "--size: no size 'tinny' (did you mean tiny?)",
    "train chimera --seed abc": "chimera: seed: should be a valid integer (got 'abc')",
    "train chimera --sede": "no field --sede (did you mean seed?)",
    "train chimera --data.kind et": "data.kind: no kind 'et' (did you mean ett?)",
    "train chimera --backbone itransfomer": "model.series.kind: no kind 'itransfomer' (did you mean itransformer?)",
    "train chimera --model.series.heads 7": "model.series.heads: 7 heads do not divide the width 128 (heads that do: ",
    "train chimera --fusion cross_attention --fusion-heads 3": "model.fusion.heads: 3 heads do not divide the width",
    "train chimera --max-hours 0": "chimera: max_hours: should be greater than 0",
    "train chimera --data.splits [0.5,0.5]": "chimera: data.splits: ",
    "train chimera --data.splits [0.5,0.5,0.5]": "data.splits: ",
    "train chimera --size tiny --accept always --training.stages [{name: a,train: [x*]}]": "training.stages, stage a: ",
    "train chimera --out": "--out needs a value",
    "train chimera --resume run": "expects no argument, got chimera",
    "train --resume run --seed 3": "no option --seed (there is ",
    CSV + " good.csv --fusion add": "model.fusion: there is one stream (series), nothing to fuse by 'add'",
    "compare chimera --pred-len 7 --data.kind csv --data.path good.csv": "data: the data have no text",
    "compare chimera --seeds 0": "--seeds: '0' is no count",
    "compare chimera --seeds ²": "--seeds: '²' is no count",
    "compare chimera --fusions": "--fusions needs a value",
    "compare chimera --fusions add,concta": "--fusions: no fusion of kind 'concta' (did you mean concat?)",
    "compare chimera --fusions none": "--fusions: 'none' is the anchor's arm, which is always there (leave it out)",
    "compare chimera --fusion none --fusions all": "--fusions: the recipe's own fusion is 'none', so there is no",
    "compare chimera --fusions all --pred-len 7 --data.kind csv --data.path good.csv": "data: the data have no text",
    "compare chimera --out a --resume a_folder": "--out is of a new comparison, --resume of one that began (give one",
    "train chimera --fusions all": "no field --fusions (did you mean ",
    "evaluate": "expects RUN, got nothing",
    "evaluate a_folder --splt val": "no option --splt (did you mean split?)",
    "evaluate a_folder --split train": "--split: no split 'train' (there is test, val)",
    "predict": "expects RUN, got nothing",
    "doctor --foo": "no option --foo",
    "init": "name a recipe or a run.yaml",
    "demo --seeds one": "--seeds: 'one' is no count",
}
DATA: dict[str, str] = {
    CSV + " empty.csv": "empty.csv: is no CSV table",
    CSV + " header.csv": "header.csv: 0 rows are no series",
    CSV + " short.csv": "lookback 96, horizon 7: the train split has 7 rows, a window needs 103",
    CSV + " good.csv --seq-len 500": "lookback 500, horizon 7: the train split has 280 rows, a window needs 507",
    CSV + " good.csv --targets [c]": "good.csv: no column 'c' (there is a, b, date; set data.targets)",
    CSV + " renamed.csv": "renamed.csv: no column 'date' (there is a, b, when; set data.time)",
    CSV + " words.csv": "words.csv: column a holds no number",
    CSV + " bad_date.csv": "bad_date.csv, column date, row 3: '3rd of May' is no date",
    CSV + " twice.csv": "twice.csv: 1 rows repeat a time stamp: 2020-01-06T00:00:00 (decide by data.duplicates)",
    CSV + " gap.csv": "gap.csv: 2 steps of a day are absent: after 2020-01-07T00:00:00 (decide by data.gaps)",
    CSV + " good.csv --text-path texts_without_dates.csv": "texts_without_dates.csv: the text table has no dates",
    CSV + " good.csv --text-path texts_without_text.csv": "texts_without_text.csv: no column 'text' (did you mean",
    "train chimera --data.kind ett --root-path . --data.path good": "data.path: 'good' is no ETT file",
    "data check chimera --data.kind csv --data.path short.csv": "lookback 96, horizon 48: ",
    "embed chimera --pred-len 7 --data.kind csv --data.path good.csv": "data: these data have no text",
}
FILES: dict[str, str] = {
    "train brokn.yaml": "brokn.yaml: no such file (did you mean broken.yaml?)",
    "train absent/run.yaml": "absent/run.yaml: no such file (there is no folder absent)",
    "train a_folder/": "a_folder: is a folder",
    "train chimera --out good.csv": "good.csv: can't be made",
    "train chimera --data.kind ett --data.root /nowhere": "/nowhere/ETTh1.csv: no such file",
    "train chimera --data.kind ett --data.root . --data.path ETTh9": ".: no ETTh9.csv",
    CSV + " godo.csv": "godo.csv: no such file (did you mean good.csv?)",
    CSV + " a_folder": "a_folder: is a folder",
    CSV + " latin.csv": "latin.csv: can't be read",
    CSV + " good.csv --text-path absent.csv": "absent.csv: no such file",
    "train --resume a_foldr": "a_foldr: no such run (did you mean a_folder?)",
    "train --resume a_folder": "a_folder: holds no config.yaml",
    "evaluate a_folder": "a_folder: holds no config.yaml",
    "predict a_foldr": "a_foldr: no such run (did you mean a_folder?)",
    "report a_folder": "a_folder: holds ",
    "compare chimera --resume a_folder": "a_folder: holds no config.yaml",
    "demo --out a_folder": "a_folder: is there already",
}
WRONG = [(line, code, words) for code, table in ((2, USAGE), (3, DATA), (5, FILES)) for line, words in table.items()]


@pytest.mark.parametrize("line, code, words", WRONG, ids=[line[-60:] for line, _, _ in WRONG])
def test_a_wrong_command_says_one_clear_line(
    plait: Command, files: Path, monkeypatch: pytest.MonkeyPatch, line: str, code: int, words: str
) -> None:
    monkeypatch.chdir(files)
    before = sorted(files.glob("**/*"))
    said = plait(*re.split(r"(?<![:,]) ", line))
    assert said.code == code, said
    assert said.err.startswith(f"plait: {words}")
    assert len(said.err.splitlines()) == 1
    left = [path.name for path in sorted(files.glob("**/*")) if path not in before and path.name != "runs"]
    assert left == [], "a command that could not begin leaves nothing behind"


def test_with_json_a_fault_leaves_standard_output_empty(plait: Command) -> None:
    for tokens in (("train", "chimra", "--json"), ("--json", "train", "chimra")):
        said = plait(*tokens)
        assert (said.code, said.out) == (2, "")
        assert said.err == "plait: no recipe 'chimra' (did you mean chimera?)\n"


def test_debug_shows_the_traceback(plait: Command) -> None:
    for tokens in (("train", "chimra", "--debug"), ("--debug", "train", "chimra")):
        said = plait(*tokens)
        assert said.code == 2
        assert said.err.startswith("Traceback (most recent call last):")
        assert said.err.endswith("\nplait: no recipe 'chimra' (did you mean chimera?)\n")


def test_an_error_of_our_own_says_so(plait: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(tokens: list[str]) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(verbs, "doctor", broken)
    said = plait("doctor")
    assert (said.code, said.out) == (1, "")
    assert said.err == "plait: ZeroDivisionError: by zero (an error of plait's own; --debug shows where)\n"


@pytest.mark.parametrize(
    "line, code, words",
    [
        ("trian", 2, "plait: no verb 'trian' (did you mean train?)\n"),
        ("data check chimera --data.kind csv --data.path empty.csv", 3, "plait: empty.csv: is no CSV table: "),
        ("train brokn.yaml", 5, "plait: brokn.yaml: no such file (did you mean broken.yaml?)\n"),
    ],
)
def test_exit_codes_of_a_process(process: Command, files: Path, line: str, code: int, words: str) -> None:
    said = process(*line.split(), cwd=files)
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith(words)
    assert len(said.err.splitlines()) == 1


def test_a_reader_that_leaves_is_no_error() -> None:
    code = "import sys; from plait.cli.main import main; sys.argv = ['plait', 'data', 'list']; main()"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


# --- one run from data to report


@dataclass(frozen=True)
class Trained:
    """A run made by `plait init` and `plait train run.yaml`, with what train said."""

    folder: Path
    said: Said


@pytest.fixture(scope="session")
def run(process: Command, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("run")
    fields = ("--data.weeks", 500, "--train-epochs", 1, "--device", "cpu")
    (folder / "run.yaml").write_text(process("init", "chimera", "--size", "tiny", *fields).out, encoding="utf-8")
    return Trained(folder / "out", process("train", "run.yaml", "--out", "out", "--json", cwd=folder))


def test_train_prints_one_object(run: Trained) -> None:
    assert run.said.code == 0, run.said.err
    data = run.said.data
    assert data["run"] == "out"
    assert set(data["metrics"]) == {"val", "test"}
    for scores in data["metrics"].values():
        assert {"mse", "mae"} <= set(scores)
        assert all(np.isfinite(value) and value > 0 for value in scores.values())
    assert {"last_value", "seasonal_naive"} <= set(data["baselines"])
    assert all({"mse", "mae"} <= set(scores) for scores in data["baselines"].values())
    assert json.loads((run.folder / "metrics.json").read_text()) == data
    assert "Traceback" not in run.said.err
    assert "test mse" in run.said.err


def test_train_leaves_a_whole_run_folder(run: Trained) -> None:
    names = {path.name for path in run.folder.iterdir()}
    assert {
        "config.yaml", "environment.json", "splits.json", "metrics.jsonl", "metrics.json", "predictions.csv",
        "checkpoints", "model", "tensorboard", "report.html",
    } <= names  # fmt: skip
    assert not [path for path in run.folder.rglob("*") if path.name.endswith((".part", ".tmp", ".pt", ".pkl"))]


def test_another_process_scores_the_same(process: Command, run: Trained, plait: Command) -> None:
    metrics = run.said.data["metrics"]
    said = process("evaluate", run.folder, "--json")
    assert said.data["metrics"] == {"test": pytest.approx(metrics["test"], rel=1e-6)}
    said = plait("evaluate", run.folder, "--split", "val", "--json")
    assert said.data["metrics"] == {"val": pytest.approx(metrics["val"], rel=1e-6)}
    assert set(said.data) == {"run", "split", "metrics"}


def test_predict_ahead_and_over_a_split(run: Trained, plait: Command) -> None:
    said = plait("predict", run.folder, "--json")
    (line,) = said.data["forecast"]
    assert list(line) == ["origin", "variate", *(f"h{step}" for step in range(1, 13))]
    said = plait("predict", run.folder, "--split", "test", "--output", "test.csv", "--json")
    written, stored = pd.read_csv("test.csv"), pd.read_csv(run.folder / "predictions.csv")
    assert said.data == {"run": str(run.folder), "output": "test.csv", "lines": len(stored)}
    pd.testing.assert_frame_equal(written, stored, rtol=1e-5)


def test_what_predict_refuses(run: Trained, plait: Command, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    for line, code, words in [
        ("--path good.csv", 3, "no column 'demand'"),
        ("--path godo.csv", 5, "godo.csv: no such file (did you mean good.csv?)"),
        ("--text-path good.csv", 2, "--text-path needs --path beside it"),
        ("--split ts", 2, "no split 'ts' (did you mean test?)"),
        ("--output absent/p.csv", 5, "absent: no such folder"),
    ]:
        said = plait("predict", run.folder, *line.split())
        assert said.code == code, said
        assert words in said.err
        assert len(said.err.splitlines()) == 1


def test_audit_of_a_run_is_kept_and_shown(run: Trained, plait: Command, tmp_path: Path) -> None:
    said = plait("audit", run.folder, "--output", "rows.csv", "--json")
    assert said.code == 0, said.err
    assert said.data["leaks"] == 0
    assert said.data == json.loads((run.folder / "audit.json").read_text())
    assert "no check found a leak" in said.err
    assert "no check found a leak" in (run.folder / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "rows.csv").read_text().startswith("severity,check,what,row")


def test_audit_sees_a_run_whose_scaler_was_changed(run: Trained, plait: Command, tmp_path: Path) -> None:
    folder = tmp_path / "tampered"
    shutil.copytree(run.folder, folder)
    tensors, records = read_folder(folder / "model")
    tensors["preprocessing"]["mean"] += 0.1
    write_folder(folder / "model", tensors, records)
    said = plait("audit", folder)
    assert said.code == 3
    assert "LEAK, scaler: the scaler of demand" in said.out


@pytest.mark.parametrize(
    ("named", "code", "words"),
    [("nothing", 2, "no recipe 'nothing'"), ("../", 5, "holds no config.yaml"), ("./absent", 5, "no such run")],
)
def test_audit_of_what_is_no_run(plait: Command, named: str, code: int, words: str) -> None:
    said = plait("audit", named)
    assert said.code == code
    assert words in said.err


def test_report_of_a_run(run: Trained, plait: Command) -> None:
    said = plait("report", run.folder, "--json")
    assert said.data == {"report": str(run.folder / "report.html")}
    assert "<html" in (run.folder / "report.html").read_text(encoding="utf-8")[:200].lower()


def test_a_full_folder_is_never_overwritten(run: Trained, plait: Command) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    for verb in ("train", "compare"):
        said = plait(verb, "chimera", "--out", run.folder, "--json")
        assert (said.code, said.out) == (5, "")
        assert (
            said.err == f"plait: {run.folder}: is there already and is not empty (give a new --out, or --resume it)\n"
        )
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before


def test_fusion_kinds_are_compared_and_gone_on_with(plait: Command) -> None:
    line = ("compare", "chimera", "--size", "tiny", "--data.weeks", 420, "--train-epochs", 1, "--device", "cpu")
    asked = (*line, "--seeds", 1, "--trackers", "[]", "--fusions", "low-rank")
    said = plait(*asked, "--out", "out", "--json")
    assert said.code == 0, said.err
    assert [each["kind"] for each in said.data["fusions"]] == ["latent_gate", "low_rank"]
    assert said.data == {"folder": "out", **json.loads(Path("out/fusions.json").read_text())}
    assert "3 trainings: anchor, latent_gate, low_rank, 1 seed each; about " in said.err
    assert said.err.count("test mse ") == 4, "one line a training, and the table"
    again = plait(*asked, "--resume", "out")
    assert again.code == 0, again.err
    assert again.out.count("test mse ") == 1
    assert "no placebo is among these arms" in again.out
    alone = plait("train", "--resume", "out")
    assert (alone.code, alone.out) == (5, "")
    assert "out: is a comparison and no run" in alone.err
    assert not Path("out/model").exists()
    verdict = plait(*line, "--seeds", 1, "--trackers", "[]", "--resume", "out")
    assert (verdict.code, verdict.out) == (2, "")
    assert "the comparison in out compares fusions (add --fusions as it began)" in verdict.err


def test_a_comparison_that_is_stopped_says_how_to_go_on(plait: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "install", lambda: None)
    monkeypatch.setattr(signals, "_asked", [True])
    line = ("compare", "chimera", "--size", "tiny", "--data.weeks", 420, "--train-epochs", 1, "--device", "cpu")
    said = plait(*line, "--seeds", 1, "--trackers", "[]", "--out", "stopped")
    assert said.code == 143
    assert said.err.endswith("plait: stopped as asked; go on with the same command and --resume stopped\n")


def test_a_finished_run_is_resumed_to_the_same_numbers(run: Trained, plait: Command) -> None:
    said = plait("train", "--resume", run.folder, "--json")
    assert said.code == 0, said.err
    assert said.data["metrics"] == run.said.data["metrics"]
