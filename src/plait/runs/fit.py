"""One run from config to finished folder: train, accept, score, save."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from plait.baselines import FORECASTS
from plait.core.console import Progress, say
from plait.core.errors import ConfigError
from plait.core.kinds import config_class
from plait.data.windows import ForecastData
from plait.objectives.bootstrap import Bootstrap, Interval, RowScores, enough
from plait.runs.assemble import (
    accelerator_for,
    build_data,
    build_model,
    is_fused,
    stages_for,
    start_from_ridge,
)
from plait.runs.config import RunConfig
from plait.runs.folder import config_text, write_start
from plait.runs.forecasts import page_samples, write_predictions
from plait.training.checkpoint import write_file, write_folder, write_json
from plait.training.evaluate import Scores, evaluate
from plait.training.loop import Trained, Trainer

SPLITS = ("val", "test")


@dataclass(frozen=True)
class Acceptance:
    """Whether the added modality is kept, and the validation change that decided it."""

    accepted: bool
    reason: str
    change: Interval | None = None


def fit(config: RunConfig, folder: Path, table: Any = None, data: ForecastData | None = None) -> dict[str, Any]:
    """Train into a folder (or go on where its newest checkpoint is) and finish it; returns what metrics.json holds.

    `data` spares a comparison from reading the same files for every arm.
    """
    began = time.monotonic()
    if not (folder / "config.yaml").exists():
        write_start(folder, config)
    if data is None:
        data = build_data(config, table, progress=_encoding_progress())
    config = config.model_copy(update={"model": config.model.resolve(data.schema)})
    write_file(folder / "config.yaml", config_text(config).encode())
    model = build_model(config, data.schema)
    strength = start_from_ridge(model, data)
    accelerator = accelerator_for(config, folder)
    accelerator.init_trackers("tensorboard")
    task = config.task.build()
    training = stages_for(config.training, model, is_fused(model))
    _check_acceptance(config, training, model, data)
    write_json(folder / "splits.json", {"splits": data.split_summary(), "findings": [str(f) for f in data.findings]})
    seconds = config.max_hours * 3600 if config.max_hours else None
    if training.stages:
        trained = Trainer(model, task, data, training, folder, config.seed, accelerator, seconds).run()
        model.load_state_dict(trained.best)
    else:
        trained = Trained(dict(model.state_dict()), None, None)  # type: ignore[arg-type]
    result = _finish(config, folder, data, model, task, trained, accelerator)
    result["ridge_strength"] = strength
    result["total_s"] = time.monotonic() - began
    write_json(folder / "metrics.json", result)
    accelerator.end_training()
    accelerator.free_memory()
    return result


def _check_acceptance(config: RunConfig, training: Any, model: nn.Module, data: ForecastData) -> None:
    if not is_fused(model) or config.accept == "always":
        return
    if not any(stage.present == [data.schema.anchor] for stage in training.stages):
        raise ConfigError(
            "acceptance compares with the anchor alone, and no stage trains it", where="training.stages",
            fix=f"begin with a stage with present: [{data.schema.anchor}], or set accept: always",
        )  # fmt: skip


def _finish(
    config: RunConfig,
    folder: Path,
    data: ForecastData,
    model: nn.Module,
    task: Any,
    trained: Trained,
    accelerator: Any,
) -> dict[str, Any]:
    raw = _score(model, task, data, config, accelerator)
    final, kept, acceptance = raw, config, Acceptance(True, "")
    if is_fused(model) and config.accept == "validation" and trained.anchor is not None:
        closed_config = config.model_copy(
            update={"model": config.model.model_copy(update={"fusion": config_class("fusion", "none")()})}
        )
        closed = build_model(closed_config, data.schema)
        own = closed.state_dict()
        closed.load_state_dict({name: trained.anchor[name] for name in own})
        closed.to(accelerator.device)
        anchor = _score(closed, task, data, config, accelerator)
        acceptance = accept(raw["val"], anchor["val"], task.metric, data.horizon)
        if not acceptance.accepted:
            final, kept, model = anchor, closed_config, closed
    write_scores(folder, final, raw)
    write_predictions(folder / "predictions.csv", data, model, "test", config.training.eval_batch_size, accelerator)
    write_json(folder / "page.json", task.page(page_samples(data, model, accelerator.device)))
    save_model(folder, kept, data, model)
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "run": str(folder),
        "recipe": config.recipe,
        "seed": config.seed,
        "unit": "standardised by the train rows",
        "metrics": {split: summarise(task, final[split], data.horizon) for split in SPLITS},
        "raw": {split: summarise(task, raw[split], data.horizon) for split in SPLITS},
        "accepted": acceptance.accepted if is_fused_config(kept, config, data) else None,
        "acceptance": acceptance.reason,
        "baselines": baselines(task, data),
        "windows": {split: len(data.rows(split)) for split in ("train", *SPLITS)},
        "parameters": parameters,
    }


def is_fused_config(kept: RunConfig, config: RunConfig, data: ForecastData) -> bool:
    """Whether the question of acceptance was put: the data have a context and the config fuses it."""
    asked = config.model.fusion is None or config.model.fusion.kind != "none"
    return bool(data.schema.contexts) and asked


def accept(fused: Scores, anchor: Scores, metric: str, horizon: int) -> Acceptance:
    """Keep the added modality only if the interval of its validation change lies wholly below 0 (a gain)."""
    key = {"mse": "se", "mae": "ae"}[metric]
    block = 2 * horizon
    rows = len(fused["n"])
    if not enough(rows, block):
        return Acceptance(False, f"not enough data: {rows} validation windows are fewer than 4 blocks of {block}")
    one, two = (RowScores(s[key][None], s["n"]) for s in (fused, anchor))
    change = Bootstrap(rows, block, 1).change(one, two)
    words = f"validation {metric} {change.value:+.1%} against the anchor alone [{change.low:+.1%}, {change.high:+.1%}]"
    return Acceptance(change.high < 0, words, change)


def _score(model: nn.Module, task: Any, data: ForecastData, config: RunConfig, accelerator: Any) -> dict[str, Scores]:
    size = config.training.eval_batch_size
    return {split: evaluate(model, task, data, split, size, accelerator) for split in SPLITS}


def summarise(task: Any, scores: Scores, horizon: int) -> dict[str, Any]:
    """The metrics of a split with the 95 % interval of the task's own metric over blocks of origins."""
    out: dict[str, Any] = dict(task.metrics(scores))
    key = {"mse": "se", "mae": "ae"}[task.metric]
    block = 2 * horizon
    if enough(len(scores["n"]), block):
        interval = Bootstrap(len(scores["n"]), block, 1).error(RowScores(scores[key][None], scores["n"]))
        out |= {f"{task.metric}_low": interval.low, f"{task.metric}_high": interval.high}
    return out


def baseline_scores(task: Any, data: ForecastData) -> dict[str, dict[str, Scores]]:
    """Per-row scores of the task's cheap rivals on validation and test."""
    panel = data.panel()
    made: dict[str, dict[str, Scores]] = {}
    for name in task.baselines:
        forecast = FORECASTS[name](panel)
        made[name] = {}
        for split in SPLITS:
            error = panel.targets(split) - forecast[split]
            known = ~np.isnan(error)
            error = np.where(known, error, 0).reshape(len(error), -1)
            made[name][split] = {
                "se": (error**2).sum(1), "ae": np.abs(error).sum(1),
                "n": known.reshape(len(error), -1).sum(1).astype(float),
            }  # fmt: skip
    return made


def baselines(task: Any, data: ForecastData) -> dict[str, dict[str, float]]:
    """The cheap rivals' test metrics, with their validation metric by which the best is chosen."""
    return {
        name: {**task.metrics(scores["test"]), f"val_{task.metric}": task.metrics(scores["val"])[task.metric]}
        for name, scores in baseline_scores(task, data).items()
    }


def write_scores(folder: Path, final: dict[str, Scores], raw: dict[str, Scores]) -> None:
    """Per-row scores as a file, for comparisons."""
    tensors = {
        f"{kind}.{split}.{name}": torch.from_numpy(values.copy())
        for kind, scores in (("final", final), ("raw", raw))
        for split, named in scores.items()
        for name, values in named.items()
    }
    write_file(folder / "scores.safetensors", save(tensors))


def save_model(folder: Path, config: RunConfig, data: ForecastData, model: nn.Module) -> None:
    """`model/`: config, schema, preprocessing and weights, all that prediction needs."""
    write_folder(
        folder / "model",
        {"weights": model.state_dict(), "preprocessing": data.scaling.tensors()},
        {"config": config.model_dump(mode="json"), "schema": data.schema.to_json()},
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
    test = result["metrics"]["test"]
    interval = f" [{test['mse_low']:.4f}, {test['mse_high']:.4f}]" if "mse_low" in test else ""
    say(f"test mse {test['mse']:.4f}{interval}, mae {test['mae']:.4f} ({result['windows']['test']} windows)")
    say(f"unit: {result['unit']}")
    for name, scores in result["baselines"].items():
        say(f"  {name:<22} mse {scores['mse']:.4f}, mae {scores['mae']:.4f}")
    if result["accepted"] is not None:
        say(f"text {'kept' if result['accepted'] else 'not kept'}: {result['acceptance']}")
    say(f"run: {result['run']}")
