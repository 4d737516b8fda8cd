"""Recipes resolve to configs: sizes, laid-over kinds, names in any order, and aliases that point somewhere."""

import copy
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core import yaml
from plait.core.config import validate
from plait.core.errors import ConfigError, FileError
from plait.core.yaml import Written
from plait.runs.config import RunConfig
from plait.runs.recipe import (
    Recipe,
    apply,
    choose_kinds,
    load_recipe,
    merge,
    names_of,
    needs,
    put,
    raw_config,
    recipe_names,
    resolve,
    spread,
)

every_recipe = pytest.mark.parametrize("name", recipe_names())
NEEDED: dict[str, list[tuple[str, Any]]] = {
    "aam": [("data.table", "table.biom")],
    "market": [("data.path", "candles.csv")],
    "products": [("data.path", "products.csv")],
}
"""Fields that a recipe's data can't do without."""


@pytest.fixture
def chimera() -> Recipe:
    return load_recipe("chimera")


@every_recipe
@pytest.mark.parametrize("size", [None, "tiny", "base", "seed"])
def test_every_size_is_a_config(name: str, size: str | None) -> None:
    recipe = load_recipe(name)
    assert list(recipe.sizes) == ["tiny", "base", "seed"]
    needed = NEEDED.get(name, [])
    config = resolve(recipe, size, needed)
    assert config.recipe == name
    assert validate(RunConfig, yaml.parse(yaml.dump(config.model_dump(mode="json")))) == config
    if size in (None, "base"):
        assert config == resolve(recipe, None, needed)


@every_recipe
def test_the_demo_and_every_arm_is_a_config(name: str) -> None:
    recipe = load_recipe(name)
    base = resolve(recipe, None, NEEDED.get(name, [])).model_dump(mode="json")
    for tree in ({}, recipe.demo, *recipe.arms.values()):
        validate(RunConfig, merge(base, tree), name)
    assert next(iter(recipe.arms)) == "anchor"
    assert not recipe.modality or {"fused", "placebo"} <= set(recipe.arms)
    assert set(recipe.meanings) <= set(recipe.arms) | {"calendar"}


@every_recipe
def test_an_alias_is_a_field_or_says_which_kind_has_it(name: str) -> None:
    recipe = load_recipe(name)
    raw = raw_config(recipe)
    names = names_of(raw, recipe)
    for alias, path in recipe.aliases.items():
        found = names.find(alias)
        if found is None:
            assert needs(path, raw), f"--{alias} points to {path}, which no kind has"
            if path in recipe.implies:
                continue  # naming it brings the kind that has it
            with pytest.raises(ConfigError, match=rf"no field --{alias} \(.*{path} needs --"):
                apply(raw_config(recipe), recipe, [(alias, 1)])
        else:
            assert found == path
    spelt = [alias.replace("-", "_") for alias in (*recipe.aliases, *recipe.ignored)]
    assert len(spelt) == len(set(spelt))
    assert not set(spelt) & set(names.fields)


def test_what_a_missing_field_needs(chimera: Recipe) -> None:
    raw = raw_config(chimera)
    kinds = "candles or csv or ett or labelled_series or products or synthetic_products or time_mmd"
    assert needs("data.root", raw) == [f"data.root needs --data.kind {kinds}"]
    assert needs("model.fusion.rank", raw) == ["model.fusion.rank needs --model.fusion.kind low_rank"]
    assert needs("data.time", raw, "time") == ["data.time needs --data.kind csv"]
    assert needs("data.nothing", raw) == []
    assert raw == raw_config(chimera)


def test_sizes_lie_over_the_config(chimera: Recipe) -> None:
    tiny, base = resolve(chimera, "tiny"), resolve(chimera)
    assert tiny.model.series.dim == 32
    assert [stage.epochs for stage in tiny.training.stages] == [2, 2, 1]
    assert tiny.training.lr == base.training.lr
    assert resolve(chimera, "tiny", [("d-model", 48)]).model.series.dim == 48
    with pytest.raises(ConfigError, match=r"--size: no size 'huge' \(there is base, seed, tiny\)"):
        raw_config(chimera, "huge")


def test_a_raw_config_is_the_callers_own(chimera: Recipe) -> None:
    before = copy.deepcopy(chimera.config)
    for size in (None, "tiny"):
        raw = raw_config(chimera, size)
        raw["model"]["series"]["dim"] = 7
        raw["training"]["stages"].clear()
    assert chimera.config == before


MERGES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
    ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
    ({"p": {"kind": "x", "b": 1}}, {"p": {"kind": "y", "c": 2}}, {"p": {"kind": "y", "c": 2}}),
    ({"p": {"kind": "x", "b": 1}}, {"p": {"kind": "x", "c": 2}}, {"p": {"kind": "x", "b": 1, "c": 2}}),
    ({"p": {"kind": "x", "q": {"kind": "y", "d": 1}}}, {"p": {"q": {"e": 2}}},
     {"p": {"kind": "x", "q": {"kind": "y", "d": 1, "e": 2}}}),
    ({"p": "x"}, {"p": {"b": 1}}, {"p": {"kind": "x", "b": 1}}),
    ({"p": "x"}, {"p": {"kind": "y", "b": 1}}, {"p": {"kind": "y", "b": 1}}),
    ({"p": {"kind": "x", "b": 1}}, {"p": "y"}, {"p": "y"}),
    ({"p": {"kind": "x", "b": 1}}, {"p": None}, {"p": None}),
    ({"p": None}, {"p": {"kind": "x"}}, {"p": {"kind": "x"}}),
]  # fmt: skip


@pytest.mark.parametrize("base, over, expected", MERGES)
def test_merge(base: dict[str, Any], over: dict[str, Any], expected: dict[str, Any]) -> None:
    before = copy.deepcopy((base, over))
    assert merge(base, over) == expected
    assert (base, over) == before


PUTS: list[tuple[dict[str, Any], str, Any, dict[str, Any]]] = [
    ({"a": {"b": 1}}, "a.c", 2, {"a": {"b": 1, "c": 2}}),
    ({}, "a.b.c", 2, {"a": {"b": {"c": 2}}}),
    ({"p": "x"}, "p.b", 2, {"p": {"kind": "x", "b": 2}}),
    ({"p": {"kind": "x", "b": 1}}, "p.kind", "y", {"p": {"kind": "y"}}),
    ({"p": {"kind": "x", "b": 1}}, "p.kind", "x", {"p": {"kind": "x", "b": 1}}),
    ({"p": {"kind": "x", "b": 1}}, "p.kind", None, {"p": None}),
    ({"p": {"q": {"kind": "x"}}}, "p.q.kind", None, {"p": {"q": None}}),
    ({"p": None}, "p.kind", "x", {"p": {"kind": "x"}}),
]


@pytest.mark.parametrize("raw, path, value, expected", PUTS)
def test_put(raw: dict[str, Any], path: str, value: Any, expected: dict[str, Any]) -> None:
    put(raw, path, value)
    assert raw == expected


OVERRIDES: list[tuple[str, Any]] = [
    ("data.kind", "csv"),
    ("data.path", "series.csv"),
    ("time", "when"),
    ("newest", 7),
    ("data.text.embedder.kind", "wordllama"),
    ("backbone", "linear"),
    ("start", "random"),
    ("d_model", 48),
    ("fusion", "concat"),
    ("model.fusion.form", "seed"),
    ("seed", 3),
]


@settings(deadline=None, max_examples=60)
@given(st.permutations(OVERRIDES))
def test_kinds_come_first_in_any_order(order: list[tuple[str, Any]]) -> None:
    recipe = load_recipe("chimera")
    config = resolve(recipe, "tiny", order)
    assert config == resolve(recipe, "tiny", OVERRIDES)
    assert (config.data.kind, config.data.path, config.data.time, config.data.text.newest) == (
        "csv", "series.csv", "when", 7,
    )  # fmt: skip
    assert (config.model.series.kind, config.model.series.start, config.model.series.dim) == ("linear", "random", 48)
    assert (config.model.fusion.form, config.seed) == ("seed", 3)


def test_an_inner_kind_outlives_its_outer_one_in_any_order(chimera: Recipe) -> None:
    # model.text becomes another part when model does; the inner choice must not be wiped by the outer.
    chosen = [("model.text.kind", "linear"), ("model.kind", "chimera"), ("model.series.kind", "linear")]
    found = []
    for order in permutations(chosen):
        raw = raw_config(chimera)
        raw["model"] = "no_such"
        assert choose_kinds(raw, chimera, [("model.kind", "chimera"), *order]) == []
        found.append(raw["model"])
    assert all(model == found[0] for model in found)
    assert found[0] == {"kind": "chimera", "text": {"kind": "linear"}, "series": {"kind": "linear"}}


def test_the_last_of_two_values_counts(chimera: Recipe) -> None:
    config = resolve(chimera, None, [("seed", 1), ("fusion", "add"), ("fusion", "concat"), ("seed", 2)])
    assert (config.seed, config.model.fusion.kind) == (2, "concat")


def test_names(chimera: Recipe) -> None:
    names = names_of(raw_config(chimera), chimera)
    assert names.find("data.weeks") == names.find("weeks") == "data.weeks"
    assert names.find("pred-len") == names.find("pred_len") == "data.horizon"
    assert names.find("data.text.max-tokens") == names.find("max-tokens") == "data.text.max_tokens"
    assert names.find("model.fusion") == names.find("fusion") == "model.fusion.kind"
    assert names.find("dim") is None
    assert {"signal", "data.signal", "deterministic", "residual"} <= names.switches()
    assert not {"seed", "data.weeks", "fusion", "accept"} & names.switches()


def test_an_ambiguous_name_is_refused_with_the_whole_ones(chimera: Recipe) -> None:
    with pytest.raises(
        ConfigError, match=r"--dim could be any of model\.series\.dim, model\.text\.dim \(write the whole"
    ):
        resolve(chimera, None, [("dim", 32)])


def test_values_from_python_keep_their_type(chimera: Recipe) -> None:
    with pytest.raises(ConfigError, match=r"seed: should be a valid integer \(got '3'\)"):
        resolve(chimera, None, [("seed", "3")])
    assert resolve(chimera, None, [("seed", Written("3"))]).seed == 3
    with pytest.raises(ConfigError, match="--recipe: this is a config of chimera"):
        resolve(chimera, None, [("recipe", "aam")])


@pytest.mark.parametrize(
    "tree, words",
    [
        ({"training": 3}, "training: should be a valid dictionary"),
        ({"data": {"kind": "planted", "text": "a.csv"}}, r"data\.text: should be a valid dictionary"),
        ({"model": 3}, "model: expects a `kind`"),
        ({"model": {"kind": "chimera", "series": []}}, r"model\.series: expects a `kind`"),
        ({"data": {"kind": "planted", "wekes": 3}}, r"no field 'data\.wekes': did you mean weeks\?"),
    ],
)
def test_a_file_with_faults_names_itself(tmp_path: Path, tree: dict[str, Any], words: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.dump({"recipe": "chimera", "data": "planted", "model": "chimera", **tree}))
    with pytest.raises(ConfigError, match=rf"run\.yaml: {words}"):
        resolve(load_recipe(str(path)), None, [("seed", 3)])


def test_a_file_is_its_recipe_with_another_config(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("recipe: chimera\ndata: {kind: planted, weeks: 777}\nmodel: {kind: chimera, series: linear}\n")
    recipe = load_recipe(str(path))
    assert recipe.aliases == load_recipe("chimera").aliases
    config = resolve(recipe, None, [("pred-len", 5), ("d-model", 48)])
    assert (config.data.weeks, config.data.horizon) == (777, 5)
    assert (config.model.series.kind, config.model.series.dim) == ("linear", 48)
    assert resolve(recipe, "tiny").model.series.kind == "itransformer"


def test_a_recipe_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("recipe: chimra\n")
    (tmp_path / "empty.yaml").write_text("seed: 3\n")
    with pytest.raises(ConfigError, match=r"no recipe 'chimra' \(did you mean chimera\?\)"):
        load_recipe("chimra")
    with pytest.raises(ConfigError, match=r"no recipe 'mine' \(did you mean mine\.yaml\?\)"):
        load_recipe("mine")
    with pytest.raises(FileError, match=r"min\.yaml: no such file \(did you mean mine\.yaml\?\)"):
        load_recipe("min.yaml")
    with pytest.raises(ConfigError, match=r"mine\.yaml, recipe: no recipe 'chimra' \(did you mean chimera\?\)"):
        load_recipe("mine.yaml")
    with pytest.raises(ConfigError, match=r"empty\.yaml, recipe: field 'recipe' must be given"):
        load_recipe("empty.yaml")


MMD: list[tuple[str, Any]] = [("data.kind", "time-mmd"), ("data.root", "x"), ("data.domain", "y")]


def test_what_is_usual_for_a_kind_of_data_goes_with_its_own_anchor(chimera: Recipe) -> None:
    usual = resolve(chimera, None, MMD)
    assert (usual.data.kind, usual.model.series.kind, usual.model.residual) == ("time_mmd", "linear", True)
    assert resolve(chimera, None, [*MMD, ("fusion", "concat")]).model.series.kind == "linear"
    other = resolve(chimera, None, [*MMD, ("backbone", "itransformer")])
    assert other.model == resolve(chimera).model
    assert other.training == resolve(chimera).training
    assert resolve(chimera, "tiny", MMD).model == resolve(chimera, "tiny").model


def test_a_kind_written_with_a_dash_is_the_same_kind(chimera: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "recipe: chimera\ndata: {kind: time-mmd, root: x, domain: y}\n"
        "model: {kind: chimera, fusion: {kind: latent-gate, heads: 2, latent_dim: 6}}\n"
    )
    config = resolve(load_recipe(str(path)), None, [("data", "time_mmd"), ("fusion", "latent-gate")])
    assert config.data.root == "x"
    assert (config.model.fusion.kind, config.model.fusion.latent_dim) == ("latent_gate", 6)
    path.write_text("recipe: chimera\ndata: {kind: time-mmd, rooot: x, domain: y}\n")
    with pytest.raises(ConfigError, match=r"no field 'data\.rooot': did you mean root\?"):
        resolve(load_recipe(str(path)))


SHOP: list[tuple[str, Any]] = [("data.path", "shop.csv")]


def written(*named: tuple[str, str], size: str | None = None) -> RunConfig:
    """The config of products with these names as they are typed."""
    recipe = load_recipe("products")
    return resolve(recipe, size, spread(recipe, [*SHOP, *((name, Written(value)) for name, value in named)]))


@pytest.mark.parametrize("above", ["data.sources", "sources"])
def test_a_source_has_the_name_that_the_user_gives_it(above: str) -> None:
    config = written((f"{above}.clip.path", "x.npy"), (f"{above}.my-Text_2.path", "7"), (f"{above}.my-Text_2.pca", "5"))
    assert list(config.data.sources) == ["clip", "my-Text_2"]
    clip, text = config.data.sources.values()
    assert (clip.path, clip.pca, clip.mean) == ("x.npy", None, False)
    assert (text.path, text.pca) == ("7", 5)  # a path may look like a number


def test_the_widths_of_a_source_s_branch_are_named_as_in_the_design_document() -> None:
    for name in ("sources.clip.branch-dims", "sources.clip.branch_dims"):
        config = written(("sources.clip.path", "x.npy"), (name, "[7, 5]"), ("model.branches.clip.dropout", "0.3"))
        assert config.model.branches == {"clip": {"dims": [7, 5], "dropout": 0.3}}
        leg = config.model.leg("clip")
        assert (leg.modality, leg.dims, leg.dropout) == ("clip", [7, 5], 0.3)
        assert config.model.leg("other").dims != [7, 5]
        assert list(config.data.sources) == ["clip"]


@pytest.mark.parametrize(
    "name, words",
    [
        ("data.sources.clip.pth", r"no field --data\.sources\.clip\.pth \(did you mean path\?\)"),
        ("sources.clip.branch-dim", r"no field --data\.sources\.clip\.branch_dim"),
        ("sorces.clip.path", r"no field --sorces\.clip\.path"),
    ],
)
def test_a_name_below_a_key_that_no_key_has_is_refused(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        written((name, "x.npy"))


def test_the_other_flags_of_the_design_document_of_products() -> None:
    assert written(size="seed").model.head.kind == "mixture_of_experts"
    assert written(("use-advanced-model", "false"), size="seed").model.head.kind == "regression"
    advanced = written(("use-advanced-model", "true"), ("num-experts", "5"))
    assert (advanced.model.head.kind, advanced.model.head.experts) == ("mixture_of_experts", 5)
    tree = written(("num-attention-heads", "4"), ("fusion", "hierarchical"), ("tree", "[[a, b], c]"))
    assert (tree.model.fusion.node.heads, tree.model.fusion.tree) == (4, [["a", "b"], "c"])
    with pytest.raises(ConfigError, match=r"no field --num-attention-heads \(.*--model\.fusion\.kind hierarchical"):
        written(("num-attention-heads", "4"))
    with pytest.raises(ConfigError, match=r"no field --num-experts \(.*--model\.head\.kind mixture_of_experts"):
        written(("num-experts", "5"))


def test_the_seed_size_of_products_holds_its_values() -> None:
    """256, 1000, 1e-3, weighted_smape, 15, 3, 8 and the widths 512 and 256, four tokens a source."""
    config = written(size="seed")
    training, model = config.training, config.model
    assert (training.batch_size, training.stages[0].epochs, training.lr, training.patience) == (256, 1000, 1e-3, 15)
    assert (config.task.loss, model.head.experts, model.fusion.node.heads) == ("weighted_smape", 3, 8)
    assert (model.branch.hidden, model.branch.dim, model.branch.tokens, model.fusion.dim) == ([512], 256, 4, 512)
    assert config.data.pca is None
