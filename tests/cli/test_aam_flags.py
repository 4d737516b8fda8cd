"""Flags of `aam` as people type them: what a field brings along, a kind's own defaults, and what is typed wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data.sample_study import Study
from plait.cli.arguments import config_of
from plait.core.errors import ConfigError
from plait.runs.fit import fit
from plait.runs.run import Run
from typed_command import Command, typed

FLAGS = ["aam", "--table", "t.tsv", "--target", "age"]
CHOSEN = "--size tiny --target age --categorical-columns site --data.prevalence 0.4 --epochs 1 --device cpu"


def config(flags: str) -> Any:
    return config_of([*FLAGS, *flags.split()])[2]


@pytest.fixture
def plait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with typed(monkeypatch, capsys) as run:
        yield run


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a study."""
    return Study().write(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def trained(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of samples."""
    given = [word for name in ("table", "metadata", "sequences", "tree") for word in (f"--{name}", files[name])]
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    fit(config_of(["aam", *given, *CHOSEN.split()])[2], folder)
    return folder


# --- what a field brings along


@pytest.mark.parametrize(
    "flags, head, task, loss",
    [
        ("", "distribution", "regression", "crps"),
        ("--classifier", "classification", "classification", None),
        ("--no-classifier", "distribution", "regression", "crps"),
        ("--head classification", "classification", "classification", None),
        ("--head regression", "regression", "regression", "huber"),
        ("--loss mae", "regression", "regression", "mae"),
        ("--loss quantile", "regression", "regression", "quantile"),
        ("--loss crps", "distribution", "regression", "crps"),
        ("--output-constraint nonnegative", "regression", "regression", "huber"),
        ("--output-constraint bounded --loss mse", "regression", "regression", "mse"),
        ("--conditional-output-scaling site --loss mae", "regression", "regression", "mae"),
        ("--head regression --loss asymmetric", "regression", "regression", "asymmetric"),
        ("--size seed", "regression", "regression", "huber"),
        ("--size seed --classifier", "classification", "classification", None),
        ("--size seed --loss crps", "distribution", "regression", "crps"),
    ],
)
def test_a_field_brings_the_head_the_task_and_the_loss_it_needs(
    flags: str, head: str, task: str, loss: str | None
) -> None:
    found = config(flags)
    assert (found.model.head.kind, found.task.kind, getattr(found.task, "loss", None)) == (head, task, loss)
    assert found.data.classifier == (task == "classification")


def test_what_is_brought_along_stands_below_what_is_named_wherever_it_stands() -> None:
    assert config("--output-constraint bounded --loss mse") == config("--loss mse --output-constraint bounded")
    with pytest.raises(ConfigError, match="loss crps needs the head distribution, not 'regression'"):
        config("--head regression --loss crps")
    with pytest.raises(ConfigError, match="needs the head classification, not 'distribution'"):
        config("--classifier --head distribution")


def test_a_constraint_is_kept_by_the_head_that_it_brings() -> None:
    assert config("--output-constraint bounded").model.head.constraint == "bounded"
    assert config("--output-constraint bounded --head regression").model.head.constraint == "bounded"


# --- the defaults of a kind


def test_a_kind_has_the_defaults_of_the_design_document_unless_they_are_named() -> None:
    fusion = config("--fusion perceiver").model.fusion
    assert (fusion.num_latents, fusion.depth, fusion.dim, fusion.heads, fusion.dropout) == (64, 4, 256, 8, 0.1)
    for flags in (
        "--fusion perceiver --perceiver-num-latents 9", "--perceiver-num-latents 9 --categorical-fusion perceiver",
    ):  # fmt: skip
        named = config(flags).model.fusion
        assert (named.num_latents, named.depth, named.dim) == (9, 4, 256)
    assert config("--fusion cross-attention").model.fusion.heads == 8
    assert config("--fusion cross-attention --cross-attn-heads 4").model.fusion.heads == 4
    assert config("--fusion bottleneck").model.fusion.heads == 8


def test_columns_are_read_with_commas_and_as_lists() -> None:
    assert config("--categorical-columns site,sex --numeric-columns ph") == config(
        "--data.categories [site,sex] --data.numbers [ph]"
    )
    assert config("--conditional-output-scaling site,sex").model.output_scaling == ["site", "sex"]


# --- old flags with a value


@pytest.mark.parametrize("off", ["--normalize-targets false", "--normalize-targets=false", "--no-normalize-targets"])
def test_an_old_switch_that_is_off_is_off(off: str) -> None:
    assert config(off).data.transform == "none"


def test_an_old_switch_of_film_takes_columns_or_nothing_or_a_no(capsys: pytest.CaptureFixture[str]) -> None:
    assert config("--film-conditioning").model.head.film is True
    assert config("--film-conditioning=false").model.head.film is False
    assert "now --no-model.head.film" in capsys.readouterr().err
    found = config("--film-conditioning site,sex")
    assert (found.model.head.film, found.data.categories) == (True, ["site", "sex"])
    with pytest.raises(ConfigError, match="--categorical-columns is given beside old flags"):
        config("--film-conditioning site --categorical-columns sex")


# --- what is typed wrong


@pytest.mark.parametrize(
    "flags, words",
    [
        ("--categorcal-fusion gmu", "no field --categorcal-fusion (did you mean categorical_fusion?)"),
        ("--categorical-fusion gmuu", "model.fusion.kind: no kind 'gmuu' (did you mean gmu?)"),
        ("--categorical-colums site", "no field --categorical-colums (did you mean categorical_columns?)"),
        ("--perceiver-num-latent 7", "no field --perceiver-num-latent (did you mean perceiver_num_latents?)"),
        ("--perceiver-num-latents 7", "model.fusion.num_latents needs --model.fusion.kind perceiver"),
        ("--fusion gmu --cross-attn-heads 2", "model.fusion.heads needs "),
        ("--head regresion", "model.head.kind: no kind 'regresion' (did you mean regression?)"),
        ("--loss maee", "task.loss: should be 'crps', 'mae', 'mse', 'huber', 'quantile' or 'asymmetric'"),
        ("--target-transform minmx", "data.transform: should be 'none', 'minmax', "),
        ("--output-activation softplu", "--output-activation: no activation 'softplu' (did you mean softplus?)"),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest(plait: Command, flags: str, words: str) -> None:
    said = plait("train", *FLAGS, *flags.split())
    assert (said.code, said.out) == (2, "")
    assert words in said.err.splitlines()[-1]
    assert not Path("runs").exists()


@pytest.mark.parametrize("verb", ["train", "data check", "compare"])
def test_a_file_that_is_not_there_is_told_with_the_nearest(plait: Command, files: dict[str, str], verb: str) -> None:
    for name in ("table", "metadata"):
        given = {"table": files["table"], "metadata": files["metadata"], "sequences": files["sequences"]}
        absent = given[name] + "s"
        tokens = [word for each, path in {**given, name: absent}.items() for word in (f"--{each}", path)]
        said = plait(*verb.split(), "aam", "--target", "age", *tokens)
        assert said.code == 5, said
        assert said.err.splitlines()[-1].startswith(f"plait: {absent}: no such file (did you mean {name}?)")


def test_a_target_without_metadata_says_what_to_give(plait: Command, files: dict[str, str]) -> None:
    said = plait("data", "check", "aam", "--table", files["table"], "--target", "age")
    assert said.code == 3
    assert "no column 'age' without metadata (give metadata)" in said.err


def test_a_metadata_column_that_is_not_there_is_told_with_the_nearest(plait: Command, files: dict[str, str]) -> None:
    given = ("--table", files["table"], "--metadata", files["metadata"], "--sequences", files["sequences"])
    for flags, words in (
        ("--target agee", "(did you mean age?"), ("--target age --categorical-columns sit", "(did you mean site?"),
    ):  # fmt: skip
        said = plait("train", "aam", *given, *flags.split())
        assert said.code in (2, 3), said
        assert words in said.err.splitlines()[-1]


# --- predict


@pytest.mark.parametrize(
    "tokens, code, words",
    [
        ("", 3, "there is nothing to predict (give --table FILE, or --split test)"),
        ("--path series.csv", 2, "--path: this is a run of samples (recipe aam) (give its new data by --table)"),
        ("--text-path t.csv --table TABLE", 2, "--text-path: this is a run of samples (recipe aam)"),
        ("--metadata METADATA", 2, "--metadata needs --table beside it"),
        ("--table TABLE --split test", 2, "--split is of the run's own data, --table brings others"),
        ("--split tset", 2, "--split: no split 'tset' (did you mean test?)"),
        ("--table absent.tsv", 5, "absent.tsv: no such file"),
        ("--table TABLE --metadata absent.tsv", 5, "absent.tsv: no such file"),
        ("--tabel TABLE", 2, "no option --tabel (did you mean table?)"),
        ("--table TABLE --output absent/made.csv", 5, "absent: no such folder"),
    ],
)
def test_a_wrong_call_of_predict_on_samples_is_told_in_one_line(
    plait: Command, trained: Path, files: dict[str, str], tokens: str, code: int, words: str
) -> None:
    places = {"TABLE": files["table"], "METADATA": files["metadata"]}
    said = plait("predict", trained, *(places.get(token, token) for token in tokens.split()))
    assert (said.code, said.out) == (code, ""), said
    assert words in said.err.splitlines()[-1]


def test_samples_for_a_run_of_a_series_are_refused(
    plait: Command, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    of_series: Any = Run(Path("run"), config_of(["chimera"])[2], *[None] * 3)  # type: ignore[arg-type]
    monkeypatch.setattr(Run, "on", lambda self, device: self)
    monkeypatch.setattr("plait.runs.run.load_run", lambda path: of_series)
    said = plait("predict", "run", "--table", files["table"])
    assert (said.code, said.out) == (2, "")
    assert "--table: this is a run of a series (recipe chimera) (give its new data by --path)" in said.err


def test_predictions_of_new_samples_are_a_line_a_sample_in_the_unit_of_the_files(
    plait: Command, trained: Path, files: dict[str, str], tmp_path: Path
) -> None:
    new = ("--table", files["table"], "--metadata", files["metadata"], "--sequences", files["sequences"])
    said = plait("predict", trained, *new, "--output", "made.csv", "--device", "cpu", "--json")
    assert said.code == 0, said
    made = pd.read_csv(tmp_path / "made.csv")
    assert said.data["lines"] == len(made) == 31
    assert sorted(made["sample_id"]) == sorted(Study().samples)
    assert made["prediction"].between(0, 60).all()
