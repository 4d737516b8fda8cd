"""A fit made again on train rows alone, set against what a run holds."""

from typing import Any

import torch
from torch import Tensor

from plait.evaluation.audit.finding import AuditFinding, Checked


def near(one: Tensor, two: Tensor, tolerance: float) -> bool:
    """Whether two tensors have one shape and, but for rounding, the same values."""
    return one.shape == two.shape and bool(torch.allclose(one.double(), two.double(), rtol=tolerance, atol=tolerance))


def refitted(held: Any, again: Any, count: int, rows: str, tolerance: float) -> Checked:
    """Whether a fit on `count` train rows, which `rows` names, has the tensors and the words of the one held."""
    tensors, other = held.tensors(), again.tensors()
    differ = [
        name for name in sorted(tensors.keys() | other.keys())
        if name not in tensors or name not in other or not near(tensors[name], other[name], tolerance)
    ]  # fmt: skip
    one, two = held.record(), again.record()
    differ += [name for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)]
    did = f"{len(tensors)} tables and the words beside them fitted again on the {count} {rows}"
    what = f"what the run fitted is not what its {rows} give"
    found = (AuditFinding("leak", "fitted", what, tuple(differ)),) if differ else ()
    return Checked("fitted", did, found)
