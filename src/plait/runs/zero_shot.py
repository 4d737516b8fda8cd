"""A trained model on the test windows of data that it never learned from."""

from typing import Any

from torch import nn

from plait.core.errors import ConfigError
from plait.runs.assemble import build_data
from plait.runs.config import RunConfig
from plait.runs.scores import against_rivals, scored, summarise


def other_data(config: RunConfig, data: Any) -> Any:
    """The data of `data.zero_shot`, None where none are named; read before the training, so that a fault costs none.

    They are standardised by their own train rows, as in the literature, and nothing of the model is fitted to them.
    Errors: ConfigError where their steps are not those that the run learns, and for a kind of data without a path.
    """
    target = getattr(config.data, "zero_shot", None)
    if target is None:
        return None
    if "path" not in type(config.data).model_fields:
        raise ConfigError(
            f"data of kind {config.data.kind!r} are not read from a path, so {target!r} can't be their target",
            where="data.zero_shot", fix="give data.kind csv or ett, which have one",
        )  # fmt: skip
    own = {"path": target, "zero_shot": None, "targets": None, "percent": 100}
    source = config.data.as_learned(data.schema).model_copy(update=own)
    there = build_data(config.model_copy(update={"data": source}))
    if there.table.step.words != data.table.step.words:
        raise ConfigError(
            f"the run learns steps of {data.table.step.words}, {target} has steps of {there.table.step.words}",
            where="data.zero_shot", fix="name data with the same step",
        )  # fmt: skip
    if getattr(getattr(config.model, "series", None), "named", False) and there.table.columns != data.table.columns:
        raise ConfigError(
            f"the leg knows its variates by place, {target} has others", where="model.series.named",
            fix="--model.series.no-named, or name data with the same columns",
        )  # fmt: skip
    return there


def transferred(config: RunConfig, there: Any, model: nn.Module, accelerator: Any) -> dict[str, Any]:
    """The test scores on other data, beside those of the cheap rivals that are fitted there."""
    task, trained = config.task.build(there), getattr(model, "answered", slice(None))
    # The same network answers for the columns of these data, which may be others, or in another order.
    model.answered = there.schema.answered
    try:
        scores = scored(model, task, there, config.training.eval_batch_size, accelerator)
    finally:
        model.answered = trained  # type: ignore[assignment]
    baselines, against = against_rivals(task, task.rivals(there), scores["test"], there.units("test"))
    test = summarise(task, scores["test"], there.units("test"))
    return {"data": config.data.zero_shot, "test": test, "baselines": baselines, "best_baseline": against}
