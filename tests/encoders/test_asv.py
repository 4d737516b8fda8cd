"""Tests of the ASV encoder: each distinct sequence once, in any order and company, and frozen ones once a table."""

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from plait.core.errors import ConfigError, DataError
from plait.core.schema import Schema
from plait.encoders.asv import Asv, AsvConfig, NucleotidesConfig, keep_some
from plait.nn.abundance_pool import AbundancePool

ROWS, COUNT, FEATURES, LETTERS, DIM = 5, 7, 23, 11, 13
SCHEMA = Schema("asv", {"asv": 5}, features=FEATURES, blocks={"kmers": 3, "tree": 2}, letters=LETTERS)
SMALL: dict[str, Any] = {"dim": 6, "depth": 1, "heads": 3, "hidden": 7, "chunk": 4, "dropout": 0.0}
FORMS = {
    "blocks": AsvConfig(dim=DIM, dropout=0.0),
    "nucleotides": AsvConfig(dim=DIM, dropout=0.0, blocks=False, nucleotides=NucleotidesConfig(**SMALL)),
    "both": AsvConfig(dim=DIM, dropout=0.0, hidden=17, abundance="clr", nucleotides=NucleotidesConfig(**SMALL)),
    "frozen": AsvConfig(dim=DIM, dropout=0.0, nucleotides=NucleotidesConfig(**{**SMALL, "frozen": True})),
}


def tables(seed: int = 0) -> dict[str, Tensor]:
    """Blocks and letters; features 3, 8 and 19 have the same letters, and 1 alone has fewer."""
    maker = torch.Generator().manual_seed(seed)
    letters = torch.randint(1, 6, (FEATURES, LETTERS), generator=maker).to(torch.uint8)
    letters[[8, 19]], letters[1, 5:] = letters[3].clone(), 0
    return {"blocks": torch.randn(FEATURES, 5, generator=maker), "letters": letters}


def encoder(form: str, seed: int = 0) -> Asv:
    torch.manual_seed(seed)
    module = FORMS[form].build(SCHEMA)
    module.fill(tables())
    return module


def fields(rows: int = ROWS) -> dict[str, Tensor]:
    """Samples that share features; row 0 is full and has features 3 and 8, row 4 is empty, absent content is bad."""
    maker = torch.Generator().manual_seed(0)
    values = torch.stack([torch.randperm(FEATURES, generator=maker)[:COUNT] for _ in range(rows)])
    values[0] = torch.tensor([3, 8, 1, 0, 22, 9, 19])
    mask = torch.rand(rows, COUNT, generator=maker) < 0.7
    mask[0], mask[:, 0], mask[4:5] = True, True, False
    counts = torch.rand(rows, COUNT, generator=maker) * 97
    return {
        "values": torch.where(mask, values, -(10**12)),
        "mask": mask,
        "counts": torch.where(mask, counts, math.nan),
    }


def run(module: Asv, given: dict[str, Tensor], once: bool) -> tuple[Tensor, list[Tensor]]:
    """The present tokens, and the gradients of all that learns."""
    module.once = once
    x, mask = module(given)
    seen = torch.where(mask[..., None], x, 0.0)
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return seen.detach(), list(torch.autograd.grad((seen * seen.cos()).sum(), learning))


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_each_sequence_once_equals_every_position(form: str, train: bool) -> None:
    module, given = encoder(form).train(train), fields()
    (x, gradients), (want, wanted) = (run(module, given, once) for once in (True, False))
    torch.testing.assert_close(x, want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients, wanted, rtol=1e-5, atol=1e-5)


def encoded(module: Asv, given: dict[str, Tensor]) -> list[Tensor]:
    """The letters that a forward pass reads, a tensor a pass through the nucleotide encoder."""
    found: list[Tensor] = []
    assert module.nucleotides is not None
    hook = module.nucleotides.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    module(given)
    hook.remove()
    return found


def test_a_sequence_is_encoded_once_a_batch() -> None:
    module, given = encoder("both"), fields()
    present = given["values"][given["mask"]]
    distinct = {tuple(module.letters[feature].tolist()) for feature in present}
    assert len(distinct) == len(set(present.tolist())) - 2 < len(present)
    (letters,) = encoded(module, given)
    assert sorted(map(tuple, letters.tolist())) == sorted(distinct)
    module.once = False
    (letters,) = encoded(module, given)
    assert len(letters) == ROWS * COUNT


@torch.no_grad()
@pytest.mark.parametrize("abundance", ["log", "clr", "none"])
def test_a_token_is_the_formula(abundance: str) -> None:
    torch.manual_seed(0)
    module = AsvConfig.model_validate({"dim": DIM, "abundance": abundance}).build(SCHEMA).eval()
    module.fill(tables())
    given = fields()
    x, mask = module(given)
    assert torch.equal(mask, given["mask"])
    for row, place in mask.nonzero().tolist():
        e = tables()["blocks"][given["values"][row, place]]
        want = F.layer_norm(F.gelu(module.embed(e)), (DIM,)) + module.skip.weight @ e
        logs = torch.log1p(given["counts"][row])
        mean = float(logs[given["mask"][row]].sum()) / FEATURES if abundance == "clr" else 0.0
        if module.amount is not None:
            want = want + module.amount.weight[:, 0] * (logs[place] - mean) / 3
        torch.testing.assert_close(x[row, place], want, rtol=1e-5, atol=1e-5)
    assert (module.amount is None) == (abundance == "none")


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_order_and_company_are_irrelevant(form: str) -> None:
    module, given = encoder(form).eval(), fields()
    torch.manual_seed(1)
    pool = AbundancePool(DIM, 3)

    def pooled(some: dict[str, Tensor]) -> Tensor:
        return pool(module(some), torch.log1p(some["counts"]))[0]

    want, order = pooled(given), torch.tensor([3, 0, 6, 2, 5, 1, 4])
    moved = pooled({name: tensor[:, order] for name, tensor in given.items()})
    torch.testing.assert_close(moved, want, rtol=1e-5, atol=1e-5)
    for rows in ([2], [3, 1], [4, 2, 0]):
        alone = pooled({name: tensor[rows] for name, tensor in given.items()})
        torch.testing.assert_close(alone, want[rows], rtol=1e-5, atol=1e-5)
    assert bool((want[4] == 0).all())


def test_a_batch_without_any_asv_has_tokens_and_gradients() -> None:
    module, given = encoder("both").train(), fields()
    x, mask = module(given | {"mask": torch.zeros_like(given["mask"])})
    assert x.shape == (ROWS, COUNT, DIM)
    assert not bool(mask.any())
    assert torch.isfinite(x).all()
    x.sum().backward()


def test_token_dropout_hides_its_share_and_never_all() -> None:
    torch.manual_seed(0)
    mask = torch.rand(997, COUNT) < 0.6
    for rate in (0.3, 0.99):
        kept = keep_some(mask, rate)
        assert not bool((kept & ~mask).any())
        assert torch.equal(kept.any(dim=1), mask.any(dim=1))
    assert torch.equal(keep_some(mask, 0.0), mask)
    wide = torch.ones(97, 1009, dtype=torch.bool)
    assert float(keep_some(wide, 0.3).float().mean()) == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("rate", [0.5, 0.99])
def test_token_dropout_acts_in_training_alone_and_nothing_is_computed_of_what_it_hides(rate: float) -> None:
    module, given = encoder("nucleotides"), fields()
    module.config = module.config.model_copy(update={"token_dropout": rate})
    torch.manual_seed(0)
    kept = keep_some(given["mask"], rate)
    assert int(kept.sum()) < int(given["mask"].sum())
    torch.manual_seed(0)
    x, mask = module.train()(given)
    assert torch.equal(mask.sum(dim=1), kept.sum(dim=1))
    assert mask.shape[1] == int(kept.sum(dim=1).max())
    torch.manual_seed(0)
    (letters,) = encoded(module, given)
    assert len(letters) <= int(kept.sum())
    whole, seen = module.eval()(given)
    assert torch.equal(seen, given["mask"])
    torch.testing.assert_close(x[mask], whole[kept], rtol=1e-5, atol=1e-5)


def test_frozen_sequences_are_encoded_once_a_table() -> None:
    module, given = encoder("frozen").train(), fields()
    assert module.nucleotides is not None
    assert not module.nucleotides.training
    (letters,) = encoded(module, given)
    assert len(letters) == FEATURES - 2
    assert encoded(module, given) == []
    assert encoded(module.eval(), given) == []
    assert "known" not in module.state_dict()
    module.load_state_dict(copy.deepcopy(module.state_dict()))
    assert encoded(module, given) == []
    x, _ = module(given)
    x.square().sum().backward()
    assert all(parameter.grad is None for parameter in module.nucleotides.parameters())
    assert module.embed.weight.grad is not None


def direct(module: Asv, given: dict[str, Tensor]) -> Tensor:
    """The tokens of frozen nucleotides, computed from the letters of every position."""
    assert module.nucleotides is not None
    module.frozen = False
    x, _ = run(module, given, once=False)
    module.frozen, module.once = True, True
    return x


def test_what_is_kept_equals_the_computation_and_follows_letters_and_weights() -> None:
    module, other, given = encoder("frozen").eval(), encoder("frozen", seed=1), fields()

    def stays_right() -> Tensor:
        x, want = run(module, given, once=True)[0], direct(module, given)
        torch.testing.assert_close(x, want, rtol=1e-5, atol=1e-5)
        return x

    seen = [stays_right()]
    module.load_state_dict(other.state_dict())
    seen.append(stays_right())
    torch.testing.assert_close(seen[-1], direct(other.eval(), given), rtol=1e-5, atol=1e-5)
    module.fill(tables(seed=2))
    seen.append(stays_right())
    with torch.no_grad():
        assert module.nucleotides is not None
        module.nucleotides.position.mul_(2.0)
    seen.append(stays_right())
    for one, next_one in pairwise(seen):
        assert float((one - next_one).abs().max()) > 1e-3
    again = copy.deepcopy(module).double()
    x, mask = again({**given, "counts": given["counts"].double()})
    torch.testing.assert_close(x[mask].float(), seen[-1][mask], rtol=1e-4, atol=1e-4)
    assert x.dtype == torch.float64


def test_what_is_kept_from_inference_can_train() -> None:
    module, given = encoder("frozen"), fields()
    with torch.inference_mode():
        module.eval()(given)
    module.train()(given).x.square().sum().backward()
    assert module.embed.weight.grad is not None


def test_frozen_gradients_are_those_of_the_rest() -> None:
    module, given = encoder("frozen").train(), fields()
    kept = run(module, given, once=True)[1]
    module.frozen = False
    torch.testing.assert_close(kept, run(module, given, once=False)[1], rtol=1e-5, atol=1e-5)


def test_a_state_needs_its_tables() -> None:
    state = encoder("both").state_dict()
    assert {"table", "letters"} <= set(state)
    assert state["letters"].dtype == torch.uint8
    assert "letters" not in encoder("blocks").state_dict()
    with pytest.raises(DataError, match=r"the table 'letters' is missing \(given: blocks\)"):
        encoder("both").fill({"blocks": tables()["blocks"]})


@pytest.mark.parametrize(
    "config, schema, message",
    [
        (AsvConfig(blocks=False), SCHEMA, "blocks are switched off and nucleotides are unset"),
        (AsvConfig(), Schema("asv", {"asv": 1}, features=3, letters=5), "the data have no blocks"),
        (AsvConfig(nucleotides=NucleotidesConfig()), Schema("asv", {"asv": 1}, features=3), "no sequences"),
        (AsvConfig(nucleotides=NucleotidesConfig(dim=7, heads=2)), SCHEMA, "2 heads do not divide the width 7"),
    ],
)
def test_an_asv_that_nothing_tells_is_refused(config: AsvConfig, schema: Schema, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.build(schema)
