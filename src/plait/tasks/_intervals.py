"""Intervals around forecasts, as wide as validation windows ask for, and how much of the truth they hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from plait.core.tokens import Prediction
from plait.data.windows import ForecastData
from plait.heads._answers import QUANTILES
from plait.objectives.conformal import FloatArray, conformal_reach
from plait.tasks._windows import batches

Pair = tuple[int, int]
ROUNDING = 1e-5
"""Added to every reach, in sds: what a forward pass of a batch of another size rounds otherwise is still held."""


class Held(NamedTuple):
    """Which targets an interval is asked for and bounded at, which of them it holds, and its width there, else 0."""

    asked: Tensor
    covered: Tensor
    width: Tensor


@dataclass(frozen=True, eq=False)
class Intervals:
    """From the core of a forecast (its point, or a pair of its quantiles) so far down and up at each step and variate.

    low = min(core_low - reach, point), high = max(core_high + reach, point): a negative reach, of quantiles that are
    too wide, may draw them in as far as the point. A reach of infinity has no bounds: NaN.
    Shape: reach (p, v).  Units: standardised by the train rows.
    Source: Romano, Patterson & Candes 2019, equations 6 to 8 (CQR), for quantiles.
    """

    coverage: float
    reach: Tensor
    pair: Pair | None = None

    @classmethod
    def of(cls, scores: FloatArray, coverage: float, pair: Pair | None = None) -> "Intervals":
        """Those that hold the share `coverage` of validation targets. Shape: scores (n, p, v), NaN where not known."""
        return cls(coverage, torch.from_numpy(conformal_reach(scores, coverage) + ROUNDING), pair)

    def bounds(self, found: Prediction) -> tuple[Tensor, Tensor]:
        """The ends of the intervals of a forecast (b, p, v). Shape: two of (b, p, v) float64, NaN where unbounded."""
        point, (low, high) = found.point.double(), core(found, self.pair)
        reach = self.reach.to(point.device)
        reach = torch.where(reach.isinf(), torch.nan, reach)
        return torch.minimum(low - reach, point), torch.maximum(high + reach, point)

    def held(self, found: Prediction, y: Tensor, mask: Tensor) -> Held:
        """How the intervals of a forecast stand to the truth.

        Shape: all (b, p, v).  Mask: what a False target holds is never read; steps without bounds are not asked.
        """
        low, high = self.bounds(found)
        asked = mask & ~low.isnan()
        return Held(asked, asked & (low <= y) & (y <= high), torch.where(asked, high - low, 0.0))

    def row_sums(self, found: Prediction, y: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Of each row the targets that are asked, those held, and the widths. Shape: three of (b,) float64."""
        held = self.held(found, y, mask)
        return {name: each.double().flatten(1).sum(1) for name, each in held._asdict().items()}

    def by_step(self, data: ForecastData, model: nn.Module, split: str, size: int, device: Any) -> dict[str, Any]:
        """The coverage and the mean width at each step of the windows of a split; None where none is asked."""
        model.eval()
        sums = torch.zeros(3, len(self.reach), dtype=torch.float64)
        for batch in batches(data, split, data.rows(split), size):
            there = batch.to(device)
            with torch.no_grad():
                found = model(there).prediction
            held = self.held(found, there.targets["y"], there.targets["mask"])
            sums += torch.stack([each.double().sum(dim=(0, 2)).cpu() for each in held])
        asked, *totals = sums.tolist()
        parts = ([t / n if n else None for t, n in zip(total, asked, strict=True)] for total in totals)
        return dict(zip(("coverage", "width"), parts, strict=True))


def core(found: Prediction, pair: Pair | None) -> tuple[Tensor, Tensor]:
    """What an interval is built around: the point twice, or two of the quantiles. Shape: two of (b, p, v) float64."""
    if pair is None:
        return found.point.double(), found.point.double()
    low, high = (found.parts[QUANTILES][..., place].double() for place in pair)
    return low, high


def misses(found: Prediction, y: Tensor, mask: Tensor, pair: Pair | None) -> Tensor:
    """By how much the truth lies outside the core, negative inside it; NaN where it is not known. Shape: (b, p, v)."""
    low, high = core(found, pair)
    return torch.where(mask, torch.maximum(low - y, y - high), torch.nan)


def measured(
    data: ForecastData, model: nn.Module, coverage: float, pair: Pair | None, size: int, device: Any
) -> Intervals:
    """The intervals of a model by its misses of all validation windows."""
    model.eval()
    parts = []
    # Every process does this by itself: one that stopped here would leave the others waiting for it.
    for batch in batches(data, "val", data.rows("val"), size, interruptible=False):
        there = batch.to(device)
        with torch.no_grad():
            found = model(there).prediction
        parts.append(misses(found, there.targets["y"], there.targets["mask"], pair).float().cpu().numpy())
    return Intervals.of(np.concatenate(parts), coverage, pair)


def pair_of(levels: Sequence[float], coverage: float) -> Pair | None:
    """Which two levels the intervals widen: those of that coverage, or the outermost; None where there are none."""
    ends = [(place, len(levels) - 1 - place) for place in range(len(levels) // 2)]
    fitting = [(low, high) for low, high in ends if abs(levels[high] - levels[low] - coverage) < 1e-9]
    return next(iter(fitting or ends), None)
