"""Every model of the room, with every fusion and every leg that fits, is held to the contract."""

import doctest
from dataclasses import replace

import pytest
import torch

from contracts.variants import ends, room_variants, with_every_part
from plait.core.kinds import config_class, kinds
from plait.testing import check_model
from plait.testing import models as suite
from plait.testing.graphs import compile_agrees

KINDS = list(kinds("models"))
FORMS = room_variants("models")
PARTS = {kind: with_every_part(config_class("models", kind)) for kind in KINDS}
WIRED = {f"{kind}, {name}": config for kind in KINDS for name, config in PARTS[kind].items()}
EVERY = FORMS | WIRED
QUICK = [*FORMS, *(f"{kind}, {name}" for kind in KINDS for name in PARTS[kind] if name in ends(PARTS[kind]))]


@pytest.mark.parametrize("form", QUICK)
def test_float32(form: str) -> None:
    check_model(EVERY[form], graphs=form in KINDS)


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16(form: str) -> None:
    check_model(FORMS[form], dtype=torch.bfloat16, graphs=False)


@pytest.mark.parametrize("kind", KINDS)
def test_with_texts_that_are_pooled(kind: str) -> None:
    schema = replace(suite.series_schema(), stream_tokens={"text": 15}, grouped={"text": 5})
    check_model(FORMS[kind], schema, graphs=False)


@pytest.mark.slow
@pytest.mark.parametrize("form", WIRED)
def test_bfloat16_with_every_part(form: str) -> None:
    check_model(WIRED[form], dtype=torch.bfloat16, graphs=False)


@pytest.mark.slow
@pytest.mark.parametrize("form", [form for form in QUICK if form not in KINDS])
def test_every_form_and_part_as_a_graph(form: str) -> None:
    check_model(EVERY[form])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_by_inductor(kind: str, dtype: torch.dtype) -> None:
    compile_agrees("inductor")(suite.ModelCase(FORMS[kind], suite.series_schema(), dtype, "cpu"))


def test_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(suite) == (0, 2)
