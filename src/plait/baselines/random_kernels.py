"""What random convolution kernels find in a series: how often each answers above 0, and its greatest answer."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plait.core.seeding import generator
from plait.features.seasonal_prior import FloatArray, IntArray

KERNELS = 1000
LENGTHS = (7, 9, 11)


class Kernel(NamedTuple):
    """Weights on some variates, `dilation` steps apart. Shape: weights (w, c), variates (c,)."""

    weights: FloatArray
    variates: IntArray
    bias: float
    dilation: int
    padding: int


def kernel_features(values: Mapping[str, FloatArray], kernels: int = KERNELS) -> dict[str, FloatArray]:
    """Two numbers a kernel and series: the share of its places where it answers above 0, and the greatest answer.

    answer(i) = bias + sum of weights[j] . z[i + j dilation], z the series standardised by variate over the train
    rows, with zeros around it where the kernel pads. Weights are standard normal and centred, the bias uniform in
    [-1, 1], the dilation 2^u of what fits; half of the kernels pad. The same kernels for every series.
    Shape: per split (n, t, v) -> (n, 2 kernels).
    Source: Dempster et al. 2020 (ROCKET), section 3; several variates as in the authors' code.
    """
    train = values["train"]
    mean, sd = train.mean(axis=(0, 1)), train.std(axis=(0, 1))
    drawn = [draw(number, *train.shape[1:]) for number in range(kernels)]
    out = {}
    for split, given in values.items():
        scaled = (given - mean) / np.where(sd > 0, sd, 1.0)
        z = np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)
        out[split] = np.stack([number for kernel in drawn for number in _found(z, kernel)], axis=1)
    return out


def draw(number: int, steps: int, variates: int) -> Kernel:
    """The kernel of a number, for series of that size; the same whenever it is drawn."""
    rng = generator(number, "random kernel")
    width = min(int(rng.choice(LENGTHS)), steps)
    most = int(2 ** rng.uniform(0, np.log2(min(width, variates) + 1)))
    weights = rng.standard_normal((width, most))
    reach = np.log2(max(1.0, (steps - 1) / max(1, width - 1)))
    dilation = int(2 ** rng.uniform(0, reach))
    padding = (width - 1) * dilation // 2 if rng.random() < 0.5 else 0
    chosen = rng.choice(variates, size=most, replace=False)
    return Kernel(weights - weights.mean(axis=0), chosen, float(rng.uniform(-1, 1)), dilation, padding)


def _found(z: NDArray[np.float32], kernel: Kernel) -> tuple[FloatArray, FloatArray]:
    """The two numbers of each series. Shape: (v, n, t) -> two of (n,)."""
    x = np.pad(z[kernel.variates], ((0, 0), (0, 0), (kernel.padding, kernel.padding)))
    places = x.shape[2] - (len(kernel.weights) - 1) * kernel.dilation
    answer = np.full((x.shape[1], places), kernel.bias, dtype=np.float32)
    for step, weights in enumerate(kernel.weights.astype(np.float32)):
        begin = step * kernel.dilation
        for series, weight in zip(x, weights, strict=True):
            answer += weight * series[:, begin : begin + places]
    return (answer > 0).mean(axis=1), answer.max(axis=1).astype(np.float64)
