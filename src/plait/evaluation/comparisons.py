"""Which comparison a plan asks for: a verdict on a modality, the fusion kinds side by side, or parts of a model."""

from pathlib import Path

from plait.core.errors import ConfigError
from plait.evaluation.ablation import Ablation
from plait.evaluation.compare import Comparison, Plan
from plait.evaluation.fusions import FusionComparison


def comparison_of(plan: Plan, kinds: list[str] | None, folder: Path) -> Ablation | Comparison | FusionComparison:
    """The comparison, ready to run. Errors: ConfigError for fusion kinds where the recipe fuses nothing."""
    if kinds is None:
        return Comparison(plan, folder) if plan.modality else Ablation(plan, folder)
    if not plan.modality:
        raise ConfigError(f"{plan.config.recipe} fuses nothing", where="--fusions", fix="leave it out")
    return FusionComparison(plan, kinds, folder)
