"""`imputation`: the cells of a window that are hidden from the model."""

from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import nn

from plait.baselines.imputation import IMPUTATIONS, MEANINGS
from plait.core.config import Config
from plait.core.errors import DataError
from plait.core.schema import SCORED
from plait.core.tokens import Batch
from plait.data.hidden import HiddenCells
from plait.data.questions import window_rows
from plait.data.windows import ForecastData
from plait.objectives.bootstrap import Rivals, Scores
from plait.objectives.pointwise import LossName, row_errors
from plait.tasks._point import PointTask
from plait.tasks._windows import batches

CHUNK = 1024
"""Windows that the cheap imputations fill at a time."""
PAGE_WINDOWS = 40


class ImputationTaskConfig(Config):
    """Hidden cells of each window, trained by a pointwise loss on them alone, scored by MSE and MAE."""

    rows_are: ClassVar[str] = "windows"
    kind: Literal["imputation"] = "imputation"
    loss: LossName = "mse"
    """mse, mae or huber (or l2, l1, smooth_l1), over hidden cells, in standardised units."""
    weight: float = Field(1.0, gt=0)
    """What that loss counts beside a model's own losses."""
    mask_rate: float = Field(0.25, gt=0, lt=1)
    """Share of the observed cells of each window that is hidden; 0.125, 0.25, 0.375 and 0.5 are usual."""
    pattern: Literal["random", "blocks"] = "random"
    """Which cells: single ones, or stretches of a variate."""
    block: int = Field(8, ge=2)
    """With pattern blocks: steps of a stretch."""
    mask_seed: int = Field(0, ge=0)
    """Seed of what is hidden; runs of any seed are asked for the same cells of validation and test."""

    @property
    def question(self) -> HiddenCells:
        """What is hidden of the windows."""
        return HiddenCells(self.mask_rate, 1 if self.pattern == "random" else self.block, self.mask_seed)

    def build(self, data: ForecastData) -> "ImputationTask":
        """The task; it is the same for all data."""
        return ImputationTask(self.loss, self.weight)


class ImputationTask(PointTask):
    """The error of each hidden cell, and the cheap ways to fill the same cells beside it."""

    meanings = MEANINGS

    def rivals(self, data: ForecastData) -> Rivals:
        """Per-row scores of the cheap imputations on validation and test."""
        # A season that is no shorter than a window is never seen in it.
        names = [name for name in IMPUTATIONS if name != "last_season" or data.table.step.period < data.lookback]
        parts: dict[str, dict[str, list[Scores]]] = {name: {split: [] for split in SCORED} for name in names}
        for split in SCORED:
            for batch in batches(data, split, data.rows(split), CHUNK):
                inputs, targets = batch.inputs, batch.targets
                seen = torch.where(inputs["series_mask"], inputs["series"].double(), torch.nan).numpy()
                for name in names:
                    filled = torch.from_numpy(IMPUTATIONS[name](seen, data.table.step.period))
                    sums = row_errors(filled, targets["y"], targets["mask"])
                    parts[name][split].append({each: values.numpy() for each, values in sums.items()})
        return {name: {s: _joined(some) for s, some in splits.items()} for name, splits in parts.items()}

    def table(self, data: ForecastData, model: nn.Module, split: str, rows: Any, size: int, device: Any) -> Any:
        """One line a hidden cell, in the unit of the files: window (its last step), time, variate, value, imputed.

        Of new data, a line for each cell they lack, once: time, variate, imputed. Errors: DataError where they lack
        none.
        """
        model.eval()
        frames, done = [], -1
        for batch in batches(data, split, np.asarray(rows, dtype=np.int64), size):
            with torch.no_grad():
                point = model(batch.to(device)).prediction.point.float().cpu().numpy()
            at = window_rows(batch.info["row"], data.lookback)
            wanted = batch.targets["mask"]
            if split == "ahead":
                # Windows of new data come in the order of time, and the last one may overlap the one before it.
                ends = torch.cat([torch.tensor([done]), batch.info["row"][:-1]])
                wanted = ~batch.inputs["series_mask"] & (at > ends[:, None])[..., None]
                done = int(batch.info["row"][-1])
            frames.append(_cells(data, batch, at.numpy(), wanted.numpy(), data.original_unit(point)))
        found = pd.concat(frames, ignore_index=True)
        if split != "ahead":
            return found
        if not len(found):
            raise DataError("no cell is missing: there is nothing to fill", where="predict", fix="give data with gaps")
        return found.drop(columns=["window", "value"])

    def page(self, data: ForecastData, model: nn.Module, device: Any) -> dict[str, Any]:
        """What the report draws for this task: hidden cells of the first variate, of windows spread over test."""
        rows = np.unique(np.linspace(0, len(data.rows("test")) - 1, PAGE_WINDOWS).round().astype(np.int64))
        name = data.table.variates[0]
        table = self.table(data, model, "test", rows, len(rows), device)
        named = table[table["variate"] == name].rename(columns={"value": "actual", "imputed": "prediction"})
        named["id"] = named["time"] + " in the window to " + named["window"]
        points = named[["id", "actual", "prediction"]].to_dict(orient="records")
        return {"kind": "samples", "title": f"Hidden cells of {name} in test windows", "unit": name, "points": points}


def _joined(parts: list[Scores]) -> Scores:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _cells(data: ForecastData, batch: Batch, at: Any, wanted: Any, filled: Any) -> pd.DataFrame:
    """One line a wanted cell. Shape: at (b, t) row numbers, wanted and filled (b, t, v)."""
    window, step, variate = np.nonzero(wanted)
    row = at[window, step]
    ends, times = (
        np.datetime_as_string(data.table.times[each], unit="s") for each in (batch.info["row"].numpy()[window], row)
    )
    return pd.DataFrame({
        "window": ends,
        "time": times,
        "variate": np.array(data.table.variates, dtype=object)[variate],
        "value": data.table.values[row, variate],
        "imputed": filled[window, step, variate],
    })  # fmt: skip
