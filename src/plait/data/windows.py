"""A checked table as windows: standardised, joined with its texts, split, and gathered into batches."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.baselines.panel import Panel
from plait.core.errors import ConfigError, DataError
from plait.core.schema import SPLITS, Schema
from plait.core.tokens import Batch
from plait.data.asof import permuted, usable_texts
from plait.data.fitted import Fitted
from plait.data.questions import NextSteps, Question, window_rows
from plait.data.splits import Borders
from plait.data.table import Finding, SeriesTable, Texts
from plait.data.texts import TextTensors, TextUnits, encode, text_statistics, text_tensors, text_units
from plait.features.calendar import calendar_marks, next_times, season_codes
from plait.features.seasonal_prior import carry_forward, seasonal_prior
from plait.objectives.bootstrap import Units

if TYPE_CHECKING:
    from plait.data.sources._series import SeriesConfig

RARE_SHARE = 0.05
"""A text source that fewer train windows see is left out: an input that hardly trains must not appear in test."""


class ForecastData:
    """Windows of one series: `rows(split)`, `batch(split, index)`, and everything the baselines read.

    The target variates are standardised with the mean and sd of the observed train rows; missing inputs carry the
    last value forward and are marked in `series_mask`; missing targets are masked in `targets["mask"]`. Covariates are
    further columns of the inputs, after the variates, standardised and marked alike; no target is of them.
    With `fitted` given (of a trained run) nothing is fitted; with `ahead` there are no splits: every row that has a
    full lookback is an origin. `prior` adds the seasonal prior to the inputs. `question` says which windows there are,
    what of them is hidden and what the targets are; unset: the next steps.
    """

    def __init__(
        self,
        table: SeriesTable,
        config: "SeriesConfig",
        seed: int = 0,
        fitted: Fitted | None = None,
        text: bool = True,
        prior: bool = False,
        progress: Callable[[int, int], None] | None = None,
        store_root: Path | None = None,
        ahead: bool = False,
        question: Question | None = None,
    ) -> None:
        self.config, self.question = config, question or NextSteps()
        if table.covariates and not self.question.ahead:
            raise ConfigError(
                "the task asks for cells of the window, of every column alike: it has no use for covariates",
                where="data.covariates", fix="leave them out, or name them among data.targets",
            )  # fmt: skip
        self.lookback = config.lookback or table.step.lookback
        self.horizon = self.question.steps(self.lookback, config.horizon or table.step.horizon)
        rows = len(table.times)
        self.borders = Borders(*table.borders) if table.borders else Borders.by_share(rows, config.splits)
        self.origins = self._few(self.borders) if not ahead else self._all_origins(rows)
        self.table, self.labels = table, np.zeros(rows, dtype=bool)
        if not ahead:
            table, self.labels = self.question.prepare(table, self.borders)
            self.table = table
        self.findings = list(table.findings)
        train = table.values[: self.borders.train]
        fitting = fitted is None
        if fitted is None:
            self._check_train(train)
            fitted = Fitted(np.nanmean(train, axis=0), _spread(np.nanstd(train, axis=0)), table.step.words)
        if fitted.step != table.step.words:
            raise DataError(
                f"the run learned steps of {fitted.step}, these data have steps of {table.step.words}",
                where="data", fix="give a series with the run's step",
            )  # fmt: skip
        self.z = (table.values - fitted.mean) / fitted.sd
        season, seasons = season_codes(table.times, table.step)
        self.season, self.n_seasons = season, seasons
        filled = carry_forward(self.z)
        self._series = torch.from_numpy(filled.astype(np.float32))
        self._observed = torch.from_numpy(~np.isnan(table.values))
        self._marks = torch.from_numpy(calendar_marks(table.times, table.step).astype(np.float32))
        self._season = torch.from_numpy(season)
        self._target = torch.from_numpy(np.nan_to_num(self.of_variates(self.z)).astype(np.float32))
        self._prior = self._priors() if prior else None
        self.text: TextTensors | None = None
        self.fitted = fitted
        if fitting:
            self.fitted = self.question.fit(self)
        if text and table.texts is not None:
            self._join_texts(seed, progress, store_root, fitting)
        self.schema = self._schema()

    def _join_texts(
        self, seed: int, progress: Callable[[int, int], None] | None, root: Path | None, fitting: bool
    ) -> None:
        texts, config = self.table.texts, self.config.text
        assert texts is not None
        if config.placebo:
            ends = np.cumsum([self.borders.train, self.borders.val])
            texts = permuted(texts, self.table.times[ends - 1] + np.timedelta64(1, "s"), seed)
        texts = self._without_rare(texts, fitting)
        if not texts.contents:
            return
        rows, age = usable_texts(texts.available_at, self.table.times, config.newest, config.lag_days)
        units = text_units(texts, config)
        train = self.origins.get("train")
        seen = np.empty(0, dtype=np.int64) if train is None else units.of_text[rows[train]]
        self.embedder = self._embedder(units, seen)
        states, mask, self.encoded = encode(units.distinct, config, self.embedder, progress, root)
        if self.fitted.text_centre is None and train is not None:
            centre, sd = text_statistics(states, mask, seen)
            self.fitted = replace(self.fitted, text_centre=centre, text_sd=sd)
        fitted = self.fitted
        self.text = text_tensors(texts, units, rows, age, states, mask, fitted.text_centre, fitted.text_sd)

    def _without_rare(self, texts: Texts, fitting: bool) -> Texts:
        """The texts less the sources that hardly a train window sees (of a trained run: that it left out)."""
        left_out = list(self.fitted.left_out)
        if fitting:
            train = self.origins["train"]
            rows, _ = usable_texts(
                texts.available_at, self.table.times, self.config.text.newest, self.config.text.lag_days
            )
            source = np.array([*texts.sources, ""], dtype=object)[rows[train]]
            left_out = []
            for name in sorted(set(texts.sources)):
                share = float((source == name).any(axis=1).mean())
                if share < RARE_SHARE:
                    left_out.append(name)
                    words = f"% of train windows see a text of {name} (fewer than {RARE_SHARE:.0%}): left out"
                    self.findings.append(Finding(words, round(100 * share)))
            self.fitted = replace(self.fitted, left_out=tuple(left_out))
        return texts.rows(np.flatnonzero(~np.isin(np.array(texts.sources, dtype=object), left_out)))

    def _embedder(self, units: TextUnits, seen: NDArray[np.int64]) -> Any:
        """The text model; one that is fitted learns from the units that train windows see."""
        embedder = self.config.text.embedder.build()
        if embedder.fits and self.fitted.idf is not None:
            embedder.restore(list(self.fitted.vocabulary), self.fitted.idf)
        elif embedder.fits:
            embedder.fit([units.distinct[i] for i in np.unique(seen) if i >= 0])
            vocabulary, idf = embedder.fitted()
            self.fitted = replace(self.fitted, vocabulary=tuple(vocabulary), idf=idf)
        return embedder

    def _check_train(self, train: NDArray[np.float64]) -> None:
        for column, name in enumerate(self.table.columns):
            if np.isnan(train[:, column]).all():
                raise DataError(f"{name} has no observed value in the {len(train)} train rows", where="data")

    def _few(self, borders: Borders) -> dict[str, NDArray[np.int64]]:
        """The origins of every split, of train the earliest per cent that is asked for."""
        found = self.question.origins(borders, self.lookback, self.horizon)
        kept = len(found["train"]) * self.config.percent // 100
        if not kept:
            raise DataError(
                f"{self.config.percent} % of {len(found['train'])} train windows is none", where="data.percent"
            )
        return {**found, "train": found["train"][:kept]}

    def _all_origins(self, rows: int) -> dict[str, NDArray[np.int64]]:
        # New data for a trained run.
        if rows < self.lookback:
            raise DataError(f"{rows} rows, a window needs {self.lookback}", where="data", fix="give a longer history")
        return {"ahead": self.question.new(rows, self.lookback)}

    def _schema(self) -> Schema:
        streams, tokens, grouped = {"series": len(self.table.columns)}, {}, {}
        if self.text is not None:
            length = self.text.states.shape[1]
            streams["text"] = self.text.states.shape[2]
            tokens["text"] = self.text.unit.shape[1] * length
            if self.config.text.pool == "attention":
                grouped["text"] = length
        return Schema(
            "series", streams, self.table.variates, self.lookback, self.horizon, self._marks.shape[1],
            self.n_seasons, tokens, grouped, outputs=self.question.outputs, quantiles=self.question.quantiles,
            covariates=self.table.covariates, about=self.question.about(self),
        )  # fmt: skip

    def rows(self, split: str) -> NDArray[np.int64]:
        """The numbers of all windows of a split."""
        return np.arange(len(self.origins[split]))

    def asked(self) -> NDArray[np.int64]:
        """The windows of new data that a prediction is for: the last, or where it is of the window itself, all."""
        return self.rows("ahead")[-1:] if self.question.ahead else self.rows("ahead")

    def units(self, split: str) -> Units:
        """Which windows are drawn together: neighbours, of forecasts 2 x horizon of them."""
        return Units(len(self.origins[split]), self.question.block(self.horizon))

    def fingerprint(self) -> str:
        """A digest of the table: whether data are still those."""
        return self.table.fingerprint()

    def notices(self) -> list[str]:
        """What to know before a training, and not after: texts that are left out, and those used before their date."""
        seen = [str(finding) for finding in self.findings if "see a text" in finding.what]
        early = [str(finding) for finding in self.findings if "are used before it" in finding.what]
        given = self.config.horizon not in (None, self.horizon)
        idle = [f"data.horizon (--pred-len) has no effect: the answer is of the window's {self.horizon} steps"] * given
        leaks = [f"a leak, by data.text.future_dates: keep (plait audit lists all): {words}" for words in early]
        return idle + seen + leaks

    def training_batch(self, index: Any, *key: object) -> Batch:
        """The train windows `index` as training sees them; what the question hides may change with the `key`."""
        return self._batch("train", index, key)

    def batch(self, split: str, index: Any) -> Batch:
        """The windows `index` of a split as tensors; nothing is done per window in Python.

        Shape: series (b, t, v), series_mask (b, t, v), series_marks (b, t, k), series_prior (b, p, v), series_season
        (b,), text (b, m, e), text_mask (b, m), text_age (b, m); targets as the question says; info row (b,).
        """
        return self._batch(split, index, ())

    def _batch(self, split: str, index: Any, key: tuple[object, ...]) -> Batch:
        origin = torch.from_numpy(self.origins[split][np.asarray(index)])
        back = window_rows(origin, self.lookback)
        inputs = {
            "series": self._series[back],
            "series_mask": self._observed[back],
            "series_marks": self._marks[back],
            "series_season": self._season[origin],
        }
        if self._prior is not None:
            inputs["series_prior"] = self._prior[origin if self.question.ahead else origin - self.lookback]
        if self.text is not None:
            inputs |= self.text.inputs(origin)
        inputs, targets = self.question.put(self, split, np.asarray(index), inputs, key)
        return Batch(inputs, targets, {"row": origin})

    def at(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The standardised values of the variates at row numbers, and which are known; none is after the last row.

        Shape: (...,) -> two of (..., v).
        """
        inside = (rows < len(self._target))[..., None]
        rows = rows.clamp(max=len(self._target) - 1)
        return self._target[rows], self._observed[rows][..., : self._target.shape[1]] & inside

    def _priors(self) -> Tensor:
        # One prior a row: a window reads it at the last row before the steps that are asked for. Where they lie within
        # the window, the first has no row before it, and reads row -1: a prior of 0.
        prior, _ = seasonal_prior(self.z, self.table.step.period, np.arange(len(self.z)), self.horizon)
        none = np.zeros_like(prior[:1])
        return torch.from_numpy(np.concatenate([prior, none]).astype(np.float32))

    @property
    def has_prior(self) -> bool:
        """Whether windows have the seasonal prior among their inputs."""
        return self._prior is not None

    def panel(self) -> Panel:
        """The same series and windows for the cheap forecasts."""
        return Panel(
            self.of_variates(self.z), self.table.step.period, self.season, self.n_seasons, self.lookback, self.horizon,
            self.origins, self.borders.train,
        )  # fmt: skip

    def original_unit(self, z: NDArray[Any]) -> NDArray[np.float64]:
        """Standardised values (..., v) of the variates in the unit of the files."""
        sd, mean = self.of_variates(self.fitted.sd), self.of_variates(self.fitted.mean)
        return np.asarray(z, dtype=np.float64) * sd + mean

    def of_variates(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is of the variates, less what is of covariates. Shape: (..., columns) -> (..., v)."""
        return columns[..., : len(self.table.variates)]

    def target_times(self, origin: int) -> NDArray[np.datetime64]:
        """The time stamps of the steps after an origin, also beyond the last row."""
        times = self.table.times
        inside = times[origin + 1 : origin + 1 + self.horizon]
        lacking = self.horizon - len(inside)
        return np.concatenate([inside, next_times(times[-1], self.table.step, lacking)]) if lacking else inside

    def texts_at(self, origin: int) -> list[tuple[str, str]]:
        """The texts an origin sees, newest first, as (date, text)."""
        if self.text is None:
            return []
        texts = self.text.texts
        return [(str(texts.available_at[r])[:10], texts.contents[r]) for r in self.text.rows[origin] if r >= 0]

    def split_summary(self) -> dict[str, Any]:
        """Rows, windows and dates of each split."""
        times = self.table.times
        start = 0
        out: dict[str, Any] = {}
        for split, size in zip(SPLITS, (self.borders.train, self.borders.val, self.borders.test), strict=True):
            out[split] = {
                "rows": size, "windows": len(self.origins[split]),
                "first": str(times[start]), "last": str(times[start + size - 1]),
                "with_text": self._with_text(split),
            }  # fmt: skip
            start += size
        return out

    def describe(self) -> tuple[list[str], dict[str, Any]]:
        """The splits and the series in words, and as plain data."""
        lines = []
        for split, facts in self.split_summary().items():
            seen = f" ({facts['with_text']} see a text)" if self.text is not None else ""
            of = f"{facts['rows']} rows, {facts['windows']} windows{seen}"
            lines.append(f"{split:<6} {of}, {facts['first']} .. {facts['last']}")
        texts, step = len(self.table.texts.contents) if self.table.texts else 0, self.table.step.name
        beside = f"; covariates: {', '.join(self.table.covariates)}" if self.table.covariates else ""
        lines.append(f"variates: {', '.join(self.table.variates)}{beside}; step: {step}; texts: {texts}")
        facts = {"variates": list(self.table.variates), "covariates": list(self.table.covariates)}
        facts |= {"step": step, "texts": texts}
        return lines, {**facts, "lookback": self.lookback, "horizon": self.horizon}

    def _with_text(self, split: str) -> int:
        return 0 if self.text is None else int((self.text.rows[self.origins[split]] >= 0).any(axis=1).sum())


def _spread(sd: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(sd > 0, sd, 1.0)
