"""Every model of the room, with every fusion and every leg that fits, is held to the contract."""

import doctest
from dataclasses import replace
from typing import Any

import pytest
import torch

from contracts.variants import ends, room_variants, with_every_part
from plait.core.config import validate
from plait.core.kinds import config_class, kinds
from plait.core.schema import Schema
from plait.encoders.asv import AsvConfig, NucleotidesConfig
from plait.fusion.latent_gate import LatentGateConfig
from plait.fusion.none import NoneConfig
from plait.heads.classification import ClassificationConfig
from plait.heads.distribution import DistributionConfig
from plait.heads.regression import RegressionConfig
from plait.models.aam import AamConfig
from plait.models.calf import CalfConfig
from plait.models.chimera import ChimeraConfig
from plait.nn.attention_bias import BiasConfig
from plait.nn.patches import PatchShape
from plait.testing import check_model
from plait.testing import models as suite
from plait.testing.graphs import compile_agrees

KINDS = list(kinds("models"))
FORMS = {form: config for form, config in room_variants("models").items() if "fuse_at=" not in form}  # among PARTS
# Laws ask nothing of size, and six blocks of GPT-2 cost minutes.
LITTLE: dict[str, Any] = {"gpt_layers": 2, "dim": 16, "heads": 2, "words": 7, "patch": PatchShape(length=4, stride=3)}
FORMS |= {form: config.model_copy(update=LITTLE) for form, config in FORMS.items() if isinstance(config, CalfConfig)}
PARTS = {kind: with_every_part(config_class("models", kind)) for kind in KINDS}
WIRED = {f"{kind}, {name}": config for kind in KINDS for name, config in PARTS[kind].items()}
ANSWERS = {
    "number": AamConfig(head=RegressionConfig(constraint="learnable")),
    "number, film": AamConfig(head=RegressionConfig(film=True)),
    "number, film without a hidden layer": AamConfig(head=RegressionConfig(film=True, hidden=0)),
    "number, film alone": AamConfig(head=RegressionConfig(film=True), fusion=NoneConfig()),
    "number, scaled": AamConfig(head=RegressionConfig(), output_scaling=["season", "site"]),
    "number, scaled alone": AamConfig(head=RegressionConfig(), output_scaling=["study"], fusion=NoneConfig()),
    "distribution, film": AamConfig(head=DistributionConfig(film=True), composition=None),
    "class": AamConfig(head=ClassificationConfig()),
    "two nets of a number": AamConfig(head=RegressionConfig(film=True), output_scaling=["site"], nets=2),
    "two nets of a distribution": AamConfig(nets=2, fusion=LatentGateConfig(gate_l1=0.1)),
    "two nets of a class": AamConfig(head=ClassificationConfig(), nets=2, asv=AsvConfig(abundance="clr", hidden=11)),
    "nucleotides": AamConfig(asv=AsvConfig(nucleotides=NucleotidesConfig(dim=12, depth=1, heads=2, hidden=13))),
}
SAMPLES = {f"aam, {name}": config for name, config in ANSWERS.items()}
LLAMA = {
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 13, "num_hidden_layers": 2, "vocab_size": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 31, "use_cache": False,
}  # fmt: skip
SPOKEN = {
    "no language model": CalfConfig(**LITTLE, backbone="patch"),
    "no language model, learnt decay": CalfConfig(**LITTLE, backbone="patch", bias=BiasConfig(learn=True)),
    "variates": CalfConfig(**LITTLE, token_axis="variate", bias=BiasConfig(kind="causal")),
    "variates without a language model": CalfConfig(
        **LITTLE, token_axis="variate", bias=BiasConfig(kind="none"), backbone="patch"
    ),
    "no text branch": CalfConfig(**LITTLE, output_w=0, feature_w=0),
    "forecasts drawn together": CalfConfig(**LITTLE, feature_w=0),
    "states drawn together": CalfConfig(**LITTLE, output_w=0),
    "a Llama": CalfConfig(**LITTLE, backbone="a-llama", architecture=LLAMA),
}
SERIES: dict[str, Any] = {f"calf, {name}": config for name, config in SPOKEN.items()}
SERIES["chimera, levels"] = validate(
    ChimeraConfig, {"series": {"kind": "itransformer", "dim": 16, "heads": 2, "hidden": 13}, "levels": [1, 2]}
)
EVERY = FORMS | WIRED | SAMPLES | SERIES
# What another form holds too: see `test_every_part`.
LATER = {name for name in EVERY if " at pooled, " in name} | {
    f"aam, {name}" for name in ("number, film", "number, film alone", "number, scaled alone", "two nets of a class")
}
# `calf, everything on` has one of each, and `tests/nn` has all biases.
LATER |= {name for name in FORMS if name.startswith("calf, ") and "everything on" not in name}
# Its legs are those of other models; its own operator and the plain ones stay.
LATER |= {name for name in EVERY if name.startswith("market, fusion=") and "token_transformer" not in name}
NAMED = ("cross_attention", "hierarchical", "none")
LATER |= {name for name in EVERY if name.startswith("products, fusion=") and not name.endswith(NAMED)}
LATER |= {
    f"calf, {name}" for name in ("no language model", "variates without a language model", "states drawn together")
}
ENDS = [f"{kind}, {name}" for kind in KINDS for name in PARTS[kind] if name in ends(PARTS[kind])]
QUICK = [form for form in (*FORMS, *ENDS, *SAMPLES, *SERIES) if form not in LATER]
HALF = [form for form in FORMS if form in ends(FORMS)]


def _schema(form: str) -> Schema | None:
    """Three classes, where the answer is a class."""
    return replace(suite.sample_schema(), outputs=3, bins=0) if form.endswith("class") else None


@pytest.mark.parametrize("form", QUICK)
def test_float32(form: str) -> None:
    check_model(EVERY[form], _schema(form), graphs=form in KINDS)


@pytest.mark.parametrize("form", HALF)
def test_bfloat16(form: str) -> None:
    check_model(FORMS[form], dtype=torch.bfloat16, graphs=False)


def test_with_texts_that_are_pooled() -> None:
    schema = replace(suite.series_schema(), stream_tokens={"text": 15}, grouped={"text": 5})
    check_model(FORMS["chimera"], schema, graphs=False)


def test_samples_without_metadata() -> None:
    schema = replace(suite.sample_schema(), streams={"asv": 8}, columns={})
    check_model(AamConfig(), schema, graphs=False)


@pytest.mark.slow
@pytest.mark.parametrize("form", [form for form in EVERY if form not in QUICK])
def test_every_part(form: str) -> None:
    check_model(EVERY[form], _schema(form), graphs=False)


@pytest.mark.slow
@pytest.mark.parametrize("form", [form for form in EVERY if form not in HALF])
def test_bfloat16_with_every_part(form: str) -> None:
    check_model(EVERY[form], _schema(form), dtype=torch.bfloat16, graphs=False)


@pytest.mark.slow
@pytest.mark.parametrize("form", [form for form in QUICK if form not in KINDS])
def test_every_form_and_part_as_a_graph(form: str) -> None:
    check_model(EVERY[form], _schema(form))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_by_inductor(kind: str, dtype: torch.dtype) -> None:
    config = FORMS[kind]
    compile_agrees("inductor")(suite.ModelCase(config, suite.schema_of(config), dtype, "cpu"))


def test_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(suite) == (0, 2)
