"""Rows of all processes side by side, for losses over pairs: an all-gather that gradients go back through."""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


def gather_rows(x: Tensor) -> Tensor:
    """The rows that all processes give, in the order of their ranks; with one process `x` itself.

    Every process must call it, as often and in the same order, also one that has no row. A loss over pairs of gathered
    rows counts those whose first row is its own (`own_rows`): over all processes each pair then counts once, and the
    gradient of a row is the sum of what all processes say of it. So gradients, summed over processes, are those of one
    process that holds all rows.
    Shape: `x` (b, ...) -> (B, ...), B the sum of all b; b may differ between processes and be 0, other axes may not.
    Any dtype; a float's gradient is summed in its own.
    """
    if not _several():
        return x
    count = torch.tensor([len(x)], device=x.device)
    counts = [torch.zeros_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    return cast(Tensor, cast(Any, _Gather).apply(x, [int(each) for each in counts]))


def own_rows(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Which of the gathered rows this process gave, where it gives `count`. Shape: (B,) bool.

    As a mask of pairs: `own_rows(b, device)[:, None]` lets a process count the pairs i < j whose row i is its own.
    """
    rank = dist.get_rank() if _several() else 0
    return gather_rows(torch.full((count,), rank, device=device)) == rank


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:
        before = sum(counts[: dist.get_rank()])
        ctx.own = slice(before, before + len(x))
        sent = x.to(torch.uint8) if x.dtype == torch.bool else x
        # Collectives take tensors of one shape: pad to the longest, then cut.
        padded = sent.new_zeros(max(counts), *x.shape[1:])
        padded[: len(x)] = sent
        pieces = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(pieces, padded)
        return torch.cat([piece[:count] for piece, count in zip(pieces, counts, strict=True)]).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].contiguous().clone()
        dist.all_reduce(grad)
        return grad[ctx.own], None
