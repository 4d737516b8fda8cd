"""Gradient checkpointing: activations that are computed again in the backward pass instead of kept."""

from typing import Any

from torch import nn


def recompute(model: nn.Module) -> int:
    """Let a model's blocks be computed again in the backward pass of a training; returns how many parts do.

    These are the parts with an attribute `recompute`: transformer blocks, and those of a language model. Gradients are
    the same, no key of a state dict changes, and evaluation and maps are as before. Blocks inside a part that already
    computes itself again as a whole (`checkpointing`) stay as they are: they would be computed three times.
    Source: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost, section 4.
    """
    whole = [part for part in model.modules() if getattr(part, "checkpointing", False)]
    inside = {id(part) for each in whole for part in each.modules()}
    parts: list[Any] = [part for part in model.modules() if hasattr(part, "recompute") and id(part) not in inside]
    for part in parts:
        part.recompute = True
    return sum(part.recompute for part in parts)
