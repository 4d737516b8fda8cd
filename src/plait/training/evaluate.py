"""Evaluation: every row of a split once, in order, on any number of devices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from plait.core import signals
from plait.core.errors import NumericsError
from plait.core.protocols import Dataset, Task
from plait.core.tokens import Batch
from plait.objectives.bootstrap import Scores


def evaluate(
    model: nn.Module,
    task: Task,
    data: Dataset,
    split: str,
    batch_size: int,
    accelerator: Any,
    prepare: Callable[[Batch], Batch] | None = None,
) -> Scores:
    """The task's per-row scores of all rows of a split, in the order of the rows; none is dropped or counted twice.

    Shape: each score (n,). Errors: NumericsError names the first row whose score is not finite.
    """
    rows = data.rows(split)
    mine = rows[accelerator.process_index :: accelerator.num_processes]
    prepare = prepare or (lambda batch: batch.to(accelerator.device))
    collected: dict[str, list[NDArray[np.float64]]] = {}
    model.eval()
    with torch.no_grad():
        for start in range(0, len(mine), batch_size):
            signals.check("the last checkpoint is good; go on with --resume")
            batch = prepare(data.batch(split, mine[start : start + batch_size]))
            for name, score in task.scores(model(batch), batch).items():
                collected.setdefault(name, []).append(score.double().cpu().numpy())
    own = {name: np.concatenate(parts) for name, parts in collected.items()}
    scores = _gather(mine, own, rows, accelerator)
    for name, values in scores.items():
        if not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values))[0])
            raise NumericsError(f"{name} of row {bad} of the {split} split is not finite", fix="lower training.lr")
    return scores


def _gather(mine: NDArray[np.int64], own: Scores, rows: NDArray[np.int64], accelerator: Any) -> Scores:
    if accelerator.num_processes == 1:
        return own
    from accelerate.utils import gather_object

    pieces = gather_object([(mine, own)])
    order = np.concatenate([ids for ids, _ in pieces])
    assert len(np.unique(order)) == len(order) == len(rows)
    place = np.argsort(order)
    return {name: np.concatenate([part[name] for _, part in pieces])[place] for name in own}
