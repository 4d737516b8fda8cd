"""What tickets of the fusions of `aam` are tested with: operators, streams, their maps and gradients, whole models."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from plait.cli.arguments import config_of
from plait.core.kinds import config_class
from plait.core.schema import Schema
from plait.core.tokens import Batch, Map, Notes, Output, Tokens
from plait.models.aam import AamConfig
from plait.testing.encoders import sample_schema
from plait.testing.models import ModelCase

D, E, B, S, K = 24, 13, 5, 7, 3
SCHEMA = Schema("asv", {"asv": D, "metadata": E})
FLAGS = ["aam", "--table", "t.tsv", "--target", "age", "--categorical-columns", "site,sex"]
AT_POOL = (B, 1)
AT_TOKENS = (B, S)


def part(kind: str, opened: bool = True, **fields: Any) -> Any:
    """An operator in float64 and evaluation mode, unless `opened` is False with every weight random."""
    torch.manual_seed(0)
    chosen: Any = config_class("fusion", kind)(**fields)
    module: nn.Module = chosen.build(SCHEMA)
    if opened:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(std=0.4)
    return module.double().eval()


def streams(shape: tuple[int, int] = AT_TOKENS, columns: int = K, seed: int = 1) -> dict[str, Tokens]:
    """Random tokens, all present."""
    maker = torch.Generator().manual_seed(seed)
    asv = torch.randn(*shape, D, generator=maker, dtype=torch.float64)
    metadata = torch.randn(shape[0], columns, E, generator=maker, dtype=torch.float64)
    return {"asv": Tokens.full(asv), "metadata": Tokens.full(metadata)}


def without(
    given: dict[str, Tokens], stream: str, *places: tuple[int, int], content: float = math.nan
) -> dict[str, Tokens]:
    """The streams with some tokens of one absent, whose content is then no number."""
    x, mask = given[stream].x.clone(), given[stream].mask.clone()
    for place in places:
        x[place], mask[place] = content, False
    return {**given, stream: Tokens(x, mask)}


def shuffled(given: dict[str, Tokens], stream: str, order: Tensor) -> dict[str, Tokens]:
    return {**given, stream: Tokens(given[stream].x[:, order], given[stream].mask[:, order])}


def maps(module: nn.Module, given: dict[str, Tokens]) -> dict[str, Map]:
    notes = Notes(explain=True)
    module(given, notes)
    return notes.maps


def gradients(module: nn.Module, given: dict[str, Tokens]) -> dict[str, Tensor]:
    """The gradient of each leg and of each parameter."""
    legs = {f"leg {name}": tokens.x.clone().requires_grad_() for name, tokens in given.items()}
    out = module({name: Tokens(legs[f"leg {name}"], given[name].mask) for name in given})
    maker = torch.Generator().manual_seed(9)
    weight = torch.randn(out.x.shape, generator=maker, dtype=out.x.dtype)
    named = {**legs, **dict(module.named_parameters())}
    return dict(zip(named, torch.autograd.grad((out.x * weight).sum(), list(named.values())), strict=True))


def check_comes_back(module: nn.Module, fresh: nn.Module, folder: Path, given: dict[str, Tokens]) -> None:
    """Saved weights in a new module give the same tokens to the bit, and other ones than its own."""
    save_file(module.state_dict(), folder / "weights.safetensors")
    before = fresh(given).x
    fresh.load_state_dict(load_file(folder / "weights.safetensors"))
    assert torch.equal(fresh(given).x, module(given).x)
    assert not torch.equal(fresh(given).x, before)


def fit(parameters: Any, loss: Callable[[], Tensor], steps: int, lr: float = 0.02) -> float:
    """The loss after some steps of Adam."""
    optimizer = torch.optim.Adam(parameters, lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
    return float(loss().detach())


def model_of(*flags: str) -> Any:
    """What the command line makes of flags."""
    return config_of([*FLAGS, *flags])[2].model


class Built(NamedTuple):
    """A whole model of samples with metadata, three samples, and how to answer them."""

    model: nn.Module
    case: ModelCase
    inputs: dict[str, Tensor]

    def answer(self, **changed: Tensor) -> Output:
        found: Output = self.model(Batch({**self.inputs, **changed}, {}, {}), explain=True)
        return found

    def alone(self) -> Output:
        """The answer without the metadata leg."""
        found: Output = self.model(Batch(self.case.without(self.inputs, ["metadata"]), {}, {}), explain=True)
        return found

    def unknown(self, row: int) -> Tensor:
        """The mask of the metadata with nothing known of one row."""
        mask = self.inputs["metadata_mask"].clone()
        mask[row] = False
        return mask


def built(fusion: dict[str, Any], **fields: Any) -> Built:
    """A trained model of samples with a fusion, on three samples."""
    config = AamConfig.model_validate({
        "asv": {"kind": "asv", "dim": D}, "metadata": {"kind": "metadata", "dim": E}, "fusion": fusion,
        "pool": {"heads": 2, "key": 5, "value": 7}, "composition": None, "head": {"kind": "regression", "hidden": 11},
        **fields,
    })  # fmt: skip
    case = ModelCase(config, sample_schema(), torch.float32, "cpu")
    return Built(case.trained(), case, case.sample())
