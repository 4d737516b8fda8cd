"""Output constraints by name: maps of a raw prediction onto the values that a target can have."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.core.errors import ConfigError, suggest

ConstraintKind = Literal[
    "none",
    "bounded",
    "nonnegative",
    "nonnegative-relu",
    "nonnegative-exp",
    "nonnegative-learnable",
    "learnable",
    "bounded-learnable",
]
CONSTRAINTS: tuple[ConstraintKind, ...] = get_args(ConstraintKind)

EXP_LIMIT = 20.0


class OutputConstraint(nn.Module):
    """Maps raw predictions to constrained ones, each output by itself; s is the `scale` and c the `bias` of an output.

    =====================  ==================================  =========  ==========================================
    kind                   prediction                          range      gradient in z
    =====================  ==================================  =========  ==========================================
    none                   z                                   all        1
    bounded                sigmoid(z)                          [0, 1]     > 0 for abs(z) < 87
    nonnegative            softplus(z)                         >= 0       > 0 for z > -87
    nonnegative-relu       max(z, 0)                           >= 0       0 for z <= 0
    nonnegative-exp        exp(z), from z = 20 on its tangent  >= 0       > 0 for z > -87
    nonnegative-learnable  s softplus(z) + c, s >= 0, c >= 0   >= 0       s times that of softplus
    learnable              s z + c                             all        s
    bounded-learnable      c + (1 - c) s sigmoid(z),           [0, 1]     (1 - c) s times that of sigmoid
                           s and c in [0, 1]
    =====================  ==================================  =========  ==========================================

    The tangent e^20 (1 + z - 20) is the clamp of exp: no overflow, and a gradient of at most e^20. `scale` starts at 1
    and `bias` at 0; only the learnable kinds have them. A limit on them is kept by projection: where a parameter stands
    on its limit, a gradient that would push it beyond is dropped, and one that pulls it back passes.

    Shape: (b, outputs) -> (b, outputs); `scale` and `bias` (outputs,). Half precision is computed in float32.
    Units: of the target as the model sees it, after its transform. Errors: ConfigError for an unknown kind.
    """

    def __init__(self, kind: ConstraintKind, outputs: int) -> None:
        super().__init__()
        if kind not in CONSTRAINTS:
            raise ConfigError(
                f"no output constraint {kind!r}", where="--output-constraint", fix=suggest(kind, CONSTRAINTS)
            )
        self.kind = kind
        if kind in ("learnable", "nonnegative-learnable", "bounded-learnable"):
            self.scale = nn.Parameter(torch.ones(outputs))
            self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, raw: Tensor) -> Tensor:
        """Constrain raw predictions. Shape: (b, outputs) -> (b, outputs)."""
        z = raw.to(torch.promote_types(raw.dtype, torch.float32))
        match self.kind:
            case "bounded":
                return _sigmoid(z)
            case "nonnegative":
                return F.softplus(z)
            case "nonnegative-relu":
                return F.relu(z)
            case "nonnegative-exp":
                return z.clamp(max=EXP_LIMIT).exp() * (1 + F.relu(z - EXP_LIMIT))
            case "nonnegative-learnable":
                return _within(self.scale, 0.0, torch.inf) * F.softplus(z) + _within(self.bias, 0.0, torch.inf)
            case "learnable":
                return self.scale * z + self.bias
            case "bounded-learnable":
                bias = _within(self.bias, 0.0, 1.0)
                return bias + (1 - bias) * _within(self.scale, 0.0, 1.0) * _sigmoid(z)
        return z

    def extra_repr(self) -> str:
        """The kind, for print."""
        return f"kind={self.kind!r}"


def _sigmoid(z: Tensor) -> Tensor:
    # torch.sigmoid rounds to 1 from z = 17 on, and its gradient s (1 - s) to 0; 1 - sigmoid(-z) keeps it.
    return torch.where(z > 0, 1 - torch.sigmoid(-z), torch.sigmoid(z))


class _Projection(torch.autograd.Function):
    """Clamps a parameter, and drops the gradients that would push it beyond the limit on which it stands."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(value)
        ctx.low, ctx.high = low, high
        return value.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (value,), (grad,) = ctx.saved_tensors, grads
        # A step goes against the gradient.
        outward = ((value <= ctx.low) & (grad > 0)) | ((value >= ctx.high) & (grad < 0))
        return torch.where(outward, 0.0, grad), None, None


_within: Callable[[Tensor, float, float], Tensor] = _Projection.apply
