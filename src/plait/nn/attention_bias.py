"""What attention adds to its scores by how far a key lies behind its query: decay with distance, and causality."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.errors import ConfigError

BiasKind = Literal["power_law", "stretched", "window", "butterworth", "causal", "none"]

FIELDS: dict[str, tuple[str, ...]] = {
    "power_law": ("alpha",), "stretched": ("alpha",), "window": ("width",), "butterworth": ("cutoff", "order"),
    "causal": (), "none": (),
}  # fmt: skip
"""The fields that each family reads."""
EXCLUDED = torch.finfo(torch.bfloat16).min
"""The score of an excluded key: its weight is exactly 0, and unlike -inf a row of it alone gives no NaN, also once it
is cast to bfloat16."""


class BiasConfig(Config):
    """The logarithm of what a key weighs by its distance dt >= 0 behind the query; keys ahead are excluded.

    power_law -alpha ln(1 + dt); stretched -(dt^alpha); window 0 nearer than `width` and excluded beyond; butterworth
    -1/2 ln(1 + (dt / cutoff)^(2 order)); causal 0; none excludes nothing.
    """

    kind: BiasKind = "power_law"
    """The family."""
    alpha: float | list[float] | None = None
    """Strength of power_law and stretched, one for all heads or one a head; unset: 1. At 0 it is causal attention."""
    learn: bool = False
    """Learn alpha, one a head, from there; it stays positive (softplus)."""
    width: float | None = Field(None, gt=0)
    """Of a window: how near a key must be, itself at 0; unset: 4."""
    cutoff: float | None = Field(None, gt=0)
    """Of butterworth: the distance that halves a key's power; unset: 4."""
    order: int | None = Field(None, ge=1)
    """Of butterworth: how steep it is; unset: 2."""
    symmetric: bool = False
    """The decay of |dt|, and no key excluded for lying ahead: without causality."""

    @model_validator(mode="after")
    def _fits(self) -> "BiasConfig":
        for name in ("alpha", "width", "cutoff", "order"):
            if getattr(self, name) is not None and name not in FIELDS[self.kind]:
                reads = ", ".join(FIELDS[self.kind]) or "no field of its own"
                raise ValueError(f"{name}: {self.kind!r} does not read it (it reads {reads})")
        if not self.alphas:
            raise ValueError("alpha: the list is empty, give one number, or one a head")
        if min(self.alphas) < 0:
            raise ValueError(f"alpha: {self.alpha} is negative, which would favour what is far")
        if self.learn and "alpha" not in FIELDS[self.kind]:
            raise ValueError(f"learn: {self.kind!r} has no alpha to learn")
        if self.learn and min(self.alphas) == 0:
            raise ValueError("learn: softplus can't start at alpha 0, begin with a small one")
        return self

    @property
    def alphas(self) -> list[float]:
        """Alpha as a list, of one for all heads."""
        if self.alpha is None:
            return [1.0]
        return list(self.alpha) if isinstance(self.alpha, list) else [self.alpha]

    @property
    def decays(self) -> bool:
        """Whether distance matters, beyond before and after."""
        return self.kind not in ("causal", "none")

    @property
    def words(self) -> str:
        """The bias in a few words, for figures: `power_law, alpha 1`."""
        chosen = ", ".join(f"{alpha:g}" for alpha in self.alphas)
        strength = f", alpha {chosen}{' at the start' * self.learn}" if "alpha" in FIELDS[self.kind] else ""
        return f"{self.kind}{strength}{', symmetric' * self.symmetric}"

    def build(self, heads: int, where: str = "model.bias") -> "AttentionBias":
        """The bias for attention of that many heads; `where` is the field that an error names."""
        if len(self.alphas) not in (1, heads):
            raise ConfigError(
                f"{len(self.alphas)} alphas for {heads} heads", where=f"{where}.alpha", fix="give one, or one a head"
            )
        return AttentionBias(self, heads)


class AttentionBias(nn.Module):
    """The matrix that attention adds to its scores.

    Token units: `forward(n)` of n tokens, `forward(n, queries=m)` of the last m of them as queries, which is the slice
    that a key and value cache needs. The first `prefix` tokens have no time: every query sees them without decay, and
    they see one another alone.  Time stamps: `forward(times=t)`, t (b, n), in the unit that alpha, width and cutoff are
    meant in.
    Shape: (1 or h, m, n), with time stamps or a mask (b, 1 or h, m, n). Built in float32, then in `dtype`.
    Mask: `mask` (b, n) False = padding, excluded for every query; a query left without a key has a row of one value.
    The time stamps of padding and of prefix tokens are never read. Every value is finite.
    Built once a length and kept, where nothing is learned and there is no stamp or mask.
    Source: Hegazy et al. 2025 (Powerformer, arXiv 2502.06151), equation 5, with 1 + dt for dt.
    """

    def __init__(self, config: BiasConfig, heads: int) -> None:
        super().__init__()
        self.config, self.heads = config, heads
        alphas = torch.tensor(config.alphas)
        # softplus(log(expm1(a))) = a; in this form expm1 never overflows
        start = alphas + torch.log(-torch.expm1(-alphas))
        self.rho = nn.Parameter(start.expand(heads).clone()) if config.learn else None
        self.kept: dict[tuple[object, ...], Tensor] = {}

    @property
    def alpha(self) -> Tensor:
        """The strengths in force. Shape: (1 or h, 1, 1)."""
        found = torch.tensor(self.config.alphas) if self.rho is None else F.softplus(self.rho)
        return found[:, None, None]

    def forward(
        self,
        length: int = 0,
        queries: int | None = None,
        prefix: int = 0,
        times: Tensor | None = None,
        mask: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """The bias of the last `queries` tokens (unset: all) towards all."""
        if times is not None:
            timed = torch.arange(times.shape[1], device=times.device) >= prefix
            times = torch.where(timed if mask is None else timed & mask, times, 0)
            found = self.made(times[:, :, None] - times[:, None], prefix, queries)
        else:
            found = self._kept(length, queries, prefix, torch.device(device))
        if mask is not None:
            found = (found if found.dim() == 4 else found[None]).masked_fill(~mask[:, None, None], EXCLUDED)
        return found if dtype == found.dtype else found.clamp(min=torch.finfo(dtype).min).to(dtype)

    def _kept(self, length: int, queries: int | None, prefix: int, device: torch.device) -> Tensor:
        key = (length, queries, prefix, device)
        if key in self.kept:
            return self.kept[key]
        if self.rho is not None or torch.compiler.is_compiling():
            return self.made(_distances(length, device), prefix, queries)
        with torch.inference_mode(False):  # else a training that follows could not use it
            self.kept = {key: self.made(_distances(length, device), prefix, queries)}
        return self.kept[key]

    def made(self, dt: Tensor, prefix: int = 0, queries: int | None = None) -> Tensor:
        """The bias of signed distances, t_query - t_key. Shape: (..., n, n) -> (..., 1 or h, m, n) float32."""
        dt = dt.to(torch.float32)[..., None, :, :]
        kind, far = self.config.kind, dt.abs() if self.config.symmetric else dt.clamp(min=0)
        seen = torch.ones_like(dt, dtype=torch.bool) if self.config.symmetric or kind == "none" else dt >= 0
        found = self.decay(far)
        if kind == "window":
            seen = seen & (far < self.width)
        if prefix:
            timed = torch.arange(dt.shape[-1], device=dt.device) >= prefix
            found = torch.where(timed, found, 0.0)
            seen = torch.where(timed, seen & timed[:, None], torch.ones_like(seen))
        found = torch.where(seen, found, EXCLUDED)
        return found if queries is None else found[..., -queries:, :]

    def decay(self, far: Tensor) -> Tensor:
        """The logarithm of a key's weight at distances >= 0. Shape: (..., 1, n, n) -> (..., 1 or h, n, n)."""
        kind = self.config.kind
        if kind in FAMILIES and (self.rho is not None or any(self.config.alphas)):
            return FAMILIES[kind](far, self.alpha.to(far.device))
        if kind == "butterworth":
            order = self.config.order or 2
            power = (far / (self.config.cutoff or 4.0)) ** (2 * order)
            return -0.5 * torch.log1p(power).clamp(max=88.0)  # a steep power overflows
        return torch.zeros_like(far)

    @property
    def width(self) -> float:
        """How near a window's keys are."""
        return self.config.width or 4.0


def _distances(length: int, device: torch.device) -> Tensor:
    steps = torch.arange(length, device=device)
    return steps[:, None] - steps


def power_law(far: Tensor, alpha: Tensor) -> Tensor:
    """ln (1 + dt)^-alpha."""
    return -alpha * torch.log1p(far)


def stretched(far: Tensor, alpha: Tensor) -> Tensor:
    """-(dt^alpha): a stretched exponential; exactly 0 at dt 0, with a gradient of 0, and for a head of alpha 0.

    It ends at -e^80, where a weight is 0 long since, so that no power overflows.
    """
    flat = (far == 0) | (alpha == 0)
    power = torch.exp((alpha * torch.log(torch.where(flat, 1.0, far))).clamp(max=80.0))
    return torch.where(flat, 0.0, -power)


FAMILIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"power_law": power_law, "stretched": stretched}
"""The families that have a strength."""
