"""Runs trained into a folder of their own, and the weights they left there."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from plait.runs.config import RunConfig
from plait.runs.fit import fit
from plait.runs.run import Run, load_run


def trained(folder: Path, config: RunConfig, rivals: Any = None) -> Run:
    """The run of a config; the scores of other rivals spare fitting them where they are of no interest."""
    folder.mkdir(parents=True)
    fit(config, folder, rivals=rivals)
    return load_run(folder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a run's model, by name."""
    return load_file(folder / "model" / "weights.safetensors")
