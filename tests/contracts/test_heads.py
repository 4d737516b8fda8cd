"""Every head of the room, in every form, is held to the contract."""

import doctest
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from contracts.variants import ends, room_variants
from plait.core.schema import Schema
from plait.core.tokens import Prediction, Tokens
from plait.heads._readout import readout_of
from plait.heads.distribution import Distribution, DistributionConfig
from plait.testing import check_head
from plait.testing import heads as suite
from plait.testing.graphs import compile_agrees

FORMS = room_variants("heads")
KINDS = [name for name in FORMS if "," not in name]
WHOLE = ends(FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_float32(form: str) -> None:
    check_head(FORMS[form], graphs=form in WHOLE)


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16(form: str) -> None:
    check_head(FORMS[form], dtype=torch.bfloat16, graphs=False)


@pytest.mark.slow
@pytest.mark.parametrize("form", [name for name in FORMS if name not in WHOLE])
def test_every_form_as_a_graph(form: str) -> None:
    check_head(FORMS[form])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_as_a_graph(kind: str) -> None:
    check_head(FORMS[kind], dtype=torch.bfloat16)


@pytest.mark.slow
@pytest.mark.parametrize(
    "form, dtype", [*((form, torch.float32) for form in FORMS), *((kind, torch.bfloat16) for kind in KINDS)]
)
def test_compiled_by_inductor(form: str, dtype: torch.dtype) -> None:
    compile_agrees("inductor")(suite.HeadCase(FORMS[form], suite.head_schema(), dtype, "cpu"))


def test_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(suite) == (0, 2)


class BrokenConfig(DistributionConfig):
    """The distribution head with a fault."""

    fault: str = ""

    def build(self, schema: Schema) -> "Broken":
        head = Broken(readout_of(schema, schema.bins, self.hidden, self.dropout, self.film), schema.bins)
        head.fault = self.fault
        if self.fault == "thresholds are not saved":
            head.register_buffer("thresholds", head.thresholds, persistent=False)
        return head


class Broken(Distribution):
    """Sound in its answer, broken in what it is read from, or in what it was filled with."""

    fault: str

    def forward(self, tokens: Tokens, context: Mapping[str, Tokens]) -> Prediction:
        point, parts = super().forward(tokens, context)
        logits: Tensor = parts["logits"]
        match self.fault:
            case "nets first":
                logits = logits.transpose(0, 1)
            case "reads absent tokens":
                logits = logits + tokens.x.mean(dim=(1, 2))[:, None, None]
            case "mean over rows":
                logits = logits - logits.mean(dim=0)
            case "another dtype":
                logits = logits.double()
        return Prediction(point, {"logits": logits})


@pytest.mark.parametrize(
    "fault, broken",
    [
        ("nets first", "shapes: parts.logits"),
        ("another dtype", "dtype_is_kept: parts.logits"),
        ("reads absent tokens", "absent_content_is_never_read"),
        ("mean over rows", "rows_are_independent"),
        ("thresholds are not saved", "state_round_trip"),
    ],
)
def test_a_broken_part_of_the_prediction_is_refused_by_the_right_law(fault: str, broken: str) -> None:
    with pytest.raises(AssertionError, match=rf"head 'distribution' \(float32\) breaks the law {broken}"):
        check_head(BrokenConfig(fault=fault), graphs=False)


def test_the_suite_fills_a_head_with_thresholds_that_increase_and_differ_by_seed() -> None:
    case = suite.HeadCase(DistributionConfig(), suite.head_schema(), torch.float32, "cpu")
    one, other = (case.build(seed=seed).get_buffer("thresholds") for seed in (0, 1))
    assert (one.diff() > 0).all()
    assert not torch.equal(one, other)
    assert not torch.equal(one, torch.arange(7.0))
