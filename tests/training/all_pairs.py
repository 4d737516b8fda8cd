"""The loss over all pairs of eleven rows, in each of several processes or in one; a script that torchrun starts."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from plait.objectives.gathered import gather_rows, own_rows
from plait.objectives.pairs import pair_loss


def pairs() -> dict[str, Tensor]:
    """The loss over all pairs of 11 embeddings and its gradient; of several processes each holds some of the rows."""
    maker = torch.Generator().manual_seed(2)
    rows, weight = torch.randn(11, 5, generator=maker), torch.randn(5, 3, generator=maker)
    distances = torch.rand(11, 11, generator=maker)
    rank, world = _place()
    # 7 and 4 rows, and 11 and none.
    found = {}
    for name, cut in (("ragged", 7), ("none", 11)):
        mine = slice(None) if world == 1 else (slice(cut) if rank == 0 else slice(cut, None))
        learned = weight.clone().requires_grad_()
        embedding = rows[mine] @ learned
        first = own_rows(len(embedding))
        total, count = pair_loss(gather_rows(embedding), distances, first=first)
        total.backward()
        assert learned.grad is not None
        kept = torch.stack([total.detach(), count.detach(), first.sum().float()])
        found |= {f"{name}.sums": _added(kept), f"{name}.grad": _added(learned.grad)}
        found[f"{name}.first"] = gather_rows(rows[mine] > 0)
        found[f"{name}.number"] = gather_rows(torch.arange(11)[mine])
    return found


def _place() -> tuple[int, int]:
    there = dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if there else (0, 1)


def _added(value: Tensor) -> Tensor:
    if _place()[1] > 1:
        dist.all_reduce(value)
    return value


if __name__ == "__main__":
    dist.init_process_group("gloo")
    save_file(pairs(), Path(sys.argv[1]) / f"{dist.get_rank()}.safetensors")
    dist.destroy_process_group()
