"""Counterfactuals: what the model says of the same samples with another value in one column of the metadata."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.core.tokens import Batch, Output
from plait.data.sample_columns import categories_of
from plait.evaluation.explain.estimate import Estimate
from plait.evaluation.explain.look import Lens, Look
from plait.evaluation.explain.taxa import METADATA

STEPS = {"+1 sd": 1.0, "-1 sd": -1.0}
"""How far a column of numbers is moved, in standard deviations of the train samples."""


class Setting(NamedTuple):
    """A column, by place and name, and what it is set to: the code of a category, or a step of a number."""

    place: int
    column: str
    value: str
    code: int | None
    step: float


class Counterfactuals:
    """The answer to every sample with one column set, less the answer as it is, in the unit of the files.

    A category is set in every sample, also where none was known; a number is moved where it is known. Where the
    target was scaled by that category, the answer is scaled back by the category it is set to. Of classes it is the
    probability of each; of two, that of the second.
    """

    def __init__(self, lens: Lens, rows: int) -> None:
        self.lens, self.data = lens, lens.data
        self.settings = settings(lens)
        outputs = max(len(lens.classes), 1)
        self._change = [np.zeros((rows, outputs)) for _ in self.settings]
        self._has = [np.zeros(rows, dtype=bool) for _ in self.settings]

    def add(self, look: Look) -> None:
        """Ask of some samples, once a setting."""
        if not self.settings:
            return
        plain = self._said(look.plain, look.batch, None)
        for setting, change, has in zip(self.settings, self._change, self._has, strict=True):
            output = self.lens.forward(changed(look.batch, setting))
            change[look.rows] = self._said(output, look.batch, setting) - plain
            has[look.rows] = _having(look.batch, setting).cpu().numpy()

    def _said(self, output: Output, batch: Batch, setting: Setting | None) -> NDArray[np.float64]:
        """The answers in the unit of the files, or as probabilities. Shape: (b, outputs)."""
        answer, rows = self.lens.answer(output).double().cpu(), batch.info["row"].cpu()
        if self.lens.classes:
            return answer.numpy()
        scaled = tuple(self.data.config.normalize_by)
        if setting is None or setting.code is None or setting.column not in scaled:
            found: Tensor = self.data.in_unit(answer, rows)
            return found.numpy()
        metadata = self.data.metadata.iloc[rows.numpy()].assign(**{setting.column: setting.value})
        natural: Tensor = self.data.fitted.transform.inverse(answer, categories_of(metadata, scaled))
        return natural.numpy()

    def result(self, estimate: Estimate) -> list[dict[str, Any]]:
        """A record a setting, and class: how many samples have the value, and the mean change with its interval."""
        classes = self.lens.classes
        shown = range(len(classes)) if len(classes) > 2 else [len(classes) - 1] if classes else [0]
        made = []
        for setting, change, has in zip(self.settings, self._change, self._has, strict=True):
            number = setting.code is None
            for output in shown:
                values = change[:, output]
                made.append({
                    "column": setting.column, "value": setting.value,
                    "step": abs(setting.step) * self.data.fitted.numbers[setting.column][1] if number else None,
                    "class": classes[output] if classes else None,
                    "unit": "probability" if classes else str(self.data.fitted.target),
                    "samples_that_have_it": int(has.sum()),
                    "change": estimate.mean(values[has], has) if number else estimate.mean(values),
                })  # fmt: skip
        return made


def settings(lens: Lens) -> list[Setting]:
    """Every category of every column that the model is given, and a step up and down of each number."""
    found = []
    for place, (column, size) in enumerate(lens.schema.columns.items()):
        if size:
            names = lens.data.categories[column]
            found += [Setting(place, column, str(name), code, 0.0) for code, name in enumerate(names)]
        else:
            found += [Setting(place, column, words, None, step) for words, step in STEPS.items()]
    return found


def changed(batch: Batch, setting: Setting) -> Batch:
    """The batch with a column set to a category in every row, or moved where its number is known."""
    name = METADATA if setting.code is not None else f"{METADATA}_numbers"
    mask, values = batch.inputs[f"{METADATA}_mask"].clone(), batch.inputs[name].clone()
    if setting.code is None:
        moved = values[:, setting.place] + setting.step
        values[:, setting.place] = torch.where(mask[:, setting.place], moved, 0.0)
    else:
        values[:, setting.place], mask[:, setting.place] = setting.code, True
    return batch._replace(inputs={**batch.inputs, name: values, f"{METADATA}_mask": mask})


def _having(batch: Batch, setting: Setting) -> Tensor:
    """Which rows have the category, or know the number. Shape: (b,) bool."""
    known = batch.inputs[f"{METADATA}_mask"][:, setting.place]
    return known if setting.code is None else known & (batch.inputs[METADATA][:, setting.place] == setting.code)
