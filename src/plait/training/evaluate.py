"""Evaluation: every row of a split once, in order, on any number of devices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from plait.core import signals
from plait.core.errors import NumericsError, Terminated
from plait.core.protocols import Dataset, Task
from plait.core.tokens import Batch
from plait.objectives.bootstrap import Scores

SAVED = "the last checkpoint is good; go on with --resume"


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
    world = accelerator.num_processes
    mine = rows[accelerator.process_index :: world]
    prepare = prepare or (lambda batch: batch.to(accelerator.device))
    collected: dict[str, list[NDArray[np.float64]]] = {}
    model.eval()
    with torch.no_grad():
        # A sharded model is put together by all processes at once: all pass as many batches as the first, the longest.
        for start in range(0, -(-len(rows) // world), batch_size):
            if world == 1:
                signals.check(SAVED)
            part = mine[start : start + batch_size]
            batch = prepare(data.batch(split, part if len(part) else rows[:1]))
            for name, score in task.scores(model(batch), batch).items():
                collected.setdefault(name, []).append(score.double().cpu().numpy()[: len(part)])
    own = {name: np.concatenate(parts) for name, parts in collected.items()}
    scores = _gather(mine, own, rows, accelerator)
    # Some scores of a row need the other rows of its split.
    whole = getattr(task, "of_split", None)
    scores = scores if whole is None else whole(scores)
    for name, values in scores.items():
        if not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values))[0])
            raise NumericsError(f"{name} of row {bad} of the {split} split is not finite", fix="lower training.lr")
    return scores


def _gather(mine: NDArray[np.int64], own: Scores, rows: NDArray[np.int64], accelerator: Any) -> Scores:
    if accelerator.num_processes == 1:
        return own
    from accelerate.utils import gather_object

    pieces = gather_object([(mine, own, signals.asked())])
    if any(asked for _, _, asked in pieces):
        raise Terminated(f"stopped as asked; {SAVED}")
    order = np.concatenate([ids for ids, _, _ in pieces])
    assert len(np.unique(order)) == len(order) == len(rows)
    place = np.argsort(order)
    return {name: np.concatenate([part[name] for _, part, _ in pieces])[place] for name in own}
