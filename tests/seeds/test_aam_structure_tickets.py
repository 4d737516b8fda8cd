"""Tickets CLN-3 to CLN-6 of the seed of `aam`: no dead parameter, one training, one way to share it, one guide."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import plait
from data.sample_study import Study
from plait.cli.arguments import config_of
from plait.core.errors import ConfigError
from plait.core.kinds import config_class, kinds
from plait.core.schema import Schema
from plait.heads.regression import RegressionConfig
from plait.models.aam import AamConfig
from plait.runs.recipe import load_recipe
from plait.testing.case import gradients
from plait.testing.encoders import sample_schema
from plait.testing.models import ModelCase
from typed_command import Command, typed

FLAGS = ["aam", "--table", "t.tsv", "--target", "age"]
SOURCES = sorted(Path(plait.__path__[0]).rglob("*.py"))


@cache
def trees() -> dict[Path, ast.Module]:
    """The sources, taken apart once."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def config(*flags: str) -> Any:
    return config_of([*FLAGS, *" ".join(flags).split()])[2]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with typed(monkeypatch, capsys) as run:
        yield run


# --- CLN-3: no dead parameters


@pytest.mark.ticket("CLN-3")
@pytest.mark.parametrize("name", ["intermediate_size", "is_rocm", "unifrac_loader", "CategoricalSchema"])
def test_what_the_seed_lists_as_dead_was_never_written(name: str) -> None:
    assert [path.name for path in SOURCES if re.search(rf"\b{name}\b", path.read_text(encoding="utf-8"))] == []


@pytest.mark.ticket("CLN-3")
def test_every_field_of_a_part_of_the_recipe_is_read_somewhere() -> None:
    """A field that no code asks for by its name would be a parameter without effect."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    classes = {AamConfig} | {config_class("fusion", kind) for kind in kinds("fusion")}
    classes |= {config_class("encoders", kind) for kind in ("asv", "metadata", "composition")}
    classes |= {config_class("heads", kind) for kind in ("regression", "distribution", "classification")}
    classes |= {config_class("data.sources", "asv"), config_class("tasks", "regression")}
    for chosen in classes:
        for field in chosen.model_fields:
            assert re.search(rf"\.{field}\b|\"{field}\"", text), f"{chosen.__name__}.{field} is read by nothing"


@pytest.mark.ticket("CLN-3")
def test_no_argument_of_a_module_is_left_unread() -> None:
    """Every argument of every __init__ of the parts is a name that its body uses."""
    unread, seen = [], 0
    for path, tree in trees().items():
        for cls in [node for node in tree.body if isinstance(node, ast.ClassDef) and _is_module(node)]:
            for start in [node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]:
                used = {node.id for node in ast.walk(start) if isinstance(node, ast.Name)}
                arguments = [each.arg for each in (*start.args.args, *start.args.kwonlyargs)][1:]
                unread += [f"{path.name} {cls.name}({name})" for name in arguments if name not in used]
                seen += len(arguments)
    assert not unread
    assert seen > 100


def _is_module(cls: ast.ClassDef) -> bool:
    return any(ast.unparse(base) == "nn.Module" for base in cls.bases)


@pytest.mark.ticket("CLN-3")
@pytest.mark.parametrize(
    "kind", ["concat", "add", "film", "gmu", "cross_attention", "perceiver", "bottleneck", "low_rank"]
)
def test_every_parameter_of_the_built_model_gets_a_gradient(kind: str) -> None:
    head = RegressionConfig(constraint="learnable", hidden=11)
    fusion = config_class("fusion", kind)()
    case = ModelCase(
        AamConfig(fusion=fusion, head=head, output_scaling=["site"]), sample_schema(), torch.float32, "cpu"
    )
    module = case.trained().train()
    lessons = [gradients(case, module, each) for each in case.lessons()]
    dead = [name for name in lessons[0] if not any((each[name] != 0).any() for each in lessons)]
    assert not dead


# --- CLN-4: one training for both verbs


class Called(Exception):
    """Raised in the place of a training."""


@pytest.mark.ticket("CLN-4")
def test_train_and_pretrain_go_through_one_fit(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fit(config: Any, folder: Path, *args: Any, **kwargs: Any) -> Any:
        asked.append(config.task.kind)
        raise Called

    monkeypatch.setattr("plait.runs.fit.fit", fit)
    files = Study().write(tmp_path / "files")
    given = [word for name in ("table", "metadata", "sequences", "tree") for word in (f"--{name}", files[name])]
    for verb, more in (("train", ["--target", "age"]), ("pretrain", [])):
        said = command(verb, "aam", "--size", "tiny", *given, *more)
        assert "Called" in said.err, said
    assert asked == ["regression", "pretrain"]


@pytest.mark.ticket("CLN-4")
def test_schedules_optimisers_checkpoints_and_launch_are_made_in_one_place_each() -> None:
    """What the seed found written twice; `fusions.py` times a step of each kind with the optimiser of the loop."""
    callers: dict[str, set[str]] = {
        name: set() for name in ("build_optimizer", "learning_rate", "Checkpoints", "Accelerator", "Trainer")
    }
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in callers:
                callers[node.func.id].add(path.name)
    assert callers == {
        "build_optimizer": {"loop.py", "fusions.py"}, "learning_rate": {"loop.py"}, "Checkpoints": {"loop.py"},
        "Accelerator": {"assemble.py"}, "Trainer": {"fit.py"},
    }  # fmt: skip


# --- CLN-5: sharing a training out


@pytest.mark.ticket("CLN-5")
@pytest.mark.parametrize("flag", ["data-parallel", "distributed", "fsdp"])
def test_each_way_to_share_a_training_is_a_flag_of_train(flag: str) -> None:
    field = flag.replace("-", "_")
    assert getattr(config(f"--{flag}").training, field) is True
    ways = ("data_parallel", "distributed", "fsdp")
    assert [way for way in ways if getattr(config(f"--{flag}").training, way)] == [field]
    assert not any(getattr(config().training, way) for way in ways)


@pytest.mark.ticket("CLN-5")
@pytest.mark.parametrize(
    "one, other", [("data-parallel", "distributed"), ("data-parallel", "fsdp"), ("distributed", "fsdp")]
)
def test_two_of_them_are_refused_and_both_are_named(one: str, other: str) -> None:
    with pytest.raises(ConfigError) as error:
        config(f"--{one} --{other}")
    for words in (one.replace("-", "_"), other, "a training has one of them"):
        assert words in str(error.value)


@pytest.mark.ticket("CLN-5")
def test_all_three_are_refused_in_any_order_and_a_no_takes_one_back() -> None:
    with pytest.raises(ConfigError, match="data_parallel and distributed and fsdp"):
        config("--fsdp --data-parallel --distributed")
    assert config("--fsdp --no-fsdp --data-parallel").training.data_parallel


@pytest.mark.ticket("CLN-5")
def test_data_parallel_goes_with_the_unifrac_objective_over_whole_batches() -> None:
    """What the flag is for: pairs of the whole batch count. Parts of a batch would lose pairs, and are refused."""
    unifrac = "--tree t.nwk --data.unifrac unweighted --task.auxiliary.unifrac 0.1 --data.mixup 0"
    found = config(f"--data-parallel {unifrac}")
    assert (found.training.data_parallel, found.task.auxiliary.weights) == (True, {"unifrac": 0.1})
    with pytest.raises(ConfigError, match="pairs are those of a whole batch"):
        config(f"--data-parallel {unifrac} --training.accumulate 2")


# --- CLN-6: one guide to conditioning


@pytest.mark.ticket("CLN-6")
def test_categorical_help_names_every_kind_of_the_seed_and_trains_nothing(command: Command, tmp_path: Path) -> None:
    said = command("train", "aam", "--categorical-help")
    assert (said.code, said.err) == (0, "")
    for kind in ("concat", "add", "film", "gmu", "cross-attention", "perceiver", "bottleneck", "low-rank"):
        assert f"--categorical-fusion {kind} " in said.out
        config(f"--categorical-columns site --categorical-fusion {kind}")
    assert {"yes", "no"} <= set(re.findall(r"\w+", said.out))
    for flag in ("--conditional-output-scaling", "--model.head.film", "--categorical-columns", "--numeric-columns"):
        assert flag in said.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ticket("CLN-6")
def test_categorical_help_beside_a_whole_command_trains_nothing_either(command: Command, tmp_path: Path) -> None:
    said = command("train", "aam", "--table", "absent.tsv", "--target", "age", "--categorical-help", "--json")
    assert said.code == 0
    assert said.data["guide"] == load_recipe("aam").guides["categorical-help"]
    assert list(tmp_path.iterdir()) == []


WITH, ALONE = sample_schema(), Schema("asv", {"asv": 8}, features=31, blocks={"kmers": 5}, outputs=1, bins=7)


@pytest.mark.ticket("CLN-6")
@pytest.mark.parametrize(
    "flags, schema, words",
    [
        ("--categorical-fusion film --model.head.film", WITH, "redundant: --categorical-fusion film and --model.head"),
        ("--categorical-fusion none", WITH, "columns of metadata are named and nothing reads them"),
        ("--model.head.film", ALONE, "--model.head.film has no columns to read: name some by --categorical-columns"),
    ],
)
def test_what_is_redundant_is_warned_of(flags: str, schema: Schema, words: str) -> None:
    (notice,) = config(flags).model.notices(schema)
    assert words in notice


@pytest.mark.ticket("CLN-6")
@pytest.mark.parametrize(
    "flags",
    [
        "--categorical-fusion concat",
        "--categorical-fusion add --conditional-output-scaling site",
        "--categorical-fusion none --model.head.film",
        "--categorical-fusion cross-attention",
        "--categorical-fusion none --conditional-output-scaling site",
    ],
)
def test_what_the_seed_recommends_is_taken_without_a_word(flags: str) -> None:
    found = config(f"--categorical-columns site {flags}")
    assert found.data.categories == ["site"]
    assert found.model.notices(WITH) == []


@pytest.mark.ticket("CLN-6")
def test_the_old_switch_of_film_still_works_and_names_its_new_form(capsys: pytest.CaptureFixture[str]) -> None:
    found = config("--film-conditioning site,sex")
    assert "--film-conditioning is now --categorical-columns site,sex --model.head.film" in capsys.readouterr().err
    assert found == config("--categorical-columns site,sex --model.head.film")


@pytest.mark.ticket("CLN-6")
@pytest.mark.parametrize("kind", [kind for kind in kinds("fusion") if kind != "none"])
def test_no_kind_breaks_the_flag_of_the_columns(kind: str) -> None:
    found = config(f"--categorical-columns site,sex --fusion {kind}")
    assert found.data.categories == ["site", "sex"]
    assert found.model.fusion.kind == kind
    assert "metadata" in found.model.reads
