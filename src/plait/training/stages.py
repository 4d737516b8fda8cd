"""Stages as data: which parameters learn, how the rate runs, which modalities are seen."""

import math
from fnmatch import fnmatchcase

import torch
from torch import nn

from plait.core.errors import ConfigError, suggest
from plait.training.config import StageConfig, TrainingConfig


def select(model: nn.Module, stage: StageConfig) -> int:
    """Let the parameters named by the stage's globs learn and freeze the others; returns how many values learn.

    Errors: ConfigError for a glob of `train` that matches nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    for glob in stage.train:
        if not any(fnmatchcase(name, glob) for name in names):
            parts = sorted({f"{name.split('.')[0]}.*" for name in names})
            raise ConfigError(
                f"the glob {glob!r} matches no parameter", where=f"training.stages, stage {stage.name}",
                fix=suggest(glob, parts),
            )  # fmt: skip
    count = 0
    for name, parameter in model.named_parameters():
        learns = any(fnmatchcase(name, glob) for glob in (*stage.train, *stage.also))
        parameter.requires_grad_(learns)
        count += parameter.numel() * learns
    return count


def build_optimizer(model: nn.Module, stage: StageConfig, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over the parameters that learn; weight decay on matrices, none on biases, norms and single vectors.

    Each group has the `factor` of its peak rate to the stage's. Errors: ConfigError for a glob of `lr_of` or of
    `weight_decay_of` that matches nothing.
    """
    usual = config.weight_decay if stage.weight_decay is None else stage.weight_decay
    peak = stage.lr or config.lr
    names = [name for name, _ in model.named_parameters()]
    for field in ("lr_of", "weight_decay_of"):
        for glob in getattr(config, field):
            if not any(fnmatchcase(name, glob) for name in names):
                raise ConfigError(f"the glob {glob!r} matches no parameter", where=f"training.{field}")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate, decay = _named(config.lr_of, name, peak), _named(config.weight_decay_of, name, usual)
            groups.setdefault((rate / peak, decay if parameter.dim() == 2 else 0.0), []).append(parameter)
    ordered = sorted(groups.items(), key=lambda group: (group[0][0], -group[0][1]))
    made = [{"params": held, "weight_decay": own, "factor": factor} for (factor, own), held in ordered]
    # Fused: one kernel a group. A loop over small parameters costs a sixth of a step here.
    return torch.optim.AdamW(made, lr=peak, fused=True)


def _named(values: dict[str, float], name: str, usual: float) -> float:
    """The value of the first glob that a parameter's name matches."""
    return next((value for glob, value in values.items() if fnmatchcase(name, glob)), usual)


def learning_rate(
    step: int, steps: int, per_epoch: int, stage: StageConfig, config: TrainingConfig, cuts: int = 0
) -> float:
    """The rate of a stage's `step` (from 0) of `steps`, after `cuts` plateaus: a pure function, so that resuming needs
    no scheduler state.
    """
    peak = stage.lr or config.lr
    if config.schedule == "one_cycle":
        rise = max(1, round((config.warmup or 0.3) * steps))
        low, floor = peak / 25, peak / 25e4
        if step < rise:
            return low + (peak - low) * (1 - math.cos(math.pi * step / rise)) / 2
        return floor + (peak - floor) * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2
    rise = round(config.warmup * steps)
    if step < rise:
        return peak * (step + 1) / rise
    if config.schedule == "cosine":
        return peak * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2
    if config.schedule == "halving":
        return float(peak * 0.5 ** (step // per_epoch))
    if config.schedule == "plateau":
        return float(peak * 0.5**cuts)
    return peak
