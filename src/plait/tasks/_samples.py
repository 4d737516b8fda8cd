"""What tasks over samples share: predictions of a split in parts, rivals and what to say of study columns."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from plait.baselines.samples import MEANINGS, column_rivals, confounded, rivals_of
from plait.core import signals
from plait.core.schema import SCORED
from plait.core.seeding import seed_torch
from plait.core.tokens import Batch, Prediction
from plait.data.samples import SampleData
from plait.objectives.bootstrap import Rivals, Scores

COPY = 0.1
COLUMN = "column:"
"""What the names of rivals begin with that know one column of the metadata alone."""


def predictions(
    data: SampleData, model: nn.Module, split: str, rows: NDArray[np.int64], size: int, device: Any
) -> Iterator[tuple[Batch, Prediction]]:
    """What the model says of some rows of a split, `size` of them at a time."""
    with torch.no_grad():
        for start in range(0, len(rows), size):
            signals.check("nothing is lost; run the same command again")
            batch = data.batch(split, rows[start : start + size]).to(device)
            yield batch, model(batch).prediction


def spread_of_passes(
    data: SampleData, model: nn.Module, split: str, rows: NDArray[np.int64], size: int, device: Any, passes: int
) -> list[Prediction]:
    """Passes with dropout left on, each over all rows: how far the answer depends on what is hidden.

    The random state is the same at every call. Source: Gal & Ghahramani 2016, section 3.
    """
    made = []
    with torch.random.fork_rng():
        for number in range(passes):
            seed_torch(0, "pass", number)
            model.train()
            parts = [found for _, found in predictions(data, model, split, rows, size, device)]
            names = parts[0].parts
            joined = {name: torch.cat([part.parts[name] for part in parts]) for name in names}
            made.append(Prediction(torch.cat([part.point for part in parts]), joined))
    model.eval()
    return made


def sample_rivals(data: SampleData, score: Any) -> Rivals:
    """The cheap rivals of samples, and each study or batch column alone. `score` turns (truth, answer) into sums."""
    panel = data.panel()
    made = {name: rival(panel) for name, rival in rivals_of(panel).items()} | column_rivals(panel)
    return {name: {s: score(data.targets(s), answers[s]) for s in SCORED} for name, answers in made.items()}


def candidates(names: Iterable[str]) -> list[str]:
    """The rivals that may be chosen as the best: no column alone, which may be a copy of the target."""
    return [name for name in names if not name.startswith(COLUMN)]


def meanings(names: Iterable[str]) -> dict[str, str]:
    """What each rival is, for tables."""
    own = {name: f"{name.removeprefix(COLUMN)} alone, nothing measured" for name in names if name.startswith(COLUMN)}
    return {**MEANINGS, **own}


def confounding(result: Mapping[str, Any], target: str) -> list[str]:
    """What a reader must know first: columns that predict the target about as well as the model, by themselves.

    One whose error is a tenth of the model's says what the target is, and not who was studied.
    """
    metric = result["metric"]
    errors = {
        name: scores[metric]
        for name, scores in result["baselines"].items()
        if name.startswith(COLUMN) or name == "metadata_only"
    }
    own = result["raw"]["test"][metric]
    words = []
    for name in confounded(errors, own):
        plain = name.removeprefix(COLUMN)
        if errors[name] < COPY * own:
            words.append(
                f"{plain} alone tells {target} ({metric} {errors[name]:.4g}): a copy of the target, no evidence"
            )
        else:
            words.append(
                f"confounded: {plain} alone predicts {target} with {metric} {errors[name]:.4g}, the model with"
                f" {own:.4g}: what the model learned may be who was studied"
            )
    return words


def column_names(data: SampleData) -> list[str]:
    """The names of the rivals that know one column alone."""
    return [f"{COLUMN}{name}" for name in (*data.metadata.columns, "(sample id prefix)")]


def error_sums(truth: NDArray[Any], answer: NDArray[np.float64]) -> Scores:
    """Squared and absolute errors of numbers a row, over known targets. Shape: (n,) each."""
    known = np.isfinite(truth.astype(np.float64))
    error = np.where(known, truth.astype(np.float64) - answer, 0.0)
    return {"se": error**2, "ae": np.abs(error), "n": known.astype(np.float64)}
