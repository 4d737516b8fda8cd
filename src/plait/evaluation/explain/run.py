"""One explanation of a run's model over a split: maps on disk, checks, faithfulness, contributions, samples, taxa."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.core import signals
from plait.core.console import Progress
from plait.core.errors import ConfigError, DataError, NumericsError
from plait.core.files import write_json
from plait.core.kinds import config_class
from plait.evaluation.explain.board import Gates, write_board
from plait.evaluation.explain.checks import Checks
from plait.evaluation.explain.contribution import Contributions
from plait.evaluation.explain.counterfactuals import Counterfactuals
from plait.evaluation.explain.estimate import Estimate
from plait.evaluation.explain.faithfulness import Faithfulness
from plait.evaluation.explain.folder import whole_folder
from plait.evaluation.explain.look import Lens
from plait.evaluation.explain.maps import MapFiles, fitting_rows
from plait.evaluation.explain.modalities import Modalities
from plait.evaluation.explain.streams import has_modality
from plait.evaluation.explain.taxa import Taxa
from plait.evaluation.explain.texts import TEXT, text_samples
from plait.evaluation.explain.timeline import Timeline, evenly
from plait.evaluation.explain.words import Words
from plait.runs.run import Run

SAMPLES = 6
SAFE = "what was there is untouched; run the same command again"


def explain(run: Run, split: str, folder: Path) -> dict[str, Any]:
    """Run the model over every row of a split and write into `folder` what it looked at; returns explain.json.

    The folder holds the maps (`maps-00000.safetensors`, ..., index.json), explain.json and a manifest with every
    file's sha256; it is there whole or not at all, and one that was there is replaced. A run with a `tensorboard`
    folder gets heat maps and gates there too.
    Errors: ConfigError where the model has one stream or its modality was not accepted; NumericsError, after
    everything is written, names the checks that failed.
    """
    refuse_one_stream(run)
    device, said = next(run.model.parameters()).device, getattr(run.task, "answer", None)
    lens = Lens(run.model, run.data, split, device, said=said)
    fusion, rows = run.config.model.fusion.kind, len(run.data.rows(split))
    about = {
        "run": str(run.folder), "recipe": run.config.recipe, "split": split, "windows": rows,
        "raw": run.raw, "accepted": run.metrics["accepted"], "fusion": fusion,
    }  # fmt: skip
    gates = Gates(lens.schema, rows)
    with whole_folder(folder) as aside:
        size, task = run.config.training.eval_batch_size, run.task
        result = {**about, **explained(lens, task, fusion, size, run.config.seed, aside, gates)}
        write_json(aside / "explain.json", result)
    if (run.folder / "tensorboard").is_dir():
        write_board(run.folder / "tensorboard", folder.name, result, gates)
    refuse_failed(result, folder)
    return result


def refuse_one_stream(run: Run) -> None:
    """Refuse a model in which nothing is fused, and say why it is one; of samples the pooling is left to explain."""
    anchor, where = run.schema.anchor, str(run.folder)
    fusion = getattr(run.config.model, "fusion", None)
    if fusion is not None and fusion.kind != "none" and run.schema.contexts:
        return
    if run.metrics["accepted"] is False and not run.raw:
        raise ConfigError(
            f"{' and '.join(run.schema.contexts)} was not accepted and the kept model is of {anchor} alone: there is "
            "nothing to explain", where=where, fix="add --raw for the model before acceptance",
        )  # fmt: skip
    if run.schema.features:
        return
    raise ConfigError(
        f"the model is of {anchor} alone: there is no other modality to explain", where=where,
        fix="train with a second modality and a fusion that is not none",
    )  # fmt: skip


def explained(
    lens: Lens, task: Any, fusion: str, size: int, seed: int, folder: Path, gates: Gates | None = None
) -> dict[str, Any]:
    """Write the maps of every row of a split, at most `size` of them a batch, and measure what they say."""
    rows, words = np.asarray(lens.data.rows(lens.split), dtype=np.int64), Words.of(task)
    if not len(rows):
        raise DataError(f"has no {words.row}", where=f"the {lens.split} split", fix="choose another split")
    present, places = _survey(lens, rows, size, _removable(lens, fusion))
    of_samples, anchor = bool(lens.schema.features), lens.schema.anchor
    lens = replace(lens, places=places if of_samples else 0)
    size, count = fitting_rows(lens.look(rows[:1]), size), len(rows)
    estimate = Estimate(lens.data.units(lens.split))
    maps, checks = MapFiles(folder, anchor if of_samples else ""), Checks(lens.schema)
    timeline = None if of_samples else Timeline(lens.schema, count)
    faithfulness = Faithfulness(lens, seed, count, words)
    contributions = Contributions(lens, task, present, seed, count)
    taxa, asked = (Taxa(lens), Counterfactuals(lens, count)) if of_samples else (None, None)
    modalities = Modalities(lens.schema)
    parts = [maps, checks, timeline, faithfulness, contributions, taxa, asked, gates, modalities]
    _every(lens, rows, size, [part for part in parts if part is not None], words)
    maps.close(lens.split)
    faithful, unknown = faithfulness.result(estimate, fusion)
    text = getattr(lens.data, "text", None) is not None
    some = evenly(np.flatnonzero(present[TEXT]), SAMPLES) if text else rows[:0]
    more: dict[str, Any] = {} if words == Words() else {"row_name": words.rows}
    if between := modalities.result():
        more["between"] = between
    if taxa is not None and asked is not None:
        more |= {"taxa": taxa.result(), "counterfactuals": asked.result(estimate)}
    return {
        "metric": task.metric, "unit": task.unit, "maps": maps.about(),
        "checks": checks.to_json(), "agreement": checks.agreement(),
        "faithfulness": faithful, "no_faithfulness": unknown,
        "contributions": contributions.result(estimate),
        "over_time": [] if timeline is None else timeline.result(lens.data),
        "samples": text_samples(lens, some) if len(some) else [], **more,
    }  # fmt: skip


def _every(lens: Lens, rows: NDArray[np.int64], size: int, parts: list[Any], words: Words) -> None:
    """Show every row, some at a time, to each part of the explanation."""
    progress = Progress("explaining", len(rows), words.row)
    try:
        for start in range(0, len(rows), size):
            signals.check(SAFE)
            look = lens.look(rows[start : start + size])
            for part in parts:
                part.add(look)
            progress.update(min(start + size, len(rows)))
    finally:
        progress.close()


def _removable(lens: Lens, fusion: str) -> tuple[str, ...]:
    """The modalities that can be taken from a model: those beside the anchor, and where all are alike the anchor too.

    A forecast stands on the scale of the anchor's window and a sample on its features, so these keep theirs.
    """
    schema = lens.schema
    if schema.horizon or schema.features or schema.anchor not in lens.model.required:
        return schema.contexts
    anchored = getattr(config_class("fusion", fusion), "anchored", True)
    return schema.contexts if anchored else (schema.anchor, *schema.contexts)


def _survey(
    lens: Lens, rows: NDArray[np.int64], size: int, modalities: Iterable[str]
) -> tuple[dict[str, NDArray[np.bool_]], int]:
    """Which rows have each of some modalities, and the most places of the anchor. Shape: (n,) bool each."""
    found: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in modalities}
    places = 0
    for start in range(0, len(rows), size):
        signals.check(SAFE)
        inputs = lens.data.batch(lens.split, rows[start : start + size]).inputs
        places = max(places, int(inputs[f"{lens.schema.anchor}_mask"].shape[1]))
        for name, parts in found.items():
            parts.append(has_modality(inputs, lens.schema, name).numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}, places


def refuse_failed(result: dict[str, Any], folder: Path) -> None:
    """Raise a NumericsError that names the checks that failed."""
    failed = [f"{each['map']}: {each['what']}" for each in result["checks"] if not each["holds"]]
    answer = "prediction" if result.get("row_name") else "forecast"
    failed += [f"the {answer} with maps is that of the fast path"] * (not result["agreement"]["holds"])
    if failed:
        raise NumericsError(
            f"{len(failed)} check{'s do' if len(failed) > 1 else ' does'} not hold: {'; '.join(failed)}",
            where=str(folder / "explain.json"), fix="do not trust these maps",
        )  # fmt: skip
