"""The config of a run: data, model, task and training in one tree."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from plait.core.config import Config, PartOf
from plait.training.config import TrainingConfig


class RunConfig(Config):
    """All that decides what a run does."""

    recipe: str
    """Name of the recipe."""
    seed: int = Field(0, ge=0)
    """Seed of weights, dropout and the order of rows."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    deterministic: bool = False
    """Refuse operations whose result differs from call to call (on a GPU slower; a CPU is exact anyway)."""
    max_hours: float | None = Field(None, gt=0)
    """End the training after this time and go on with the best weights so far."""
    accept: Literal["validation", "always"] = "validation"
    """Keep the added modality only if its gain on validation is shown by an interval, or always."""
    data: Annotated[Any, PartOf("data.sources")]
    """Where the data lie."""
    model: Annotated[Any, PartOf("models")]
    """The model."""
    task: Annotated[Any, PartOf("tasks")] = {"kind": "forecast"}
    """What is asked of it."""
    training: TrainingConfig = TrainingConfig()
    """How it is trained."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "RunConfig":
        # What only the model knows of the data's and the task's fields.
        check = getattr(self.model, "check_against", None)
        if check is not None:
            check(self.data, self.task)
        auxiliary = getattr(self.task, "auxiliary", None)
        if auxiliary is not None:
            auxiliary.check(self.data, self.training)
        return self
