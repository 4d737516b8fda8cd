"""The acceptance step: an added modality is kept only if its validation gain is shown by an interval."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from plait.core.schema import Schema
from plait.objectives.bootstrap import Bootstrap, RowScores, Scores, Units
from plait.runs.assemble import build_model
from plait.runs.config import RunConfig
from plait.training.config import TrainingConfig
from plait.training.shards import Weights


@dataclass(frozen=True)
class Acceptance:
    """Whether the added modality is kept, and why, in words."""

    accepted: bool
    reason: str


def accept(fused: Scores, anchor: Scores, score: str, units: Units) -> Acceptance:
    """Keep the added modality only if the interval of its validation change lies wholly below 0 (a gain).

    `score` names the per-row error sum, `units` what the bootstrap draws; too few show nothing, so the modality is not
    kept.
    """
    if not units.enough:
        return Acceptance(False, f"not enough data: in validation {units.lacking}")
    one, two = (RowScores(scores[score][None], scores["n"]) for scores in (fused, anchor))
    change = Bootstrap(units, 1).change(one, two)
    words = f"validation error {change.value:+.1%} against the anchor alone [{change.low:+.1%}, {change.high:+.1%}]"
    return Acceptance(change.high < 0, words)


def ends_in_series_stage(training: TrainingConfig, anchor: str, parameters: Iterable[str]) -> bool:
    """Whether the anchor alone is fully trained once its own stage is over: no later stage trains its `parameters`.

    Else the anchor must go through all stages by itself to be a fair rival: a fused model whose last stage trains
    everything has given its series leg more epochs.
    """
    own = [number for number, stage in enumerate(training.stages) if stage.present == [anchor]]
    if not own:
        return False
    later = [glob for stage in training.stages[own[-1] + 1 :] for glob in stage.train]
    return not any(fnmatchcase(name, glob) for name in parameters for glob in later)


def without_fusion(config: RunConfig) -> RunConfig:
    """The config of the anchor alone."""
    return config.model_copy(update={"model": config.model.alone()})


def closed(config: RunConfig, schema: Schema, weights: Weights, device: Any) -> tuple[RunConfig, nn.Module]:
    """The anchor-only config and model with given weights, in which those of other parts are left aside."""
    closed_config = without_fusion(config)
    model = build_model(closed_config, schema)
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    return closed_config, model.to(device)
