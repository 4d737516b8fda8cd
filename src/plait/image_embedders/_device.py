"""Where a frozen image model runs."""

from typing import TYPE_CHECKING

from plait.core.errors import ConfigError
from plait.image_embedders import Device

if TYPE_CHECKING:
    import torch


def chosen(device: Device) -> "torch.device":
    """The device of this name; `auto` is a GPU where there is one.

    Errors: ConfigError for `cuda` where torch sees no GPU.
    """
    import torch

    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise ConfigError("torch sees no CUDA device", where="--device", fix="use auto or cpu")
    return torch.device("cuda" if there and device != "cpu" else "cpu")
