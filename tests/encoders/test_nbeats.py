"""The N-BEATS encoder against its formula written out, and what each stack can take away."""

import pytest
import torch
from torch import Tensor

from plait.core.schema import Schema
from plait.encoders.nbeats import NbeatsConfig

STEPS, CHANNELS = 11, 3
SCHEMA = Schema("candles", {"candles": CHANNELS}, tuple("abc"), STEPS)


def fields(rows: int = 5, seed: int = 0) -> dict[str, Tensor]:
    maker = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, STEPS, CHANNELS, generator=maker)
    return {"values": values, "mask": torch.ones_like(values, dtype=torch.bool)}


def test_tokens_are_what_blocks_say_of_what_the_ones_before_left() -> None:
    torch.manual_seed(0)
    config = NbeatsConfig(stacks=["trend", "generic"], blocks=2, layers=1, hidden=7, dim=5, degree=2, dropout=0)
    module, given = config.build(SCHEMA), fields()
    state = module.state_dict()
    x, said = given["values"], []
    time = torch.arange(STEPS) / STEPS
    for stack in range(2):
        total = torch.zeros(5, 5)
        for block in range(2):
            w = {n.removeprefix(f"stacks.{stack}.{block}."): v for n, v in state.items() if f"{stack}.{block}." in n}
            h = torch.relu(x.reshape(5, -1) @ w["layers.0.weight"].T + w["layers.0.bias"])
            total = total + h @ w["say.weight"].T + w["say.bias"]
            if (stack, block) == (1, 1):
                assert "backcast.weight" not in w
                continue
            back = (h @ w["backcast.weight"].T + w["backcast.bias"]).reshape(5, -1, CHANNELS)
            if stack == 0:
                back = sum(back[:, k, None] * (time**k)[None, :, None] for k in range(3))
            x = x - back
        said.append(total)
    tokens, mask = module(given)
    torch.testing.assert_close(tokens, torch.stack(said, dim=1), rtol=1e-5, atol=1e-5)
    assert mask.all()


@pytest.mark.parametrize("kind, functions", [("trend", 4), ("seasonality", 6)])
def test_a_stack_takes_away_nothing_but_functions_of_its_kind(kind: str, functions: int) -> None:
    config = NbeatsConfig(stacks=[kind, "generic"], degree=3, harmonics=3, hidden=7)  # type: ignore[list-item]
    block = config.build(SCHEMA).stacks[0][0]  # type: ignore[index]
    _, backcast = block(fields(rows=31)["values"])
    seen = backcast.transpose(1, 2).reshape(-1, STEPS)
    assert torch.linalg.matrix_rank(seen) == functions
    time = torch.arange(STEPS) / STEPS
    if kind == "trend":
        basis = torch.stack([time**power for power in range(4)])
    else:
        angle = 2 * torch.pi * torch.arange(1, 4)[:, None] * time
        basis = torch.cat([angle.cos(), angle.sin()])
    fitted = seen @ torch.linalg.pinv(basis) @ basis
    torch.testing.assert_close(fitted, seen, rtol=1e-3, atol=1e-4)


def test_no_more_waves_than_steps_can_hold() -> None:
    block = NbeatsConfig(stacks=["seasonality", "generic"], harmonics=31).build(SCHEMA).stacks[0][0]  # type: ignore[index]
    assert torch.linalg.matrix_rank(block.basis) == len(block.basis) == STEPS - 1


def test_joined_is_the_same_tokens_side_by_side() -> None:
    plain, joined = NbeatsConfig(dim=5, hidden=7, dropout=0), NbeatsConfig(dim=5, hidden=7, dropout=0, joined=True)
    torch.manual_seed(0)
    one = plain.build(SCHEMA)
    other = joined.build(SCHEMA)
    other.load_state_dict(one.state_dict())
    assert other.dim == 20
    torch.testing.assert_close(other(fields()).x, one(fields()).x.reshape(5, 1, 20))


def test_every_weight_learns() -> None:
    module = NbeatsConfig(blocks=2, hidden=7, dim=5).build(SCHEMA)
    module(fields()).x.square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
