"""Every head of the room, in every form, is held to the contract."""

import doctest

import pytest
import torch

from contracts.variants import room_variants
from plait.testing import check_head
from plait.testing import heads as suite
from plait.testing.graphs import compile_agrees

FORMS = room_variants("heads")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", FORMS)
def test_contract(form: str, dtype: torch.dtype) -> None:
    check_head(FORMS[form], dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", FORMS)
def test_compiled_by_inductor(form: str, dtype: torch.dtype) -> None:
    compile_agrees("inductor")(suite.HeadCase(FORMS[form], suite.head_schema(), dtype, "cpu"))


def test_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(suite) == (0, 2)
