"""What was fitted on train rows, as a run keeps it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Fitted:
    """What was fitted on train rows: mean and sd of each variate, centre and size of the text states, the vocabulary
    of an embedder that has one, the changes that part the classes of a direction; with the step of the series, and the
    sources of texts that were left out.
    """

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    step: str
    text_centre: NDArray[np.float32] | None = None
    text_sd: float = 1.0
    vocabulary: tuple[str, ...] = ()
    idf: NDArray[np.float64] | None = None
    left_out: tuple[str, ...] = ()
    thresholds: NDArray[np.float64] | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The numbers, for a file."""
        out = {"mean": torch.from_numpy(self.mean), "sd": torch.from_numpy(self.sd)}
        if self.text_centre is not None:
            out["text_centre"] = torch.from_numpy(self.text_centre)
            out["text_sd"] = torch.tensor(self.text_sd, dtype=torch.float64)
        if self.idf is not None:
            out["idf"] = torch.from_numpy(self.idf)
        if self.thresholds is not None:
            out["thresholds"] = torch.from_numpy(self.thresholds)
        return out

    def record(self) -> dict[str, Any]:
        """The words, for a file."""
        return {"step": self.step, "vocabulary": list(self.vocabulary), "left_out": list(self.left_out)}

    @classmethod
    def read(cls, tensors: dict[str, Tensor], record: dict[str, Any]) -> "Fitted":
        """What `tensors` and `record` wrote."""
        centre, idf, thresholds = (tensors.get(name) for name in ("text_centre", "idf", "thresholds"))
        return cls(
            tensors["mean"].numpy(), tensors["sd"].numpy(), record["step"], None if centre is None else centre.numpy(),
            float(tensors.get("text_sd", torch.tensor(1.0))), tuple(record["vocabulary"]),
            None if idf is None else idf.numpy(), tuple(record["left_out"]),
            None if thresholds is None else thresholds.numpy(),
        )  # fmt: skip
