"""Tests of the nucleotide encoder: padding is never read, chunks and checkpoints change nothing but memory."""

import pytest
import torch
from torch import Tensor

from plait.core.errors import ConfigError
from plait.evaluation.cost import peak_bytes
from plait.nn.nucleotides import LETTERS, NucleotideEncoder

LENGTH, ROWS = 11, 17


def encoder(
    length: int = LENGTH, chunk: int = 5, checkpointing: bool = True, dropout: float = 0.0
) -> NucleotideEncoder:
    torch.manual_seed(0)
    return NucleotideEncoder(length, 6, 2, 3, 13, dropout, chunk, checkpointing).double()


def sequences(rows: int = ROWS) -> Tensor:
    """Letters of several lengths; the last sequence has none."""
    maker = torch.Generator().manual_seed(0)
    letters = torch.randint(1, LETTERS, (rows, LENGTH), generator=maker)
    lengths = torch.randint(1, LENGTH + 1, (rows, 1), generator=maker)
    lengths[0], lengths[-1] = LENGTH, 0
    return torch.where(torch.arange(LENGTH) < lengths, letters, 0).to(torch.uint8)


def gradients(module: NucleotideEncoder, letters: Tensor) -> list[Tensor]:
    loss = module(letters).square().sum()
    return list(torch.autograd.grad(loss, list(module.parameters())))


def test_padding_changes_nothing_and_a_sequence_of_it_is_zero() -> None:
    short, long, letters = encoder(), encoder(LENGTH + 3), sequences()
    state = short.state_dict()
    state["position"] = torch.cat([state["position"], torch.full((3, 6), torch.nan).double()])
    long.load_state_dict(state)
    padded = torch.cat([letters, letters.new_zeros(ROWS, 3)], dim=1)
    torch.testing.assert_close(long.eval()(padded), short.eval()(letters), rtol=0, atol=1e-12)
    assert bool((short(letters)[-1] == 0).all())
    assert bool((short(letters)[:-1].abs().amax(dim=1) > 1e-3).all())


def test_letters_and_their_places_both_tell() -> None:
    module = encoder().eval()
    one = torch.tensor([[1, 2, 3, 4, 1, 1, 2, 3, 4, 2, 2]], dtype=torch.uint8)
    swapped, other = one.clone(), one.clone()
    swapped[0, [0, 1]] = one[0, [1, 0]]
    other[0, 5] = 4
    for changed in (swapped, other):
        assert float((module(changed) - module(one)).detach().abs().max()) > 1e-3


def test_states_are_those_that_are_pooled() -> None:
    module, letters = encoder().eval(), sequences()
    tokens = module.tokens(letters)
    assert tokens.x.shape == (ROWS, LENGTH, 6)
    assert torch.equal(tokens.mask, letters != 0)
    assert torch.equal(module.tokens(letters.long()).x, tokens.x)
    torch.testing.assert_close(module.pool(tokens).x[:, 0], module(letters), rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 5, 100])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_chunks_and_checkpoints_change_neither_vectors_nor_gradients(chunk: int, checkpointing: bool) -> None:
    plain, module, letters = encoder(chunk=ROWS, checkpointing=False), encoder(chunk=chunk), sequences()
    module.checkpointing = checkpointing
    torch.testing.assert_close(module.train()(letters), plain.encode(letters), rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients(module, letters), gradients(plain, letters), rtol=0, atol=1e-11)


def test_a_chunk_that_is_computed_again_drops_the_same() -> None:
    letters, found = sequences(), []
    for checkpointing in (False, True):
        module = encoder(checkpointing=checkpointing, dropout=0.3).train()
        torch.manual_seed(3)
        found.append(gradients(module, letters))
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)


def test_no_sequence_at_all() -> None:
    module = encoder().train()
    out = module(torch.zeros(0, LENGTH, dtype=torch.uint8))
    assert out.shape == (0, 6)
    out.sum().backward()


def test_memory_of_a_training_step_grows_with_the_chunk_and_not_with_the_sequences() -> None:
    def peak(rows: int, checkpointing: bool) -> int:
        module, letters = encoder(chunk=8, checkpointing=checkpointing).train(), sequences(rows)
        return peak_bytes(lambda: module(letters).square().sum().backward(), torch.device("cpu"))

    kept, again = ((peak(96, way) - peak(8, way)) / peak(8, way) for way in (False, True))
    assert kept > 5
    assert again < 1


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="5 heads do not divide the width 7"):
        NucleotideEncoder(LENGTH, 7, 1, 5, 11)
