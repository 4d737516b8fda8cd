"""Every fusion operator of the room, in every form, is held to the contract."""

import doctest

import pytest
import torch

from contracts.variants import room_variants
from plait.testing import check_fusion
from plait.testing import fusion as suite
from plait.testing.graphs import compile_agrees
from plait.testing.streams import FusionCase, example_schema

FORMS = room_variants("fusion")
KINDS = [name for name in FORMS if "," not in name]


@pytest.mark.parametrize("form", FORMS)
def test_float32(form: str) -> None:
    check_fusion(FORMS[form], graphs=form in KINDS)


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16(form: str) -> None:
    check_fusion(FORMS[form], dtype=torch.bfloat16, graphs=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "form, dtype", [*((form, torch.float32) for form in FORMS), *((kind, torch.bfloat16) for kind in KINDS)]
)
def test_compiled_by_inductor(form: str, dtype: torch.dtype) -> None:
    config = FORMS[form]
    compile_agrees("inductor")(FusionCase(config, example_schema(config), dtype, "cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("form", [name for name in FORMS if name not in KINDS])
def test_every_form_as_a_graph(form: str) -> None:
    check_fusion(FORMS[form])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_as_a_graph(kind: str) -> None:
    check_fusion(FORMS[kind], dtype=torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", FORMS)
def test_on_cuda(form: str, dtype: torch.dtype) -> None:
    check_fusion(FORMS[form], dtype=dtype, device="cuda", graphs=False)


def test_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(suite) == (0, 2)
