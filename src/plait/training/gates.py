"""How far the gates of a model open over a batch, for logs."""

from typing import Any

import torch

from plait.core.tokens import Batch


def mean_gates(model: Any, batch: Batch) -> dict[str, float]:
    """The mean of every map `gate...` over the rows of a batch, by name; nothing for a model without gates.

    The model answers in evaluation mode; its mode and the random state stay as they were.
    """
    training = model.training
    model.eval()
    with torch.no_grad():
        maps = model(batch, explain=True).maps
    model.train(training)
    return {name: float(found.values.double().mean()) for name, found in maps.items() if name.split(".")[0] == "gate"}
