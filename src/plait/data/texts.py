"""Texts as tensors: units, frozen states from the store, and the states each forecast origin sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.data.store import EmbeddingStore
from plait.data.table import Texts
from plait.features.facts import sentences

if TYPE_CHECKING:
    from plait.data.sources._series import TextConfig

States = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TextUnits:
    """What is encoded: the distinct units (texts or sentences), and which of them each text holds.

    Shape: `of_text` (texts + 1, s) row numbers of `distinct`, -1 = none; the last row stands for an absent text, so
    that row -1 finds it.
    """

    distinct: tuple[str, ...]
    of_text: Rows


@dataclass(frozen=True, eq=False)
class TextTensors:
    """The texts of every row of the table as an origin.

    Shape: `unit` (T, K * S) row numbers of `states`, -1 = none; `age` (T, K * S) log1p of days; `states` (U, L, e),
    `mask` (U, L); `rows` (T, K) row numbers of `texts`, -1 = none.
    """

    unit: Tensor
    age: Tensor
    states: Tensor
    mask: Tensor
    rows: Rows
    texts: Texts

    def inputs(self, origin: Tensor) -> dict[str, Tensor]:
        """A model's text inputs at some origins.

        Shape: text (b, m, e), text_mask (b, m), text_age (b, m), with m = K * S * L.
        """
        unit, age = self.unit[origin], self.age[origin]
        place = unit.clamp(min=0)
        mask = self.mask[place] & (unit >= 0)[..., None]
        return {
            "text": self.states[place].flatten(1, 2),
            "text_mask": mask.flatten(1, 2),
            "text_age": age.repeat_interleave(self.states.shape[1], dim=1),
        }


def text_units(texts: Texts, config: "TextConfig") -> TextUnits:
    """Part texts into units and number the distinct ones."""
    whole = config.unit == "text"
    parts = [[t] if whole else sentences(t)[: config.sentences] for t in texts.contents]
    distinct = tuple(dict.fromkeys(unit for units in parts for unit in units))
    number = {unit: i for i, unit in enumerate(distinct)}
    of_text = np.full((len(parts) + 1, 1 if whole else config.sentences), -1, dtype=np.int64)
    for i, units in enumerate(parts):
        of_text[i, : len(units)] = [number[unit] for unit in units]
    return TextUnits(distinct, of_text)


def encode(
    distinct: Sequence[str],
    config: "TextConfig",
    embedder: Any,
    progress: Callable[[int, int], None] | None,
    root: Path | None,
) -> tuple[States, Mask, int]:
    """The frozen states of units, from the store, and how many of them had to be encoded now."""
    pool = "none" if config.pool == "attention" else config.pool
    store = EmbeddingStore(embedder, config.embedder.kind, config.max_tokens, pool, root)
    encoded = store.add(distinct, progress)
    states, mask = store.load(distinct)
    return states, mask, encoded


def text_statistics(states: States, mask: Mask, seen: Rows) -> tuple[States, float]:
    """Centre (e,) and one sd of the states of the units that train windows see."""
    rows = np.unique(seen)
    rows = rows[rows >= 0]
    kept = states[rows][mask[rows]]
    if not len(kept):
        return np.zeros(states.shape[2], dtype=np.float32), 1.0
    centre = kept.mean(axis=0, dtype=np.float64)
    sd = float(np.sqrt(((kept - centre) ** 2).mean()))
    return centre.astype(np.float32), sd or 1.0


def standardised(states: States, mask: Mask, centre: States | None, sd: float) -> States:
    """The states as a model receives them; 0 under a False mask."""
    centred = (states - (0.0 if centre is None else centre)) / sd
    return np.where(mask[:, :, None], centred, 0).astype(np.float32)


def text_tensors(
    texts: Texts,
    units: TextUnits,
    rows: Rows,
    age: NDArray[np.float64],
    states: States,
    mask: Mask,
    centre: States | None,
    sd: float,
) -> TextTensors:
    """Standardise the states and lay out which of them each row of the table sees."""
    slots = units.of_text.shape[1]
    return TextTensors(
        torch.from_numpy(units.of_text[rows].reshape(len(rows), -1)),
        torch.from_numpy(np.log1p(np.repeat(age, slots, axis=1)).astype(np.float32)),
        torch.from_numpy(standardised(states, mask, centre, sd)),
        torch.from_numpy(mask),
        rows,
        texts,
    )
