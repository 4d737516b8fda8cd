"""One grammar: every spelling of an override gives the same config, and what can't be read is named."""

import shlex
from functools import cache
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plait.cli.arguments import config_of, only_options
from plait.cli.grammar import parse
from plait.core import yaml
from plait.core.errors import ConfigError, PlaitError
from plait.core.yaml import Written
from plait.runs.config import RunConfig
from plait.runs.fields import FieldInfo
from plait.runs.recipe import Names, load_recipe, names_of, raw_config

TEXT = st.text(min_size=1).filter(lambda text: not text.startswith("--") and text != "null")
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(200, 10_000),  # no fewer weeks than the planted data take
    "number": st.floats(1e-6, 0.99) | st.just(1e-3),
    "text": TEXT,
    "true or false": st.booleans(),
    "mapping to number": st.dictionaries(st.sampled_from(["text.*", "head.*"]), st.floats(0.1, 0.9)),
    "number or mapping to number": st.dictionaries(st.sampled_from(["text", "tabular"]), st.floats(0.1, 0.9)),
    "list of text": st.lists(TEXT, max_size=3),
    "list of integer": st.sampled_from([[1], [2], [1, 2]]),
    "list of number": st.lists(st.floats(0.1, 0.9), min_size=3, max_size=3),
}


@cache
def names() -> Names:
    recipe = load_recipe("chimera")
    return names_of(raw_config(recipe), recipe)


def plain_fields() -> list[FieldInfo]:
    """The fields that any value of their type fits: the recipe's name, kinds and lists of mappings aside."""
    return [f for f in names().fields.values() if f.path != "recipe" and not f.path.endswith(".kind") and not f.items]


def value_for(field: FieldInfo) -> st.SearchStrategy[Any]:
    if field.choices:
        return st.sampled_from(field.choices)
    if field.leaf == "percent":
        return st.integers(1, 100)
    if field.leaf == "quantiles":
        return st.floats(0.01, 0.49).map(lambda low: [low, 0.5, 1 - low]) | st.none()
    words = field.type.removesuffix(" or null")
    return VALUES[words] | st.none() if words != field.type else VALUES[words]


@st.composite
def overrides(draw: st.DrawFn) -> tuple[FieldInfo, Any, str]:
    """A field, a value and a name for it: its path, its last name or an alias, with - or _."""
    field = draw(st.sampled_from(plain_fields()))
    known = [field.path, *(short for short, path in names().short.items() if path == field.path)]
    name = "".join(draw(st.sampled_from("-_")) if c == "_" else c for c in draw(st.sampled_from(known)))
    return field, draw(value_for(field)), name


def written(field: FieldInfo, value: Any) -> str:
    return value if isinstance(value, str) and field.type.startswith("text") else yaml.inline(value)


def outcome(*tokens: str) -> RunConfig | str:
    try:
        return config_of(["chimera", *tokens])[2]
    except PlaitError as error:
        return str(error)


def at(config: RunConfig, path: str) -> Any:
    found: Any = config
    for step in path.split("."):
        found = getattr(found, step)
    return found


@settings(deadline=None)
@given(overrides())
def test_three_spellings_are_one(override: tuple[FieldInfo, Any, str]) -> None:
    field, value, name = override
    text = written(field, value)
    config = outcome(f"--{name}", text)
    assert isinstance(config, RunConfig), config
    assert at(config, field.path) == value
    assert outcome(f"--{name}={text}") == config
    assert outcome(f"{name}={text}") == config


@settings(deadline=None, max_examples=30)
@given(st.lists(overrides(), min_size=2, max_size=4), st.randoms())
def test_the_place_of_a_word_does_not_matter(some: list[tuple[FieldInfo, Any, str]], random: Any) -> None:
    chosen = {field.path: f"--{name}={written(field, value)}" for field, value, name in some}
    assume(not {"model.levels", "model.residual"} <= set(chosen))  # these refuse each other
    tokens = ["chimera", *chosen.values()]
    config = config_of(tokens)[2]
    random.shuffle(tokens)
    assert config_of(tokens)[2] == config


@pytest.mark.parametrize("name", ["data.signal", "signal", "deterministic", "residual", "model.series.prior"])
def test_switches(name: str) -> None:
    on = [[f"--{name}"], [f"--{name}", "true"], [f"--{name}", "True"], [f"--{name}=true"], [f"{name}=true"]]
    off = [[f"--no-{name}"], [f"--no_{name}"], [f"--{name}", "false"], [f"--{name}=false"], [f"{name}=false"]]
    path = names().find(name)
    assert path is not None
    for tokens, value in [*((t, True) for t in on), *((t, False) for t in off)]:
        for all_tokens in (["chimera", *tokens], [*tokens, "chimera"], ["chimera", *tokens, "--seed", "3"]):
            assert at(config_of(all_tokens)[2], path) is value, all_tokens


def test_a_switch_of_a_kind_that_another_word_chooses() -> None:
    config = config_of(["--backbone", "linear", "--prior", "chimera", "--no-marks"])[2]
    assert (config.model.series.prior, config.model.series.marks) == (True, False)
    config = config_of(["chimera", "--deterministic", "model.series.kind=linear", "--no-marks"])[2]
    assert (config.deterministic, config.model.series.kind, config.model.series.marks) == (True, "linear", False)


def test_tokens_taken_apart() -> None:
    tokens = shlex.split("word --a 1 --b=2 c=3 --d -4 --e --out f --no-on --on --on true ./g=h -")
    parsed = parse(tokens, ("out",), {"on"})
    assert parsed.words == ["word", "./g=h", "-"]
    assert parsed.options == {"out": "f"}
    assert parsed.fields == [
        ("a", "1"), ("b", "2"), ("c", "3"), ("d", "-4"), ("e", True), ("on", False), ("on", True), ("on", "true"),
    ]  # fmt: skip
    assert {type(value) for _, value in parsed.fields} == {Written, bool}


@pytest.mark.parametrize("token, value", [("--a=b=c", "b=c"), ("a=", ""), ("--a==", "="), ("a=--b", "--b")])
def test_the_first_equals_sign_parts(token: str, value: str) -> None:
    assert parse([token]).fields == [("a", value)]


@pytest.mark.parametrize("tokens", [["=3"], ["--=3"], ["--"]])
def test_a_name_is_not_empty(tokens: list[str]) -> None:
    with pytest.raises(ConfigError, match="empty name"):
        parse(tokens)


@pytest.mark.parametrize("tokens", [["--out"], ["--out", "--seed"], ["--out="], ["--out", ""]])
def test_an_option_of_the_verb_needs_its_value(tokens: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^--out needs a value$"):
        parse(tokens, ("out",))


ROOTED = (
    "data.root needs --data.kind candles or csv or ett or labelled_series or products or synthetic_products or time_mmd"
)
FAULTS: dict[str, str] = {
    "--sede 3": "no field --sede (did you mean seed?)",
    "--sede": "no field --sede (did you mean seed?)",
    "sede=3": "no field --sede (did you mean seed?)",
    "--no-seed": "no field --no-seed (did you mean seed?)",
    "--data.wekes 3": "no field --data.wekes (did you mean data.weeks?)",
    "--haeds 3": "no field --haeds (did you mean heads?)",
    "--lerning-rate 3": "no field --lerning-rate (did you mean learning_rate?)",
    "--dim 32": "--dim could be any of model.series.dim, model.text.dim (write the whole name)",
    "--form seed": "chimera: model.fusion.form: should be 'residual' or 'convex' (got 'seed')",
    "--root-path x": f"no field --root-path ({ROOTED})",
    "--data.root x": f"no field --data.root ({ROOTED})",
    "--fusion-heads 2 --fusion add": "no field --fusion-heads (model.fusion.heads needs --model.fusion.kind ",
    "--llm-model GTP2": "data.text.embedder.kind: no kind 'GTP2' (did you mean GPT2?)",
    "--data ETTh3": "data.kind: no kind 'ETTh3' (did you mean ETT",
    "--fusion cross_atention": "model.fusion.kind: no kind 'cross_atention' (did you mean cross_attention?)",
    "--fusion {a": "model.fusion.kind: no kind '{a' (there is add, ",
    "--fusion-heads 2 --fusion zzz": "model.fusion.kind: no kind 'zzz' (there is add, ",
    "--fusion flim": "model.fusion.kind: no kind 'flim' (did you mean film?)",
    "--fusion": "--model.fusion.kind needs a value",
    "--seed": "--seed needs a value",
    "--seed=": "--seed needs a value",
    "--seed --lr 3": "--seed needs a value",
    "--seed abc": "chimera: seed: should be a valid integer (got 'abc')",
    "--seed 1.5": "chimera: seed: should be a valid integer (got 1.5)",
    "--seed -3": "chimera: seed: should be greater than or equal to 0 (got -3)",
    "--pred-len -3": "chimera: data.horizon: should be greater than or equal to 1 (got -3)",
    "--pred-len=-3": "chimera: data.horizon: should be greater than or equal to 1 (got -3)",
    "--lr .nan": "chimera: training.lr: should be a finite number (got nan)",
    "--lr [1": "--training.lr, line 2, column 1: not readable as YAML: ",
    "--lr !!float 3": "--training.lr, line 1, column 1: not readable as YAML: the tag ",
    "--deterministic=on": "chimera: deterministic: should be a valid boolean (got 'on')",
    "--device gpu": "chimera: device: should be 'auto', 'cpu', 'cuda' or 'mps' (got 'gpu')",
    "--splits 0.7,0.1,0.2": "chimera: data.splits: should be a valid list (got '0.7,0.1,0.2')",
    "--training.stages [{name: a, epoch: 1}]": "chimera: no field 'training.stages.0.epoch': did you mean epochs?",
    "--data.kind csv": "chimera: field 'data.path' must be given",
    "--size tinny": "--size: no size 'tinny' (did you mean tiny?)",
    "--recipe aam": "--recipe: this is a config of chimera",
    "-x": "no option -x (options are written with two dashes)",
    "extra": "one recipe at a time, got chimera extra",
}


@pytest.mark.parametrize("line", FAULTS)
def test_faults_in_one_line(line: str) -> None:
    name, _, value = line.partition(" ")
    tokens = line.split() if value.startswith("--") else [name, value] if value else [name]
    if name == "--fusion-heads":
        tokens = line.split()
    words = outcome(*tokens)
    assert isinstance(words, str)
    assert words.startswith(FAULTS[line])
    assert "\n" not in words


@pytest.mark.parametrize("path", ["@x", "a: b.csv", "1e3", "1_0", "#x", "{a", "[b", "012", "true", " ", "-", "x=y"])
def test_a_text_is_taken_as_it_stands(path: str) -> None:
    config = config_of(["chimera", "--data.kind", "csv", "--data.path", path])[2]
    assert config.data.path == path


def test_null_unsets() -> None:
    tokens = ["chimera", "--text-path", "null", "--fusion", "null", "--max-hours", "null"]
    config = config_of(tokens)[2]
    assert (config.data.text.path, config.model.fusion, config.max_hours) == (None, None, None)


def test_names_without_effect_are_taken_and_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    line = "--is-training 1 chimera --label_len=48 --output-attention --model Chimera --seed 3 freq=h --embed"
    assert config_of(line.split())[2] == config_of(["chimera", "--seed", "3"])[2]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        f"--{name} is accepted and has no effect here"
        for name in ("is-training", "label_len", "output-attention", "model", "freq", "embed")
    ]


def test_verbs_without_fields() -> None:
    parsed = only_options(["run", "--split", "val"], ("RUN",), ("split",))
    assert (parsed.words, parsed.options) == (["run"], {"split": "val"})
    with pytest.raises(ConfigError, match=r"^no option --splt \(did you mean split\?\)$"):
        only_options(["run", "--splt"], ("RUN",), ("split",))
    with pytest.raises(ConfigError, match=r"^expects RUN, got nothing$"):
        only_options([], ("RUN",))
    with pytest.raises(ConfigError, match=r"^expects no argument, got run$"):
        only_options(["run"], ())
