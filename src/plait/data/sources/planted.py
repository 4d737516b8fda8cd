"""`planted`: a seeded series whose coming level shifts are announced in words: the positive control."""

from typing import Literal

import numpy as np
from pydantic import Field

from plait.core.errors import ConfigError
from plait.data.sources._series import SeriesConfig, TextConfig
from plait.data.table import SeriesTable, Texts
from plait.features.calendar import infer_step
from plait.features.planted import announced_steps, generate


class PlantedTextConfig(TextConfig):
    """The bulletins: the two newest, sentence by sentence."""

    newest: int = Field(2, ge=1)
    """How many of the newest bulletins enter a window."""
    unit: Literal["text", "sentence"] = "sentence"
    """What is embedded: whole bulletins, or each sentence."""


class PlantedConfig(SeriesConfig):
    """Weekly demand with weekly bulletins, made anew from a seed."""

    kind: Literal["planted"] = "planted"
    weeks: int = Field(3000, ge=200)
    """Length of the series."""
    draw: int = Field(0, ge=0)
    """Seed of the generator."""
    signal: bool = True
    """False: the same series with bulletins of an independent stream, the no-signal control."""
    text: PlantedTextConfig = PlantedTextConfig()
    """Dated texts."""

    def read(self) -> SeriesTable:
        """The series, its bulletins, and what an oracle would know."""
        if self.text.path is not None:
            raise ConfigError(
                "planted data bring their own texts", where="data.text.path", fix="leave it out, or use data.kind csv"
            )
        made = generate(self.weeks, self.draw, self.signal)
        times = made.times.astype("datetime64[s]")
        step = infer_step(times)
        announced = announced_steps(made, self.horizon or step.horizon)
        values = made.values[:, None].astype(np.float64)
        table = SeriesTable(times, values, ("demand",), step, announced=announced[:, :, None])
        return self.complete(table, Texts.of(made.bulletins, times, "bulletin"))
