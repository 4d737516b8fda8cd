"""Networks of different starts that answer the same rows, side by side."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from plait.core.tokens import Notes, Prediction


def side_by_side(nets: nn.ModuleList, inputs: Mapping[str, Tensor], explain: bool) -> tuple[Notes, list[Prediction]]:
    """What each net answers, and what all of them say beside it, by the name of the net where there are several."""
    notes, predictions = Notes(explain), []
    for number, net in enumerate(nets):
        own = Notes(explain)
        predictions.append(cast(Prediction, net(inputs, own)))
        if len(nets) > 1:
            notes.include(own, f"net{number}")
        else:
            notes = own
    return notes, predictions


def joined_parts(predictions: list[Prediction]) -> dict[str, Tensor]:
    """The parts of all nets along the axis of nets. Shape: by name (b, m, ...) each -> (b, sum of m, ...)."""
    return {name: torch.cat([each.parts[name] for each in predictions], dim=1) for name in predictions[0].parts}
