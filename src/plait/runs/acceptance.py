"""The acceptance step: an added modality is kept only if its validation gain is shown by an interval."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from plait.core.errors import ConfigError
from plait.core.kinds import config_class
from plait.core.schema import Schema
from plait.objectives.bootstrap import Bootstrap, RowScores, enough
from plait.runs.assemble import build_model
from plait.runs.config import RunConfig
from plait.training.config import TrainingConfig
from plait.training.evaluate import Scores
from plait.training.state import Weights


@dataclass(frozen=True)
class Acceptance:
    """Whether the added modality is kept, and why, in words."""

    accepted: bool
    reason: str


def accept(fused: Scores, anchor: Scores, score: str, horizon: int) -> Acceptance:
    """Keep the added modality only if the interval of its validation change lies wholly below 0 (a gain).

    `score` names the per-row error sum. The interval is a block bootstrap over origins, blocks of 2 x horizon; fewer
    than four blocks show nothing, so the modality is not kept.
    """
    block, rows = 2 * horizon, len(fused["n"])
    if not enough(rows, block):
        return Acceptance(False, f"not enough data: {rows} validation windows are fewer than 4 blocks of {block}")
    one, two = (RowScores(scores[score][None], scores["n"]) for scores in (fused, anchor))
    change = Bootstrap(rows, block, 1).change(one, two)
    words = f"validation error {change.value:+.1%} against the anchor alone [{change.low:+.1%}, {change.high:+.1%}]"
    return Acceptance(change.high < 0, words)


def check_stages(training: TrainingConfig, anchor: str) -> None:
    """Refuse stages that leave nothing to compare with."""
    if not any(stage.present == [anchor] for stage in training.stages):
        raise ConfigError(
            "acceptance compares with the anchor alone, and no stage trains it",
            where="training.stages",
            fix=f"begin with a stage with present: [{anchor}], or set accept: always",
        )


def closed(config: RunConfig, schema: Schema, weights: Weights, device: Any) -> tuple[RunConfig, nn.Module]:
    """The anchor-only config and model with the weights that the anchor's own stage ended in."""
    none = config.model.model_copy(update={"fusion": config_class("fusion", "none")()})
    closed_config = config.model_copy(update={"model": none})
    model = build_model(closed_config, schema)
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    return closed_config, model.to(device)
