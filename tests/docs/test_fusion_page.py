"""The page of the fusion kinds: its examples run, its sections are the kinds there are, its formulas count right."""

import doctest
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from plait.core.kinds import config_class, kinds
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.nn.attention import Attention

PAGE = Path(__file__).resolve().parents[2] / "docs" / "fusion.md"
KINDS = [kind for kind, place in kinds("fusion").items() if place.startswith("plait.fusion.")]
SECTIONS = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##)", PAGE.read_text(), re.MULTILINE | re.DOTALL))

WIDTHS, COUNTS = {"series": 20, "dated": 12, "tabular": 28}, {"series": 5, "dated": 7, "tabular": 11}
LETTERS: dict[str, dict[str, str]] = {
    "film": {"hidden": "hidden"},
    "low_rank": {"r": "rank"},
    "latent_gate": {"e": "latent_dim", "hidden": "gate_hidden"},
    "perceiver": {"w": "dim", "l": "num_latents", "hidden": "hidden", "depth": "depth"},
    "bottleneck": {"w": "dim", "s": "num_bottlenecks", "hidden": "hidden", "depth": "depth"},
    "token_transformer": {"w": "dim", "hidden": "hidden", "depth": "depth"},
    "hierarchical": {"w": "dim"},
}
"""The letters of the page for the fields of a kind."""
VALUES = {"hidden": 13, "r": 3, "e": 8, "w": 16, "l": 6, "s": 3, "depth": 2}


def test_examples_run() -> None:
    with torch.random.fork_rng(devices=[]):
        found = doctest.testfile(
            str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
        )
    assert found.failed == 0
    assert found.attempted > 0


def test_sections_are_the_kinds() -> None:
    headings = re.findall(r"^### (.+)$", PAGE.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(f"`{kind}`" for kind in KINDS)
    tree = PAGE.read_text().split("## Which one")[1].split("\n## ")[0]
    assert {*re.findall(r"\]\(#(\w+)\)", tree)} == {*KINDS}


def test_links_lead_to_files() -> None:
    for place in re.findall(r"\]\(([^#)]+)\)", PAGE.read_text()):
        assert (PAGE.parent / place).is_file(), place


@pytest.mark.parametrize("kind", KINDS)
def test_formulas_count_parameters_and_attention_pairs(kind: str) -> None:
    section = " ".join(SECTIONS[f"`{kind}`"].split())
    assert "```pycon >>> " in section
    names = {**VALUES, **_facts()}
    fields: dict[str, Any] = {field: names[letter] for letter, field in LETTERS.get(kind, {}).items()}
    if kind == "hierarchical":
        fields["tree"] = list(WIDTHS)
    module = config_class("fusion", kind)(**fields).build(Schema("series", WIDTHS))
    parameters = sum(p.numel() for p in module.parameters())
    assert eval(_formula(section, "Parameters"), names) == parameters
    assert eval(_formula(section, "Attention pairs"), names) == _pairs(module)


def _formula(section: str, what: str) -> str:
    found = re.search(rf"{what}[^`]*(?:`[a-z_]+`[^`]*)*`([^`]*[-+*\d][^`]*)`", section)
    assert found is not None, what
    return found.group(1)


def _facts() -> dict[str, Any]:
    """The letters that the streams give, and the counts of the page's own short names."""
    contexts = {name: width for name, width in WIDTHS.items() if name != "series"}
    return {
        "n": COUNTS["series"],
        "m": sum(COUNTS[name] for name in contexts),
        "d": WIDTHS["series"],
        "K": len(WIDTHS),
        "widths": list(contexts.values()),
        "counts": list(COUNTS.values()),
        "P": lambda w: sum((width + 1) * w for width in contexts.values()),
        "Q": lambda w: sum((width + 1) * w for width in WIDTHS.values()),
        "B": lambda w, hidden: 4 * w**2 + 2 * w * hidden + 8 * w + hidden,
    }


def _pairs(module: nn.Module) -> int:
    """Queries times keys of every attention of one pass."""
    seen: list[int] = []
    for part in module.modules():
        if isinstance(part, Attention):
            part.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1] * given[1].shape[1]))
    module({name: Tokens.full(torch.zeros(1, COUNTS[name], width)) for name, width in WIDTHS.items()})
    return sum(seen)
