"""Every encoder of the room, in every form, is held to the contract."""

import doctest
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from contracts.variants import room_variants, variants
from plait.core.config import Config
from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.encoders.asv import Asv, AsvConfig, NucleotidesConfig
from plait.encoders.composition import CompositionConfig
from plait.encoders.metadata import MetadataConfig
from plait.encoders.text import TextConfig
from plait.testing import check_encoder
from plait.testing import encoders as suite
from plait.testing.graphs import compile_agrees

SMALL = NucleotidesConfig(dim=12, depth=1, heads=2, hidden=13, chunk=3)


def buildable(config: Config) -> Config:
    """The form, with letters to read where it reads no blocks."""
    if isinstance(config, AsvConfig) and not config.blocks:
        return config.model_copy(update={"nucleotides": SMALL})
    return config


NUCLEOTIDES = {
    f"asv, nucleotides {name}": AsvConfig(
        hidden=11, nucleotides=SMALL.model_copy(update=form.model_dump(include=given))
    )
    for name, form in variants(NucleotidesConfig).items()
    if (given := {name.partition("=")[0]} & set(NucleotidesConfig.model_fields)) or name == "default"
}
FORMS = {name: buildable(config) for name, config in room_variants("encoders").items()} | NUCLEOTIDES
KINDS = [name for name in FORMS if "," not in name]
WHOLE = [*KINDS, "asv, nucleotides default", *(name for name in FORMS if name.endswith(", everything on"))]


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
    config = FORMS[form]
    compile_agrees("inductor")(suite.EncoderCase(config, suite.schema_of(config), dtype, "cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("form", [name for name in FORMS if name not in WHOLE])
def test_every_form_as_a_graph(form: str) -> None:
    check_encoder(FORMS[form])


@pytest.mark.parametrize("columns", [{"a": 3, "b": 2}, {"a": 0, "b": 0}, {"a": 0}])
def test_metadata_of_categories_or_numbers_alone(columns: dict[str, int]) -> None:
    check_encoder(MetadataConfig(), replace(suite.sample_schema(), columns=columns))


def test_a_table_of_sequences_without_blocks() -> None:
    check_encoder(AsvConfig(nucleotides=SMALL), replace(suite.sample_schema(), blocks={}), graphs=False)


def test_a_row_number_or_code_that_is_read_although_absent_is_found() -> None:
    for config in (AsvConfig(), CompositionConfig(), MetadataConfig()):
        case = suite.EncoderCase(config, suite.sample_schema(), torch.float32, "cpu")
        inputs = case.sample()
        codes = case.poisoned(inputs, float("nan"))["values"]
        assert codes.dtype == torch.int64
        assert bool((codes[~inputs["mask"]].abs() > 10**9).all())
        assert torch.equal(codes[inputs["mask"]], inputs["values"][inputs["mask"]])


class CarelessConfig(AsvConfig):
    """An ASV encoder that looks up absent ASVs too."""

    def build(self, schema: Schema) -> "Careless":
        return Careless(schema, self)


class Careless(Asv):
    def forward(self, fields: Mapping[str, Tensor]) -> Tokens:
        return Tokens(super().forward({**fields, "mask": torch.ones_like(fields["mask"])}).x, fields["mask"])


class ForgetfulConfig(AsvConfig):
    """An ASV encoder whose tables are no part of its state."""

    def build(self, schema: Schema) -> Asv:
        module = super().build(schema)
        module.register_buffer("table", module.table, persistent=False)
        return module


@pytest.mark.parametrize(
    "config, broken", [(CarelessConfig(), "absent_content_is_never_read"), (ForgetfulConfig(), "state_round_trip")]
)
def test_a_broken_encoder_of_asvs_is_refused_by_the_right_law(config: Config, broken: str) -> None:
    with pytest.raises(AssertionError, match=rf"encoder 'asv' \(float32\) breaks the law {broken}: "):
        check_encoder(config, graphs=False)


def test_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(suite) == (0, 2)
