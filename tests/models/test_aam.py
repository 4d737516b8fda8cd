"""`aam` against a dense formula in NumPy, its ensembles, what it refuses, and the model of the ASVs alone."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.special import erf
from torch import Tensor

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Batch, Output
from plait.encoders.asv import keep_some
from plait.models.aam import Aam, AamConfig
from plait.testing.encoders import asv_fields, metadata_fields, random_tables
from plait.testing.models import prefixed

SCHEMA = Schema(
    "asv", {"asv": 8, "metadata": 3}, features=31, blocks={"kmers": 5, "tree": 3}, letters=11,
    columns={"site": 3, "ph": 0, "season": 5}, outputs=1, bins=7,
)  # fmt: skip
SMALL: dict[str, Any] = {
    "asv": {"kind": "asv", "dim": 12, "hidden": 13, "dropout": 0.0},
    "metadata": {"kind": "metadata", "dim": 5},
    "sample": {"depth": 1, "heads": 3, "hidden": 17},
    "pool": {"heads": 3, "key": 5, "value": 7},
    "composition": {"kind": "composition", "dim": 11},
    "head": {"kind": "distribution", "hidden": 19},
}
NUMBER = {"kind": "regression", "hidden": 19}
ROWS = 5


class Given(NamedTuple):
    """What a model is started with."""

    tables: dict[str, Tensor]


def build(schema: Schema = SCHEMA, opened: bool = True, **fields: Any) -> Aam:
    """The model with its tables, every parameter moved so that closed starts are open."""
    torch.manual_seed(3)
    model = AamConfig.model_validate({**SMALL, **fields}).build(schema).eval()
    model.start(Given(random_tables(schema, 0)))
    if opened:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def inputs(rows: int = ROWS, schema: Schema = SCHEMA) -> dict[str, Tensor]:
    maker = torch.Generator().manual_seed(1)
    found = prefixed("asv", asv_fields(schema, rows, maker))
    return found | prefixed("metadata", metadata_fields(schema, rows, maker)) if schema.columns else found


@torch.no_grad()
def run(model: Aam, given: dict[str, Tensor], explain: bool = False) -> Output:
    return model(Batch(given, {}, {}), explain)


def numbers(module: Any) -> dict[str, NDArray[np.float64]]:
    return {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}


def layer_norm(x: NDArray[np.float64], w: dict[str, Any], name: str) -> NDArray[np.float64]:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x * (1 + erf(x / np.sqrt(2))) / 2


def softmax(x: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    power = np.exp(x - x.max(axis=axis, keepdims=True))
    return power / power.sum(axis=axis, keepdims=True)


def quantile(cdf: NDArray[np.float64], thresholds: NDArray[np.float64], level: float) -> float:
    """Where a distribution function reaches a level, along straight lines."""
    at = int(np.argmax(cdf >= level))
    if at == 0:
        return float(thresholds[0])
    share = (level - cdf[at - 1]) / (cdf[at] - cdf[at - 1])
    return float(thresholds[at - 1] + share * (thresholds[at] - thresholds[at - 1]))


def dense(model: Aam, given: dict[str, Tensor]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pooled vector and the median from a table of all samples by all features; without sample blocks and fusion.

    Shape: (b, heads * value + composition), (b,).
    """
    w, pool = numbers(model.nets[0]), model.config.pool
    counts = np.zeros((ROWS, SCHEMA.features))
    for row, place in given["asv_mask"].nonzero().tolist():
        counts[row, given["asv"][row, place]] = float(given["asv_counts"][row, place])
    logs, blocks = np.log1p(counts), w["asv.table"]
    hidden = layer_norm(gelu(blocks @ w["asv.embed.weight"].T + w["asv.embed.bias"]), w, "asv.norm")
    named = hidden @ w["asv.project.weight"].T + w["asv.project.bias"] + blocks @ w["asv.skip.weight"].T
    tokens = named[None] + logs[..., None] / 3 * w["asv.amount.weight"][:, 0]
    parts = []
    for head in range(pool.heads):
        key = w["pool.key.weight"].reshape(pool.heads, pool.key, -1)[head]
        value = w["pool.value.weight"].reshape(pool.heads, pool.value, -1)[head]
        score = tokens @ key.T @ w["pool.query"][head] / np.sqrt(pool.key) + w["pool.abundance"][head] * logs / 3
        parts.append(np.einsum("bf,bfv->bv", softmax(np.where(counts > 0, score, -np.inf)), tokens @ value.T))
    ratios = logs - logs.mean(axis=1, keepdims=True) - w["composition.clr_mean"]
    parts.append(ratios @ (blocks @ w["composition.project.weight"].T) / 30)
    pooled = np.concatenate(parts, axis=1)
    inner = layer_norm(pooled, w, "head.readout.norm") @ w["head.readout.hidden.weight"].T
    inner = gelu(inner + w["head.readout.hidden.bias"])
    logits = inner @ w["head.readout.project.weight"].T + w["head.readout.project.bias"]
    cdf = softmax(logits).cumsum(axis=1)
    return pooled, np.array([quantile(each, w["head.thresholds"], 0.5) for each in cdf])


def test_the_model_is_the_dense_formula() -> None:
    model, given = build(sample={"depth": 0}, fusion={"kind": "none"}), inputs()
    pooled, median = dense(model, given)
    found = run(model, given).prediction
    np.testing.assert_allclose(found.parts["pooled"][:, 0].numpy(), pooled, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.point[:, 0].numpy(), median, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("at", ["tokens", "pooled"])
@pytest.mark.parametrize("kind", ["film", "cross_attention", "perceiver", "token_transformer"])
def test_the_order_of_asvs_their_padding_and_the_other_rows_are_irrelevant(kind: str, at: str) -> None:
    model, given = build(fusion={"kind": kind}, fuse_at=at, target={"depth": 1, "heads": 1, "hidden": 17}), inputs()
    want = run(model, given).prediction.point
    names = ("asv", "asv_mask", "asv_counts")
    order = torch.stack([torch.randperm(7, generator=torch.Generator().manual_seed(row)) for row in range(ROWS)])
    shuffled = {name: given[name].gather(1, order) for name in names}
    padded = {name: torch.cat([given[name], torch.zeros_like(given[name][:, :5])], dim=1) for name in names}
    for changed in (shuffled, padded):
        torch.testing.assert_close(run(model, given | changed).prediction.point, want, rtol=1e-5, atol=1e-5)
    for row in range(ROWS):
        alone = run(model, {name: tensor[row : row + 1] for name, tensor in given.items()}).prediction.point
        torch.testing.assert_close(alone, want[row : row + 1], rtol=1e-5, atol=1e-5)


def test_token_dropout_answers_of_a_sample_without_the_asvs_it_hides() -> None:
    asv = {**SMALL["asv"], "token_dropout": 0.5}
    still = {"dropout": 0.0}
    given = inputs()
    model = build(
        asv=asv, fusion={"kind": "none"}, composition=None, sample=SMALL["sample"] | still, head=SMALL["head"] | still
    )
    torch.manual_seed(7)
    kept = keep_some(given["asv_mask"], 0.5)
    assert int(kept.sum()) < int(given["asv_mask"].sum())
    want = run(model, given | {"asv_mask": kept}).prediction.parts["pooled"]
    torch.manual_seed(7)
    found = run(model.train(), given).prediction.parts["pooled"]
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-5)


# --- several nets


def test_distributions_are_averaged_as_distribution_functions() -> None:
    model, given = build(nets=3), inputs()
    found = run(model, given).prediction
    logits = found.parts["logits"].double().numpy()
    assert logits.shape == (ROWS, 3, SCHEMA.bins)
    cdf = softmax(logits).cumsum(axis=-1).mean(axis=1)
    thresholds = random_tables(SCHEMA, 0)["thresholds"].double().numpy()
    want = [quantile(each, thresholds, 0.5) for each in cdf]
    np.testing.assert_allclose(found.point[:, 0].numpy(), want, rtol=1e-5)
    medians = np.array([[quantile(net, thresholds, 0.5) for net in row] for row in softmax(logits).cumsum(axis=-1)])
    assert not np.allclose(medians.mean(axis=1), want, rtol=1e-3)


def test_numbers_are_averaged_as_numbers_and_classes_as_probabilities() -> None:
    found = run(build(nets=3, head=NUMBER, output_scaling=["site"]), inputs()).prediction
    assert found.parts["points"].shape == (ROWS, 3, 1)
    torch.testing.assert_close(found.point, found.parts["points"].mean(dim=1))
    schema = Schema(**{**vars(SCHEMA), "outputs": 3, "bins": 0})
    found = run(build(schema, nets=3, head={"kind": "classification", "hidden": 19}), inputs()).prediction
    shares = softmax(found.parts["logits"].double().numpy()).mean(axis=1)
    np.testing.assert_allclose(softmax(found.point.double().numpy()), shares, rtol=1e-5)


def test_nets_differ_and_the_first_is_the_model_of_one() -> None:
    three, one = build(nets=3, opened=False), build(opened=False)
    own = one.nets[0].state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in three.nets[0].state_dict().items())
    assert not any(
        torch.equal(tensor, three.nets[2].state_dict()[name])
        for name, tensor in three.nets[1].state_dict().items()
        if name.endswith("weight") and tensor.dim() > 1 and bool(tensor.any())
    )


# --- the ASVs alone


@pytest.mark.parametrize(
    "fields",
    [
        {"fusion": {"kind": "cross_attention"}},
        {"fusion": {"kind": "film"}, "nets": 2},
        {"head": {**NUMBER, "film": True}, "output_scaling": ["season", "site"]},
        {"fusion": {"kind": "none"}, "head": {**NUMBER, "film": True}},
        {"fusion": {"kind": "none"}, "head": NUMBER, "output_scaling": ["season"]},
    ],
)
def test_a_model_starts_as_that_of_the_asvs_alone_bit_for_bit(fields: dict[str, Any]) -> None:
    config = AamConfig.model_validate({**SMALL, **fields})
    assert "metadata" in config.reads
    assert config.alone().reads == {"asv"}
    fused, alone = build(opened=False, **fields), build(opened=False, **config.alone().model_dump(mode="json"))
    assert fused.fused
    assert not alone.fused
    weights = fused.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in alone.state_dict().items())
    assert torch.equal(run(fused, inputs()).prediction.point, run(alone, inputs()).prediction.point)
    opened = run(build(**fields), inputs()).prediction.point
    unknown = inputs() | {"metadata_mask": torch.zeros(ROWS, 3, dtype=torch.bool)}
    assert not torch.equal(run(build(**fields), unknown).prediction.point, opened)


def test_alone_leaves_the_rest_of_the_config() -> None:
    config = AamConfig.model_validate({**SMALL, "head": {**NUMBER, "film": True}, "output_scaling": "season, site"})
    assert config.output_scaling == ["season", "site"]
    alone = config.alone()
    assert (alone.fusion.kind, alone.output_scaling, alone.head.film) == ("none", [], False)
    changed = {"fusion", "output_scaling", "head"}
    assert alone.model_dump(exclude=changed) == config.model_dump(exclude=changed)


def test_scaling_reads_the_column_that_is_named() -> None:
    model, given = build(fusion={"kind": "none"}, head=NUMBER, output_scaling=["season"]), inputs()
    given["metadata_mask"][:] = True
    known = run(model, given).prediction.point
    other = given | {"metadata": given["metadata"].clone()}
    other["metadata"][:, 0] = (other["metadata"][:, 0] + 1) % 3
    assert torch.equal(run(model, other).prediction.point, known)
    other["metadata"][:, 2] = (other["metadata"][:, 2] + 1) % 5
    assert bool((run(model, other).prediction.point != known).all())


# --- what is built


def test_film_is_the_choice_where_there_are_columns_and_none_elsewhere() -> None:
    bare = Schema(**{**vars(SCHEMA), "streams": {"asv": 8}, "columns": {}})
    assert AamConfig().resolve(SCHEMA).fusion.kind == "film"
    assert AamConfig().resolve(bare).fusion.kind == "none"
    assert run(build(bare), inputs(schema=bare)).prediction.point.shape == (ROWS, 1)
    with pytest.raises(ConfigError, match=r"nothing to fuse by 'add'.*--categorical-columns"):
        AamConfig.model_validate({"fusion": {"kind": "add"}}).resolve(bare)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"output_scaling": ["sesaon"], "head": NUMBER}, "'sesaon' is no column.*did you mean season"),
        ({"output_scaling": ["ph"], "head": NUMBER}, "'ph' is no column of categories"),
        ({"output_scaling": ["season"]}, "the head is 'distribution'.*--head regression"),
        ({"pool": {"heads": 3}, "sample": {"depth": 1, "heads": 5}}, r"model\.sample\.heads"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(**fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"asv": {"kind": "metadata"}}, "'metadata' encodes metadata, not asv"),
        ({"metadata": {"kind": "asv"}}, "'asv' encodes asv, not metadata"),
        ({"asv": {"kind": "composition"}}, "'composition' gives one token a sample, not a token an ASV"),
        ({"composition": {"kind": "asv"}}, "'asv' gives a token an ASV, not one token a sample"),
        ({"fusion": {"kind": "latent_gate", "depth": 1}, "fuse_at": "pooled"}, "attention to nothing"),
        ({"nets": 0}, "nets"),
    ],
)
def test_legs_that_do_not_fit_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AamConfig.model_validate(fields)


def test_no_parameter_is_built_that_nothing_reads() -> None:
    """A pool over tokens that are not ASVs has no use for abundance; one token needs neither a pool nor blocks."""
    at_tokens: dict[str, Any] = {"fuse_at": "tokens", "target": {"depth": 1, "heads": 1, "hidden": 5}}
    for kind, has in (("cross_attention", {"pool.abundance", "target"}), ("perceiver", {"pool", "target"})):
        names = {
            name.removeprefix("nets.0.") for name, _ in build(fusion={"kind": kind}, **at_tokens).named_parameters()
        }
        assert all(any(name.startswith(each) for name in names) for each in has)
        assert ("pool.abundance" in names) == ("pool.abundance" in has)
    names = {name for name, _ in build(fusion={"kind": "token_transformer"}, **at_tokens).named_parameters()}
    assert not any("pool" in name or "target" in name for name in names)
    names = {name for name, _ in build(fusion={"kind": "none"}).named_parameters()}
    assert not any("metadata" in name for name in names)


def test_the_maps_say_which_asvs_were_looked_at() -> None:
    given = inputs()
    maps = run(build(fusion={"kind": "cross_attention"}), given, explain=True).maps
    pool = maps["attention.pool"]
    assert pool.keys == (("asv", 7),)
    assert pool.axes == ("row", "head", "pooled token", "asv token")
    torch.testing.assert_close(pool.values.sum(dim=-1), torch.ones(ROWS, 3, 1))
    assert not pool.values[:, :, 0][~given["asv_mask"][:, None].expand(-1, 3, -1)].any()
    assert maps["attention"].keys[1:] == (("metadata", 3),)
    many = run(build(fusion={"kind": "cross_attention"}, nets=2), given, explain=True).maps
    assert set(many) == {f"{name}.net{net}" for name in maps for net in range(2)}
