"""The model of products: which sources it reads, how it is wired, what it starts from and counts."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Batch
from plait.fusion.cross_attention import CrossAttention, CrossAttentionConfig
from plait.fusion.hierarchical import HierarchicalConfig
from plait.fusion.none import NoneConfig
from plait.models.products import Products, ProductsConfig, ProductsNet, Wide

SCHEMA = Schema(
    "attributes", {"attributes": 5, "photo": 17, "clip": 13, "words": 11},
    stream_tokens={"attributes": 1, "photo": 1, "clip": 1, "words": 7}, columns={"zip": 7, "state": 2}, outputs=1,
)  # fmt: skip
SEED = Schema("clip", {"clip": 768, "siglip_image": 1152, "siglip_text": 1024, "qwen": 1027}, outputs=1)


def model(schema: Schema = SCHEMA, seed: int = 0, **fields: Any) -> Products:
    torch.manual_seed(seed)
    return ProductsConfig.model_validate(fields).build(schema).eval()


def net(found: Products, number: int = 0) -> ProductsNet:
    one = found.nets[number]
    assert isinstance(one, ProductsNet)
    return one


def batch(rows: int = 5, seed: int = 0) -> Batch:
    maker = torch.Generator().manual_seed(seed)
    inputs: dict[str, Tensor] = {"attributes_codes": torch.randint(0, 3, (rows, 2), generator=maker)}
    for name, width in SCHEMA.streams.items():
        count = SCHEMA.stream_tokens[name]
        inputs |= {name: torch.randn(rows, count, width, generator=maker)}
        inputs |= {f"{name}_mask": torch.ones(rows, count, dtype=torch.bool)}
    return Batch(inputs, {}, {})


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def stirred(found: Products) -> Products:
    """The same model with parts that start at 0, or near it, moved."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return found


def test_every_source_has_a_leg_and_the_attributes_are_the_anchor() -> None:
    found = model()
    assert list(net(found).legs) == ["attributes", "clip", "photo", "words"]
    assert (found.anchor, found.fused) == ("attributes", True)
    assert found.required == ("attributes", "attributes_mask", "attributes_codes")
    assert model(replace(SCHEMA, columns={})).required == ("attributes", "attributes_mask")
    tokens = {name: net(found).legs[name].tokens for name in ("photo", "clip", "words")}
    assert tokens == {"photo": 4, "clip": 4, "words": 1}


def test_fields_of_one_source_are_laid_over_those_of_all() -> None:
    config = ProductsConfig.model_validate(
        {
            "branch": {"kind": "branch", "hidden": [19], "dropout": 0.3},
            "branches": {"clip": {"hidden": [7, 5], "tokens": 3}, "words": {"kind": "vector", "hidden": [3]}},
        }
    )
    assert (config.leg("clip").hidden, config.leg("clip").dropout, config.leg("clip").tokens) == ([7, 5], 0.3, 3)
    assert (config.leg("photo").hidden, config.leg("photo").tokens) == ([19], 4)
    assert (config.leg("words").kind, config.leg("words").modality, config.leg("words").hidden) == (
        "vector",
        "words",
        [3],
    )
    assert ProductsConfig.model_validate(config.model_dump(mode="json")) == config
    assert net(config.build(SCHEMA)).legs["clip"].tokens == 3


def test_names_and_fields_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.branches: .*'clop'.*clip.*the sources are photo, clip, words"):
        model(branches={"clop": {"tokens": 3}})
    with pytest.raises(ConfigError, match=r"model\.branches: .*'attributes'"):
        model(branches={"attributes": {"hidden": [3]}})
    with pytest.raises(ConfigError, match=r"model\.without: .*'photos'.*did you mean photo\?"):
        model(without=["photos"])
    with pytest.raises(ConfigError, match="every source is left out"):
        model(without=list(SCHEMA.streams))
    with pytest.raises(ConfigError, match=r"model\.branches\.clip: no field 'tokns': did you mean tokens\?"):
        model(branches={"clip": {"tokns": 3}})


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"attributes": {"kind": "metadata"}}, "encodes metadata"),
        ({"branch": {"kind": "text"}}, "encodes text, not any source"),
        ({"fusion": {"kind": "latent_gate", "depth": 1}}, "attention over the one token of the attributes"),
        ({"head": {"kind": "distribution"}}, "'distribution' gives no free number"),
        ({"head": {"kind": "regression", "constraint": "nonnegative"}}, "'regression' nonnegative gives no free"),
    ],
)
def test_parts_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ProductsConfig.model_validate(fields)


def test_the_fusion_is_hierarchical_where_there_is_more_than_one_source() -> None:
    config = ProductsConfig()
    assert config.resolve(SCHEMA).fusion == HierarchicalConfig()
    assert config.resolve(replace(SCHEMA, streams={"attributes": 5})).fusion == NoneConfig()
    asked = ProductsConfig(fusion=CrossAttentionConfig(), without=["photo", "clip", "words"])
    assert asked.resolve(SCHEMA).fusion == NoneConfig()


def test_what_is_left_out_is_neither_built_nor_read() -> None:
    found = model(without=["attributes", "clip"])
    assert list(net(found).legs) == ["photo", "words"]
    assert (found.anchor, found.required, net(found).wide) == ("photo", ("photo", "photo_mask"), None)
    given = batch()
    assert torch.equal(found(given).prediction.point, found(given.without(["attributes", "clip"])).prediction.point)


def test_attributes_that_are_not_there_may_be_left_out() -> None:
    schema = replace(SCHEMA, anchor="photo", streams={"photo": 17, "clip": 13}, columns={})
    found = model(schema, without=["attributes"], fusion={"kind": "latent_gate", "depth": 1})
    assert list(net(found).legs) == ["clip", "photo"]


def test_without_a_fusion_the_anchor_s_leg_alone_exists() -> None:
    found = ProductsConfig(fusion=CrossAttentionConfig()).alone().build(SCHEMA)
    assert list(net(found).legs) == ["attributes"]
    assert not found.fused


def test_what_it_reads_as_far_as_a_config_can_tell() -> None:
    fused = ProductsConfig(fusion=CrossAttentionConfig(), without=["clip"])
    assert [name in fused.reads for name in ("attributes", "photo", "clip")] == [True, True, False]
    assert fused.alone().reads == {"attributes"}
    assert frozenset().union(fused.alone().reads, fused.reads) == {"attributes"}


@pytest.mark.parametrize("head", ["mixture_of_experts", "regression"])
@pytest.mark.parametrize("nets", [1, 2])
def test_an_anchored_fusion_starts_as_the_attributes_alone(head: str, nets: int) -> None:
    fields = {"head": head, "nets": nets}
    fused, alone = (model(fusion=fusion, **fields)(batch()).prediction for fusion in ("cross_attention", "none"))
    assert torch.equal(fused.point, alone.point)
    assert all(torch.equal(fused.parts[name], alone.parts[name]) for name in alone.parts)


def test_keys_of_the_attributes_are_the_photo_s_tokens_and_nothing() -> None:
    found = stirred(model(fusion="cross_attention", without=["clip", "words"]))
    fusion = net(found).fusion
    assert isinstance(fusion, CrossAttention)
    used = found(batch(), explain=True).maps["attention"]
    assert used.keys == (("null", 1), ("photo", 4))
    assert used.values.shape == (5, 4, 1, 5)


@torch.no_grad()
def test_beside_a_wide_part_the_net_starts_next_to_the_centre() -> None:
    found = model()
    found.centre.fill_(11.0)
    point = found(batch(101)).prediction.point
    assert float((point - 11).abs().max()) < 0.02
    assert float((model(wide=False)(batch(101)).prediction.point).std()) > 0.02


@torch.no_grad()
def test_the_wide_part_is_a_line_and_an_offset_a_category() -> None:
    wide = Wide(5, [7, 2])
    assert count(wide) == 5 + 8 + 3
    assert not any(bool(p.any()) for p in wide.parameters())
    assert wide.offsets is not None
    wide.weight.copy_(torch.arange(1.0, 6.0)[None])
    wide.offsets.copy_(torch.arange(11.0)[:, None] * 100)
    values = torch.randn(3, 1, 5)
    codes = torch.tensor([[7, 2], [0, 1], [3, 0]])
    found = wide({"values": values, "mask": torch.tensor([[True], [True], [False]]), "codes": codes})
    line = values[:, 0] @ torch.arange(1.0, 6.0)
    want = torch.stack([line[0] + 700 + 1000, line[1] + 0 + 900, torch.tensor(0.0)])[:, None]
    torch.testing.assert_close(found, want)


@torch.no_grad()
def test_the_wide_part_is_added_to_the_deep_one_and_to_every_expert() -> None:
    found, given = stirred(model()), batch()
    part = net(found)
    after = found(given).prediction
    fields = {"values": given.inputs["attributes"], "mask": given.inputs["attributes_mask"]}
    assert part.wide is not None
    wide = part.wide({**fields, "codes": given.inputs["attributes_codes"]})
    part.wide = None
    before = found(given).prediction
    torch.testing.assert_close(after.point, before.point + wide)
    torch.testing.assert_close(after.parts["experts"], before.parts["experts"] + wide[:, None])
    assert torch.equal(after.parts["gate"], before.parts["gate"])


@torch.no_grad()
def test_several_nets_are_averaged_and_the_gate_weighs_the_experts_of_each() -> None:
    found, given = stirred(model(nets=3)), batch()
    found.centre.fill_(3.0)
    output = found(given, explain=True)
    point, parts = output.prediction
    assert (parts["points"].shape, parts["gate"].shape, parts["experts"].shape) == ((5, 3, 1), (5, 3, 3), (5, 3, 3))
    torch.testing.assert_close(point, parts["points"].mean(1))
    torch.testing.assert_close((parts["gate"] * parts["experts"]).sum(-1, keepdim=True), parts["points"])
    assert float(parts["points"].std(dim=1).max()) > 1e-3
    for number in range(3):
        shown = output.maps[f"experts.net{number}"]
        assert shown.axes == ("row", "expert")
        assert torch.equal(shown.values, parts["gate"][:, number])
    assert not found(given).maps


def test_nets_differ_and_the_first_is_that_of_one_alone() -> None:
    one, several = model().state_dict(), model(nets=2).state_dict()
    firsts = {name for name in several if name.startswith("nets.0.")}
    assert all(torch.equal(one[name], several[name]) for name in firsts)
    assert not torch.equal(several["nets.0.head.gate.weight"], several["nets.1.head.gate.weight"])


class Priced:
    """The one thing a model asks of the data before it starts."""

    def prices(self, split: str) -> NDArray[np.float64]:
        assert split == "train"
        return np.array([3.0, np.nan, 500.0, 7.0])


def test_it_starts_at_the_median_of_the_train_prices() -> None:
    found = model()
    assert found.start(Priced()) == {}
    assert float(found.centre) == pytest.approx(np.log1p(7.0))
    assert "centre" in found.state_dict()
    again = model()
    again.load_state_dict(found.state_dict())
    assert torch.equal(again(batch()).prediction.point, found(batch()).prediction.point)


@torch.no_grad()
def test_under_autocast_the_price_is_not_rounded_to_half_precision() -> None:
    found = model(fusion="cross_attention")
    found.centre.fill_(13.1234567)
    with torch.autocast("cpu", torch.bfloat16):
        point = found(batch()).prediction.point
    assert point.dtype == torch.float32
    assert float((point - found(batch()).prediction.point).abs().max()) < 1e-3


def test_the_wiring_of_the_design_document_counts_what_its_layers_do() -> None:
    node = {"kind": "cross_attention", "heads": 8}
    tree = [["clip", "siglip_image"], ["siglip_text", "qwen"]]
    with torch.device("meta"):
        found = model(
            SEED,
            branch={"kind": "branch", "hidden": [512], "dim": 256, "tokens": 4},
            fusion={"kind": "hierarchical", "tree": tree, "dim": 512, "node": node},
            head={"kind": "mixture_of_experts", "experts": 3, "hidden": 256},
        )
    legs = {name: count(leg) for name, leg in net(found).legs.items()}
    tail = 1 + 2 * 512 + (512 * 1024 + 1024) + 2 * 256
    assert legs == {name: (width * 512 + 512) + tail for name, width in SEED.streams.items()}
    # Two directions a node: projections of the one context, of query, key, value and answer, two norms, a null token.
    each = (512 * 512 + 512) + (4 * 512 * 512 + 2 * 512) + 4 * 512 + 512
    assert count(found.fusion) == 4 * (256 * 512 + 512) + 3 * (2 * each + 2 * 512)
    assert count(net(found).head) == 2 * 512 + (3 * 512 + 3) + 3 * (512 * 256 + 256) + 3 * (256 + 1)
