"""Blocks that are computed again in the backward pass: equal gradients, less held, and nothing else changed."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from plait.core.tokens import Notes, Tokens
from plait.evaluation.cost import peak_bytes
from plait.nn.block import Block, Stack
from plait.nn.language_model import LanguageBlocks, LoraConfig, random_architecture
from plait.nn.nucleotides import NucleotideEncoder
from plait.nn.recompute import recompute

ROWS, COUNT, DIM = 5, 7, 12


def tokens() -> Tokens:
    maker = torch.Generator().manual_seed(2)
    mask = torch.rand(ROWS, COUNT, generator=maker) < 0.7
    mask[3] = False
    return Tokens(torch.randn(ROWS, COUNT, DIM, generator=maker), mask)


def gradients(model: nn.Module, run: Any, bf16: bool = False) -> dict[str, Tensor]:
    """The loss and the gradient of every parameter, of one draw of dropout."""
    model.zero_grad()
    torch.manual_seed(11)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = run(model)
    loss = out.float().square().sum()
    loss.backward()
    after = {"random state": torch.get_rng_state(), "loss": loss.detach()}
    return after | {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_of_a_stack_are_equal_bit_for_bit(dropout: float, norm: str, bf16: bool) -> None:
    torch.manual_seed(1)
    plain = Stack(DIM, 3, 3, 17, dropout, norm=norm).train()
    again = copy.deepcopy(plain)
    assert recompute(again) == 3
    assert list(again.state_dict()) == list(plain.state_dict())
    bias = torch.randn(3, COUNT, COUNT, generator=torch.Generator().manual_seed(4))

    def run(model: nn.Module) -> Tensor:
        found: Tokens = model(tokens(), bias=bias)
        return torch.where(found.mask[..., None], found.x, 0.0)

    one, two = gradients(plain, run, bf16), gradients(again, run, bf16)
    assert same(one, two)
    assert one["blocks.0.feed_forward.up.weight"].any()


@pytest.mark.parametrize("bf16", [False, True])
def test_gradients_of_a_language_model_are_equal_bit_for_bit(bf16: bool) -> None:
    torch.manual_seed(1)
    plain = LanguageBlocks(random_architecture(3, DIM, 3))
    plain.adapt(LoraConfig(r=2, dropout=0.3))
    plain.learn("norm", "wpe")
    for name, parameter in plain.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.3)
    again = copy.deepcopy(plain.train())
    assert recompute(again) == 1
    assert (again.recompute, plain.recompute) == (True, False)
    assert list(again.state_dict()) == list(plain.state_dict())
    causal = torch.triu(torch.full((COUNT, COUNT), -1e9), 1)[None, None]

    def run(model: Any) -> Tensor:
        states, _ = model(tokens().x, causal)
        return torch.stack(states)

    one = gradients(plain, run, bf16)
    assert same(one, gradients(again, run, bf16))
    assert len(one) > 10
    states, weights = again(tokens().x, causal, weights=True)
    assert len(states) == len(weights) == 3
    assert again.recompute


def passes(model: Stack, run: Any) -> int:
    """How often a block of the stack is passed through."""
    count = 0
    kept = Block._passed

    def counted(self: Block, *given: Any) -> Any:
        nonlocal count
        count += 1
        return kept(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Block, "_passed", counted)
        run(model)
    return count


def test_only_a_training_pass_with_gradients_and_without_maps_is_computed_again() -> None:
    torch.manual_seed(1)
    model = Stack(DIM, 2, 3, 17)
    given = Tokens(tokens().x.requires_grad_(), tokens().mask)

    def trained(stack: Stack, notes: Notes | None = None) -> None:
        stack(given, notes).x.sum().backward()

    assert passes(model.train(), trained) == 2
    recompute(model)
    assert passes(model.train(), trained) == 4
    assert passes(model.eval(), trained) == 2
    assert passes(model.train(), lambda stack: trained(stack, Notes(explain=True))) == 2
    with torch.no_grad():
        assert passes(model.train(), lambda stack: stack(given)) == 2


def test_less_is_held() -> None:
    torch.manual_seed(1)
    plain = Stack(DIM, 7, 3, 5 * DIM, 0.1).train()
    again = copy.deepcopy(plain)
    recompute(again)
    x = torch.randn(31, 53, DIM)
    held = [peak_bytes(lambda m=m: m(Tokens.full(x)).x.sum().backward(), torch.device("cpu")) for m in (plain, again)]
    assert held[1] < held[0] / 3


@pytest.mark.parametrize("own", [False, True])
def test_what_computes_itself_again_as_a_whole_is_not_computed_three_times(own: bool) -> None:
    encoder = NucleotideEncoder(23, DIM, 2, 3, 17, checkpointing=own)
    assert recompute(nn.ModuleList([encoder, Stack(DIM, 1, 3, 17)])) == (1 if own else 3)
    assert [block.recompute for block in encoder.stack.blocks] == [not own] * 2


def test_a_model_without_blocks_has_nothing_to_compute_again() -> None:
    assert recompute(nn.Sequential(nn.Linear(3, 5), Stack(5, 0, 1, 7))) == 0
