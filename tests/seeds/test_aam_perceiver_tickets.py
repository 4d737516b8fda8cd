"""Ticket FUS-3 of the seed of `aam`: each acceptance criterion of the fusion by latents is a test."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from plait.core.errors import ConfigError
from plait.core.tokens import Notes, Tokens
from seeds.fused_samples import (
    SCHEMA,
    B,
    D,
    E,
    K,
    S,
    built,
    check_comes_back,
    gradients,
    maps,
    model_of,
    part,
    shuffled,
    streams,
    without,
)

L = 5
SMALL = {"num_latents": L, "depth": 2, "heads": 4, "dim": 12}


def perceiver(opened: bool = True, **fields: Any) -> Any:
    return part("perceiver", opened, **{**SMALL, **fields})


@pytest.mark.ticket("FUS-3")
def test_the_flag_perceiver_has_the_seeds_defaults() -> None:
    config = model_of("--categorical-fusion", "perceiver")
    fusion = config.fusion
    assert (fusion.kind, fusion.num_latents, fusion.depth) == ("perceiver", 64, 4)
    assert (fusion.dim, fusion.heads, fusion.dropout) == (256, 8, 0.1)
    assert config.at_tokens
    out = fusion.build(SCHEMA).double().eval()(streams())
    assert out.x.shape == (B, 64, 256)


@pytest.mark.ticket("FUS-3")
def test_perceiver_num_latents_is_the_number_of_tokens_that_come_out() -> None:
    fusion = model_of("--perceiver-num-latents", "11", "--categorical-fusion", "perceiver").fusion
    assert (fusion.num_latents, fusion.depth) == (11, 4)
    assert fusion.build(SCHEMA).double().eval()(streams()).x.shape == (B, 11, 256)


@pytest.mark.ticket("FUS-3")
def test_perceiver_num_layers_is_the_number_of_blocks_over_the_latents() -> None:
    fusion = model_of("--categorical-fusion", "perceiver", "--perceiver-num-layers", "2").fusion
    assert (fusion.num_latents, fusion.depth) == (64, 2)
    found = maps(fusion.build(SCHEMA).double().eval(), streams())
    assert list(found) == ["attention", "attention.block0", "attention.block1"]


@pytest.mark.ticket("FUS-3")
@torch.no_grad()
def test_a_missing_column_is_as_if_it_had_not_been_given() -> None:
    module, given = perceiver(), streams()
    gone = without(given, "metadata", *((row, 1) for row in range(B)))
    rest = {"asv": given["asv"], "metadata": Tokens.full(given["metadata"].x[:, [0, 2]])}
    torch.testing.assert_close(module(gone).x, module(rest).x, atol=1e-12, rtol=0)
    assert not torch.allclose(module(gone).x, module(given).x)


@pytest.mark.ticket("FUS-3")
@torch.no_grad()
def test_without_any_column_the_latents_read_the_asvs_alone() -> None:
    module, given = perceiver(), streams()
    gone = without(given, "metadata", *((2, column) for column in range(K)))
    alone = module({"asv": given["asv"]}).x
    torch.testing.assert_close(module(gone).x[2], alone[2], atol=1e-12, rtol=0)
    model = built({"kind": "perceiver", **SMALL})
    masked = model.answer(metadata_mask=model.unknown(1)).prediction.point
    torch.testing.assert_close(masked[1], model.alone().prediction.point[1], atol=1e-6, rtol=0)


@pytest.mark.ticket("FUS-3")
@torch.no_grad()
def test_what_is_absent_weighs_exactly_0_and_is_never_read() -> None:
    module = perceiver()
    found = []
    for content in (float("nan"), 1e30):
        given = without(without(streams(), "metadata", (0, 1), content=content), "asv", (3, 6), (3, 5), content=content)
        used = maps(module, given)["attention"].values
        assert (used[0, :, :, S + 1] == 0).all()
        assert (used[3, :, :, 5:S] == 0).all()
        assert (used == 0).sum() == 3 * 4 * L
        torch.testing.assert_close(used.sum(dim=-1), torch.ones(B, 4, L, dtype=torch.float64))
        found.append(module(given).x)
    assert torch.isfinite(found[0]).all()
    assert torch.equal(*found)


@pytest.mark.ticket("FUS-3")
@torch.no_grad()
def test_a_row_without_any_token_is_0_and_says_so() -> None:
    given = without(streams(), "metadata", *((1, column) for column in range(K)))
    out = perceiver()(without(given, "asv", *((1, place) for place in range(S))))
    assert (out.x[1] == 0).all()
    assert out.mask.tolist() == [[row != 1] * L for row in range(B)]
    assert (out.x[0] != 0).all()


@pytest.mark.ticket("FUS-3")
@torch.no_grad()
def test_cost_grows_by_latents_times_asvs_and_no_faster() -> None:
    """Entries of all attention matrices: one row of length L more an ASV, and the blocks' stay."""
    module, entries = perceiver(), []
    for count in (S, 2 * S, 3 * S):
        given = streams((B, count))
        assert module(given).x.shape == (B, L, 12)
        entries.append(sum(found.values[0, 0].numel() for found in maps(module, given).values()))
    assert entries[0] == L * (S + K) + 2 * L * L
    assert entries[1] - entries[0] == entries[2] - entries[1] == L * S


@pytest.mark.ticket("FUS-3")
@torch.no_grad()
def test_each_stream_has_a_modality_vector_that_tells_it_apart() -> None:
    module = perceiver()
    biases = [module.contexts.project[name].bias for name in ("asv", "metadata")]
    silent = {name: Tokens.full(torch.zeros_like(tokens.x)) for name, tokens in streams().items()}
    used = maps(module, silent)["attention"].values
    assert (used[..., :S] - used[..., S : S + 1]).abs().min() > 1e-6, "tokens that say nothing differ by their stream"
    torch.testing.assert_close(used[..., :S], used[..., :1].expand(-1, -1, -1, S))
    biases[1].copy_(biases[0])
    used = maps(module, silent)["attention"].values
    torch.testing.assert_close(used, torch.full_like(used, 1 / (S + K)))


@pytest.mark.ticket("FUS-3")
@torch.no_grad()
def test_streams_of_different_widths_are_read_by_a_projection_each() -> None:
    """The seed puts both side by side under one projection, which asks for one width."""
    module, given = perceiver(), streams()
    assert given["asv"].x.shape[-1] != given["metadata"].x.shape[-1]
    before = module(given).x
    for name, width in (("asv", D), ("metadata", E)):
        layer = module.contexts.project[name]
        assert layer.weight.shape == (12, width)
        kept = layer.weight.clone()
        layer.weight.zero_()
        assert not torch.allclose(module(given).x, before)
        layer.weight.copy_(kept)


@pytest.mark.ticket("FUS-3")
@torch.no_grad()
def test_padding_has_no_effect() -> None:
    module, given = perceiver(), streams()
    wide = {name: Tokens(F.pad(t.x, (0, 0, 0, 4)), F.pad(t.mask, (0, 4))) for name, t in given.items()}
    torch.testing.assert_close(module(wide).x, module(given).x, atol=1e-12, rtol=0)


@pytest.mark.ticket("FUS-3")
@torch.no_grad()
def test_the_order_of_asvs_and_of_columns_has_no_effect() -> None:
    module, given = perceiver(), streams()
    for stream, order in (("asv", [3, 6, 0, 1, 5, 2, 4]), ("metadata", [2, 0, 1])):
        other = shuffled(given, stream, torch.tensor(order))
        torch.testing.assert_close(module(other).x, module(given).x, atol=1e-12, rtol=0)


@pytest.mark.ticket("FUS-3")
@torch.no_grad()
def test_latents_refine_one_another_by_the_blocks_alone() -> None:
    for depth in (0, 1):
        module, given = perceiver(depth=depth), streams()
        before = module(given).x
        module.latents[0, 0, 0] += 1
        change = (module(given).x - before).abs().amax(dim=(0, 2))
        assert change[0] > 1e-3
        assert bool((change[1:] > 1e-6).all()) == bool(depth)
        assert bool((change[1:] == 0).all()) != bool(depth)


@pytest.mark.ticket("FUS-3")
@torch.no_grad()
def test_latents_ask_as_the_attention_of_the_seed() -> None:
    """torch's own multi-head attention with the same weights, then the feed-forward half, without blocks."""
    module, given = perceiver(depth=0, hidden=17), without(streams(), "metadata", (0, 1))
    w = module.state_dict()
    z = w["latents"].expand(B, -1, -1)
    parts = [
        F.linear(given[n].x.nan_to_num(0), w[f"contexts.project.{n}.weight"], w[f"contexts.project.{n}.bias"])
        for n in ("asv", "metadata")
    ]
    keys = F.layer_norm(torch.cat(parts, dim=1), [12], w["norm_key.weight"], w["norm_key.bias"])
    absent = ~torch.cat([given["asv"].mask, given["metadata"].mask], dim=1)
    theirs = nn.MultiheadAttention(12, 4, batch_first=True).double()
    theirs.in_proj_weight.copy_(torch.cat([w[f"attention.{each}.weight"] for each in ("query", "key", "value")]))
    biases = [w["attention.query.bias"], torch.zeros(12, dtype=torch.float64), w["attention.value.bias"]]
    theirs.in_proj_bias.copy_(torch.cat(biases))
    theirs.out_proj.weight.copy_(w["attention.out.weight"])
    theirs.out_proj.bias.copy_(w["attention.out.bias"])
    asked = F.layer_norm(z, [12], w["norm_query.weight"], w["norm_query.bias"])
    z = z + theirs(asked, keys, keys, key_padding_mask=absent)[0]
    inner = F.layer_norm(z, [12], w["norm_feed.weight"], w["norm_feed.bias"])
    inner = F.gelu(F.linear(inner, w["feed_forward.up.weight"], w["feed_forward.up.bias"]))
    want = z + F.linear(inner, w["feed_forward.down.weight"], w["feed_forward.down.bias"])
    torch.testing.assert_close(module(given).x, want, atol=1e-12, rtol=0)


@pytest.mark.ticket("FUS-3")
def test_the_loss_reaches_both_legs_and_every_weight() -> None:
    for name, gradient in gradients(perceiver(), streams()).items():
        assert (gradient != 0).any(), name


@pytest.mark.ticket("FUS-3")
def test_latents_start_apart_and_stay_apart() -> None:
    out = perceiver(opened=False)(streams()).x
    gaps = (out[:, :, None] - out[:, None]).abs().amax(dim=-1)
    assert gaps[:, ~torch.eye(L, dtype=torch.bool)].min() > 1e-3


@pytest.mark.ticket("FUS-3")
def test_heads_that_do_not_divide_the_width_of_the_latents_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fusion.heads: 5 heads do not divide the width 12"):
        perceiver(heads=5)


@pytest.mark.ticket("FUS-3")
@torch.no_grad()
def test_asking_for_the_maps_does_not_change_the_answer() -> None:
    module, given = perceiver(), without(streams(), "metadata", (0, 1))
    torch.testing.assert_close(module(given, Notes(explain=True)).x, module(given).x, atol=1e-12, rtol=0)


@pytest.mark.ticket("FUS-3")
def test_a_whole_model_pools_the_latents_and_not_the_asvs() -> None:
    model = built({"kind": "perceiver", **SMALL})
    found = model.answer().maps
    assert found["attention"].keys == (("asv", model.inputs["asv"].shape[1]), ("metadata", 5))
    assert found["attention.pool"].keys == (("fused", L),)
    assert found["attention.pool"].values.shape == (3, 2, 1, L)


@pytest.mark.ticket("FUS-3")
def test_what_is_saved_comes_back_to_the_bit(tmp_path: Path) -> None:
    check_comes_back(perceiver(), perceiver(opened=False), tmp_path, streams())
