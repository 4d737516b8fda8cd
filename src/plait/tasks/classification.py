"""`classification`: one class a sample."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.tokens import Batch, Output
from plait.data.samples import SampleData
from plait.objectives.auxiliary import AuxiliaryConfig
from plait.objectives.bootstrap import Rivals, Scores
from plait.objectives.classification import balanced_class_weights, surprise
from plait.tasks import _samples
from plait.tasks._auxiliary import Auxiliary
from plait.tasks._classes import ClassTask, Metric, scores_of_shares


class ClassificationTaskConfig(Config):
    """A class a sample, trained by cross-entropy, scored by log loss and accuracy."""

    rows_are: ClassVar[str] = "samples"
    kind: Literal["classification"] = "classification"
    class_weights: Literal["none", "balanced"] = "none"
    """Whether all classes weigh the same in the loss, however many rows they have."""
    metric: Metric = "log_loss"
    """By what validation chooses, and what is compared; smaller is better, and no auxiliary objective is among it."""
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    """Objectives learned beside the target."""

    def build(self, data: SampleData) -> "ClassificationTask":
        """The task on these data."""
        return ClassificationTask(self, data)


class ClassificationTask(ClassTask):
    """Cross-entropy of each net by itself; log loss and share of errors of what they say together, unweighted."""

    row_name = "samples"

    def __init__(self, config: ClassificationTaskConfig, data: SampleData) -> None:
        super().__init__(config.metric, "sample")
        self.data = data
        self.auxiliary = Auxiliary(config.auxiliary, data)
        self.classes, self.target = data.fitted.classes, str(data.fitted.target)
        self.meanings = _samples.meanings(_samples.column_names(data))
        self._weights: Tensor | None = None
        if config.class_weights == "balanced":
            counts = torch.tensor(data.fitted.class_counts)
            labels = torch.repeat_interleave(torch.arange(len(counts)), counts)
            self._weights = balanced_class_weights(labels, len(counts))

    def losses(self, output: Output, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """The cross-entropy, the auxiliary losses and the model's own; of a mixed row by the shares of its classes."""
        targets = batch.targets
        rows = self._rows(output, targets["y"], targets["mask"])
        if "share" in targets:
            other, share = self._rows(output, targets["y_other"], targets["mask_other"]), targets["share"]
            rows = share * rows + (1 - share) * other
        own = {"cross_entropy": (rows.sum(), self._weight(batch))}
        return {**own, **self.auxiliary.losses(output, batch), **output.losses}

    def _rows(self, output: Output, y: Tensor, mask: Tensor) -> Tensor:
        logits = output.prediction.parts["logits"]
        nets = logits.shape[1]
        return surprise(logits, y.expand(-1, nets), mask.expand(-1, nets), self._weights)[0].mean(dim=1)

    def _weight(self, batch: Batch) -> Tensor:
        targets = batch.targets
        if self._weights is None:
            return targets["mask"].sum()
        rows = self._weight_of(targets["y"], targets["mask"])
        if "share" in targets:
            other, share = self._weight_of(targets["y_other"], targets["mask_other"]), targets["share"]
            rows = share * rows + (1 - share) * other
        return rows.sum()

    def _weight_of(self, y: Tensor, mask: Tensor) -> Tensor:
        """The class weight of each row. Shape: (b, 1) -> (b,)."""
        assert self._weights is not None
        return torch.where(mask, self._weights.to(y.device)[torch.where(mask, y, 0)], 0.0)[:, 0]

    def weights(self, batch: Batch) -> dict[str, Tensor]:
        """The summed class weights of the known targets of the batch, and what the auxiliary losses are divided by."""
        return {"cross_entropy": self._weight(batch), **self.auxiliary.weights(batch)}

    def rivals(self, data: SampleData) -> Rivals:
        """Per-row scores of the cheap rivals on validation and test, each study or batch column alone among them."""
        return _samples.sample_rivals(data, self._sums)

    def _sums(self, truth: NDArray[Any], shares: NDArray[np.float64]) -> Scores:
        """The sums of a rival's probabilities. Shape: truth (n,) of names, shares (n, classes)."""
        place = {name: code for code, name in enumerate(self.classes)}
        return scores_of_shares(shares, np.array([place.get(name, -1) for name in truth], dtype=np.int64))

    def context_rivals(self, data: SampleData) -> Rivals:
        """None more: what metadata say alone is among the rivals of every run."""
        return {}

    def candidates(self, names: Iterable[str]) -> list[str]:
        """The rivals that may be chosen as the best."""
        return _samples.candidates(names)

    def caveats(self, result: Mapping[str, Any]) -> list[str]:
        """The columns that predict the target about as well as the model."""
        return _samples.confounding(result, self.target)

    def table(self, data: SampleData, model: nn.Module, split: str, rows: Any, size: int, device: Any) -> pd.DataFrame:
        """Predicted classes: sample_id, prediction, a probability a class, and actual if known."""
        model.eval()
        rows = np.asarray(rows, dtype=np.int64)
        made = [found.point for _, found in _samples.predictions(data, model, split, rows, size, device)]
        shares = torch.cat(made).double().softmax(dim=-1).cpu().numpy()
        ids = data.ids(split)
        frame = pd.DataFrame({
            "sample_id": [ids[row] for row in rows],
            "prediction": [self.classes[code] for code in shares.argmax(axis=1)],
            **{f"probability_{name}": shares[:, code] for code, name in enumerate(self.classes)},
        })  # fmt: skip
        actual = data.targets(split)[rows]
        return frame.assign(actual=actual) if any(name is not None for name in actual) else frame

    def page(self, data: SampleData, model: nn.Module, device: Any) -> dict[str, Any]:
        """What the report draws for this task: how often each class is named as which."""
        table = self.table(data, model, "test", data.rows("test"), 256, device)
        counts = pd.crosstab(table["actual"], table["prediction"])
        square = counts.reindex(index=self.classes, columns=self.classes, fill_value=0)
        title = "Classes of test samples"
        return {
            "kind": "classes",
            "title": title,
            "classes": list(self.classes),
            "confusion": square.to_numpy().tolist(),
        }
