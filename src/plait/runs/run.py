"""A finished run: load it, ask it for forecasts and scores."""

import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn

from plait.core.config import validate
from plait.core.errors import ConfigError, DataError, FileError
from plait.core.schema import Schema
from plait.objectives.bootstrap import Scores
from plait.runs.assemble import accelerator_for, build_data, build_model
from plait.runs.config import RunConfig
from plait.runs.folder import check_data, read_config, read_json, refuse_comparison
from plait.runs.scores import summarise
from plait.training.checkpoint import read_folder
from plait.training.evaluate import evaluate


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder with what it holds, read when it is asked for."""

    folder: Path
    config: RunConfig
    """The config of the kept model: without its fusion where the added modality was not accepted."""
    schema: Schema
    fitted: Any
    """What was fitted on the train rows."""
    model: nn.Module
    raw: bool = False
    """Whether the model before acceptance was asked for; where it was accepted that is the kept one."""
    calibration: dict[str, Tensor] | None = None
    """What the task measured of the model on validation rows; None where it measures nothing, and in older folders."""

    def on(self, device: str) -> "Run":
        """The same run on another device: auto, cpu, cuda or mps."""
        config = validate(RunConfig, {**self.config.model_dump(mode="json"), "device": device}, "--device")
        accelerator = accelerator_for(config, self.folder, trackers=False)
        return replace(self, config=config, model=self.model.to(accelerator.device))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds."""
        found: dict[str, Any] = read_json(self.folder / "metrics.json")
        return found

    @cached_property
    def data(self) -> Any:
        """The data the run was trained on, read again from their source."""
        data = build_data(self.config, fitted=self.fitted)
        check_data(self.folder, data)
        held, learned = (schema.variates + schema.covariates for schema in (data.schema, self.schema))
        if held != learned:
            raise DataError(f"the data hold {held}, the run learned {learned}", where="data")
        return data

    @cached_property
    def task(self) -> Any:
        """What was asked of the model."""
        return self._task(self.data)

    def _task(self, data: Any) -> Any:
        task = self.config.task.build(data)
        if self.calibration is not None:
            task.restore(self.calibration)
        return task

    def scores(self, split: str) -> Scores:
        """Per-row scores of a split, computed anew."""
        size = self.config.training.eval_batch_size
        accelerator = accelerator_for(self.config, self.folder, trackers=False)
        model = self.model.to(accelerator.device)
        if split == "test" and hasattr(self.task, "of_split"):
            evaluate(model, self.task, self.data, "val", size, accelerator)  # what a task takes from validation
        return evaluate(model, self.task, self.data, split, size, accelerator)

    def evaluate(self, split: str = "test") -> dict[str, Any]:
        """The metrics of a split with intervals, computed anew."""
        return summarise(self.task, self.scores(split), self.data.units(split))

    def groups(self, split: str, bins: str) -> list[dict[str, Any]]:
        """Errors of held-out rows by what they are of, as the task groups them.

        Errors: ConfigError where it groups nothing; those of the task's `groups`.
        """
        if not hasattr(self.task, "groups"):
            raise ConfigError(
                f"errors of the task {self.config.task.kind} are not grouped", where="--groups", fix="leave it out"
            )
        size, device = self.config.training.eval_batch_size, next(self.model.parameters()).device
        found: list[dict[str, Any]] = self.task.groups(self.data, self.model, split, size, device, bins)
        return found

    def predict(
        self, frame: Any = None, texts: Any = None, split: str | None = None, ahead: bool = False, **files: Any
    ) -> pd.DataFrame:
        """Predictions in the unit of the files, as a table.

        Of a series: one line an origin and variate, columns origin, variate, h1 .. hp; with a frame from its last row,
        beyond its end, with the texts given beside it; without one from the last row of the run's own data. Of samples:
        one line a sample, with `files` named as the fields of the data (`table=`, `metadata=`, ...); what is masked or
        not read in them is said on standard error. With a `split` it is every row of that split of the run's own data.
        With `ahead` a forecast is one line a step and variate: time, variate, forecast, low, high, and its quantiles;
        low and high, of an interval calibrated on validation, are NaN where it has no bounds.
        Errors: ConfigError for new data of another kind than the run's, and where a run has no steps ahead; those of
        its source.
        """
        if ahead:
            self._check_ahead(split)
        given = {name: value for name, value in (("frame", frame), ("texts", texts)) if value is not None} | files
        if split is not None and not given:
            return self._table(self.data, split, self.data.rows(split))
        names = getattr(self.config.data, "new_names", tuple(given))
        for name in given:
            if name not in names or names[0] not in given:
                raise ConfigError(
                    f"a run of {self.config.recipe} is not asked by {name!r}" + " alone" * (name in names),
                    where="predict", fix=f"give {names[0]}, and if need be {', '.join(names[1:])}",
                )  # fmt: skip
        source, reads = self.config.data.as_learned(self.schema), self.config.model.reads
        table = source.of_new(self.schema, self.fitted, reads, **given) if given else None
        config = self.config.model_copy(update={"data": source})
        data = build_data(config, table, self.fitted, ahead=True)
        for words in data.notices() if files else ():
            print(words, file=sys.stderr)
        if not ahead:
            return self._table(data, "ahead", data.asked())
        task = self._task(data)
        if self.calibration is None:
            print("the run has no intervals: an older version made it", file=sys.stderr)
        for words in task.unbounded():
            print(words, file=sys.stderr)
        made: pd.DataFrame = task.ahead(data, self.model, next(self.model.parameters()).device)
        return made

    def _check_ahead(self, split: str | None) -> None:
        if split is not None:
            raise ConfigError(f"the {split} split is not ahead: it has happened", where="--ahead", fix="leave out one")
        if self.config.task.kind != "forecast":
            raise ConfigError(
                f"a run of the task {self.config.task.kind} forecasts no steps", where="--ahead", fix="leave it out"
            )

    def _table(self, data: Any, split: str, rows: Any) -> pd.DataFrame:
        device = next(self.model.parameters()).device
        task = self._task(data)
        made: pd.DataFrame = task.table(data, self.model, split, rows, self.config.training.eval_batch_size, device)
        return made


def load_run(path: str | Path, raw: bool = False) -> Run:
    """Load a run folder: its kept model with config, preprocessing and weights; every file's sha256 is checked.

    With `raw` it is the model before acceptance; a run that did not accept it and holds no raw/ is a FileError.
    """
    folder = Path(path)
    read_config(folder)
    refuse_comparison(folder)
    if not (folder / "model").is_dir():
        raise FileError(
            "holds no model; the run has not ended", where=str(folder), fix=f"plait train --resume {folder}"
        )
    place = folder / "model"
    if raw and read_json(folder / "metrics.json").get("accepted") is False:
        place = folder / "raw"
        if not place.is_dir():
            raise FileError(
                "holds no raw/, the model before acceptance: an older version made the run", where=str(folder),
                fix="train it again",
            )  # fmt: skip
    tensors, records = read_folder(place)
    config = validate(RunConfig, records["config"], str(place / "config.json"))
    schema = Schema.from_json(records["schema"])
    model = build_model(config, schema)
    try:
        model.load_state_dict(tensors["weights"])
    except RuntimeError as error:
        raise FileError(f"the weights do not fit the config: {error}", where=str(place)) from None
    model.eval()
    fitted = config.data.read_fitted(tensors["preprocessing"], records["preprocessing"])
    return Run(folder, config, schema, fitted, model, raw, tensors.get("calibration"))
