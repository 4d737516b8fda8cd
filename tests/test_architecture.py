"""The walls of the house, read from the syntax trees of src/plait: floors, circles, first lines, sizes, taboos."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "plait"

# Room -> (its floor, the highest floor it may import from). Nobody imports from floor 8.
ROOMS: dict[str, tuple[float, float]] = {
    "core": (0, -1),
    "nn": (1, 0),
    "objectives": (1, 0),
    "features": (1, 0),
    "baselines": (2, 1),
    "encoders": (2, 1),
    "fusion": (2, 1),
    "heads": (2, 1),
    "embedders": (2, 1),
    "image_embedders": (2.5, 2),
    "models": (3, 2),
    "data": (3, 2),
    "tasks": (4, 3),
    "training": (4, 3),
    "runs": (5, 4),
    "evaluation": (6, 5),
    "report": (6, 5),
    "api": (6.5, 6),
    "plait": (6.5, 6.5),
    "cli": (7, 6.5),
    "testing": (8, 3),
    "recipes": (8, -1),
    "__main__": (8, 7),
}


@dataclass(frozen=True)
class Import:
    """One imported module: `top` at the top level of the file, `checked` only by a type checker."""

    module: str
    line: int
    top: bool
    checked: bool


@dataclass(frozen=True)
class Source:
    """A module by its dotted name, and its text."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        return self.name.split(".")[1] if "." in self.name else self.name

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Local name -> the dotted name it was imported from."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for a in node.names:
                    found[a.asname or a.name.split(".")[0]] = a.name if a.asname else a.name.split(".")[0]
            elif isinstance(node, ast.ImportFrom):
                found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        return found

    def dotted(self, node: ast.AST) -> str:
        """The full dotted name of `a.b.c` or `a`, through the imports of the file; empty for anything else."""
        if isinstance(node, ast.Attribute):
            owner = self.dotted(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return self.aliases.get(node.id, node.id) if isinstance(node, ast.Name) else ""

    def at(self, node: Any) -> str:
        return f"{self.name}:{node if isinstance(node, int) else node.lineno}"


def read_sources() -> list[Source]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Source(name, path.read_text(encoding="utf-8")))
    return found


def imports(source: Source, modules: set[str]) -> Iterator[Import]:
    """Every import of a file, in functions and under TYPE_CHECKING too; `from a import b` is a.b where that is one."""

    def visit(node: ast.AST, top: bool, checked: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(a.name, node.lineno, top, checked) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source.at(node)} imports relatively"
            for a in node.names:
                inner = f"{node.module}.{a.name}"
                yield Import(inner if inner in modules else str(node.module), node.lineno, top, checked)
        elif isinstance(node, ast.Call) and source.dotted(node.func) in ("importlib.import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant):
                yield Import(str(first.value), node.lineno, top, checked)
        inside = top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        guarded = checked or (isinstance(node, ast.If) and source.dotted(node.test).endswith("TYPE_CHECKING"))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside, guarded)

    return visit(source.tree, True, False)


def plait_imports(sources: list[Source]) -> Iterator[tuple[Source, Import]]:
    modules = {source.name for source in sources}
    for source in sources:
        for found in imports(source, modules):
            if found.module.split(".")[0] == "plait":
                yield source, found


def floors(sources: list[Source]) -> list[str]:
    """A file imports only from its own room and from lower floors."""
    wrong = [f"{s.name}: there is no room {s.room!r}" for s in sources if s.room not in ROOMS]
    for source, found in plait_imports(sources):
        room = found.module.split(".")[1] if "." in found.module else "plait"
        if room != source.room and ROOMS.get(room, (9, 9))[0] > ROOMS.get(source.room, (9, 9))[1]:
            wrong.append(f"{source.at(found.line)} imports {found.module}")
    return wrong


def lonely_models(sources: list[Source]) -> list[str]:
    """Models never import each other."""
    return [
        f"{source.at(found.line)} imports {found.module}"
        for source, found in plait_imports(sources)
        if source.room == "models" and found.module.startswith("plait.models") and found.module != source.name
    ]


def circles(sources: list[Source]) -> list[str]:
    """No module imports itself by way of others, imports inside functions counted."""
    edges: dict[str, set[str]] = {source.name: set() for source in sources}
    for source, found in plait_imports(sources):
        if not found.checked and found.module in edges:
            edges[source.name].add(found.module)
    wrong: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            wrong.append(" -> ".join((*path[path.index(name) :], name)))
        elif name not in done:
            for other in sorted(edges[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in edges:
        visit(name, ())
    return wrong


def torch_free(sources: list[Source]) -> list[str]:
    """Features and baselines bring no torch in, neither by themselves nor by what they import."""
    by_name = {source.name: source for source in sources}

    def reach(name: str, path: tuple[str, ...]) -> Iterator[str]:
        for found in imports(by_name[name], set(by_name)):
            if found.checked or not (found.top or len(path) == 1):
                continue
            if found.module.split(".")[0] in ("torch", "accelerate", "transformers", "peft"):
                yield f"{' -> '.join(path)} -> {found.module}"
            parts = found.module.split(".")
            for package in (".".join(parts[:n]) for n in range(1, len(parts) + 1)):
                if package in by_name and package not in seen:
                    seen.add(package)
                    yield from reach(package, (*path, package))

    wrong: list[str] = []
    for source in sources:
        if source.room in ("features", "baselines"):
            seen = {source.name}
            wrong += reach(source.name, (source.name,))
    return wrong


def docstrings(sources: list[Source]) -> list[str]:
    """A file begins, on its first line, with a docstring whose first line is one sentence."""
    wrong = []
    for source in sources:
        first = source.tree.body[0] if source.tree.body else None
        text = (ast.get_docstring(source.tree) or "").split("\n")[0]
        if not text or first is None or first.lineno != 1:
            wrong.append(f"{source.name}: the first line is no docstring")
        elif not text.endswith((".", "?")) or re.search(r"[.!?] +[A-Z]", text):
            wrong.append(f"{source.name}: {text!r} is not one sentence")
    return wrong


def lengths(sources: list[Source]) -> list[str]:
    """A file has at most 400 lines, a function at most 60."""
    wrong = [f"{s.name}: {n} lines" for s in sources if (n := len(s.text.splitlines())) > 400]
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                if size > 60:
                    wrong.append(f"{source.at(node)} {node.name}: {size} lines")
    return wrong


def vague_names(sources: list[Source]) -> list[str]:
    """Files are nouns of the idea."""
    vague = {"utils", "util", "common", "helpers", "helper", "misc"}
    return [source.name for source in sources if source.name.rsplit(".", 1)[-1].strip("_") in vague]


def shallow_modules(sources: list[Source]) -> list[str]:
    """A network class derives from nn.Module itself."""
    bases: dict[str, tuple[str, list[str]]] = {}
    for source in sources:
        own = {node.name for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)}
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                names = [source.dotted(b.value if isinstance(b, ast.Subscript) else b) for b in node.bases]
                names = [f"{source.name}.{name}" if name in own else name for name in names]
                bases[f"{source.name}.{node.name}"] = (source.at(node), names)
    root = "torch.nn.Module"
    networks = {name for name, (_, names) in bases.items() if root in names}
    foreign = ("torch.nn.", "transformers.", "peft.", "accelerate.")
    made_to_be_extended = ("torch.nn.DataParallel",)  # its scatter and gather are methods to override
    return [
        f"{place} {name.rsplit('.', 1)[-1]} derives from {base}"
        for name, (place, names) in bases.items()
        for base in names
        if base in networks or (base != root and base.startswith(foreign) and base not in made_to_be_extended)
    ]


PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
YAML_READERS = re.compile(r"yaml\.((safe|full|unsafe)_)?load(_all)?")
LAYERS = re.compile(r"torch\.nn\..*(BatchNorm|batch_norm|MultiheadAttention|multi_head_attention|\.Transformer)")


def forbidden(sources: list[Source]) -> list[str]:
    """No pickle, no code from text, no YAML but by our loader, no batch statistics, no nn.MultiheadAttention."""
    wrong = []
    for source in sources:
        for found in imports(source, set()):
            if found.module.split(".")[0] in PICKLES:
                wrong.append(f"{source.at(found.line)} imports {found.module}")
        for node in ast.walk(source.tree):
            name = source.dotted(node) if isinstance(node, ast.Attribute | ast.Name) else ""
            if LAYERS.match(name) or name.endswith((".read_pickle", ".to_pickle")):
                wrong.append(f"{source.at(node)} uses {name}")
            if isinstance(node, ast.Call):
                wrong += [f"{source.at(node)} calls {what}" for what in _forbidden_call(source, node)]
    return wrong


def _forbidden_call(source: Source, node: ast.Call) -> Iterator[str]:
    name = source.dotted(node.func)
    words = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in ("eval", "exec", "__import__"):
        yield name
    if YAML_READERS.fullmatch(name) and not (name == "yaml.load" and source.dotted(words.get("Loader")) == "_Loader"):
        yield name
    if name == "torch.load" and not _is(words.get("weights_only"), True):
        yield "torch.load without weights_only=True"
    if "allow_pickle" in words and not _is(words["allow_pickle"], False):
        yield f"{name} with allow_pickle"


def _is(node: ast.AST | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def import_paths(text: str) -> list[str]:
    """Texts of a YAML file that name something to import: `package.module:name`, `plait.module`."""

    def leaves(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            node = [*node, *node.values()]
        if isinstance(node, list):
            for item in node:
                yield from leaves(item)
        else:
            yield str(node)

    pattern = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*|(plait|torch)\.[\w.]+")
    found = [leaf for leaf in leaves(yaml.load(text, yaml.BaseLoader)) if pattern.fullmatch(leaf)]
    return found + re.findall(r"(?m)^[^#\n]*?(!!?[\w/.:]+)", text)


RULES: list[Callable[[list[Source]], list[str]]] = [
    floors,
    lonely_models,
    circles,
    torch_free,
    docstrings,
    lengths,
    vague_names,
    shallow_modules,
    forbidden,
]


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    found = read_sources()
    assert len(found) > 50
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Callable[[list[Source]], list[str]], sources: list[Source]) -> None:
    wrong = rule(sources)
    assert not wrong, f"{rule.__doc__}\n" + "\n".join(wrong)


DOC = '"""One sentence."""\n'
NN = "from torch import nn\n"
PLANTED: list[tuple[Callable[[list[Source]], list[str]], dict[str, str], int]] = [
    (floors, {"plait.fusion.a": "from plait.models import x"}, 1),
    (floors, {"plait.fusion.a": "def f():\n    from plait.encoders.b import c", "plait.encoders.b": ""}, 1),
    (floors, {"plait.core.a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import plait.nn.b"}, 1),
    (floors, {"plait.core.a": "import importlib\nimportlib.import_module('plait.nn.b')"}, 1),
    (floors, {"plait.testing": "from plait.runs.fit import fit"}, 1),
    (floors, {"plait.report.a": "from plait.evaluation import b"}, 1),
    (floors, {"plait.runs.a": "from plait import api", "plait.api": "import plait.evaluation.b"}, 1),
    (floors, {"plait.recipes": "import plait.core.errors"}, 1),
    (floors, {"plait.attic.a": ""}, 1),
    (floors, {"plait.fusion.a": "from plait.fusion.b import c\nfrom plait.nn.d import e", "plait.fusion.b": ""}, 0),
    (floors, {"plait": "def f():\n    from plait import api", "plait.api": "from plait.report.a import b"}, 0),
    (lonely_models, {"plait.models.a": "from plait.models.b import c", "plait.models.b": ""}, 1),
    (lonely_models, {"plait.models.a": "from plait.models import b", "plait.models.b": ""}, 1),
    (circles, {"plait.nn.a": "import plait.nn.b", "plait.nn.b": "def f():\n    from plait.nn import a"}, 1),
    (circles, {"plait.nn.a": "if TYPE_CHECKING:\n    import plait.nn.b", "plait.nn.b": "import plait.nn.a"}, 0),
    (torch_free, {"plait.features.a": "def f():\n    import torch.nn"}, 1),
    (torch_free, {"plait.baselines.a": "from plait.nn.b import c", "plait.nn.b": "from torch import nn"}, 1),
    (torch_free, {"plait.features.a": "import plait.core.b", "plait.core": "import torch", "plait.core.b": ""}, 1),
    (torch_free, {"plait.features.a": "import plait.core.b", "plait.core.b": "def f():\n    import torch"}, 0),
    (docstrings, {"plait.a": "import os"}, 1),
    (docstrings, {"plait.a": "# why\n" + DOC}, 1),
    (docstrings, {"plait.a": '"""No stop"""'}, 1),
    (docstrings, {"plait.a": '"""Two. Sentences."""'}, 1),
    (docstrings, {"plait.a": '"""\nOne sentence.\n"""'}, 0),
    (lengths, {"plait.a": "x = 1\n" * 401}, 1),
    (lengths, {"plait.a": "x = 1\n" * 400}, 0),
    (lengths, {"plait.a": "class A:\n    def f():\n" + "        x = 1\n" * 60}, 1),
    (lengths, {"plait.a": "def f():\n" + "    x = 1\n" * 59}, 0),
    (vague_names, {"plait.data.utils": ""}, 1),
    (vague_names, {"plait.testing._common": ""}, 1),
    (shallow_modules, {"plait.a": NN + "class A(nn.Module): ...\nclass B(A): ..."}, 1),
    (
        shallow_modules,
        {"plait.a": NN + "class A(nn.Module): ...", "plait.b": "from plait.a import A\nclass B(A): ..."},
        1,
    ),
    (shallow_modules, {"plait.a": NN + "class A(nn.Linear): ..."}, 1),
    (shallow_modules, {"plait.a": NN + "class A(nn.Module): ...\nclass P(Protocol): ...\nclass Q(P): ..."}, 0),
    (forbidden, {"plait.a": "def f():\n    from joblib import dump"}, 1),
    (forbidden, {"plait.a": "import torch as t\nt.load('x')"}, 1),
    (forbidden, {"plait.a": "import torch\ntorch.load('x', weights_only=True)"}, 0),
    (forbidden, {"plait.a": "eval('1')"}, 1),
    (forbidden, {"plait.a": "model.eval()"}, 0),
    (forbidden, {"plait.a": "import yaml as y\ny.safe_load('x')"}, 1),
    (forbidden, {"plait.a": "import yaml\nyaml.load('x', Loader=_Loader)"}, 0),
    (forbidden, {"plait.a": "from plait.core import yaml\nyaml.load('x')"}, 0),
    (forbidden, {"plait.a": NN + "nn.BatchNorm1d(3)"}, 1),
    (forbidden, {"plait.a": "import torch\ntorch.nn.SyncBatchNorm(3)"}, 1),
    (forbidden, {"plait.a": "from torch.nn import MultiheadAttention\nMultiheadAttention(8, 2)"}, 1),
    (forbidden, {"plait.a": "import numpy as np\nnp.load('x', allow_pickle=True)"}, 1),
    (forbidden, {"plait.a": "import pandas as pd\npd.read_pickle('x')"}, 1),
]


@pytest.mark.parametrize(
    "rule, files, faults", PLANTED, ids=[f"{n}-{r.__name__}" for n, (r, _, _) in enumerate(PLANTED)]
)
def test_the_rule_sees_a_planted_fault(
    rule: Callable[[list[Source]], list[str]], files: dict[str, str], faults: int
) -> None:
    wrong = rule([Source(name, text) for name, text in files.items()])
    assert (len(wrong) > 0) == bool(faults), wrong


def test_rooms_stand_on_ordered_floors() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert folders <= set(ROOMS)
    assert all(low <= high for (low, _), (high, _) in pairwise(ROOMS.values()))
    assert all(reach <= floor for floor, reach in ROOMS.values())


@pytest.mark.parametrize("path", sorted((PACKAGE / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_name_nothing_to_import(path: Path) -> None:
    assert import_paths(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("text", ["kind: my.package:Part", "a: [plait.fusion.add]", "a: !!python/name:os.system x"])
def test_an_import_path_in_a_recipe_is_seen(text: str) -> None:
    assert import_paths(text)
