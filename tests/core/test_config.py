"""Configs are strict and frozen, name the full path of every fault, and find kinds in files and entry points."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from plait.core import yaml
from plait.core.config import Config, PartOf, class_at, config_of, part_room, validate
from plait.core.errors import ConfigError
from plait.core.kinds import config_class, kinds

ROOMS = ("data.sources", "embedders", "encoders", "fusion", "heads", "models", "tasks")


class Leaf(Config):
    """A leaf."""

    count: int = Field(3, ge=1)
    rate: float = 0.5
    names: list[str] = ["a"]
    on: bool = False
    colour: Literal["red", "green"] = "red"


class Tree(Config):
    """A tree of all that a config may hold."""

    leaf: Leaf = Leaf()
    leaves: list[Leaf] = [Leaf()]
    maybe: Leaf | None = None
    fusion: Annotated[Any, PartOf("fusion")] = {"kind": "cross_attention"}
    other: Annotated[Any, PartOf("fusion")] | None = None
    seed: int = 0


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"sed": 1}, "no field 'sed': did you mean seed?"),
    ({"leaf": {"cuont": 1}}, "no field 'leaf.cuont': did you mean count?"),
    ({"maybe": {"cuont": 1}}, "no field 'maybe.cuont': did you mean count?"),
    ({"leaves": [{}, {"cuont": 1}]}, "no field 'leaves.1.cuont': did you mean count?"),
    ({"fusion": {"kind": "cross_attention", "haeds": 2}}, "no field 'fusion.haeds': did you mean heads?"),
    ({"other": {"kind": "concat", "fomr": "seed"}}, "no field 'other.fomr': did you mean form?"),
    ({"fusion": {"kind": "cross_atention"}}, "fusion.kind: no fusion of kind 'cross_atention' (did you mean cross_att"),
    ({"other": "concatt"}, "other.kind: no fusion of kind 'concatt' (did you mean concat?)"),
    ({"fusion": {"kind": "{x} {"}}, "fusion.kind: no fusion of kind '{x} {' (there is add"),
    ({"fusion": {"heads": 2}}, "fusion: expects a `kind`, one of add"),
    ({"fusion": {"kind": 3}}, "fusion: expects a `kind`, one of add"),
    ({"fusion": 3}, "fusion: expects a `kind`"),
    ({"fusion": None}, "fusion: expects a `kind`"),
    ({"fusion": {"kind": "cross_attention", "heads": 0}}, "fusion.heads: should be greater than or equal to 1 (got 0)"),
    ({"leaves": [{"count": 1}, {"count": 0}]}, "leaves.1.count: should be greater than or equal to 1 (got 0)"),
    ({"leaf": 3}, "leaf: should be a valid dictionary"),
    ({"leaf": {"count": True}}, "leaf.count: should be a valid integer (got True)"),
    ({"leaf": {"count": 1.0}}, "leaf.count: should be a valid integer (got 1.0)"),
    ({"leaf": {"count": "1"}}, "leaf.count: should be a valid integer (got '1')"),
    ({"leaf": {"rate": "0.5"}}, "leaf.rate: should be a valid number (got '0.5')"),
    ({"leaf": {"rate": float("nan")}}, "leaf.rate: should be a finite number (got nan)"),
    ({"leaf": {"rate": float("inf")}}, "leaf.rate: should be a finite number (got inf)"),
    ({"leaf": {"names": "a"}}, "leaf.names: should be a valid list (got 'a')"),
    ({"leaf": {"names": ["a", 3]}}, "leaf.names.1: should be a valid string (got 3)"),
    ({"leaf": {"on": 1}}, "leaf.on: should be a valid boolean (got 1)"),
    ({"leaf": {"on": "yes"}}, "leaf.on: should be a valid boolean (got 'yes')"),
    ({"leaf": {"colour": "blue"}}, "leaf.colour: should be 'red' or 'green' (got 'blue')"),
]


@pytest.mark.parametrize("data, words", FAULTS, ids=[words[:30] for _, words in FAULTS])
def test_a_fault_is_one_line_with_its_full_path(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Tree, data, "run.yaml")
    assert str(caught.value).startswith(f"run.yaml: {words}")
    assert "\n" not in str(caught.value)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"no field 'leaf\.b': .*; seed: should be .*; no field 'a': "):
        validate(Tree, {"a": 1, "leaf": {"b": 1}, "seed": "x"})


def test_a_field_without_a_default_must_be_given() -> None:
    with pytest.raises(ConfigError, match=r"^config: field 'path' must be given$"):
        validate(config_class("data.sources", "csv"), {"kind": "csv"})


def test_whole_numbers_are_numbers() -> None:
    assert validate(Leaf, {"rate": 2}).rate == 2


def test_configs_are_frozen_all_the_way_down() -> None:
    tree = Tree()
    for node in (tree, tree.leaf, tree.leaves[0], tree.fusion):
        name = next(iter(type(node).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(node, name, getattr(node, name))


def test_defaults_are_configs_and_not_shared() -> None:
    one, other = Tree(), Tree()
    assert one.fusion == config_class("fusion", "cross_attention")()
    assert one.leaf.names is not other.leaf.names


def test_a_kind_alone_stands_for_the_part() -> None:
    assert validate(Tree, {"fusion": "concat"}) == validate(Tree, {"fusion": {"kind": "concat"}})
    part = config_class("fusion", "concat")(form="seed")
    assert validate(Tree, {"other": part}).other is part


def test_a_config_reads_back_from_yaml() -> None:
    tree = validate(Tree, {"other": "concat", "leaves": [{"names": ["on", "1e-3"]}, {"rate": 1e-3}], "maybe": {}})
    assert validate(Tree, yaml.parse(yaml.dump(tree.model_dump(mode="json")))) == tree


def test_what_an_annotation_holds() -> None:
    found = {name: part_room(field.annotation, field.metadata) for name, field in Tree.model_fields.items()}
    assert found == {"leaf": None, "leaves": None, "maybe": None, "fusion": "fusion", "other": "fusion", "seed": None}
    held = {name: config_of(field.annotation) for name, field in Tree.model_fields.items()}
    assert held == {"leaf": Leaf, "leaves": Leaf, "maybe": Leaf, "fusion": None, "other": None, "seed": None}
    assert part_room(list[Annotated[Any, PartOf("fusion")]], []) is None


def test_the_class_at_a_path() -> None:
    data = {"fusion": "concat", "leaves": [{}], "other": {"kind": "no_such"}}
    assert class_at(Tree, data, ()) is Tree
    assert class_at(Tree, data, ("leaves", 0)) is Leaf
    assert class_at(Tree, data, ("fusion",)) is config_class("fusion", "concat")
    assert class_at(Tree, data, ("other",)) is None
    assert class_at(Tree, data, ("leaf", "no_such")) is None


@pytest.mark.parametrize("room, kind", [(room, kind) for room in ROOMS for kind in kinds(room)])
def test_every_kind_is_a_config_that_explains_its_fields(room: str, kind: str) -> None:
    found = config_class(room, kind)
    assert found.model_fields["kind"].default == kind
    assert found.model_fields["kind"].annotation == Literal[kind]
    assert callable(getattr(found, "build", None) or getattr(found, "read", None))
    assert [name for name, field in found.model_fields.items() if name != "kind" and not field.description] == []


def test_kinds_are_found_without_an_import_of_any() -> None:
    code = (
        "import sys; from plait.core.kinds import kinds; print(*kinds('fusion'));"
        "print(*[m for m in sys.modules if m in ('torch', 'pydantic') or m.startswith('plait.fusion.')])"
    )
    words = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    assert {"add", "concat", "cross_attention", "none"} <= set(words[0].split())
    assert words[1] == ""


PART = """
from typing import Literal
from plait.core.config import Config

class {name}Config(Config):
    kind: Literal["{kind}"] = "{kind}"
    size: int = 7
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution with parts under entry points."""
    (tmp_path / "knots.py").write_text(PART.format(name="Bowline", kind="bowline") + "NOTHING = 3\n")
    (tmp_path / "broken_knots.py").write_text("import a_package_that_is_absent\n")
    info = tmp_path / "knots-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: knots\nVersion: 1.0\n")
    points = {
        "plait.fusion": {
            "bowline": "knots:BowlineConfig",
            "reef": "knots",
            "slip": "knots:NOTHING",
            "gone": "knots:Gone",
            "torn": "broken_knots:TornConfig",
            "concat": "knots:BowlineConfig",
        },
        "plait.tasks": {"bowline": "knots:BowlineConfig"},
    }
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in some.items()) for group, some in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    _forget()
    yield
    _forget()
    for name in ("knots", "broken_knots"):
        sys.modules.pop(name, None)


def _forget() -> None:
    kinds.cache_clear()
    config_class.cache_clear()


@pytest.mark.usefixtures("package")
def test_an_installed_package_adds_kinds_to_the_open_rooms() -> None:
    assert kinds("fusion")["bowline"] == "knots:BowlineConfig"
    assert "bowline" not in kinds("tasks")
    tree = validate(Tree, {"fusion": {"kind": "bowline", "size": 11}})
    assert (type(tree.fusion).__name__, tree.fusion.size) == ("BowlineConfig", 11)
    assert config_class("fusion", "reef") is type(tree.fusion)
    with pytest.raises(ConfigError, match=r"no field 'fusion\.siez': did you mean size\?"):
        validate(Tree, {"fusion": {"kind": "bowline", "siez": 11}})


@pytest.mark.usefixtures("package")
def test_a_kind_of_the_house_is_not_replaced() -> None:
    assert config_class("fusion", "concat").__module__ == "plait.fusion.concat"


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    "kind, words",
    [
        ("torn", "can't be imported: No module named 'a_package_that_is_absent'"),
        ("slip", "entry point 'slip' of fusion: knots:NOTHING is no Config class"),
        ("gone", "entry point 'gone' of fusion: knots:Gone is no Config class"),
    ],
)
def test_an_entry_point_that_does_not_hold_is_named(kind: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config_class("fusion", kind)
    with pytest.raises(ConfigError, match=r"fusion\.kind: "):
        validate(Tree, {"fusion": kind})
