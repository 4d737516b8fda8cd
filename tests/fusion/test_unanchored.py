"""Each unanchored fusion operator against its formula, written out row by row over the present tokens alone."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from plait.core.errors import ConfigError
from plait.core.kinds import config_class
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens

DIM, HEADS, HIDDEN, DEPTH = 15, 3, 23, 3
LATENTS, SHARED = 5, 3
SCHEMA = Schema("series", {"series": 19, "dated": 13, "tabular": 17})
COUNTS = {"dated": 7, "series": 5, "tabular": 11}
SHAPE = {"dim": DIM, "heads": HEADS, "hidden": HIDDEN}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "perceiver": ("perceiver", {"num_latents": LATENTS}),
    "perceiver, depth": ("perceiver", {"num_latents": LATENTS, "depth": DEPTH}),
    "perceiver, no depth": ("perceiver", {"num_latents": LATENTS, "depth": 0}),
    "bottleneck, one layer": ("bottleneck", {"num_bottlenecks": SHARED, "depth": 1}),
    "bottleneck": ("bottleneck", {"num_bottlenecks": SHARED, "depth": DEPTH}),
    "token_transformer": ("token_transformer", {"depth": DEPTH}),
    "token_transformer, cls": ("token_transformer", {"depth": DEPTH, "cls": True}),
    "token_transformer, project": ("token_transformer", {"depth": 1, "project": True}),
    "token_transformer, both": ("token_transformer", {"depth": 1, "project": True, "cls": True}),
}
Weights = dict[str, Tensor]
Maps = dict[str, Tensor]


def part(kind: str, **fields: Any) -> Any:
    """An operator in float64 with every weight random."""
    torch.manual_seed(0)
    module = config_class("fusion", kind)(**SHAPE, **fields).build(SCHEMA).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module


def streams(*left_out: str) -> dict[str, Tokens]:
    """Row 0 is full, row 1 lacks some tokens, row 2 has no anchor and no dated tokens, row 3 nothing, row 4 the anchor
    alone; what is absent is NaN.
    """
    maker = torch.Generator().manual_seed(1)
    out = {}
    for name in ("tabular", "series", "dated"):
        x = torch.randn(5, COUNTS[name], SCHEMA.streams[name], generator=maker, dtype=torch.float64)
        mask = torch.rand(5, COUNTS[name], generator=maker) < 0.5
        mask[0], mask[1, 2], mask[3] = True, True, False
        mask[2] &= name == "tabular"
        mask[4] &= name == "series"
        out[name] = Tokens(torch.where(mask[..., None], x, math.nan), mask)
    return {name: tokens for name, tokens in out.items() if name not in left_out}


def present_tokens(given: dict[str, Tokens], w: Weights, row: int) -> dict[str, list[Tensor]]:
    """The present tokens of a row through the projections of their streams, by stream in the order of names."""
    found = {}
    for name in sorted(given):
        x, mask = given[name]
        found[name] = [line(x[row, i], w, f"contexts.project.{name}") for i in range(len(mask[row])) if mask[row, i]]
    return found


def line(x: Tensor, w: Weights, name: str) -> Tensor:
    return w[f"{name}.weight"] @ x + w[f"{name}.bias"]


def norm(x: Tensor, w: Weights, name: str) -> Tensor:
    centred = x - sum(x) / len(x)
    return centred / (sum(centred**2) / len(x) + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def two_layers(x: Tensor, w: Weights, name: str) -> Tensor:
    """Linear, GELU, Linear."""
    inner = line(x, w, f"{name}.up")
    assert len(inner) == HIDDEN
    return line(inner * (1 + torch.erf(inner / math.sqrt(2))) / 2, w, f"{name}.down")


def attend(queries: list[Tensor], keys: list[Tensor], w: Weights, name: str) -> tuple[list[Tensor], Tensor]:
    """What each query gets from the keys, head by head, and the weights (h, queries, keys)."""
    out, used, width = [], torch.zeros(HEADS, len(queries), len(keys), dtype=torch.float64), DIM // HEADS
    for i, query in enumerate(queries):
        asked, mixed = line(query, w, f"{name}.query"), torch.zeros(DIM, dtype=torch.float64)
        for head in range(HEADS):
            at = slice(head * width, (head + 1) * width)
            scores = [float(asked[at] @ (w[f"{name}.key.weight"][at] @ key)) / math.sqrt(width) for key in keys]
            shares = [math.exp(score - max(scores)) for score in scores]
            for j, key in enumerate(keys):
                used[head, i, j] = shares[j] / sum(shares)
                mixed[at] += used[head, i, j] * line(key, w, f"{name}.value")[at]
        out.append(line(mixed, w, f"{name}.out"))
    return out, used


def block(tokens: list[Tensor], w: Weights, name: str) -> tuple[list[Tensor], Tensor]:
    """A pre-norm transformer block over tokens that are all present, and its weights."""
    seen = [norm(z, w, f"{name}.norm1") for z in tokens]
    updates, used = attend(seen, seen, w, f"{name}.attention")
    after = [z + update for z, update in zip(tokens, updates, strict=True)]
    return [z + two_layers(norm(z, w, f"{name}.norm2"), w, f"{name}.feed_forward") for z in after], used


def stack(tokens: list[Tensor], w: Weights, depth: int, maps: Maps) -> list[Tensor]:
    for number in range(depth):
        tokens, maps[f"attention.block{number}"] = block(tokens, w, f"blocks.blocks.{number}")
    return [norm(z, w, "blocks.norm") for z in tokens] if depth else tokens


def perceiver(found: dict[str, list[Tensor]], w: Weights, depth: int = 1, **_: Any) -> tuple[list[Tensor], Maps]:
    keys = [norm(z, w, "norm_key") for tokens in found.values() for z in tokens]
    latents, maps = list(w["latents"][0]), {}
    assert len(latents) == LATENTS
    updates, maps["attention"] = attend([norm(z, w, "norm_query") for z in latents], keys, w, "attention")
    latents = [z + update for z, update in zip(latents, updates, strict=True)]
    latents = [z + two_layers(norm(z, w, "norm_feed"), w, "feed_forward") for z in latents]
    return stack(latents, w, depth, maps), maps


def bottleneck(found: dict[str, list[Tensor]], w: Weights, depth: int, **_: Any) -> tuple[list[Tensor], Maps]:
    own = {name: tokens for name, tokens in found.items() if tokens}
    shared, maps = list(w["bottlenecks"][0]), {}
    assert len(shared) == SHARED
    for number in range(depth):
        answers = []
        for name, tokens in own.items():
            both, used = block([*tokens, *shared], w, f"layers.{number}.{name}")
            maps[f"attention.{name}.block{number}"] = used
            own[name] = both[: len(tokens)]
            answers.append(both[len(tokens) :])
        shared = [sum(each) / len(answers) for each in zip(*answers, strict=True)]
    return [norm(z, w, "norm") for tokens in own.values() for z in tokens], maps


def token_transformer(
    found: dict[str, list[Tensor]], w: Weights, depth: int, cls: bool = False, project: bool = False
) -> tuple[list[Tensor], Maps]:
    place = dict(zip(("dated", "series", "tabular"), w["position"], strict=False))
    assert len(w["position"]) == 3 + cls
    tokens = [z + place[name] for name, tokens in found.items() for z in tokens]
    if cls:
        tokens = [w["cls"][0, 0] + w["position"][3], *tokens]
    maps: Maps = {}
    tokens = stack(tokens, w, depth, maps)
    pooled = tokens[0] if cls else sum(tokens) / len(tokens)
    return [line(pooled, w, "project").clamp(min=0) if project else pooled], maps


FORMULAS = {"perceiver": perceiver, "bottleneck": bottleneck, "token_transformer": token_transformer}


@torch.no_grad()
@pytest.mark.parametrize("left_out", [(), ("series",), ("dated", "tabular")])
@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_operator_equals_its_formula(form: str, explain: bool, left_out: tuple[str, ...]) -> None:
    kind, fields = FORMS[form]
    module, given = part(kind, **fields), streams(*left_out)
    weights = dict(module.named_parameters())
    x, mask = module(given, Notes(explain=True) if explain else None)
    assert module.dim == DIM
    assert x.shape == (*mask.shape, DIM)
    assert (x[~mask] == 0).all()
    for row in range(5):
        found = present_tokens(given, weights, row)
        if not any(found.values()):
            assert not mask[row].any()
            continue
        want = torch.stack(FORMULAS[kind](found, weights, **fields)[0])
        torch.testing.assert_close(x[row, mask[row]], want, atol=1e-10, rtol=1e-10)


def test_rows_and_masks_of_the_outputs() -> None:
    given = streams()
    something = torch.tensor([True, True, True, False, True])
    assert torch.equal(part("perceiver", num_latents=LATENTS)(given).mask, something[:, None].expand(-1, LATENTS))
    for cls in (False, True):
        assert torch.equal(part("token_transformer", cls=cls)(given).mask, something[:, None])
    joined = torch.cat([given[name].mask for name in ("dated", "series", "tabular")], dim=1)
    assert torch.equal(part("bottleneck")(given).mask, joined)


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_maps_equal_the_formula_and_are_0_for_absent_keys(form: str) -> None:
    kind, fields = FORMS[form]
    module, given, notes = part(kind, **fields), streams(), Notes(explain=True)
    weights = dict(module.named_parameters())
    module(given, notes)
    for row in range(5):
        found = present_tokens(given, weights, row)
        wanted = FORMULAS[kind](found, weights, **fields)[1] if any(found.values()) else {}
        assert notes.maps.keys() >= wanted.keys()
        for name, (values, _, keys) in notes.maps.items():
            assert sum(count for _, count in keys) == values.shape[-1]
            if name not in wanted:
                assert (values[row] == 0).all()
                continue
            parts = [
                given[stream].mask[row] if stream in given else torch.ones(count, dtype=torch.bool)
                for stream, count in keys
            ]
            there = torch.cat(parts)
            asked = there if values.shape[-2] == values.shape[-1] else torch.ones(LATENTS, dtype=torch.bool)
            assert (values[row][..., ~there] == 0).all()
            torch.testing.assert_close(values[row][:, asked][..., there], wanted[name], atol=1e-10, rtol=1e-10)


def shown(module: nn.Module, given: dict[str, Tokens]) -> dict[str, tuple[tuple[int, ...], tuple[str, ...], Any]]:
    """Shape, axes and keys of every map."""
    notes = Notes(explain=True)
    module(given, notes)
    return {name: (tuple(values.shape), axes, keys) for name, (values, axes, keys) in notes.maps.items()}


def test_maps_of_a_perceiver_name_their_axes() -> None:
    module, given = part("perceiver", num_latents=LATENTS, depth=2), streams()
    own = ((5, HEADS, LATENTS, LATENTS), ("row", "head", "latent token", "latent token"), (("latent", LATENTS),))
    assert shown(module, given) == {
        "attention": (
            (5, HEADS, LATENTS, 23),
            ("row", "head", "latent token", "dated + series + tabular token"),
            (("dated", 7), ("series", 5), ("tabular", 11)),
        ),
        "attention.block0": own,
        "attention.block1": own,
    }
    assert shown(module, streams("series"))["attention"][2] == (("dated", 7), ("tabular", 11))


def test_maps_of_a_bottleneck_hold_one_stream_and_the_shared_tokens() -> None:
    found = shown(part("bottleneck", num_bottlenecks=SHARED, depth=2), streams("tabular"))
    assert list(found) == [f"attention.{name}.block{i}" for i in range(2) for name in ("dated", "series")]
    for name, count in (("dated", 7), ("series", 5)):
        for number in range(2):
            axis, places = f"{name} + bottleneck token", count + SHARED
            want = (5, HEADS, places, places), ("row", "head", axis, axis), ((name, count), ("bottleneck", SHARED))
            assert found[f"attention.{name}.block{number}"] == want


@pytest.mark.parametrize("cls", [False, True])
def test_maps_of_a_token_transformer_name_their_axes(cls: bool) -> None:
    found = shown(part("token_transformer", cls=cls, depth=2), streams())
    axis = "cls + dated + series + tabular token" if cls else "dated + series + tabular token"
    keys = ((("cls", 1),) if cls else ()) + (("dated", 7), ("series", 5), ("tabular", 11))
    want = (5, HEADS, 23 + cls, 23 + cls), ("row", "head", axis, axis), keys
    assert found == {"attention.block0": want, "attention.block1": want}


@torch.no_grad()
@pytest.mark.parametrize("depth, reached", [(1, False), (2, True)])
def test_streams_reach_one_another_through_the_bottleneck_alone(depth: int, reached: bool) -> None:
    module, given = part("bottleneck", num_bottlenecks=SHARED, depth=depth), streams()
    changed = {**given, "tabular": Tokens(given["tabular"].x * 2 + 1, given["tabular"].mask)}
    before, after = module(given), module(changed)
    for name, at in (("dated", slice(0, 7)), ("series", slice(7, 12)), ("tabular", slice(12, 23))):
        there = before.mask[0, at]
        same = torch.equal(before.x[0, at][there], after.x[0, at][there])
        assert same == (not reached and name != "tabular")
    # Row 4 has the anchor alone, so that what stands under the masks of the others can't pass either.
    assert torch.equal(before.x[4], after.x[4])


@torch.no_grad()
def test_nothing_passes_where_the_streams_do_not_attend_to_the_bottleneck() -> None:
    module, given = part("bottleneck", num_bottlenecks=SHARED, depth=2), streams()
    block = module.layers[1]["dated"]
    block.norm1.weight.zero_()  # every token looks the same to the block, the shared ones as well
    changed = {**given, "tabular": Tokens(given["tabular"].x * 2 + 1, given["tabular"].mask)}
    assert torch.equal(module(given).x[0, :7], module(changed).x[0, :7])
    assert not torch.equal(module(given).x[0, 7:12], module(changed).x[0, 7:12])


@pytest.mark.parametrize("cls, seed", [(False, 1_990_912), (True, 1_991_424)])
def test_parameters_at_the_widths_of_the_market_document(cls: bool, seed: int) -> None:
    config = config_class("fusion", "token_transformer")(dim=256, heads=8, depth=2, hidden=1024, project=True, cls=cls)
    module: Any = config.build(Schema("candles", {"candles": 1024, "topology": 256, "complexity": 64}))
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(256, 8, 1024), 2, enable_nested_tensor=False)
    projections = (1024 + 1) * 256 + (256 + 1) * 256 + (64 + 1) * 256
    positions, token, last = (3 + cls) * 256, cls * 256, (256 + 1) * 256
    assert projections + positions + token + sum(p.numel() for p in encoder.parameters()) + last == seed
    # Of the document's we lack two key biases, which add the same to every score; it lacks the norm after the blocks.
    without_norm = sum(p.numel() for name, p in module.named_parameters() if not name.startswith("blocks.norm"))
    assert without_norm == seed - 2 * 256
    assert sum(p.numel() for p in module.parameters()) == seed


def test_learned_tokens_and_positions_start_small() -> None:
    torch.manual_seed(0)
    schema = Schema("series", {"series": 64, "dated": 13})
    for kind, fields, names in (
        ("perceiver", {"num_latents": 64}, ("latents",)),
        ("bottleneck", {"num_bottlenecks": 64}, ("bottlenecks",)),
        ("token_transformer", {"cls": True, "dim": 1024}, ("cls", "position")),
    ):
        module = config_class("fusion", kind)(**fields).build(schema)
        for name in names:
            assert getattr(module, name).std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("kind, times", [("perceiver", 2), ("bottleneck", 2), ("token_transformer", 4)])
def test_widths_that_are_not_given_follow_the_anchor(kind: str, times: int) -> None:
    module: Any = config_class("fusion", kind)().build(Schema("dated", {"series": 12, "dated": 20}))
    assert module.dim == 20
    assert module.contexts.project["series"].weight.shape == (20, 12)
    ups = {tuple(p.shape) for name, p in module.named_parameters() if name.endswith("feed_forward.up.weight")}
    assert ups == {(times * 20, 20)}
    assert not config_class("fusion", kind).anchored


@pytest.mark.parametrize("kind", FORMULAS)
def test_heads_must_divide_the_width(kind: str) -> None:
    for fields, width in (({}, 19), ({"dim": 22}, 22)):
        with pytest.raises(ConfigError, match=rf"model\.fusion\.heads: 4 heads do not divide the width {width}"):
            config_class("fusion", kind)(**fields).build(SCHEMA)
