"""The rows of a split, some at a time."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from plait.core import signals
from plait.core.protocols import Dataset
from plait.core.tokens import Batch


def batches(
    data: Dataset, split: str, rows: NDArray[np.int64], size: int, interruptible: bool = True
) -> Iterator[Batch]:
    """The rows of a split that are named, `size` of them at a time."""
    for start in range(0, len(rows), size):
        if interruptible:
            signals.check("nothing is lost; run the same command again")
        yield data.batch(split, rows[start : start + size])
