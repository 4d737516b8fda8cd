"""One run from config to finished folder: train, accept, score, save."""

import time
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from plait.core.console import Progress, say
from plait.core.files import write_file, write_json
from plait.core.schema import SCORED
from plait.objectives.bootstrap import Rivals, Scores
from plait.runs.acceptance import Acceptance, accept, closed, ends_in_series_stage, without_fusion
from plait.runs.assemble import (
    accelerator_for,
    build_data,
    build_model,
    check_anchor_learns,
    is_fused,
    stages_for,
    start,
)
from plait.runs.config import RunConfig
from plait.runs.folder import check_data, config_text, epochs_of, write_splits, write_start
from plait.runs.pretrained import settled, take, without_frozen
from plait.runs.scores import against_rivals, coverage_words, scored, summarise, write_scores
from plait.runs.zero_shot import other_data, transferred
from plait.training.checkpoint import read_folder, write_folder
from plait.training.evaluate import evaluate
from plait.training.loop import Trainer
from plait.training.shards import Weights
from plait.training.state import Trained, copy_weights


def fit(
    config: RunConfig,
    folder: Path,
    table: Any = None,
    data: Any = None,
    rivals: Rivals | None = None,
    anchor: Path | None = None,
) -> dict[str, Any]:
    """Train into a folder (or go on where its newest checkpoint is) and finish it; returns what metrics.json holds.

    `data`, the scores of its cheap `rivals` and the run folder of the `anchor` alone spare a comparison from making
    them anew for every arm.
    """
    began = time.monotonic()
    if not (folder / "config.yaml").exists():
        config = settled(config)
        write_start(folder, config)
    if data is None:
        data = build_data(config, table, progress=_encoding_progress())
        warn(config, data)
    check_data(folder, data)
    there = other_data(config, data)
    config = config.model_copy(update={"model": config.model.resolve(data.schema)})
    write_file(folder / "config.yaml", config_text(config).encode())
    model = build_model(config, data.schema)
    started = start(model, data)
    taken = take(config, model, folder)
    accelerator = accelerator_for(config, folder)
    accelerator.init_trackers("tensorboard")
    task = config.task.build(data)
    training = without_frozen(stages_for(config.training, model, is_fused(model)), model)
    check_anchor_learns(training, model, any(value is not None for value in started.values()))
    write_splits(folder, data)
    seconds = config.max_hours * 3600 if config.max_hours else None
    alone, in_force = None, {}
    if training.stages:
        trainer = Trainer(model, task, data, training, folder, config.seed, accelerator, seconds)
        trained, in_force = trainer.run(), trainer.in_force
        model.load_state_dict(trained.best)
        if is_fused(model) and config.accept == "validation" and data.schema.anchor in config.model.reads:
            left = None if seconds is None else max(1.0, seconds - (time.monotonic() - began))
            alone = _anchor_weights(config, folder, data, task, trained, anchor, accelerator, left)
    rivals = task.rivals(data) if rivals is None else rivals
    result = _finish(config, folder, data, model, task, alone, rivals, accelerator, there)
    result |= started if taken is None else {**started, "pretrained": taken}
    if in_force:
        result["parallel"] = in_force
    result["total_s"] = time.monotonic() - began
    if accelerator.is_main_process:
        write_json(folder / "metrics.json", result)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    accelerator.free_memory()
    return result


def warn(config: RunConfig, data: Any) -> None:
    """Say what a user would want to know before a training, and not after."""
    if not data.schema.contexts and hasattr(config.model, "fusion") and config.model.fusion is None:
        say(f"there is no second modality to read: the model is of {data.schema.anchor} alone")
    of_model = config.model.notices(data.schema) if hasattr(config.model, "notices") else []
    of_task = config.task.notices(config.data) if hasattr(config.task, "notices") else []
    for words in [*data.notices(), *of_model, *of_task]:
        say(words)


def _anchor_weights(
    config: RunConfig,
    folder: Path,
    data: Any,
    task: Any,
    trained: Trained,
    anchor: Path | None,
    accelerator: Any,
    seconds: float | None,
) -> Weights:
    """The weights of the anchor alone, trained through the same stages: what the added modality has to beat.

    In residual mode no stage with text trains the series leg, so its own stage is all the training it has.
    """
    if anchor is not None:
        return read_folder(anchor / "model")[0]["weights"]
    model = build_model(without_fusion(config), data.schema)
    names = [name for name, _ in model.named_parameters()]
    own_stage = getattr(config.model, "residual", False) or ends_in_series_stage(
        config.training, data.schema.anchor, names
    )
    # A fusion that changes the anchor in rows without context has trained its leg for something else.
    alone = getattr(config.model.fusion, "keeps_anchor", True)
    if trained.anchor is not None and own_stage and alone:
        return trained.anchor
    start(model, data)
    say(f"training {data.schema.anchor} alone through the same stages, for the acceptance step")
    place = folder / "anchor"
    place.mkdir(exist_ok=True)
    take(config, model, place)
    stages = without_frozen(stages_for(config.training, model, fused=False), model)
    if not stages.stages:
        return copy_weights(model)
    trainer = Trainer(model, task, data, stages, place, config.seed, accelerator, seconds, inside=folder)
    return trainer.run().best


def _finish(
    config: RunConfig,
    folder: Path,
    data: Any,
    model: nn.Module,
    task: Any,
    alone: Weights | None,
    rivals: Rivals,
    accelerator: Any,
    there: Any,
) -> dict[str, Any]:
    size = config.training.eval_batch_size
    raw = calibrated(config, model, task, data, accelerator)
    kept, acceptance = _decided(raw, folder, data, task, alone, accelerator)
    page: dict[str, Any] = {}
    if accelerator.is_main_process:
        write_scores(folder / "scores.safetensors", kept.scores, raw.scores)
        page = _write_answers(folder, task, data, kept.model, size, accelerator.device)
        save_model(folder, kept, data)
    table, against = against_rivals(task, rivals, kept.scores["test"], data.units("test"))
    result = {
        "run": str(folder),
        "recipe": config.recipe,
        "seed": config.seed,
        "metric": task.metric,
        "chosen_by": getattr(task, "chosen_by", task.metric),
        "unit": task.unit,
        "row_name": task.row_name,
        "drawn": data.units("test").drawn,
        "modality": " and ".join(name for name in data.schema.contexts if name in config.model.reads),
        "metrics": {split: summarise(task, kept.scores[split], data.units(split)) for split in SCORED},
        "raw": {split: summarise(task, raw.scores[split], data.units(split)) for split in SCORED},
        "accepted": acceptance.accepted if acceptance else None,
        "acceptance": acceptance.reason if acceptance else "",
        "baselines": table,
        "best_baseline": against,
        "windows": {split: len(data.rows(split)) for split in ("train", *SCORED)},
        "parameters": sum(p.numel() for p in kept.model.parameters()),
        "raw_parameters": sum(p.numel() for p in model.parameters()),
    }
    if "intervals" in page:
        result["intervals"] = page["intervals"]
    if there is not None:
        result["zero_shot"] = transferred(config, there, kept.model, accelerator)
    result["caveats"] = task.caveats(result)
    if accelerator.is_main_process and hasattr(task, "files"):
        for name, content in task.files(result, page, epochs_of(folder)).items():
            write_file(folder / name, content)
    return result


class Judged(NamedTuple):
    """A model with its config, its scores on validation and test, and what a task measured of it beside them."""

    config: RunConfig
    model: nn.Module
    scores: dict[str, Scores]
    measured: dict[str, Tensor] | None


def _decided(
    raw: Judged, folder: Path, data: Any, task: Any, alone: Weights | None, accelerator: Any
) -> tuple[Judged, Acceptance | None]:
    """The model that is kept, as validation decides where the anchor's weights `alone` are given, and why."""
    config = raw.config
    if not is_fused(raw.model):
        return raw, None
    if alone is None:
        why = "accept: always" if data.schema.anchor in config.model.reads else f"{data.schema.anchor} are left out"
        return raw, Acceptance(True, f"kept without a question ({why})")
    anchor = calibrated(*closed(config, data.schema, alone, accelerator.device), task, data, accelerator)
    acceptance = accept(raw.scores["val"], anchor.scores["val"], task.score, data.units("val"))
    if not acceptance.accepted and accelerator.is_main_process:
        save_model(folder, raw, data, "raw")
    kept = raw if acceptance.accepted else anchor
    if kept.measured is not None:
        task.restore(kept.measured)
    return kept, acceptance


def _write_answers(folder: Path, task: Any, data: Any, model: nn.Module, size: int, device: Any) -> dict[str, Any]:
    """The predictions of the test rows, and what the report draws of them, which is returned."""
    table = task.table(data, model, "test", data.rows("test"), size, device)
    write_file(folder / "predictions.csv", table.to_csv(index=False, float_format="%.7g").encode())
    looked = getattr(model, "looked", None)
    own = {} if looked is None else {"attention": looked(data, device)}
    page = {**task.page(data, model, device), **own}
    write_json(folder / "page.json", page)
    return page


def calibrated(config: RunConfig, model: nn.Module, task: Any, data: Any, accelerator: Any) -> Judged:
    """A model's scores of validation and test, after a task has set what of it is settled on validation rows, and has
    measured there what else it keeps, if it does either.
    """
    size = config.training.eval_batch_size
    if hasattr(task, "calibrate"):
        task.calibrate(model, evaluate(model, task, data, "val", size, accelerator))
    measured = task.measure(data, model, size, accelerator.device) if hasattr(task, "measure") else None
    return Judged(config, model, scored(model, task, data, size, accelerator), measured)


def save_model(folder: Path, kept: Judged, data: Any, name: str = "model") -> None:
    """`model/`: config, schema, preprocessing and weights, with what a task measured, all that prediction needs.

    `raw/` holds the same of the model before acceptance, where it was not accepted.
    """
    of_task = {} if kept.measured is None else {"calibration": kept.measured}
    write_folder(
        folder / name,
        {"weights": kept.model.state_dict(), "preprocessing": data.fitted.tensors(), **of_task},
        {
            "config": kept.config.model_dump(mode="json"),
            "schema": data.schema.to_json(),
            "preprocessing": data.fitted.record(),
        },
    )


def _encoding_progress() -> Any:
    bars: list[Progress] = []

    def show(done: int, total: int) -> None:
        if not bars:
            bars.append(Progress("encoding texts", total, "text"))
        bars[0].update(done)
        if done >= total:
            bars[0].close()

    return show


def tell(result: dict[str, Any]) -> None:
    """Print a run's result for people."""
    metric, test = result["metric"], result["metrics"]["test"]
    for words in result["caveats"]:
        say(words)
    names = [name for name in test if not name.endswith(("_low", "_high"))]
    told = ", ".join(f"{name} {_with_interval(test, name)}" for name in names)
    say(f"test {told} ({result['windows']['test']} {result['row_name']})")
    if "intervals" in result:
        say(coverage_words(test, result["intervals"]["asked"], "test") or "intervals have no bounds")
    say(f"unit: {result['unit']}")
    for name, scores in result["baselines"].items():
        shown = ", ".join(f"{each} {scores[each]:.4f}" for each in names if each in scores)
        say(f"  {name:<22} {shown}")
    best = result["best_baseline"]
    span = f" [{best['low']:+.1%}, {best['high']:+.1%}]" if best["low"] is not None else ""
    say(f"against the best baseline, {best['name']} (chosen on validation): {best['change']:+.1%}{span}")
    if "zero_shot" in result:
        found = result["zero_shot"]
        name = found["best_baseline"]["name"]
        rival = f"{name}, fitted there: {found['baselines'][name][metric]:.4f}"
        say(f"zero-shot on {found['data']}: test {metric} {found['test'][metric]:.4f}; {rival}")
    if result["accepted"] is not None:
        say(f"{result['modality']} {'kept' if result['accepted'] else 'not kept'}: {result['acceptance']}")
    say(f"run: {result['run']}")


def _with_interval(scores: dict[str, Any], name: str) -> str:
    interval = f" [{scores[f'{name}_low']:.4f}, {scores[f'{name}_high']:.4f}]" if f"{name}_low" in scores else ""
    return f"{scores[name]:.4f}{interval}"
