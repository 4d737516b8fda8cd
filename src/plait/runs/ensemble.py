"""Several runs that answer together: with equal weights, or with those that their validation rows ask for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.core.errors import ConfigError, DataError
from plait.objectives.bootstrap import Scores
from plait.objectives.simplex import equal_weights, simplex_weights
from plait.runs.config import RunConfig
from plait.runs.run import Run


def validated_weights(task: Any, scores: Sequence[Scores]) -> Any:
    """The weights of models that bring the task's selection on these (validation) rows lowest. Shape: -> (k,)."""
    return simplex_weights(lambda weights: task.selection(task.together(scores, weights)), len(scores))


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Runs of one task, and the weight of each. Shape: `weights` (k,), sum 1."""

    runs: Sequence[Run]
    weights: Any

    @classmethod
    def of(cls, runs: Sequence[Run], split: str | None = None) -> "Ensemble":
        """The runs with equal weights, or with those that are best on the validation rows they share.

        Errors: ConfigError for runs whose answers have no mean, and for weights from another split than validation;
        DataError where runs differ in their validation rows.
        """
        for run in runs:
            if not hasattr(run.config.task, "together_table"):
                raise ConfigError(
                    f"answers of the task {run.config.task.kind} are not averaged", where=str(run.folder),
                    fix="predict with each run by itself",
                )  # fmt: skip
            if run.config.task.kind != runs[0].config.task.kind:
                raise ConfigError(
                    f"its task is {run.config.task.kind}, that of {runs[0].folder} {runs[0].config.task.kind}",
                    where=str(run.folder), fix="average runs of one task",
                )  # fmt: skip
        if split is None:
            return cls(runs, equal_weights(len(runs)))
        if split != "val":
            raise ConfigError(
                f"weights are fitted on validation rows, not on {split!r}", where="--weights-from", fix="val"
            )
        ids = [np.asarray(run.data.ids("val")) for run in runs]
        for run, own in zip(runs, ids, strict=True):
            if not np.array_equal(own, ids[0]):
                raise DataError(
                    f"its validation rows are not those of {runs[0].folder}", where=str(run.folder),
                    fix="train the runs on one division of the data, or take --mean",
                )  # fmt: skip
        return cls(runs, validated_weights(runs[0].task, [run.scores("val") for run in runs]))

    @property
    def config(self) -> RunConfig:
        """The config of the first run, which says what new data are given by."""
        return self.runs[0].config

    @property
    def folder(self) -> Path:
        """The folder of the first run."""
        return self.runs[0].folder

    def shares(self) -> dict[str, float]:
        """The weight of each run by its folder; of a folder that is named twice, both weights together."""
        found = dict.fromkeys((str(run.folder) for run in self.runs), 0.0)
        for run, weight in zip(self.runs, self.weights, strict=True):
            found[str(run.folder)] += float(weight)
        return found

    def predict(self, **asked: Any) -> pd.DataFrame:
        """The weighted mean of what the runs predict, as `Run.predict` is asked. Errors: those of `Run.predict`."""
        frames = [run.predict(**asked) for run in self.runs]
        made: pd.DataFrame = self.config.task.together_table(frames, self.weights)
        return made
