"""Every encoder of the room, in every form, is held to the contract."""

import doctest
from dataclasses import replace

import pytest
import torch

from contracts.variants import room_variants
from plait.encoders.text import TextConfig
from plait.testing import check_encoder
from plait.testing import encoders as suite
from plait.testing.graphs import compile_agrees

FORMS = room_variants("encoders")
KINDS = [name for name in FORMS if "," not in name]
WHOLE = [*KINDS, *(name for name in FORMS if name.endswith(", everything on"))]


@pytest.mark.parametrize("form", FORMS)
def test_float32(form: str) -> None:
    check_encoder(FORMS[form], graphs=form in WHOLE)


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16(form: str) -> None:
    check_encoder(FORMS[form], dtype=torch.bfloat16, graphs=form in KINDS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_text_that_pools_groups_of_tokens(dtype: torch.dtype) -> None:
    schema = replace(suite.series_schema(), stream_tokens={"text": 15}, grouped={"text": 5})
    check_encoder(TextConfig(), schema, dtype=dtype, graphs=dtype == torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", KINDS)
def test_compiled_by_inductor(form: str, dtype: torch.dtype) -> None:
    compile_agrees("inductor")(suite.EncoderCase(FORMS[form], suite.series_schema(), dtype, "cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("form", [name for name in FORMS if name not in WHOLE])
def test_every_form_as_a_graph(form: str) -> None:
    check_encoder(FORMS[form])


def test_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(suite) == (0, 2)
