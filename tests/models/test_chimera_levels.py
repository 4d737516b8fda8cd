"""`chimera` with texts that enter between the blocks of the series leg."""

from typing import Any

import pytest
import torch
from torch import Tensor

from plait.cli.arguments import config_of
from plait.core.config import validate
from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Batch, Tokens, fields_of
from plait.models.chimera import Chimera, ChimeraConfig
from plait.nn.block import Stack
from plait.nn.window_norm import window_scale
from plait.testing.case import Tensors, learn
from plait.testing.models import ModelCase, series_schema
from plait.training.config import StageConfig
from plait.training.stages import select

SERIES = {"kind": "itransformer", "dim": 20, "depth": 3, "heads": 4, "hidden": 23, "dropout": 0.0, "calendar": True}
MODEL = {"kind": "chimera", "series": SERIES, "text": {"kind": "text", "dim": 16, "depth": 0, "dropout": 0.0}}


def config(**fields: Any) -> ChimeraConfig:
    return validate(ChimeraConfig, MODEL | fields)


def case(**fields: Any) -> ModelCase:
    return ModelCase(config(**fields), series_schema(), torch.float32, "cpu")


def opened(of: ModelCase) -> Any:
    """The model with random weights in every fusion, its closed factors too."""
    module: Any = of.build()
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in module.fusion.parameters():
            parameter.normal_(std=0.3)
    return module


def by_hand(module: Chimera, inputs: Tensors, levels: list[int]) -> Tensor:
    """The forecast, with blocks and operators called one after the other."""
    leg: Any = module.series
    fields = fields_of(inputs, "series")
    scale = window_scale(fields["values"], fields["mask"], leg.config.scaling)
    fields["values"] = scale.apply(fields["values"])
    text = module.text(fields_of(inputs, "text"))  # type: ignore[misc]
    x, present = leg.embedded(fields)
    count = fields["values"].shape[2]
    assert x.shape[1] > count  # tokens of the calendar, which no text may change
    for number, block in enumerate(leg.stack.blocks, start=1):
        x = block(Tokens(x, present))[0].x
        if number == len(leg.stack.blocks):
            x = leg.stack.norm(x)
        if number in levels:
            operator: Any = module.fusion.after[str(number)]  # type: ignore[union-attr,index]
            x = torch.cat(
                [operator({"series": Tokens(x[:, :count], present[:, :count]), "text": text}).x, x[:, count:]], 1
            )
    answer = module.head(module.final(Tokens(x[:, :count], present[:, :count])), {"text": text})
    return scale.undo(answer.point)


@torch.no_grad()
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("levels", [[1], [1, 2], [1, 3], [3]])
def test_it_equals_the_blocks_and_operators_one_after_the_other(levels: list[int], norm: str) -> None:
    of = case(levels=levels, series=SERIES | {"norm": norm})
    module, inputs = opened(of), of.sample()
    variates = inputs["series_mask"].any(dim=1)[:, None]
    got, want = of.run(module, inputs)["point"], by_hand(module, inputs, levels)
    torch.testing.assert_close(torch.where(variates, got, 0.0), torch.where(variates, want, 0.0), atol=1e-5, rtol=1e-5)
    assert (got - of.run(of.build(), inputs)["point"]).abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("kind", ["latent_gate", "add", "perceiver"])
def test_a_row_without_text_is_the_series_alone_at_every_level_bit_for_bit(kind: str) -> None:
    of = case(levels=[1, 2, 3], fusion=kind)
    module, inputs = opened(of), of.sample(rows=5)
    alone: Any = of.config.alone().build(of.schema).eval()  # type: ignore[attr-defined]
    alone.load_state_dict({name: module.state_dict()[name] for name in alone.state_dict()})
    some = inputs["text_mask"].clone()
    some[::2] = False
    got = of.run(module, inputs | {"text_mask": some})["point"]
    want = of.run(alone, Batch(inputs, {}, {}).without(["text"]).inputs)["point"]
    assert torch.equal(got[::2], want[::2])
    assert (got[1::2] - want[1::2]).abs().amax(dim=(1, 2)).min() > 1e-3


def test_the_series_model_beside_it_has_the_weights_and_the_start_of_one_without_levels() -> None:
    levelled, plain = case(levels=[1, 2]), case()
    alone = levelled.config.alone()  # type: ignore[attr-defined]
    assert (alone.fusion.kind, alone.levels) == ("none", None)
    names = [list(levelled.build(each).state_dict()) for each in (alone, plain.config.alone())]  # type: ignore[attr-defined]
    assert names[0] == names[1]
    found, usual = levelled.build().state_dict(), plain.build().state_dict()
    assert {name for name in usual if not name.startswith("fusion.")} == {
        name for name in found if not name.startswith("fusion.")
    }
    assert all(torch.equal(found[name], usual[name]) for name in usual if not name.startswith("fusion."))
    assert not any(name.startswith("fusion.after") for name in usual)


def test_the_series_leg_s_weights_have_the_names_they_always_had() -> None:
    module: Any = case(series=SERIES | {"depth": 1}).build()
    block = [f"stack.blocks.0.{name}" for name in (
        "attention.query.weight", "attention.query.bias", "attention.key.weight", "attention.value.weight",
        "attention.value.bias", "attention.out.weight", "attention.out.bias", "feed_forward.up.weight",
        "feed_forward.up.bias", "feed_forward.down.weight", "feed_forward.down.bias", "norm1.weight", "norm1.bias",
        "norm2.weight", "norm2.bias",
    )]  # fmt: skip
    assert list(module.series.state_dict()) == [
        "embed.weight", "embed.bias", "missing.weight", "embed_marks.weight", "embed_marks.bias",
        "embed_season.weight", *block, "stack.norm.weight", "stack.norm.bias",
    ]  # fmt: skip


def test_each_level_starts_from_a_seed_of_its_own() -> None:
    one, two = (case(levels=levels).build().state_dict() for levels in ([1], [1, 2]))
    assert {name.split(".")[2] for name in two if name.startswith("fusion.after.")} == {"1", "2"}
    assert all(torch.equal(two[name], value) for name, value in one.items())
    first = "fusion.after.1.attention.query.weight"
    assert not torch.equal(two[first], two[first.replace(".1.", ".2.")])


@torch.no_grad()
def test_the_last_block_alone_is_the_fusion_after_the_leg() -> None:
    of, usual = case(levels=[3]), case()
    levelled, plain, inputs = opened(of), usual.build(), of.sample()
    plain.load_state_dict({name.replace("fusion.after.3.", "fusion."): v for name, v in levelled.state_dict().items()})
    assert torch.equal(of.run(levelled, inputs)["point"], usual.run(plain, inputs)["point"])


def test_every_level_learns_and_the_stage_of_the_fusion_trains_all() -> None:
    of = case(levels=[1, 3])
    module = of.build()
    learn(of, module, [of.sample()], lr=1e-2)
    select(module, StageConfig(name="fusion", train=["fusion.*"], epochs=1))
    of.run(module, of.sample())["point"].square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.requires_grad == name.startswith("fusion.")
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert float(parameter.grad.abs().max()) > 0, name


def test_maps_and_losses_are_named_by_level_and_only_variates_ask() -> None:
    of = case(levels=[1, 3], fusion={"kind": "latent_gate", "gate_l1": 0.1})
    output = opened(of)(Batch(of.sample(), {}, {}), explain=True)
    assert set(output.maps) == {"attention.level1", "gate.level1", "attention.level3", "gate.level3"}
    assert set(output.losses) == {"gate_l1.level1", "gate_l1.level3"}
    assert output.maps["attention.level1"].values.shape[2] == len(of.schema.variates)


@torch.no_grad()
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_two_runs_of_a_stack_are_one_pass(norm: str) -> None:
    torch.manual_seed(0)
    stack, x, mask = Stack(12, 3, 2, 7, norm=norm), torch.randn(3, 5, 12), torch.rand(3, 5) < 0.7
    whole = stack(Tokens(x, mask)).x[mask]
    for between in (0, 1, 2):
        half = stack.run(Tokens(x, mask), 0, between)
        assert torch.equal(stack.run(half, between, 3).x[mask], whole)
    assert not torch.equal(stack.run(Tokens(x, mask), 0, 2).x[mask], whole)


@pytest.mark.parametrize("levels", [[], [0, 1], [-1], [2, 1], [1, 1]])
def test_levels_are_numbers_in_order(levels: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"levels: should be numbers of blocks from 1 on, in order and each once"):
        config(levels=levels)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"series": {"kind": "linear"}}, "a series leg of kind 'linear' has no blocks over variates"),
        (
            {"series": {"kind": "patch", "patch": {"length": 4, "stride": 3}}},
            "a series leg of kind 'patch' has no blocks over variates",
        ),
        ({"series": SERIES | {"depth": 1}}, r"the series leg has 1 block, there is no level 2 .*raise model\.series"),
        ({"series": SERIES | {"depth": 0, "calendar": False}}, "the series leg has 0 blocks, there is no level 2"),
        ({"residual": True}, r"residual adds to the forecast of the series alone.* \(--no-residual"),
    ],
)
def test_levels_that_do_not_fit_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.levels: {words}"):
        config(levels=[1, 2], **fields).build(series_schema())
    with pytest.raises(ConfigError, match=rf"model\.levels: {words}"):
        config(levels=[1, 2], **fields).check_against(object(), object())
    config(levels=[1, 2], fusion="none", **fields).build(series_schema())


def test_levels_without_a_text_are_refused() -> None:
    alone = Schema("series", {"series": 1}, ("a",), 11, 5)
    with pytest.raises(ConfigError, match=r"model\.levels: there is one stream \(series\), nothing enters at levels"):
        config(levels=[1], series=SERIES | {"calendar": False}).build(alone)


def test_the_command_line_names_levels_and_the_direction() -> None:
    found = config_of(["chimera", "--size", "base", "--levels", "[1,2]", "--query", "text"])[2].model
    assert (found.levels, found.fusion.query) == ([1, 2], "context")


def test_the_document_s_size_with_its_own_direction_trains_a_step() -> None:
    chosen = config_of(["chimera", "--size", "seed", "--query", "text"])[2].model
    of = ModelCase(chosen, series_schema(), torch.float32, "cpu")
    module, inputs = of.build(), of.sample()
    before = of.run(module, inputs)["point"]
    learn(of, module, [inputs], lr=1e-4)
    after = of.run(module.eval(), inputs)["point"]
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)
    assert bool(module.fusion.down.weight.any())  # type: ignore[union-attr,operator]
