"""Ticket FUS-1 of the seed of `aam`: each acceptance criterion of the gated multimodal unit is a test."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.core.tokens import Tokens
from seeds.fused_samples import (
    AT_POOL,
    B,
    D,
    E,
    K,
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


@pytest.mark.ticket("FUS-1")
def test_the_flag_gmu_gates_the_pooled_vector() -> None:
    config = model_of("--categorical-fusion", "gmu")
    assert (config.fusion.kind, config.fusion.form, config.at_tokens) == ("gmu", "residual", False)
    assert model_of("--categorical-fusion", "gmu", "--fuse-at", "tokens").at_tokens
    found = built({"kind": "gmu"}).answer().maps["gate.metadata"]
    assert found.values.shape == (3, 1, 2 * 7), "one pooled vector a sample: heads times their value width"


@pytest.mark.ticket("FUS-1")
def test_the_gate_reads_every_one_of_the_categorical_columns() -> None:
    model = built({"kind": "gmu"})
    known = model.inputs["metadata_mask"]
    before = model.answer().prediction.point
    for column in range(known.shape[1]):
        mask = known.clone()
        mask[0, column] = False
        after = model.answer(metadata_mask=mask).prediction.point
        assert not torch.equal(after[0], before[0]), f"column {column} is not read"
        assert torch.equal(after[1:], before[1:])


class SeedUnit(nn.Module):
    """The unit of the design document, with its own names: z * tanh(W s) + (1 - z) * tanh(V c)."""

    def __init__(self) -> None:
        super().__init__()
        self.seq_transform, self.cat_transform = nn.Linear(D, D), nn.Linear(E, D)
        self.gate = nn.Linear(D + E, D)

    def forward(self, h_seq: Tensor, h_cat: Tensor, gate_seq: Tensor, gate_cat: Tensor) -> Tensor:
        z = torch.sigmoid(self.gate(torch.cat([gate_seq, gate_cat], dim=-1)))
        return z * torch.tanh(self.seq_transform(h_seq)) + (1 - z) * torch.tanh(self.cat_transform(h_cat))


@pytest.mark.ticket("FUS-1")
@torch.no_grad()
def test_the_form_arevalo_is_the_unit_of_the_seed_on_normed_gates() -> None:
    ours, given, unit = part("gmu", form="arevalo"), streams(AT_POOL), SeedUnit().double()
    weights = ours.state_dict()
    unit.seq_transform.weight.copy_(weights["own.weight"])
    unit.cat_transform.weight.copy_(weights["value.metadata.weight"])
    # The seed's gate is the share of the sequence, ours that of the category.
    unit.gate.weight.copy_(-weights["score.metadata.weight"])
    unit.gate.bias.copy_(-weights["score.metadata.bias"])
    for layer in (unit.seq_transform, unit.cat_transform):
        layer.bias.zero_()
    seq, cat = given["asv"].x[:, 0], given["metadata"].x.mean(dim=1)
    normed = F.layer_norm(seq, [D], weights["norm.weight"], weights["norm.bias"])
    beside = F.layer_norm(cat, [E], weights["norms.metadata.weight"], weights["norms.metadata.bias"])
    torch.testing.assert_close(ours(given).x[:, 0], unit(seq, cat, normed, beside), atol=1e-12, rtol=1e-12)


@pytest.mark.ticket("FUS-1")
@pytest.mark.parametrize("form", ["residual", "arevalo"])
def test_a_gate_lies_between_0_and_1_and_is_0_where_the_category_is_missing(form: str) -> None:
    given = without(streams(AT_POOL), "metadata", *((2, column) for column in range(K)))
    gate = maps(part("gmu", form=form), given)["gate.metadata"].values
    known = torch.arange(B) != 2
    assert ((gate[known] > 0) & (gate[known] < 1)).all()
    assert (gate[2] == 0).all()


@pytest.mark.ticket("FUS-1")
@torch.no_grad()
def test_the_scale_of_the_inputs_does_not_saturate_the_gate() -> None:
    module, given = part("gmu"), streams(AT_POOL)
    loud = {name: Tokens(tokens.x * 1e4, tokens.mask) for name, tokens in given.items()}
    gate, louder = (maps(module, each)["gate.metadata"].values for each in (given, loud))
    torch.testing.assert_close(louder, gate, atol=1e-4, rtol=0)
    raw = F.linear(
        torch.cat([loud["asv"].x[:, 0], loud["metadata"].x.mean(dim=1)], dim=-1),
        module.score["metadata"].weight,
    )
    assert torch.sigmoid(raw).frac().sub(0.5).abs().median() > 0.49, "without norms it would be 0 or 1"


@pytest.mark.ticket("FUS-1")
def test_the_map_of_the_gate_has_a_value_a_feature() -> None:
    found = maps(part("gmu"), streams(AT_POOL))["gate.metadata"]
    assert found.values.shape == (B, 1, D)
    assert found.axes == ("row", "asv token", "feature")
    assert found.values.std(dim=-1).min() > 0.01, "features have gates of their own"


@pytest.mark.ticket("FUS-1")
@torch.no_grad()
def test_the_gate_answers_to_the_sample_and_to_the_category() -> None:
    module, given = part("gmu"), streams(AT_POOL)
    gate = maps(module, given)["gate.metadata"].values
    for stream in ("asv", "metadata"):
        x = given[stream].x.clone()
        x[1, 0, 0] += 1
        rows = (maps(module, {**given, stream: Tokens(x, given[stream].mask)})["gate.metadata"].values != gate).any(-1)
        assert rows[:, 0].tolist() == [row == 1 for row in range(B)]


@pytest.mark.ticket("FUS-1")
@torch.no_grad()
def test_several_columns_enter_by_the_mean_of_those_that_are_known() -> None:
    module, given = part("gmu"), streams(AT_POOL)
    some = without(given, "metadata", (0, 1))
    known = given["metadata"].x[:, [0, 2]]
    alone = module({"asv": given["asv"], "metadata": Tokens.full(known)}).x
    torch.testing.assert_close(module(some).x[0], alone[0], atol=1e-12, rtol=0)
    assert not torch.allclose(module(given).x[0], alone[0])
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(module(shuffled(given, "metadata", order)).x, module(given).x, atol=1e-12, rtol=0)


@pytest.mark.ticket("FUS-1")
def test_the_loss_reaches_both_legs_and_every_weight_of_the_unit() -> None:
    for name, gradient in gradients(part("gmu"), streams(AT_POOL)).items():
        assert (gradient != 0).any(), name


@pytest.mark.ticket("FUS-1")
def test_the_residual_form_starts_closed_and_can_open() -> None:
    module, given = part("gmu", opened=False), streams(AT_POOL)
    assert torch.equal(module(given).x, given["asv"].x)
    assert (gradients(module, given)["value.metadata.weight"] != 0).any()
    assert not torch.equal(part("gmu", opened=False, form="arevalo")(given).x, given["asv"].x)


@pytest.mark.ticket("FUS-1")
def test_a_sample_of_unknown_category_is_answered_from_its_asvs_bit_for_bit() -> None:
    given = without(streams(AT_POOL), "metadata", *((3, column) for column in range(K)))
    fused, closed = part("gmu")(given).x, given["asv"].x
    assert torch.equal(fused[3], closed[3])
    assert not torch.equal(fused[2], closed[2])
    model = built({"kind": "gmu"})
    masked = model.answer(metadata_mask=model.unknown(1)).prediction.point
    assert torch.equal(masked[1], model.alone().prediction.point[1])


@pytest.mark.ticket("FUS-1")
def test_a_saved_unit_comes_back_to_the_bit(tmp_path: Path) -> None:
    check_comes_back(part("gmu"), part("gmu", opened=False), tmp_path, streams(AT_POOL))


@pytest.mark.ticket("FUS-1")
@pytest.mark.parametrize("informs", ["asv", "metadata"])
def test_the_gate_learns_which_modality_informs(informs: str) -> None:
    torch.manual_seed(3)
    module, given = part("gmu", opened=False, form="arevalo").train(), streams((97, 1), 1)
    target = torch.tanh(given[informs].x[:, :, :1]).expand(-1, -1, D)
    fit(module.parameters(), lambda: (module(given).x - target).square().mean(), 150)
    share = float(maps(module, given)["gate.metadata"].values.detach().mean())
    assert share > 0.7 if informs == "metadata" else share < 0.3, share


@pytest.mark.ticket("FUS-1")
@pytest.mark.parametrize("rival", ["concat", "add"])
def test_validation_is_comparable_or_better_than_the_fusions_without_a_gate(rival: str) -> None:
    """What a gate is for: a category that shifts the answer of some samples alone. 600 to learn from, 600 others."""

    def error(kind: str) -> float:
        torch.manual_seed(5)
        module, read = part(kind, opened=False).train(), nn.Linear(D, 1).double()
        vectors = torch.randn(4, E, dtype=torch.float64)
        x, category = torch.randn(1200, 1, D, dtype=torch.float64), torch.randint(4, (1200,))
        shift = torch.tensor([-2.0, 0.0, 1.0, 3.0], dtype=torch.float64)[category]
        y = x[:, 0, :3].sum(dim=-1) + shift * (x[:, 0, 5] > 0) + 0.3 * torch.randn(1200, dtype=torch.float64)

        def answered(rows: slice) -> Tensor:
            given = {"asv": Tokens.full(x[rows]), "metadata": Tokens.full(vectors[category[rows]][:, None])}
            answer: Tensor = read(module(given).x[:, 0])[:, 0]
            return (answer - y[rows]).square().mean()

        fit([*module.parameters(), *read.parameters()], lambda: answered(slice(600)), 150)
        return float(answered(slice(600, 1200)).detach())

    assert error("gmu") < 0.75 * error(rival)
