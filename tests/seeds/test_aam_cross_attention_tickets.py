"""Ticket FUS-2 of the seed of `aam`: each acceptance criterion of cross-attention is a test."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from plait.core.errors import ConfigError
from plait.core.tokens import Notes, Tokens
from plait.nn.attention import Attention
from seeds.fused_samples import (
    SCHEMA,
    B,
    D,
    E,
    K,
    S,
    built,
    check_comes_back,
    fit,
    gradients,
    maps,
    model_of,
    part,
    shuffled,
    streams,
    without,
)


@pytest.mark.ticket("FUS-2")
def test_the_flag_cross_attention_changes_each_token_with_the_seeds_defaults() -> None:
    config = model_of("--categorical-fusion", "cross-attention")
    assert (config.fusion.kind, config.fusion.heads, config.fusion.dropout) == ("cross_attention", 8, 0.1)
    assert config.at_tokens
    assert config == model_of("--fusion", "cross_attention")


@pytest.mark.ticket("FUS-2")
def test_cross_attn_heads_sets_the_heads() -> None:
    config = model_of("--cross-attn-heads", "3", "--categorical-fusion", "cross-attention")
    assert config.fusion.heads == 3
    found = maps(config.fusion.build(SCHEMA).double().eval(), streams())["attention"]
    assert found.values.shape == (B, 3, S, 1 + K)


@pytest.mark.ticket("FUS-2")
def test_heads_that_do_not_divide_the_width_are_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"fusion.heads: 7 heads do not divide the width 24 .*1, 2, 3, 4, 6, 8, 12"):
        part("cross_attention", heads=7)


@pytest.mark.ticket("FUS-2")
@torch.no_grad()
def test_it_is_the_attention_of_the_seed_with_a_null_token() -> None:
    """torch's own multi-head attention, which the seed names, with the same weights."""
    module, given = part("cross_attention", heads=8), streams()
    w = module.state_dict()
    x = F.layer_norm(given["asv"].x, [D], w["norm_query.weight"], w["norm_query.bias"])
    tokens = F.linear(given["metadata"].x, w["contexts.project.metadata.weight"], w["contexts.project.metadata.bias"])
    tokens = F.layer_norm(tokens, [D], w["norm_key.weight"], w["norm_key.bias"])
    keys = torch.cat([w["null"].expand(B, -1, -1), tokens], dim=1)
    theirs = nn.MultiheadAttention(D, 8, batch_first=True).double()
    theirs.in_proj_weight.copy_(torch.cat([w[f"attention.{each}.weight"] for each in ("query", "key", "value")]))
    biases = [w["attention.query.bias"], torch.zeros(D, dtype=torch.float64), w["attention.value.bias"]]
    theirs.in_proj_bias.copy_(torch.cat(biases))
    theirs.out_proj.weight.copy_(w["attention.out.weight"])
    theirs.out_proj.bias.zero_()
    update, used = theirs(x, keys, keys, average_attn_weights=False)
    torch.testing.assert_close(module(given).x, given["asv"].x + update, atol=1e-12, rtol=0)
    torch.testing.assert_close(maps(module, given)["attention"].values, used, atol=1e-12, rtol=0)


@pytest.mark.ticket("FUS-2")
@torch.no_grad()
def test_asvs_at_different_positions_attend_differently() -> None:
    used = maps(part("cross_attention", heads=4), streams())["attention"].values
    gaps = (used[:, :, :, None] - used[:, :, None]).abs().sum(dim=-1).amax(dim=1)
    apart = ~torch.eye(S, dtype=torch.bool)
    assert gaps[:, apart].min() > 0.01


@pytest.mark.ticket("FUS-2")
@torch.no_grad()
def test_a_category_moves_each_asv_by_an_update_of_its_own_and_add_moves_all_alike() -> None:
    given = streams()
    other = {**given, "metadata": streams(seed=2)["metadata"]}
    for kind, alike in (("cross_attention", False), ("add", True)):
        module = part(kind)
        update = module(other).x - module(given).x
        same = torch.isclose(update, update[:, :1], atol=1e-12, rtol=0).all(dim=-1)
        assert bool(same[:, 1:].all()) == alike, kind
        assert bool(same[:, 1:].any()) == alike, kind


@pytest.mark.ticket("FUS-2")
def test_it_learns_that_one_taxon_asks_one_column_and_another_taxon_another() -> None:
    torch.manual_seed(4)
    module = part("cross_attention", opened=False, heads=2).train()
    maker = torch.Generator().manual_seed(6)
    taxa = torch.randn(2, D, generator=maker, dtype=torch.float64)
    columns = torch.randn(2, E, generator=maker, dtype=torch.float64)
    values = torch.randn(151, 2, 1, generator=maker, dtype=torch.float64).sign()
    says = torch.randn(E, generator=maker, dtype=torch.float64)
    given = {"asv": Tokens.full(taxa.expand(151, -1, -1)), "metadata": Tokens.full(columns + values * says)}
    loss = fit(module.parameters(), lambda: (module(given).x[..., :1] - values).square().mean(), 200)
    assert loss < 0.02, "the answer of a taxon is the value of its own column"
    used = maps(module, given)["attention"].values.mean(dim=(0, 1))[:, 1:]
    assert used.argmax(dim=1).tolist() == [0, 1]


@pytest.mark.ticket("FUS-2")
@torch.no_grad()
def test_the_weights_of_a_position_sum_to_1_over_the_null_token_and_the_known_columns() -> None:
    used = maps(part("cross_attention"), without(streams(), "metadata", (0, 1), (1, 0), (1, 2)))["attention"].values
    torch.testing.assert_close(used.sum(dim=-1), torch.ones(B, 4, S, dtype=torch.float64))
    assert ((used[2:] > 0) & (used[2:] < 1)).all()
    assert used[..., 0].min() > 0


@pytest.mark.ticket("FUS-2")
def test_with_a_single_column_queries_and_keys_still_learn() -> None:
    given = streams(columns=1)
    found = gradients(part("cross_attention"), given)
    for name in ("attention.query.weight", "attention.key.weight", "null"):
        assert (found[name] != 0).any(), name
    # The seed's form: one key, of weight 1 whatever the query.
    alone, keys = Attention(D, 4).double(), given["asv"].x[:, :1]
    alone(given["asv"].x, keys)[0].square().sum().backward()
    assert alone.query.weight.grad is not None
    assert alone.query.weight.grad.abs().max() < 1e-12


@pytest.mark.ticket("FUS-2")
@torch.no_grad()
def test_a_missing_column_weighs_exactly_0_and_is_never_read() -> None:
    module, gaps = part("cross_attention"), ((0, 1), (3, 0), (3, 2))
    used = maps(module, without(streams(), "metadata", *gaps))["attention"].values
    for row, column in gaps:
        assert (used[row, :, :, 1 + column] == 0).all()
    assert (used == 0).sum() == len(gaps) * 4 * S
    wild, tame = (module(without(streams(), "metadata", *gaps, content=x)).x for x in (float("nan"), 1e30))
    assert torch.isfinite(wild).all()
    assert torch.equal(wild, tame)


@pytest.mark.ticket("FUS-2")
@torch.no_grad()
def test_a_missing_column_is_as_if_it_had_not_been_given() -> None:
    module, given = part("cross_attention"), streams()
    gone = without(given, "metadata", *((row, 1) for row in range(B)))
    rest = {"asv": given["asv"], "metadata": Tokens.full(given["metadata"].x[:, [0, 2]])}
    torch.testing.assert_close(module(gone).x, module(rest).x, atol=1e-12, rtol=0)


@pytest.mark.ticket("FUS-2")
@torch.no_grad()
def test_where_all_columns_are_missing_the_sample_is_untouched_bit_for_bit() -> None:
    module = part("cross_attention", hidden=11)
    given = without(streams(), "metadata", *((2, column) for column in range(K)))
    out = module(given).x
    assert torch.equal(out[2], given["asv"].x[2])
    assert not torch.equal(out[1], given["asv"].x[1])
    assert (maps(module, given)["attention"].values[2] == 0).all(), "the null token alone is nobody's partner"


@pytest.mark.ticket("FUS-2")
@torch.no_grad()
def test_the_order_of_asvs_moves_with_them_and_the_order_of_columns_has_no_effect() -> None:
    module, given = part("cross_attention"), streams()
    order, columns = torch.tensor([3, 6, 0, 1, 5, 2, 4]), torch.tensor([2, 0, 1])
    torch.testing.assert_close(module(shuffled(given, "asv", order)).x, module(given).x[:, order], atol=1e-12, rtol=0)
    torch.testing.assert_close(module(shuffled(given, "metadata", columns)).x, module(given).x, atol=1e-12, rtol=0)


@pytest.mark.ticket("FUS-2")
@torch.no_grad()
def test_padding_of_a_sample_is_never_read_and_changes_no_asv() -> None:
    module, given = part("cross_attention"), streams()
    padded = without(given, "asv", (1, 5), (1, 6))
    out = module(padded)
    assert torch.isfinite(out.x).all()
    torch.testing.assert_close(out.x[out.mask], module(given).x[out.mask], atol=1e-12, rtol=0)
    assert torch.equal(out.mask, padded["asv"].mask)


@pytest.mark.ticket("FUS-2")
@torch.no_grad()
def test_asking_for_the_maps_does_not_change_the_answer() -> None:
    module, given = part("cross_attention"), without(streams(), "metadata", (0, 1))
    notes = Notes()
    torch.testing.assert_close(module(given, Notes(explain=True)).x, module(given, notes).x, atol=1e-12, rtol=0)
    assert notes.maps == {}


@pytest.mark.ticket("FUS-2")
def test_the_map_says_which_asv_attends_to_which_column() -> None:
    found = maps(part("cross_attention"), streams())["attention"]
    assert found.axes == ("row", "head", "asv token", "null + metadata token")
    assert found.keys == (("null", 1), ("metadata", K))


@pytest.mark.ticket("FUS-2")
def test_in_a_whole_model_every_asv_of_a_sample_has_weights_on_every_column() -> None:
    model = built({"kind": "cross_attention", "heads": 4})
    found, asvs = model.answer().maps["attention"], model.inputs["asv_mask"]
    assert found.values.shape == (*asvs.shape[:1], 4, asvs.shape[1], 1 + 5)
    unknown = ~model.inputs["metadata_mask"]
    assert unknown.any()
    weights = found.values.transpose(1, 3)[:, 1:]
    assert (weights[unknown] == 0).all()
    assert (weights[~unknown] > 0).all()


@pytest.mark.ticket("FUS-2")
def test_dropout_is_in_training_alone() -> None:
    fusion = model_of("--categorical-fusion", "cross-attention").fusion
    module, given = part("cross_attention", **fusion.model_dump(exclude={"kind"})), streams()
    assert torch.equal(module(given).x, module(given).x)
    module.train()
    assert not torch.equal(module(given).x, module(given).x)


@pytest.mark.ticket("FUS-2")
def test_it_starts_closed_and_can_open() -> None:
    module, given = part("cross_attention", opened=False, hidden=11), streams()
    assert torch.equal(module(given).x, given["asv"].x)
    found = gradients(module, given)
    assert (found["attention.out.weight"] != 0).any()
    assert (found["feed_forward.down.weight"] != 0).any()


@pytest.mark.ticket("FUS-2")
def test_the_loss_reaches_both_legs_and_every_weight() -> None:
    for name, gradient in gradients(part("cross_attention", hidden=11), streams()).items():
        assert (gradient != 0).any(), name


@pytest.mark.ticket("FUS-2")
def test_what_is_saved_comes_back_to_the_bit(tmp_path: Path) -> None:
    check_comes_back(part("cross_attention"), part("cross_attention", opened=False), tmp_path, streams())
