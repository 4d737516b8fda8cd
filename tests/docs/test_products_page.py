"""The page of products: its counts are those of the models, its commands and names are ones that plait takes."""

import re
import shlex
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import nn

from plait.cli.arguments import config_of
from plait.core.schema import Schema
from plait.models.products import Products
from plait.runs.recipe import load_recipe, resolve

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "models" / "products.md").read_text(encoding="utf-8")
WIDTHS = {"clip": 768, "siglip_image": 1152, "siglip_text": 1024, "qwen": 1027}
TREE = [["clip", "siglip_image"], ["siglip_text", "qwen"]]


def of_size(size: str) -> Products:
    tree = [("model.fusion.tree", TREE)] if size == "seed" else []
    config = resolve(load_recipe("products"), size, [("data.path", "x.csv"), *tree])
    widths = {name: min(width, config.data.pca or width) for name, width in WIDTHS.items()}
    with torch.device("meta"):
        built: Products = config.model.build(Schema("clip", widths, stream_tokens=dict.fromkeys(WIDTHS, 1), outputs=1))
    return built


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def rows(start: str) -> list[list[str]]:
    """The cells of the lines of a table that begin in this way."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith(start)]


@pytest.mark.parametrize("size", ["tiny", "base", "seed"])
def test_the_counts_of_the_page_are_computed_ones(size: str) -> None:
    (shown,) = rows(f"| `{size}`")
    model = of_size(size)
    net: nn.Module = model.nets[0]
    legs, fusion, head = (net.get_submodule(name) for name in ("legs", "fusion", "head"))
    parts = [count(part) for part in (*(legs.get_submodule(name) for name in WIDTHS), fusion, head)]
    assert shown[1:] == [f"{each:,}" for each in (len(model.nets), *parts, count(model))]
    assert count(model) == len(model.nets) * sum(parts)


def test_the_layers_as_the_document_draws_them_count_what_the_page_says() -> None:
    with torch.device("meta"):
        layers: list[nn.Module] = [nn.Linear(1024, 3)]
        for width in WIDTHS.values():
            layers += [nn.Linear(width, 512), nn.Linear(512, 256)]
        for width in (512, 512, 1024):
            layers += [nn.MultiheadAttention(width, 8), nn.LayerNorm(width)]
        for _ in range(3):
            layers += [nn.Linear(1024, 256), nn.Linear(256, 1)]
    scales = len(WIDTHS)
    assert f"are {sum(map(count, layers)) + scales:,}." in " ".join(PAGE.split())


def named_by_the_document() -> dict[str, list[str]]:
    """The first options of each name of the design document, those that its own values are given by."""
    found = {row[0].strip("`"): row[1].split(";")[0] for row in rows("| `") if re.fullmatch(r"`[A-Z_]+`", row[0])}
    return {name: re.findall(r"`(--[^`]+)`", said) for name, said in found.items()}


def test_the_values_of_the_document_are_those_of_its_size() -> None:
    named, tokens = named_by_the_document(), ["products", "--size", "seed", "--path", "x.csv"]
    assert len(named) == 15
    for option in chain.from_iterable(named.values()):
        tokens += [*shlex.split(option), *(["x.npy"] if option.endswith(".path") else [])]
    config, plain = config_of(tokens)[2], resolve(load_recipe("products"), "seed", [("data.path", "x.csv")])
    assert {name: each.path for name, each in config.data.sources.items()} == dict.fromkeys(WIDTHS, "x.npy")
    assert {name: config.model.leg(name).dims for name in WIDTHS} == {n: [w, 512] for n, w in WIDTHS.items()}
    assert plain.model.branch.hidden == [512]
    # The epochs of a size stand in its stage; a field of their own is what the option sets.
    assert config.training == plain.training.model_copy(update={"epochs": plain.training.stages[0].epochs})
    assert config.task == plain.task
    assert (config.model.head, config.model.fusion) == (plain.model.head, plain.model.fusion)


def test_the_advanced_model_can_be_switched_off() -> None:
    off = config_of(["products", "--size", "seed", "--path", "x.csv", "--use-advanced-model", "False"])[2]
    assert off.model.head.kind == "regression"


def commands() -> list[list[str]]:
    """The commands of the page, with `<the same>` written out."""
    blocks = "\n".join(re.findall(r"^```\n(plait .*?)^```", PAGE, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    lines = [line.split("#")[0] for line in blocks.splitlines() if line]
    same = next(line.split("products", 1)[1] for line in lines if line.startswith("plait data check"))
    return [shlex.split(line.replace("<the same>", same))[1:] for line in lines]


def test_commands_name_fields_that_there_are() -> None:
    own = {"train": ("out",), "compare": ("out", "seeds"), "data": ()}
    asked = [words for words in commands() if words[0] in own]
    assert [words[0] for words in asked] == ["data", "train", "compare", "train"]
    for words in asked:
        config = config_of(words[words.index("products") :], own[words[0]])[2]
        assert config.recipe == "products"
        assert config.data.sources
    assert config.model.fusion.tree == TREE


OF_OTHER_VERBS = ("bins", "names", "tokens", "weights-from")
OPTIONS = set(re.findall(r"`--([a-z-]+(?:\.[a-z-]+)* [^`A-Z]+)`", PAGE))


@pytest.mark.parametrize("option", sorted(each for each in OPTIONS if each.split()[0] not in OF_OTHER_VERBS))
def test_an_option_in_the_text_is_a_field(option: str) -> None:
    name, *value = shlex.split(f"--{option}")
    size = "seed" if name in ("--top-k", "--num-experts", "--num-attention-heads") else "base"
    assert config_of(["products", "--size", size, "--path", "x.csv", name, *value])[2].recipe == "products"
